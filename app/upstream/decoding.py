"""Decodes gzip and deflate bodies piece by piece, so that a small body cannot become a large one at once."""

import zlib

from app.errors import UpstreamFailure

PIECE_BYTES = 2**20
CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})

_GZIP_WINDOW = 31
_ZLIB_WINDOW = 15
_RAW_WINDOW = -15


class Inflater:
    """Turns encoded bytes into plain ones: `feed` what arrived, then `take` until it returns nothing."""

    def __init__(self, coding: bytes) -> None:
        self._coding = coding
        self._input = b""
        self._started = False
        self._stream = zlib.decompressobj(_GZIP_WINDOW)

    def feed(self, data: bytes) -> None:
        """Add encoded bytes."""
        self._input += data
        if not self._started and data:
            self._started = True
            if self._coding == b"deflate":
                # Servers send zlib streams and raw ones under this name.
                wrapped = data[0] & 0x0F == zlib.DEFLATED
                self._stream = zlib.decompressobj(_ZLIB_WINDOW if wrapped else _RAW_WINDOW)

    def take(self) -> bytes:
        """Return at most PIECE_BYTES of plain bytes; empty when more input is needed."""
        try:
            piece = self._stream.decompress(self._input, PIECE_BYTES)
        except zlib.error as error:
            raise _broken() from error
        self._input = self._stream.unconsumed_tail
        if self._stream.unused_data:
            # A second member would be legal; none is ever sent, and dropping it in silence would cut the answer.
            raise _broken()
        return piece

    def finish(self) -> None:
        """Raise when the encoded bytes ended in the middle; a body of no bytes at all is accepted."""
        if self._started and not self._stream.eof:
            raise _broken()


def _broken() -> UpstreamFailure:
    return UpstreamFailure("encoding", "The provider's answer could not be decoded.", answered=True)
