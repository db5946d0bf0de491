"""Batches, their requests, and what comes of them."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

from app.analytics.rows import PricedRow
from app.gateway.options import Options
from app.wire.money import Hold

Shape = Literal["relay", "openai", "anthropic", "call"]
"""Whose words a batch came in: ours, OpenAI's, Anthropic's, or one ordinary call that is to be answered later."""

State = Literal["validating", "queued", "processing", "cancelling", "completed", "failed", "cancelled", "expired"]
Outcome = Literal["succeeded", "errored", "cancelled", "expired", "parked"]
Unwanted = Literal["cancelled", "expired"]
"""Why a request under way is to be stopped."""

Native = Literal["auto", "never"]
"""Whether requests may go into a vendor's own batch, which costs less and takes longer."""

OPEN = frozenset({"validating", "queued", "processing", "cancelling"})
"""The states in which something is still to be done."""

SPAN_SECONDS = 86_400.0
"""How long a batch may take when nothing is said: what the vendors promise."""

Key = tuple[UUID, int]
"""A request: its batch, and its place in it."""


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch about to be stored. `span_seconds` is how long it may take; `deadline` says that somebody asked for it.

    `path` is where its requests go, or `provider` and `model` what they are for, as far as all have that in common.
    `options` are what its sender asked of the gateway for each of its calls. `fingerprint` stands for all that was sent
    under its `idempotency_key`.
    """

    id: UUID
    shape: Shape
    user_id: UUID
    api_key_id: UUID | None
    team_id: UUID | None = None
    organization_id: UUID | None = None
    tags: tuple[str, ...] = ()
    path: str | None = None
    provider: str | None = None
    model: str | None = None
    priority: int = 0
    native: Native = "auto"
    options: Options = Options()
    span_seconds: float = SPAN_SECONDS
    deadline: bool = False
    input_file_id: UUID | None = None
    metadata: dict[str, Any] | None = None
    webhook_url: str | None = None
    webhook_secret: bytes | None = None
    idempotency_key: str | None = None
    fingerprint: bytes | None = None


class KeyTakenError(Exception):
    """A batch with this idempotency key is there already."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a batch: a call as it would be posted to `path`, under the name that its sender gave it."""

    custom_id: str
    path: str
    body: bytes


class NewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request about to be stored: where it goes first, whether it waits for a vendor's batch, and what is held."""

    item: Item
    provider: str | None = None
    model: str | None = None
    pooled: bool = False
    hold_id: UUID | None = None
    held_usd: Decimal | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A request that this process has claimed: until the lease ends, `attempt` is ours alone."""

    batch_id: UUID
    position: int
    attempt: int
    path: str
    provider: str | None
    body: bytes
    tries: int
    rescues: int
    user_id: UUID
    api_key_id: UUID | None
    tags: tuple[str, ...]
    options: Options
    hold: Hold | None

    @property
    def key(self) -> Key:
        """Which request it is."""
        return self.batch_id, self.position


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a claimed request. `priced` is its line of the record; None when no call was made.

    `native_id`: it was in that vendor's batch, and not claimed by itself.
    """

    batch_id: UUID
    position: int
    attempt: int
    outcome: Outcome
    body: bytes
    status_code: int | None = None
    code: str | None = None
    priced: PricedRow | None = None
    hold: Hold | None = None
    native_id: UUID | None = None

    @property
    def key(self) -> Key:
        """Which request it is."""
        return self.batch_id, self.position


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed request that is to be tried again after a while; `counts` when its provider failed."""

    batch_id: UUID
    position: int
    attempt: int
    wait_seconds: float
    counts: bool


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests a batch has, and how many of them came to what."""

    total: int
    succeeded: int
    errored: int
    cancelled: int
    expired: int

    @property
    def done(self) -> int:
        """How many have their result."""
        return self.succeeded + self.errored + self.cancelled + self.expired

    @property
    def failed(self) -> int:
        """How many have a result that is no answer."""
        return self.errored + self.cancelled + self.expired


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it stands."""

    id: UUID
    shape: Shape
    user_id: UUID
    api_key_id: UUID | None
    path: str | None
    provider: str | None
    model: str | None
    state: State
    counts: Counts
    input_file_id: UUID | None
    metadata: dict[str, Any] | None
    errors: list[dict[str, Any]] | None
    created_at: datetime
    deadline_at: datetime | None
    expires_at: datetime
    started_at: datetime | None
    cancel_asked_at: datetime | None
    finished_at: datetime | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one request, as its sender is told."""

    position: int
    custom_id: str
    outcome: Outcome
    status_code: int | None
    code: str | None
    body: bytes
    request_id: UUID | None
    native: bool
    cost_usd: Decimal | None
    saved_usd: Decimal | None
    finished_at: datetime
