"""Server-sent events as bytes: cutting a stream into whole events, reading one and writing one."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from app.errors import UpstreamFailure

EVENT_CAP = 8 * 1024 * 1024
"""The most bytes that are held back while an event is not yet whole."""

_BOM = b"\xef\xbb\xbf"
_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
# A blank line after a line end, where a line ends in LF, CRLF or CR; the CR of a CRLF alone is no blank line.
_BOUNDARY = re.compile(rb"\n(?:\n|\r\n|\r(?!\n))|\r\r")


class Event(NamedTuple):
    """One event: its name (empty when it has none) and its data lines, joined by line feeds."""

    name: bytes
    data: bytes


class EventBuffer:
    """Holds back the bytes that are not yet a whole event.

    What `feed` returns ends where an event ends; over all calls it is the stream's bytes, unchanged and in order.
    """

    __slots__ = ("_cap", "_pending")

    def __init__(self, cap: int = EVENT_CAP) -> None:
        self._pending = bytearray()
        self._cap = cap

    def feed(self, data: bytes) -> bytes:
        """Return the whole events so far: `data` itself when nothing waits and nothing is cut."""
        if not self._pending and data.endswith(_ENDS):
            return data
        return self._cut(data)

    def _cut(self, data: bytes) -> bytes:
        pending = self._pending
        seen = max(len(pending) - 2, 0)
        pending += data
        end = max(_find_last(pending, mark, seen) for mark in _ENDS)
        whole = bytes(pending[:end])
        del pending[:end]
        if len(pending) > self._cap:
            raise UpstreamFailure(
                "too_large", f"The provider sent an event of more than {self._cap} bytes.", answered=True
            )
        return whole


def _find_last(pending: bytearray, mark: bytes, start: int) -> int:
    """Return the end of the last `mark` at or after `start`, 0 when there is none."""
    at = pending.rfind(mark, start)
    return at + len(mark) if at >= 0 else 0


def split_events(whole: bytes) -> Iterator[bytes]:
    """Yield the events of `whole` with their blank lines; joined they are `whole` again."""
    start = 0
    for boundary in _BOUNDARY.finditer(whole):
        yield whole[start : boundary.end()]
        start = boundary.end()
    if start < len(whole):
        yield whole[start:]


def read_event(raw: bytes) -> Event:
    """Return the name and the data of one event; comments and unknown fields count for nothing."""
    name = b""
    data: list[bytes] = []
    for line in raw.removeprefix(_BOM).splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return Event(name, b"\n".join(data))


def write_event(data: bytes, name: bytes = b"") -> bytes:
    """Return the bytes of one event; `data` has no line breaks."""
    if name:
        return b"event: " + name + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"
