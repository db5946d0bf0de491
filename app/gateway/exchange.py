"""The client's side of one request: what is sent to it, and whether it is still there."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, cast

from litestar.types import Receive, Send

from app.access.limit_rules import LIMIT_HEADERS
from app.errors import Dialect, RelayError, write_error, write_error_event
from app.gateway.trace import Trace
from app.wire.http import Headers

JSON = (b"content-type", b"application/json")
STALL_SECONDS = 30.0
STALL_LOOKS = 3
"""How often a client that reads too slowly is looked for within that time."""

STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Captures(Protocol):
    """Takes what a client is sent, whether or not it is still there (app/gateway/idempotency.py)."""

    def begin(self, status: int, headers: Headers) -> None:
        """Take the head of the answer."""
        ...

    def add(self, data: bytes) -> None:
        """Take a part of the body."""
        ...

    async def end(self) -> None:
        """Keep what was taken; called before the client sees the end."""
        ...

    async def break_off(self) -> None:
        """See to an answer that came to no end; nothing is done after `end`."""
        ...


class Exchange:
    """Sends one answer. After the client has left nothing is sent any more and nothing fails for it."""

    def __init__(self, receive: Receive, send: Send, trace: Trace) -> None:
        self.receive = receive
        self._send = send
        self.trace = trace
        self.dialect = Dialect.OPENAI
        self.headers: Headers = []
        self.limit_headers: Headers | None = None
        self.started = False
        self.gone = False
        self.capture: Captures | None = None
        self._main = cast("asyncio.Task[object]", asyncio.current_task())
        self._watching: asyncio.Task[None] | None = None
        self._may_stop: Callable[[], bool] = _always
        self._writing_since: float | None = None
        self._stalled = False
        self._look: asyncio.TimerHandle | None = None
        self.sent_bytes = 0

    def own_headers(self) -> Headers:
        """Return the lines that every answer carries."""
        request_id = self.trace.row.request_id.encode()
        return [(b"x-request-id", request_id), (b"request-id", request_id), *self.headers]

    def note_cache_status(self, status: str) -> None:
        """Note what the cache did, for the client and the record."""
        self.trace.row.cache_status = status
        self.set_header(b"x-aihub-cache-status", status.encode())

    def set_header(self, name: bytes, value: bytes) -> None:
        """Have the answer carry a line, in place of an earlier one of that name."""
        self.headers = [*(line for line in self.headers if line[0] != name), (name, value)]

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        lines = [*headers, (b"content-length", b"%d" % len(body)), *self.own_headers()]
        await self.start(status, lines)
        await self.finish(body)

    async def start(self, status: int, lines: Headers) -> None:
        """Send the status and the header lines as they are given."""
        self.started = True
        self.trace.first_byte()
        if self.limit_headers is not None:  # the caller's limits, in place of those that the provider has for us
            lines = [*(line for line in lines if not line[0].startswith(LIMIT_HEADERS)), *self.limit_headers]
        if self.capture is not None:
            self.capture.begin(status, lines)
        if not self.gone:
            await self._send({"type": "http.response.start", "status": status, "headers": lines})

    async def write(self, data: bytes) -> None:
        """Send a part of the body now."""
        self.sent_bytes += len(data)
        if self.capture is not None:
            self.capture.add(data)
        if self.gone:
            return
        self._writing_since = time.monotonic()
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except asyncio.CancelledError:
            if not self._stalled or self._may_stop():
                raise
            self._main.uncancel()  # others follow this call: it goes on without its own client
        finally:
            self._writing_since = None

    async def finish(self, data: bytes = b"") -> None:
        """Send the last part of the body. From here on the client may go without being missed."""
        self.unwatch()
        self.sent_bytes += len(data)
        self.trace.row.response_bytes = self.sent_bytes
        if self.capture is not None:
            self.capture.add(data)
            await self.capture.end()
        if not self.gone:
            await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def fail(self, error: RelayError) -> None:
        """Tell the client of a failure in its dialect: an answer, or the last event of a stream that has begun."""
        self.trace.fail(error)
        request_id = self.trace.row.request_id
        if self.started:
            await self.finish(write_error_event(error, self.dialect, request_id))
        else:
            await self.reply(error.status, [JSON, *error.headers], write_error(error, self.dialect, request_id))

    def watch(self, may_stop: Callable[[], bool] | None = None) -> None:
        """From now on cancel the request's task when the client leaves or does not read what it is sent.

        Not so when `may_stop` says that others need the answer, or when it is captured for a repetition. The request's
        body must have been read: what comes next from the client is its departure.
        """
        self.unwatch()
        self._may_stop = _never if self.capture is not None else may_stop or _always
        self._watching = asyncio.create_task(self._wait_for_departure())
        self._look = self._main.get_loop().call_later(STALL_SECONDS / STALL_LOOKS, self._look_for_stall)

    def unwatch(self) -> None:
        """Stop looking for the client's departure."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._look is not None:
            self._look.cancel()
            self._look = None

    async def _wait_for_departure(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._may_stop():
            self._main.cancel()

    def _look_for_stall(self) -> None:
        """Give up a client that has not taken a part of its answer for too long; look again later otherwise."""
        if self._writing_since is not None and time.monotonic() - self._writing_since >= STALL_SECONDS:
            self.gone = self._stalled = True
            self._main.cancel()
            return
        self._look = self._main.get_loop().call_later(STALL_SECONDS / STALL_LOOKS, self._look_for_stall)


def _always() -> bool:
    return True


def _never() -> bool:
    return False
