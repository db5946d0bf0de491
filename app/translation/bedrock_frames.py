"""The frames of application/vnd.amazon.eventstream, which Bedrock streams: cutting bytes into them, checks included."""

import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from app.errors import UpstreamFailure

FRAME_CAP = 16 * 1024 * 1024
"""The most bytes a frame may have; a vendor's event is far smaller."""

_PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
_LEAST = _PRELUDE.size + _CHECKSUM.size
_HEADERS_CAP = 128 * 1024

_TRUE, _FALSE, _BYTES, _TEXT, _UUID = 0, 1, 6, 7, 9
_NUMBERS = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i"), 5: struct.Struct(">q")}
_NUMBERS[8] = _NUMBERS[5]  # a time in milliseconds
_LENGTH = struct.Struct(">H")

Value = bool | int | bytes | str


class Frame(NamedTuple):
    """One frame: its headers by name and its payload."""

    headers: Mapping[str, Value]
    payload: bytes

    def find(self, name: str) -> str:
        """Return the text of a header, "" when there is none."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class FrameBuffer:
    """Holds back the bytes that are not yet a whole frame. UpstreamFailure for what is no such stream."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes, whatever the cut."""
        pending = self._pending
        pending += data
        frames: list[Frame] = []
        start = 0
        while (length := _read_length(pending, start)) is not None and start + length <= len(pending):
            frames.append(_read_frame(bytes(pending[start : start + length])))
            start += length
        del pending[:start]
        return frames


def _read_length(pending: bytearray, start: int) -> int | None:
    """Return the length of the frame at `start` once its prelude is there and holds what its checksum says."""
    if len(pending) - start < _PRELUDE.size:
        return None
    length, headers, checksum = _PRELUDE.unpack_from(pending, start)
    if zlib.crc32(pending[start : start + 8]) != checksum:
        raise _refuse("The checksum of a frame's beginning is wrong.")
    if length > FRAME_CAP:
        raise UpstreamFailure("too_large", f"The provider sent a frame of more than {FRAME_CAP} bytes.", answered=True)
    if headers > min(_HEADERS_CAP, length - _LEAST):
        raise _refuse("The lengths of a frame contradict each other.")
    return length


def _read_frame(raw: bytes) -> Frame:
    (checksum,) = _CHECKSUM.unpack_from(raw, len(raw) - _CHECKSUM.size)
    if zlib.crc32(memoryview(raw)[: -_CHECKSUM.size]) != checksum:
        raise _refuse("The checksum of a frame is wrong.")
    end = _PRELUDE.size + _PRELUDE.unpack_from(raw)[1]
    try:
        headers = _read_headers(raw[_PRELUDE.size : end])
    except (struct.error, UnicodeDecodeError, IndexError):
        raise _refuse("The headers of a frame cannot be read.") from None
    return Frame(headers, raw[end : -_CHECKSUM.size])


def _read_headers(raw: bytes) -> dict[str, Value]:
    headers: dict[str, Value] = {}
    place = 0
    while place < len(raw):
        start = place + 1
        place = start + raw[place]
        name = raw[start:place].decode()
        headers[name], place = _read_value(raw, raw[place], place + 1)
    if place > len(raw):
        raise IndexError
    return headers


def _read_value(raw: bytes, kind: int, place: int) -> tuple[Value, int]:
    """Return a header's value and where it ends."""
    if kind in {_TRUE, _FALSE}:
        return kind == _TRUE, place
    if kind in _NUMBERS:
        return _NUMBERS[kind].unpack_from(raw, place)[0], place + _NUMBERS[kind].size
    if kind == _UUID:
        return raw[place : place + 16], place + 16
    if kind not in {_BYTES, _TEXT}:
        raise IndexError
    start = place + _LENGTH.size
    end = start + _LENGTH.unpack_from(raw, place)[0]
    value = raw[start:end]
    return (value.decode() if kind == _TEXT else value), end


def _refuse(message: str) -> UpstreamFailure:
    return UpstreamFailure("protocol", message, answered=True)
