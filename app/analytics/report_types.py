"""What reports are asked with and what they answer."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

Key = tuple[Any, ...]
"""The place of a line in the order of its list: what a cursor carries."""


class Viewer(Protocol):
    """Who asks. Who is no administrator sees nothing but calls of their own."""

    @property
    def user_id(self) -> UUID:
        """The user."""
        ...

    @property
    def admin(self) -> bool:
        """Whether all may be seen."""
        ...


class ReportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A report that may be read: whatever the viewer must not see is shut out by `match` already.

    `end` is exclusive. `match` holds columns and their values, `status` the lowest and the highest code. `check`
    stands for the question, so that a cursor of another question is found out; `after` is where the last page ended.
    """

    start: datetime
    end: datetime
    viewer_id: UUID
    check: str
    limit: int
    match: dict[str, str | UUID] = {}
    status: tuple[int, int] | None = None
    tag: str | None = None
    bucket: str | None = None
    groups: tuple[str, ...] = ()
    after: Key | None = None
    classes: bool = False


class UsageNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """Calls and tokens. Input and output tokens are those of all classes together; the classes stand beside them.

    `total_cost` is null when the cost of none of the calls is known; otherwise it leaves out `requests_without_cost`
    calls, as the tokens leave out `requests_without_usage`.
    """

    total_requests: int
    input_tokens: int
    output_tokens: int
    total_cost: Decimal | None
    successful_requests: int
    failed_requests: int
    cache_hits: int
    average_latency_ms: float | None
    requests_without_usage: int
    requests_without_cost: int
    uncached_input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    input_audio_tokens: int
    input_image_tokens: int
    visible_output_tokens: int
    reasoning_tokens: int
    output_audio_tokens: int
    output_image_tokens: int
    web_searches: int


class UsageRow(UsageNumbers, frozen=True, kw_only=True):
    """The usage of one group: null is a value like others, and what was not grouped by is missing."""

    bucket: datetime | UnsetType = UNSET
    provider: str | UnsetType | None = UNSET
    model: str | UnsetType | None = UNSET
    user_id: UUID | UnsetType | None = UNSET
    api_key_id: UUID | UnsetType | None = UNSET
    team_id: UUID | UnsetType | None = UNSET
    organization_id: UUID | UnsetType | None = UNSET
    endpoint: str | UnsetType = UNSET
    cache_status: str | UnsetType = UNSET
    status_code: int | UnsetType = UNSET
    tag: str | UnsetType | None = UNSET
    cache_scope: str | UnsetType | None = UNSET


class UsageReport(UsageNumbers, frozen=True, kw_only=True):
    """The usage of the whole range, and by group."""

    usage: list[UsageRow]
    total: int
    next: str | None
    start: datetime
    end: datetime
    calls_not_kept: int


class ClassCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one token class cost, by the ledger; `requests` is a price for each call."""

    token_class: str
    quantity: Decimal
    cost: Decimal


class CostNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """Money paid and money saved. null: known for none of the calls; otherwise so many calls are left out of each.

    `classes` comes with `detail=classes`.
    """

    total_requests: int
    total_cost: Decimal | None
    requests_without_cost: int
    saved_cost: Decimal | None
    hits_without_saved_cost: int
    classes: list[ClassCost] | UnsetType = UNSET


class CostRow(CostNumbers, frozen=True, kw_only=True):
    """The cost of one group: null is a value like others, and what was not grouped by is missing."""

    bucket: datetime | UnsetType = UNSET
    provider: str | UnsetType | None = UNSET
    model: str | UnsetType | None = UNSET
    user_id: UUID | UnsetType | None = UNSET
    api_key_id: UUID | UnsetType | None = UNSET
    team_id: UUID | UnsetType | None = UNSET
    organization_id: UUID | UnsetType | None = UNSET
    endpoint: str | UnsetType = UNSET
    cache_status: str | UnsetType = UNSET
    status_code: int | UnsetType = UNSET
    tag: str | UnsetType | None = UNSET
    cache_scope: str | UnsetType | None = UNSET


class CostReport(CostNumbers, frozen=True, kw_only=True):
    """The cost of the whole range, and by group."""

    costs: list[CostRow]
    total: int
    next: str | None
    start: datetime
    end: datetime
    calls_not_kept: int


class SavingKind(msgspec.Struct, frozen=True, kw_only=True):
    """What one way of saving did: `exact_cache`, `semantic_cache`, or the name of an optimization.

    null: what it saved is not known for any of its calls.
    """

    kind: str
    requests: int
    saved_cost: Decimal | None
    requests_without_saved_cost: int
    tokens_saved: int | None


class SavingNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache did. `hit_rate` is hits of all calls that asked it; null when none did.

    Tokens saved are those of the answers that came from the cache.
    """

    total_requests: int
    cache_hits: int
    exact_cache_hits: int
    semantic_cache_hits: int
    cache_misses: int
    hit_rate: float | None
    saved_cost: Decimal | None
    hits_without_saved_cost: int
    tokens_saved: int
    input_tokens_saved: int
    output_tokens_saved: int
    kinds: list[SavingKind]


class SavingRow(SavingNumbers, frozen=True, kw_only=True):
    """The savings of one group: null is a value like others, and what was not grouped by is missing."""

    bucket: datetime | UnsetType = UNSET
    provider: str | UnsetType | None = UNSET
    model: str | UnsetType | None = UNSET
    user_id: UUID | UnsetType | None = UNSET
    api_key_id: UUID | UnsetType | None = UNSET
    team_id: UUID | UnsetType | None = UNSET
    organization_id: UUID | UnsetType | None = UNSET
    endpoint: str | UnsetType = UNSET
    cache_status: str | UnsetType = UNSET
    status_code: int | UnsetType = UNSET
    tag: str | UnsetType | None = UNSET
    cache_scope: str | UnsetType | None = UNSET


class SavingReport(SavingNumbers, frozen=True, kw_only=True):
    """The savings of the whole range, and by group."""

    optimizations: list[SavingRow]
    total: int
    next: str | None
    start: datetime
    end: datetime
    calls_not_kept: int


class RequestLine(msgspec.Struct, frozen=True, kw_only=True):
    """One call. null is unknown, or there was none; token classes are disjoint, durations milliseconds.

    `input_tokens` are the uncached ones and `output_tokens` the visible ones, as in the table. `cache_key` is shown
    for the caller's own calls; `cache_scope` is who shares the answer.
    """

    id: UUID
    request_id: str
    user_id: UUID | None
    api_key_id: UUID | None
    team_id: UUID | None
    organization_id: UUID | None
    provider: str | None
    model: str | None
    requested_model: str | None
    endpoint: str
    streamed: bool
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    input_audio_tokens: int | None
    input_image_tokens: int | None
    reasoning_tokens: int | None
    output_audio_tokens: int | None
    output_image_tokens: int | None
    web_searches: int | None
    service_tier: str | None
    estimated_cost: Decimal | None
    saved_cost: Decimal | None
    cache_status: str
    cache_key: str | None
    cache_scope: str | None
    optimizations_applied: list[str]
    request_time: datetime
    response_time: datetime
    latency: float
    overhead_ms: float | None
    first_byte_ms: float | None
    upstream_ms: float | None
    status_code: int
    error_type: str | None
    attempts: int
    retry_count: int | None
    upstream_request_id: str | None
    session_id: str | None
    tags: list[str]
    metadata: dict[str, Any] | None
    request_bytes: int | None
    response_bytes: int | None


class RequestList(msgspec.Struct, frozen=True, kw_only=True):
    """Calls, newest first. `total` counts those of all pages."""

    requests: list[RequestLine]
    total: int
    next: str | None
    start: datetime
    end: datetime
