"""One request and its answer on one pooled connection: deadlines, upload, body and end."""

import asyncio
from collections.abc import AsyncIterator
from math import inf
from typing import cast

from aiohttp import StreamReader
from aiohttp.client_exceptions import ClientOSError
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_writer import StreamWriter

from app.errors import UpstreamFailure
from app.upstream.decoding import PIECE_BYTES, Inflater
from app.upstream.pool import BROKEN, PooledProtocol
from app.upstream.request import Limits, Outgoing, build_failure, build_unsendable, find_coding, find_length
from app.wire.http import Headers

_READ_BYTES = 2**16  # reading pauses when twice as much waits for a slow client
_MAX_LINE_BYTES = 16 * 2**10
_MAX_HEADER_LINES = 128
_MAX_INFORMATIONAL = 16
_TIMER_SLACK_SECONDS = 0.002  # event loops keep time in milliseconds and may fire a little early


class Exchange:
    """One request on one connection: its deadlines behind a single timer, its body, and its end."""

    def __init__(self, connection: Connection, total_at: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = connection
        self._total_at = total_at
        self._due = self._fires_at = inf
        self._kind = ""
        self._timer: asyncio.TimerHandle | None = None
        self._upload: asyncio.Task[None] | None = None
        self._reason: BaseException | None = None
        self.protocol = cast(PooledProtocol, connection.protocol)

    def wait(self, kind: str, seconds: float) -> None:
        """Expect the provider to do something within `seconds`; the timer moves only when it would fire too late."""
        self._due, self._kind = self._loop.time() + seconds, kind
        when = min(self._due, self._total_at)
        if when < self._fires_at:
            self._arm(when)

    def rest(self) -> None:
        """Hold only the total limit against the provider: now it is we or the client who are slow."""
        self._due = inf

    def wait_for_upload(self, kind: str, seconds: float) -> None:
        """Do as `wait` does, as long as no headers have arrived; then the deadlines are the reader's."""
        if self.protocol.body is None:
            self.wait(kind, seconds)

    def start_upload(self, upload: "asyncio.Task[None]") -> None:
        """Own the task that sends the request's body."""
        self._upload = upload
        upload.add_done_callback(self._end_upload)

    def abort(self, reason: BaseException | None = None) -> None:
        """Close the connection at once and let nobody wait for it any more."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._settle()
        self._reason = reason or build_failure("disconnected", answered=self.protocol.answered)
        self.protocol.set_exception(self._reason)
        self.protocol.abort()
        connection.close()

    def give_up(self, error: BaseException) -> None:
        """Abort because waiting ended with `error`; raise what that means when it is one of the library's."""
        broken = isinstance(error, BROKEN)
        if broken:
            kind = "protocol" if isinstance(error, HttpProcessingError) else "disconnected"
            error = build_failure(kind, answered=self.protocol.answered)
        self.abort(error if isinstance(error, Exception) else None)
        if broken:
            raise self._reason or error from None

    def finish(self) -> None:
        """Give the connection back: the answer has been received to its end."""
        if self._connection is None:
            return
        if isinstance(self.protocol.exception(), ClientOSError):
            # Without a length the end of the connection ends the body, but a reset is no proper end.
            failure = build_failure("disconnected", answered=True)
            self.abort(failure)
            raise failure
        if self._upload is not None and not self._upload.done():
            self.abort()
            self._reason = None
            return
        connection, self._connection = self._connection, None
        self._settle()
        self.protocol.used = True
        connection.release()

    def is_over(self) -> bool:
        """Tell whether the answer has been received to its end; raise when it was broken off."""
        if self._reason is not None:
            raise self._reason
        return self._connection is None

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._upload is not None:
            self._upload.cancel()

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = when
        self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        when = min(self._due, self._total_at)
        if when - self._loop.time() > _TIMER_SLACK_SECONDS:
            self._arm(when)
            return
        kind = self._kind if self._due < self._total_at else "total_timeout"
        self.abort(build_failure(kind, answered=self.protocol.answered))

    def _end_upload(self, upload: "asyncio.Task[None]") -> None:
        error = None if upload.cancelled() else upload.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.abort(error)


class Incoming:
    """An answer whose headers have arrived, names in lower case; its body can be taken once.

    Whoever gets one calls `close`, or reads to the end.
    """

    def __init__(self, exchange: Exchange, status: int, headers: Headers, body: StreamReader, limits: Limits) -> None:
        self.status = status
        self.headers = headers
        self._exchange = exchange
        self._body = body
        self._idle_seconds = limits.idle_seconds
        self._bytes_left = limits.max_body_bytes
        self._inflater: Inflater | None = None
        if body.at_eof():
            exchange.finish()
        elif coding := find_coding(headers):
            self._inflater = Inflater(coding)
            self.headers = [line for line in headers if line[0] not in {b"content-encoding", b"content-length"}]

    async def read(self) -> bytes:
        """Return the whole decoded body."""
        pieces = [piece async for piece in self]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the decoded body as it arrives: what one network read brought is passed on at once."""
        return self

    def close(self) -> None:
        """Hang up at once unless the body has been read to its end."""
        self._exchange.abort()

    def __aiter__(self) -> "Incoming":
        return self

    async def __anext__(self) -> bytes:
        data = await (self._receive() if self._inflater is None else self._inflate(self._inflater))
        if not data:
            raise StopAsyncIteration
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            failure = build_failure("too_large", answered=True)
            self._exchange.abort(failure)
            raise failure
        return data

    async def _receive(self) -> bytes:
        body, exchange = self._body, self._exchange
        if exchange.is_over():
            return b""
        try:
            data = exchange.protocol.take_tail() or await self._wait_for_bytes()
        except BaseException as error:
            exchange.give_up(error)
            raise
        if body.at_eof():
            exchange.finish()
        return data

    async def _wait_for_bytes(self) -> bytes:
        body, exchange = self._body, self._exchange
        if body.is_eof():
            return body.read_nowait()
        exchange.wait("idle_timeout", self._idle_seconds)
        try:
            data = await body.readany()
        except BROKEN:
            if tail := exchange.protocol.take_tail():
                return tail
            raise
        exchange.rest()
        return data or exchange.protocol.take_tail()

    async def _inflate(self, inflater: Inflater) -> bytes:
        try:
            while not (piece := inflater.take()):
                data = await self._receive()
                if not data:
                    inflater.finish()
                    return b""
                inflater.feed(data)
        except UpstreamFailure as failure:
            self._exchange.abort(failure)
            raise
        if len(piece) == PIECE_BYTES:
            await asyncio.sleep(0)  # a bomb must not hold the event loop while it is unpacked
        return piece


async def exchange_messages(exchange: Exchange, outgoing: Outgoing, head: bytes) -> Incoming:
    """Write the request and wait for the final headers."""
    limits, protocol = outgoing.limits, exchange.protocol
    protocol.reset()
    protocol.set_response_params(
        skip_payload=outgoing.method == "HEAD",
        read_until_eof=True,
        auto_decompress=False,
        read_bufsize=_READ_BYTES,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_LINE_BYTES,
        max_headers=_MAX_HEADER_LINES,
    )
    try:
        _start_request(exchange, outgoing, head)
        message, body = await _receive_headers(protocol)
        exchange.rest()
        protocol.body = body
        headers = [(name.lower(), value) for name, value in message.raw_headers]
        return Incoming(exchange, message.code, headers, body, limits)
    except BaseException as error:
        exchange.give_up(error)
        raise


async def _receive_headers(protocol: PooledProtocol) -> tuple[RawResponseMessage, StreamReader]:
    """Return the final headers; informational answers before them are skipped."""
    for _ in range(_MAX_INFORMATIONAL):
        message, body = await protocol.read()
        if 200 <= message.code <= 599:
            return message, body
        if message.code >= 600 or message.code in {0, 101}:
            break
    raise build_failure("protocol", answered=True)


def _start_request(exchange: Exchange, outgoing: Outgoing, head: bytes) -> None:
    body, protocol = outgoing.body, exchange.protocol
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise build_failure("disconnected")
    if isinstance(body, bytes):
        transport.write(head + body)
        exchange.wait("first_byte_timeout", outgoing.limits.first_byte_seconds)
        return
    transport.write(head)
    exchange.rest()
    exchange.start_upload(asyncio.create_task(_upload(exchange, body, outgoing)))


async def _upload(exchange: Exchange, body: AsyncIterator[bytes], outgoing: Outgoing) -> None:
    """Send a body piece by piece; a provider that does not take it is held to the idle limit."""
    protocol, limits = exchange.protocol, outgoing.limits
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    bytes_left = find_length(outgoing.headers)
    if bytes_left is None:
        writer.enable_chunking()
    async for piece in body:
        if not piece:
            continue
        if bytes_left is not None:
            bytes_left -= len(piece)
            if bytes_left < 0:
                raise build_unsendable()
        await writer.write(piece, drain=False)
        exchange.wait_for_upload("idle_timeout", limits.idle_seconds)
        await writer.drain()
        exchange.wait_for_upload("", inf)
        if bytes_left == 0:
            break
    if bytes_left:
        raise build_unsendable()
    await writer.write_eof()
    exchange.wait_for_upload("first_byte_timeout", limits.first_byte_seconds)
