"""Requests and their ledger lines as re-rating needs them, and the corrections it posts."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import cast
from uuid import UUID

import msgspec
from sqlalchemy import Connection, RowMapping, text

from app.catalog.prices import USAGE_CLASSES
from app.catalog.rerate import Correction, RatedRequest
from app.wire.usage import Usage

# Who was answered from a cache paid nobody, nor did who never got through to a provider. The factor of lines that
# stand for an unknown price or an unknown use says nothing.
RATED = text("""
SELECT r.id, r.request_time, r.provider, r.model, r.estimated_cost, r.service_tier, r.input_tokens,
       r.cache_read_tokens, r.cache_write_5m_tokens, r.cache_write_1h_tokens, r.input_audio_tokens,
       r.input_image_tokens, r.output_tokens,
       r.reasoning_tokens, r.output_audio_tokens, r.output_image_tokens, r.web_searches,
       coalesce(posted.booked_at, r.request_time) AS booked_at, posted.classes, posted.amounts, posted.factor
FROM (
    SELECT * FROM requests
    WHERE request_time >= :start AND request_time < :end
      AND (CAST(:after_time AS timestamptz) IS NULL
           OR (request_time, id) > (CAST(:after_time AS timestamptz), CAST(:after_id AS uuid)))
      AND (CAST(:provider AS text) IS NULL OR provider = :provider)
      AND (CAST(:model AS text) IS NULL OR model = :model)
      AND (CAST(:ids AS uuid[]) IS NULL OR id = ANY (:ids))
      AND provider IS NOT NULL AND model IS NOT NULL AND input_tokens IS NOT NULL AND attempts > 0
      AND cache_status NOT IN ('hit', 'semantic-hit')
    ORDER BY request_time, id LIMIT :limit) AS r
LEFT JOIN LATERAL (
    SELECT array_agg(token_class) AS classes, array_agg(amount) AS amounts, min(booked_at) AS booked_at,
           max(factor) AS factor
    FROM (
        SELECT token_class, sum(amount_usd) AS amount, min(booked_at) AS booked_at,
               max(factor) FILTER (WHERE kind <> 'ceiling' AND token_class <> 'reserved' AND quantity > 0) AS factor
        FROM ledger AS l WHERE l.request_id = r.id AND l.request_time = r.request_time
        GROUP BY token_class) AS by_class) AS posted ON true
ORDER BY r.request_time, r.id
""")

# Who posts is first in line for the budgets' lock, as alembic/sql/0004_budgets.sql has it.
BEGIN_POSTING = text("SELECT relaycore_begin_posting(true)")
ADJUST = text("SELECT relaycore_adjust(CAST(:lines AS jsonb))")


class RateRange(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests to price again: those that came from `start` on and before `end`."""

    start: datetime
    end: datetime
    provider: str | None = None
    model: str | None = None


class Place(msgspec.Struct, frozen=True, array_like=True):
    """How far a run has come: the last request it looked at."""

    request_time: datetime
    id: UUID


def list_rated_requests(
    connection: Connection,
    wanted: RateRange,
    *,
    limit: int,
    after: Place | None = None,
    ids: Sequence[UUID] | None = None,
) -> list[RatedRequest]:
    """Return at most `limit` requests in order of their time, those after `after`; with `ids` only these."""
    values = {
        **msgspec.structs.asdict(wanted),
        "after_time": after.request_time if after is not None else None,
        "after_id": after.id if after is not None else None,
        "ids": list(ids) if ids is not None else None,
        "limit": limit,
    }
    return [_read_request(line) for line in connection.execute(RATED, values).mappings()]


def begin_posting(connection: Connection) -> None:
    """Have nobody else post or settle until the end of the transaction."""
    connection.execute(BEGIN_POSTING)


def post_corrections(connection: Connection, corrections: Sequence[Correction]) -> None:
    """Post lines to the ledger; what costs, sums and budgets derive from it follows."""
    connection.execute(ADJUST, {"lines": msgspec.json.encode(corrections).decode()})


def _read_request(line: RowMapping) -> RatedRequest:
    counts = {name: line[name] or 0 for name in USAGE_CLASSES}
    classes = cast("list[str]", line["classes"] or [])
    amounts = cast("list[Decimal]", line["amounts"] or [])
    return RatedRequest(
        id=line["id"],
        request_time=line["request_time"],
        booked_at=line["booked_at"],
        provider=line["provider"],
        model=line["model"],
        usage=Usage(**counts, service_tier=line["service_tier"]),
        cost=line["estimated_cost"],
        posted=dict(zip(classes, amounts, strict=True)),
        factor=line["factor"],
    )
