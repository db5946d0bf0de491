"""Multipart forms (RFC 7578) as they come in: their fields and one file, in pieces of any size. No I/O."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

import msgspec

from app.errors import BadRequestError, TooLargeError

MAX_FORM_BYTES = 64 * 2**10
"""How much a form may have beside its file."""

FILE = "file"
MAX_NAME = 255

_BOUNDARY = re.compile(rb'boundary=(?:"([^"\r\n]{1,200})"|([^";,\s]{1,200}))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([\w*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')
_BACK = re.compile(r"%(22|0[dD]|0[aA])")
_PADDING = b" \t"


class Field(msgspec.Struct, frozen=True):
    """A field of the form that is complete."""

    name: str
    value: str


class FileBegins(msgspec.Struct, frozen=True):
    """The file begins; what is in it follows."""

    filename: str


class FileData(msgspec.Struct, frozen=True):
    """A part of the file."""

    data: bytes


class FileEnds(msgspec.Struct, frozen=True):
    """The file is complete."""


Event = Field | FileBegins | FileData | FileEnds


class FormReader:
    """Takes a form apart. `feed` yields what a piece completes; it and `close` raise BadRequestError for what is none.

    `before` and `after` are the bytes around the content of the file as they came: with it between them they are the
    form once more.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter is like all others
        self._before = bytearray()
        self.after = bytearray()
        self._step = self._skip_preamble
        self._name = ""
        self._had_file = False
        self._ended = False

    @property
    def before(self) -> bytes:
        """What stands before the content of the file."""
        return bytes(self._before[2:])

    @property
    def so_far(self) -> bytes:
        """Everything that came; only as long as nothing of the file was taken."""
        return bytes((self._before + self._buffer)[2:])

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what `data` completes. Raises TooLargeError when there is too much beside the file."""
        self._buffer += data
        while (events := self._step()) is not None:
            yield from events
        held = 0 if self._step == self._read_file else len(self._buffer)
        if len(self._before) + len(self.after) + held > MAX_FORM_BYTES:
            raise TooLargeError(f"The form has more than {MAX_FORM_BYTES} bytes beside its file.")

    def close(self) -> None:
        """Say that nothing follows."""
        if not self._ended:
            raise BadRequestError("The form ends too early.")

    def _take(self, count: int) -> bytes:
        """Return so many bytes that are not the file's."""
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        raw = self.after if self._had_file else self._before
        raw += taken
        return taken

    def _skip_preamble(self) -> list[Event] | None:
        place = self._buffer.find(self._delimiter)
        if place < 0:
            return None
        self._take(place + len(self._delimiter))
        self._step = self._end_delimiter
        return []

    def _end_delimiter(self) -> list[Event] | None:
        """Read what follows a delimiter: a line's end before a part, two hyphens behind the last one."""
        while self._buffer[:1] and self._buffer[0] in _PADDING:
            self._take(1)
        if len(self._buffer) < 2:
            return None
        if self._buffer.startswith(b"--"):
            self._ended = True
            self._step = self._skip_epilogue
        elif self._buffer.startswith(b"\r\n"):
            self._step = self._read_head
        else:
            raise BadRequestError("The form is broken behind one of its delimiters.")
        return []

    def _read_head(self) -> list[Event] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        self._name, filename = read_head(self._take(end + 4))
        if self._name != FILE:
            self._step = self._read_field
            return []
        if self._had_file:
            raise BadRequestError("The form has more than one file.", param=FILE)
        self._had_file = True
        self._step = self._read_file
        return [FileBegins(filename)]

    def _read_field(self) -> list[Event] | None:
        end = self._buffer.find(self._delimiter)
        if end < 0:
            return None
        value = self._take(end)
        self._take(len(self._delimiter))
        self._step = self._end_delimiter
        return [Field(self._name, value.decode("utf-8", "replace"))]

    def _read_file(self) -> list[Event] | None:
        end = self._buffer.find(self._delimiter)
        ready = end if end >= 0 else max(len(self._buffer) - len(self._delimiter) + 1, 0)
        events: list[Event] = [FileData(bytes(self._buffer[:ready]))] if ready else []
        del self._buffer[:ready]
        if end < 0:
            return events or None
        self._take(len(self._delimiter))
        self._step = self._end_delimiter
        return [*events, FileEnds()]

    def _skip_epilogue(self) -> list[Event] | None:
        self._take(len(self._buffer))
        return None


def find_boundary(content_type: bytes) -> bytes | None:
    """Return the boundary of a multipart form; None for any other type."""
    if not content_type.strip().lower().startswith(b"multipart/form-data"):
        return None
    found = _BOUNDARY.search(content_type)
    return None if found is None else found[1] or found[2]


def read_head(head: bytes) -> tuple[str, str]:
    """Return the name of a part and of its file, as its header lines have them."""
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return _read_disposition(value)
    raise BadRequestError("A part of the form has no name.")


def _read_disposition(value: str) -> tuple[str, str]:
    found = {name.lower(): _unquote(quoted or plain) for name, quoted, plain in _PARAMETER.findall(value)}
    if "name" not in found:
        raise BadRequestError("A part of the form has no name.")
    coded = found.get("filename*", "").partition("''")[2]
    filename = unquote(coded, errors="replace") if coded else found.get("filename", "")
    return found["name"], filename.replace("\0", "").strip()[:MAX_NAME] or FILE


def _unquote(text: str) -> str:
    return _BACK.sub(lambda escaped: chr(int(escaped[1], 16)), text.strip()).replace('\\"', '"')
