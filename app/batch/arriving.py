"""Bodies of any size on their way in: unpacked, and in pieces so small that others have their turn between them."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from app.errors import BadRequestError, TooLargeError

T = TypeVar("T")

TURN_BYTES = 8 * 2**10
PLAIN_BYTES = 64 * 2**10
"""How much is unpacked at a time."""

LARGE_BYTES = 2**20
"""What is larger is read in a thread: each look at it takes some milliseconds."""

ENCODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})


async def take_turns(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a body in pieces of at most TURN_BYTES; behind each of them others have a turn."""
    async for data in body:
        for start in range(0, len(data), TURN_BYTES):
            yield data[start : start + TURN_BYTES]
            await asyncio.sleep(0)


async def read_aside(read: Callable[[], T], size: int) -> T:
    """Return what reading so many bytes returns."""
    return read() if size <= LARGE_BYTES else await asyncio.to_thread(read)


def unpack(body: AsyncIterator[bytes], encoding: bytes, limit: int) -> AsyncIterator[bytes]:
    """Return a body without its Content-Encoding.

    Raises BadRequestError for one that we do not read. Reading it raises the same for what is not encoded like that,
    TooLargeError for more than `limit` bytes.
    """
    name = encoding.strip().lower()
    if name in {b"", b"identity"}:
        return body
    if name not in ENCODINGS:
        raise BadRequestError("Only gzip and deflate are read as Content-Encoding of a request.")
    return _inflate(body, limit)


class _Unpacker:
    """Unpacks a body of gzip or deflate, some of it at a time."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what comes of the beginning of `data`, and the rest of `data`."""
        try:
            plain = self._stream.decompress(data, PLAIN_BYTES)
        except zlib.error as error:
            raise BadRequestError("The body does not have the Content-Encoding it says.") from error
        if self._stream.unused_data:
            raise BadRequestError("The body goes on after its Content-Encoding has ended.")
        return plain, self._stream.unconsumed_tail

    def close(self) -> None:
        """Say that nothing follows."""
        if not self._stream.eof:
            raise BadRequestError("The body ends before its Content-Encoding does.")


async def _inflate(body: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    unpacker, size = _Unpacker(), 0
    async for data in body:
        left = data
        while left:
            plain, left = unpacker.take(left)
            size += len(plain)
            if size > limit:
                await _let_pass(body)
                raise TooLargeError(f"The request body is larger than {limit} bytes once decoded.")
            yield plain
            await asyncio.sleep(0)
    unpacker.close()


async def _let_pass(body: AsyncIterator[bytes]) -> None:
    """Take in the rest of a body that is refused: a client reads its answer only once it has sent."""
    async for _ in body:
        pass
