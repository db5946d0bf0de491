"""Reading batches as they are sent: one request at a time out of any number of bytes. No I/O."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.batch.types import Item
from app.errors import BadRequestError, build_misfit

OBJECT, LIST = b"{["
NO_OBJECT = "Each of the requests must be an object."
MAX_HEAD_BYTES = 256 * 1024
"""How much there may be in a batch beside its requests."""

NO_NUL = r"^(?![\s\S]*\x00)"
CustomId = Annotated[str, Meta(min_length=1, max_length=512, pattern=NO_NUL)]

_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'["\\]')
_REQUESTS = re.compile(rb'"requests"[ \t\r\n]*:[ \t\r\n]*\Z')
_BETWEEN = b" \t\r\n,"
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class UnfitRequestError(BadRequestError):
    """400: a request of a batch that cannot be taken. `code` is OpenAI's for errors of a batch."""

    code = "invalid_request"


class RelayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of a batch in our own words."""

    id: CustomId
    messages: msgspec.Raw
    parameters: dict[str, msgspec.Raw] = {}


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
    Both raise BadRequestError for what is no such object. At no time is more held than one element.
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

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the elements that `data` completes."""
        self._buffer += data
        while (step := self._step()) is not None:
            if step:
                yield step
        self._shorten()

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
        found = (_INSIDE if self._in_text else _OUTSIDE).search(self._buffer, self._at)
        if found is None:
            self._at = len(self._buffer)
            return None
        mark, place = found[0], found.start()
        if mark == b"\\":
            if place + 2 > len(self._buffer):
                self._at = place
                return None
            self._at = place + 2
            return b""
        self._at = place + 1
        if mark == b'"':
            self._in_text = not self._in_text
            return b""
        return self._open(place) if mark in b"{[" else self._close()

    def _open(self, place: int) -> bytes:
        if self._listing and self._depth == 2:
            if self._buffer[place] != OBJECT:
                raise BadRequestError(NO_OBJECT, param="requests")
            self._skip(place)
        elif self._depth == 1 and self._buffer[place] == LIST and self._names_requests(place):
            if self._found:
                raise BadRequestError("The field 'requests' occurs twice.", param="requests")
            self._head += self._buffer[: place + 1]
            del self._buffer[: place + 1]
            self._at, self._found, self._listing = 0, True, True
        self._depth += 1
        return b""

    def _close(self) -> bytes:
        self._depth -= 1
        if self._depth < 0:
            raise BadRequestError("The body is not valid JSON.")
        if not self._listing:
            return b""
        if self._depth == 2:
            element = bytes(self._buffer[: self._at])
            del self._buffer[: self._at]
            self._at = 0
            return element
        if self._depth == 1:
            self._skip(self._at - 1)
            self._listing = False
        return b""

    def _skip(self, place: int) -> None:
        """Drop what stands between two elements, which may only be a comma."""
        if self._buffer[:place].strip(_BETWEEN):
            raise BadRequestError(NO_OBJECT, param="requests")
        del self._buffer[:place]
        self._at = 1

    def _names_requests(self, place: int) -> bool:
        return _REQUESTS.search((self._head + self._buffer[:place])[-256:]) is not None

    def _shorten(self) -> None:
        if not self._listing:
            if len(self._head) + len(self._buffer) > MAX_HEAD_BYTES:
                raise BadRequestError("The batch has too much in it beside its requests.")
        elif len(self._buffer) > self._max:
            raise UnfitRequestError(f"A request is larger than {self._max} bytes.", param="requests")


class LineSplitter:
    """Takes the lines out of a file that comes in pieces: (number, line), the empty ones left out."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._rest = bytearray()
        self._number = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that `data` completes."""
        self._rest += data
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            self._number += 1
            if line.strip():
                yield self._number, line
        if len(self._rest) > self._max:
            raise UnfitRequestError(f"Line {self._number + 1} is larger than {self._max} bytes.")

    def close(self) -> Iterator[tuple[int, bytes]]:
        """Yield the last line, where no newline ended it."""
        if bytes(self._rest).strip():
            yield self._number + 1, bytes(self._rest)


def read_struct(decoder: msgspec.json.Decoder[Any], data: bytes, before: str) -> Any:
    """Return what a decoder reads. Raises UnfitRequestError beginning with `before` and naming the field."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        misfit = build_misfit(str(error), before)
        raise UnfitRequestError(misfit.message, param=misfit.param) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnfitRequestError(f"{before}it is not valid JSON.", code="invalid_json_line") from error


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
