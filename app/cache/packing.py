"""Bodies as they are kept in Postgres: large ones compressed."""

from functools import cache

import zstandard

PLAIN, ZSTD = 0, 1
WORTH_BYTES = 2048
"""Smaller bodies stay as they are: they fit into a row beside everything else."""

LEVEL = 3


def pack(body: bytes) -> tuple[int, bytes]:
    """Return how `body` is kept, and the bytes: compressed where that saves a tenth."""
    if len(body) < WORTH_BYTES:
        return PLAIN, body
    packed = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(body)
    return (ZSTD, packed) if len(packed) < len(body) * 0.9 else (PLAIN, body)


def unpack(encoding: int, kept: bytes, size: int) -> bytes:
    """Return the body, whose length is `size`; ValueError when that is not so, or it cannot be read."""
    if encoding not in (PLAIN, ZSTD):
        raise ValueError(f"unknown encoding {encoding}")
    try:
        body = kept if encoding == PLAIN else _decompressor().decompress(kept, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if len(body) != size:
        raise ValueError(f"{len(body)} bytes where there were {size}")
    return body


@cache
def _decompressor() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor()
