"""Reading batches as they are sent: one request at a time out of any number of bytes. No I/O."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import Meta

from app.batch.types import Item
from app.errors import BadRequestError, build_misfit

OBJECT, LIST, QUOTE = b"{", ord("["), ord('"')
FIRST, BEHIND = b"{]", b",]"
"""What may follow the beginning of the list of requests, and one of them. Behind a comma only OBJECT may."""

NO_OBJECT = "Each of the requests must be an object."
NO_COMMA = "Between two requests there must be one comma."
MAX_DEPTH = 64
"""How deep a body may be nested."""

OUR_FIELDS = ("parameters", "options")
"""The fields whose own fields are read one by one."""

MAX_HEAD_BYTES = 256 * 1024
"""How much there may be in a batch beside its requests."""

NO_NUL = r"^(?![\s\S]*\x00)"
CustomId = Annotated[str, Meta(min_length=1, max_length=512, pattern=NO_NUL)]

_WHITE = re.compile(rb"[ \t\r\n]*+")
_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_PLAIN = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
"""Up to the next bracket, or to a text that does not end yet."""

_DEEP = re.compile(
    rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+"|[{\[](?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+[}\]])*+', re.DOTALL
)
"""The same, and over brackets with no others in them."""

_REQUESTS = re.compile(rb'(?<=[{, \t\r\n])"requests"[ \t\r\n]*:[ \t\r\n]*\Z')
_KEY = re.compile(rb'[{, \t\r\n]*+"(?:[^"\\]++|\\.)*+"[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_END = re.compile(rb"[{ \t\r\n]*+\}[ \t\r\n]*+")
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class UnfitRequestError(BadRequestError):
    """400: a request of a batch that cannot be taken. `code` is OpenAI's for errors of a batch."""

    code = "invalid_request"


class RelayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of a batch in our own words."""

    id: CustomId
    messages: msgspec.Raw
    parameters: dict[str, msgspec.Raw] | None = None


class OpenAILine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a file of requests in OpenAI's words."""

    custom_id: CustomId
    url: str
    body: msgspec.Raw
    method: str = "POST"


class AnthropicRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a batch in Anthropic's words."""

    custom_id: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}(?![\s\S])")]
    params: msgspec.Raw


class ObjectSplitter:
    """Takes the elements of the field `requests` out of a JSON object that comes in pieces.

    `feed` returns the elements that a piece completes, as bytes; `close` the object with an empty list in their place.
    Both raise BadRequestError for what is no such object; whether an element is JSON is for its reader to say. At no
    time is more held than one element. A piece takes up to a microsecond a byte: they are best small.
    """

    def __init__(self, max_element_bytes: int) -> None:
        self._max = max_element_bytes
        self._head = bytearray()
        self._buffer = bytearray()
        self._at = 0
        self._depth = 0
        self._in_text = False
        self._listing = False
        self._found = False
        self._next = b""
        """What may stand next, between two elements; empty elsewhere."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the elements that `data` completes."""
        self._buffer += data
        while (step := self._step()) is not None:
            if step:
                yield step
        self._check_size()

    def peek(self) -> bytes:
        """Return what stands before the requests, as an object of its own."""
        return bytes(self._head) + b"]}"

    def close(self) -> bytes:
        """Return the object without its requests."""
        self._head += self._buffer
        if self._in_text or self._depth != 0:
            raise BadRequestError("The body is not valid JSON: it ends too early.")
        return bytes(self._head)  # that it lacks the list is for its reader to say

    def _step(self) -> bytes | None:
        """Go on to the next mark: the bytes of an element that it ends, else none; None when there is no mark left."""
        if self._next:
            return self._go_on()
        if self._in_text:
            return self._end_text()
        self._skip(_DEEP if 1 < self._depth < MAX_DEPTH else _PLAIN)
        place = self._at
        if place == len(self._buffer):
            return None
        mark = self._buffer[place]
        self._at += 1
        if mark == QUOTE:
            self._in_text = True
            return b""
        return self._open(place) if mark in b"{[" else self._close()

    def _skip(self, pattern: re.Pattern[bytes]) -> None:
        """Go behind what a pattern finds here."""
        found = pattern.match(self._buffer, self._at)
        if found is not None:
            self._at = found.end()

    def _end_text(self) -> bytes | None:
        """Go behind a text that began in an earlier piece, if it ends in this one."""
        self._skip(_TEXT)
        if not self._buffer.startswith(b'"', self._at):
            return None  # all of it is text, but for a backslash whose other half is to come
        self._at += 1
        self._in_text = False
        return b""

    def _open(self, place: int) -> bytes:
        if self._depth == MAX_DEPTH:
            raise BadRequestError(f"The body is nested deeper than {MAX_DEPTH} levels.")
        self._depth += 1
        if self._depth == 2 and self._buffer[place] == LIST and self._names_requests(place):
            if self._found:
                raise BadRequestError("The field 'requests' occurs twice.", param="requests")
            self._check_size()
            self._head += self._buffer[: self._at]
            del self._buffer[: self._at]
            self._at, self._found, self._listing, self._next = 0, True, True, FIRST
        return b""

    def _close(self) -> bytes:
        self._depth -= 1
        if self._depth < 0:
            raise BadRequestError("The body is not valid JSON.")
        if not self._listing or self._depth > 2:
            return b""
        element = bytes(self._buffer[: self._at])
        if len(element) > self._max:
            self._refuse_large()
        del self._buffer[: self._at]
        self._at, self._next = 0, BEHIND
        return element

    def _go_on(self) -> bytes | None:
        """Go on to the next element, the comma before it, or the end of the list."""
        self._skip(_WHITE)
        del self._buffer[: self._at]
        self._at = 0
        if not self._buffer:
            return None
        mark = bytes(self._buffer[:1])
        if mark not in self._next:
            raise BadRequestError(NO_COMMA if self._next == BEHIND else NO_OBJECT, param="requests")
        if mark == b",":
            del self._buffer[:1]
            self._next = OBJECT
            return b""
        self._at, self._next = 1, b""
        self._listing = mark == OBJECT
        self._depth += 1 if self._listing else -1
        return b""

    def _names_requests(self, place: int) -> bool:
        return _REQUESTS.search(self._buffer[max(place - 256, 0) : place]) is not None

    def _check_size(self) -> None:
        if not self._listing:
            if len(self._head) + len(self._buffer) > MAX_HEAD_BYTES:
                raise BadRequestError("The batch has too much in it beside its requests.")
        elif len(self._buffer) > self._max:
            self._refuse_large()

    def _refuse_large(self) -> NoReturn:
        raise UnfitRequestError(f"A request is larger than {self._max} bytes.", param="requests")


class LineSplitter:
    """Takes the lines out of a file that comes in pieces: (number, line), the empty ones left out."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._rest = bytearray()
        self._number = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that `data` completes."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = self._complete(line) if self._rest else line
            self._number += 1
            if len(whole) > self._max:
                self._refuse(self._number)
            if whole.strip():
                yield self._number, whole
        self._rest += rest
        if len(self._rest) > self._max:
            self._refuse(self._number + 1)

    def close(self) -> Iterator[tuple[int, bytes]]:
        """Yield the last line, where no newline ended it."""
        if self._rest.strip():
            yield self._number + 1, bytes(self._rest)

    def _complete(self, end: bytes) -> bytes:
        whole = bytes(self._rest) + end
        self._rest.clear()
        return whole

    def _refuse(self, number: int) -> NoReturn:
        raise UnfitRequestError(f"Line {number} is larger than {self._max} bytes.")


def read_struct(decoder: msgspec.json.Decoder[Any], data: bytes, before: str) -> Any:
    """Return what a decoder reads. Raises UnfitRequestError beginning with `before` and naming the field.

    An object with a field that occurs twice is refused: which of them the client meant, nobody can know.
    """
    try:
        data.decode()  # the decoder takes no look at what is kept raw
        read = decoder.decode(data)
        twice = find_repeated(data)
    except msgspec.ValidationError as error:
        misfit = build_misfit(str(error), before)
        raise UnfitRequestError(misfit.message, param=misfit.param) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnfitRequestError(f"{before}it is not valid JSON.", code="invalid_json_line") from error
    if twice is not None:
        raise UnfitRequestError(f"{before}a field occurs twice{twice and f' in {twice!r}'}.", param=twice or None)
    return read


def find_repeated(data: bytes) -> str | None:
    """Return where an object has a field twice: in itself (empty), or in one of OUR_FIELDS; None: nowhere."""
    fields = _decode_object(data)
    if _repeats(data, fields):
        return ""
    for name in OUR_FIELDS:
        field = bytes(fields.get(name, b""))
        if field.startswith(b"{") and _repeats(field, _decode_object(field)):
            return name
    return None


def _repeats(data: bytes, fields: dict[str, msgspec.Raw]) -> bool:
    """Return whether the object `data`, whose fields are these, has more of them: of two the decoder keeps one."""
    at = 0
    for value in fields.values():
        key, text = _KEY.match(data, at), bytes(value)
        if key is None or not data.startswith(text, key.end()):
            return True
        at = key.end() + len(text)
    return _END.fullmatch(data, at) is None


def read_request(item: Item) -> Item:
    """Return a request without the wish for a stream: nobody is there who could take one."""
    if b'"stream' not in item.body:
        return item
    try:
        fields = _decode_object(item.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return item  # its own reader says what is wrong with it
    kept = {name: value for name, value in fields.items() if name not in {"stream", "stream_options"}}
    if len(kept) == len(fields):
        return item
    return msgspec.structs.replace(item, body=_encode(kept))
