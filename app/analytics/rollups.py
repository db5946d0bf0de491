"""The hourly sums of a batch of rows: what it adds to `usage_hourly`."""

from collections.abc import Iterable
from decimal import Decimal
from uuid import UUID

import msgspec

from app.analytics.rows import POSTGRES_EPOCH, PricedRow, list_counts, microseconds
from app.wire.usage import Usage

HOUR = 3_600_000_000  # microseconds
CACHE_HITS = frozenset({"hit", "semantic-hit"})

_NOTHING = Decimal(0)
_NO_COUNTS = list_counts(Usage())
_Key = tuple[int, UUID | None, UUID | None, UUID | None, UUID | None, str | None, str | None, str, str, int]


class HourlySums(msgspec.Struct, frozen=True):
    """What rows of the same hour (its start, in seconds since 1970) and the same dimensions add up to."""

    hour: int
    user_id: UUID | None
    api_key_id: UUID | None
    team_id: UUID | None
    organization_id: UUID | None
    provider: str | None
    model: str | None
    endpoint: str
    cache_status: str
    status_code: int
    requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    input_audio_tokens: int
    input_image_tokens: int
    output_tokens: int
    reasoning_tokens: int
    output_audio_tokens: int
    output_image_tokens: int
    web_searches: int
    unknown_usage: int
    estimated_cost: Decimal
    saved_cost: Decimal
    unknown_cost: int
    unknown_saving: int
    latency_ms: float


DIMENSIONS = HourlySums.__struct_fields__[:10]


def sum_by_hour(rows: Iterable[PricedRow]) -> list[HourlySums]:
    """Return the sums of `rows`, each of other dimensions."""
    groups: dict[_Key, list[PricedRow]] = {}
    for priced in rows:
        groups.setdefault(_find_key(priced), []).append(priced)
    return [_sum_group(key, found) for key, found in groups.items()]


def _find_key(priced: PricedRow) -> _Key:
    row = priced.row
    return (
        microseconds(row.request_time) // HOUR * 3600 + POSTGRES_EPOCH,
        row.user_id,
        row.api_key_id,
        row.team_id,
        row.organization_id,
        row.provider,
        row.model,
        row.endpoint,
        row.cache_status,
        row.status_code,
    )


def _sum_group(key: _Key, rows: list[PricedRow]) -> HourlySums:
    usages = [priced.row.usage for priced in rows]
    counts = [_NO_COUNTS if usage is None else list_counts(usage) for usage in usages]
    costs = [priced.costs.estimated_cost for priced in rows]
    return HourlySums(
        *key,
        len(rows),
        *map(sum, zip(*counts, strict=True)),
        unknown_usage=usages.count(None),
        estimated_cost=sum((cost for cost in costs if cost is not None), _NOTHING),
        saved_cost=sum((priced.costs.saved_cost or _NOTHING for priced in rows), _NOTHING),
        unknown_cost=costs.count(None),
        unknown_saving=sum(_saved_unknown(priced) for priced in rows),
        latency_ms=sum(priced.row.latency for priced in rows),
    )


def _saved_unknown(priced: PricedRow) -> bool:
    return priced.row.cache_status in CACHE_HITS and priced.costs.saved_cost is None
