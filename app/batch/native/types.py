"""The vendors' batches behind ours as workers meet them."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID

import msgspec

from app.batch.types import Key
from app.db.connection import Connection
from app.gateway.options import Options, Passed
from app.wire.money import Hold

T = TypeVar("T")

NativeState = Literal["planned", "sending", "sent", "ended"]
NativeEnd = Literal["done", "lost", "refused", "cancelled"]
Place = Literal["queued", "pooled"]
"""Where a request goes that leaves a vendor's batch: to be called directly, or to wait for another one."""

INPUT = "input"
RESULTS = "results"
STOPPED_AT, STOPPED = "stopped_at", "stopped"
SEEN = "seen"
PASSED = "passed"
"""What is kept of a batch beside its id: its vendor's files, since when it is to stop, whether the vendor knows,
whether a look at it was ever answered, and what its sender says to the vendor."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What requests that may go into one batch have in common."""

    provider: str
    model: str
    path: str


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch of a vendor may hold."""

    protocol: str
    max_requests: int
    max_bytes: int


class NativeBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A vendor's batch that this process has claimed: until the lease ends, `attempt` is ours alone.

    `left_seconds` is how long it may still be waited for; then it is `late`, and its requests are called directly.
    `age_seconds` is how long ago it was sent, `now` the time in seconds since the epoch: all by the database's clock.
    """

    id: UUID
    protocol: str
    group: Group
    state: NativeState
    requests: int
    key_place: int
    remote_id: str | None
    remote_files: dict[str, Any]
    tries: int
    attempt: int
    cancel_asked: bool
    left_seconds: float
    age_seconds: float
    now: float

    @property
    def passed(self) -> Passed:
        """What its sender says to the vendor."""
        return msgspec.convert(self.remote_files.get(PASSED, {}), Passed)

    @property
    def late(self) -> bool:
        """Whether its time is over."""
        return self.left_seconds <= 0

    @property
    def stops(self) -> bool:
        """Whether the vendor is to stop it."""
        return self.cancel_asked or self.late

    @property
    def stopped_seconds(self) -> float | None:
        """How long ago the vendor was first told to stop it."""
        at = self.remote_files.get(STOPPED_AT)
        return self.now - float(at) if at is not None else None


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """How far a vendor's batch is; None changes nothing. `stamp` notes the time at which it goes out."""

    state: NativeState
    remote_id: str | None = None
    requests: int | None = None
    key_place: int | None = None
    files: dict[str, Any] = {}
    stamp: bool = False


class NativeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request in a vendor's batch."""

    batch_id: UUID
    position: int
    path: str
    body: bytes
    user_id: UUID
    api_key_id: UUID | None
    tags: tuple[str, ...]
    options: Options
    hold: Hold | None

    @property
    def key(self) -> Key:
        """Which request it is."""
        return self.batch_id, self.position


class NotOursError(Exception):
    """Another process has taken over a vendor's batch: what this one still does has no effect."""


class Run(Protocol):
    """Has something read or changed in the database."""

    async def __call__(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return what `work` returns. Raises DatabaseAwayError."""
        ...
