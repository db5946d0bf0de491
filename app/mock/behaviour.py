"""How one answer is to be made and sent: the wishes a client can have."""

from typing import Literal

import msgspec


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How one answer is to be made and sent; every field is also a directive."""

    status: int | None = None
    retry_after: str | None = None
    error: str | None = None
    fault: str | None = None
    times: int | None = None
    delay_ms: float = 0
    chunk_ms: float = 0
    chunk_chars: int = 4
    cut_after: int | None = None
    end_after: int | None = None
    error_after: int | None = None
    stall_after: int | None = None
    no_done: bool = False
    text: str | None = None
    tokens: int | None = None
    big: int | None = None
    tool: str | None = None
    parallel: int = 1
    stop: str | None = None
    think: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    batch: Literal["expire", "omit", "fail", "lose"] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the answer goes out at once and whole."""
        return self.fault is None and not self.delay_ms and self.cut_after is None and self.stall_after is None


PLAIN = Behaviour()
