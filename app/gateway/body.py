"""Reading what a client sends, within limits of size and time."""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from typing import cast

from litestar.types import Receive

from app.errors import BadRequestError, RequestTimeoutError, TooLargeError

IDLE_SECONDS = 10.0
TOTAL_SECONDS = 60.0
DRAIN_SECONDS = 5.0
DRAIN_BYTES = 64 * 2**20


class ClientLeftError(Exception):
    """The client closed its connection before the answer was complete."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the whole body.

    Raises TooLargeError over `limit` bytes, RequestTimeoutError when it comes too slowly and ClientLeftError when it
    does not come to its end.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    part, more = await _receive(receive, IDLE_SECONDS)
    if not more and len(part) <= limit:
        return part
    parts, size = [part], len(part)
    while more and size <= limit:
        part, more = await _receive(receive, min(IDLE_SECONDS, TOTAL_SECONDS - (loop.time() - started)))
        parts.append(part)
        size += len(part)
    if size > limit:
        await drain(receive, more=more)
        raise TooLargeError(f"The request body is larger than {limit} bytes.")
    return b"".join(parts)


async def stream_body(receive: Receive, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes, for uploads that are passed on without being held."""
    size, more = 0, True
    while more:
        part, more = await _receive(receive, IDLE_SECONDS)
        size += len(part)
        if size > limit:
            await drain(receive, more=more)
            raise TooLargeError(f"The request body is larger than {limit} bytes.")
        if part:
            yield part


async def drain(receive: Receive, *, more: bool = True) -> None:
    """Take in the rest of a body that is refused, for a while: a client reads its answer only once it has sent."""
    loop = asyncio.get_running_loop()
    end, size = loop.time() + DRAIN_SECONDS, 0
    while more and size < DRAIN_BYTES and loop.time() < end:
        try:
            part, more = await _receive(receive, end - loop.time())
        except RequestTimeoutError:
            return
        size += len(part)


def inflate(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Return the decoded body of a request with a Content-Encoding; never more than `limit` bytes are made of it."""
    name = encoding.strip().lower()
    if name in {b"", b"identity"}:
        return body
    if name not in {b"gzip", b"x-gzip", b"deflate"}:
        raise BadRequestError("Only gzip and deflate are read as Content-Encoding of a request.")
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequestError("The body does not have the Content-Encoding it says.") from error
    if len(plain) > limit:
        raise TooLargeError(f"The request body is larger than {limit} bytes once decoded.")
    if not decoder.eof:
        raise BadRequestError("The body ends before its Content-Encoding does.")
    if decoder.unused_data:
        raise BadRequestError("The body goes on after its Content-Encoding has ended.")
    return plain


async def _receive(receive: Receive, seconds: float) -> tuple[bytes, bool]:
    """Return the next part of the body and whether more follows."""
    task = cast("asyncio.Task[object]", asyncio.current_task())
    late = False

    def give_up() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), give_up)
    try:
        message = await receive()
    except asyncio.CancelledError:
        if not late:
            raise
        task.uncancel()
        raise RequestTimeoutError("The request body did not arrive in time.") from None
    finally:
        timer.cancel()
    if message["type"] == "http.disconnect":
        raise ClientLeftError
    return message.get("body", b""), bool(message.get("more_body", False))
