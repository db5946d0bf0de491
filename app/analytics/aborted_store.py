"""Puts right what others wrote of requests whose process they took for dead, when it was only cut off."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import cast
from uuid import UUID

from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier

from app.analytics.bills import Costs
from app.analytics.hourly_store import take_back_hourly
from app.analytics.postings import Adjustment, Key, list_adjustments
from app.analytics.rollups import DIMENSIONS, HourlySums
from app.analytics.rows import PricedRow
from app.db.connection import Connection
from app.wire.usage import Usage

FIND = """
SELECT id, request_time, estimated_cost
FROM requests JOIN unnest(%s::uuid[], %s::timestamptz[]) AS mine (id, request_time) USING (id, request_time)
WHERE error_type = 'gateway_aborted' ORDER BY id
"""
LOCK = " FOR UPDATE OF requests"
FIND_LINES = """
SELECT DISTINCT ON (request_id, request_time, token_class)
       request_id, request_time, token_class, booked_at, user_id, api_key_id, team_id, organization_id, provider, model,
       requested_model, tags, usd_per_unit, factor, sum(quantity) OVER class AS quantity,
       sum(amount_usd) OVER class AS amount_usd
FROM ledger JOIN unnest(%s::uuid[], %s::timestamptz[]) AS mine (request_id, request_time)
     USING (request_id, request_time)
WINDOW class AS (PARTITION BY request_id, request_time, token_class)
ORDER BY request_id, request_time, token_class, entry
"""
KEEP_ESTIMATES = """
UPDATE pg_temp.staged_requests AS staged SET estimated_cost = requests.estimated_cost FROM requests
WHERE staged.estimated_cost IS NULL AND requests.id = staged.id AND requests.request_time = staged.request_time
AND requests.error_type = 'gateway_aborted'
"""
_COUNTS = tuple(name for name in HourlySums.__struct_fields__ if name in Usage.__struct_fields__)
REMOVE = (
    SQL("""
DELETE FROM requests USING unnest(%s::uuid[], %s::timestamptz[]) AS mine (id, request_time)
WHERE requests.id = mine.id AND requests.request_time = mine.request_time
RETURNING extract(epoch FROM date_trunc('hour', requests.request_time, 'UTC'))::bigint AS hour, {dimensions},
          -1 AS requests, {counts}, -(input_tokens IS NULL)::int AS unknown_usage,
          -coalesce(estimated_cost, 0) AS estimated_cost, -coalesce(saved_cost, 0) AS saved_cost,
          -(estimated_cost IS NULL)::int AS unknown_cost, 0 AS unknown_saving, -latency AS latency_ms
""")
    .format(
        dimensions=SQL(", ").join(map(Identifier, DIMENSIONS[1:])),
        counts=SQL(", ").join(SQL("-coalesce({0}, 0) AS {0}").format(Identifier(name)) for name in _COUNTS),
    )
    .as_bytes()
)

_Found = tuple[UUID, datetime, Decimal]


async def list_aborted(connection: Connection, keys: Iterable[Key]) -> list[Key]:
    """Return those of `keys` under which an aborted request is on record."""
    cursor = await connection.execute(FIND, _split(sorted(keys)))
    return [(request_id, at) for request_id, at, _ in cast(list[_Found], await cursor.fetchall())]


async def make_way(connection: Connection, rows: Mapping[Key, PricedRow]) -> tuple[list[PricedRow], list[Adjustment]]:
    """Remove the aborted requests in whose place `rows` are to be, hourly sums included.

    Returns the rows that are to be inserted now, and what is to be posted after that for their lines to be the true
    ones. What nobody knows the cost of keeps the estimate.
    """
    cursor = await connection.execute(FIND + LOCK, _split(sorted(rows)))
    estimates = {(request_id, at): cost for request_id, at, cost in cast(list[_Found], await cursor.fetchall())}
    known = {key: rows[key] for key in estimates if rows[key].costs.estimated_cost is not None}
    unknown = [PricedRow(rows[key].row, Costs(cost, None)) for key, cost in estimates.items() if key not in known]
    if unknown:
        await connection.execute(KEEP_ESTIMATES)
    await _remove(connection, list(estimates))
    return [*known.values(), *unknown], await _list_adjustments(connection, known)


async def _list_adjustments(connection: Connection, rows: Mapping[Key, PricedRow]) -> list[Adjustment]:
    posted: dict[Key, list[Adjustment]] = {key: [] for key in rows}
    async with connection.cursor(row_factory=class_row(Adjustment)) as cursor:
        async for line in await cursor.execute(FIND_LINES, _split(list(rows))):
            posted[line.request_id, line.request_time].append(line)
    return [line for key, priced in rows.items() for line in list_adjustments(priced, posted[key])]


async def _remove(connection: Connection, keys: Sequence[Key]) -> None:
    async with connection.cursor(row_factory=class_row(HourlySums)) as cursor:
        gone = await (await cursor.execute(REMOVE, _split(keys))).fetchall()
    for sums in gone:
        await take_back_hourly(connection, sums)


def _split(keys: Sequence[Key]) -> tuple[list[UUID], list[datetime]]:
    return [request_id for request_id, _ in keys], [at for _, at in keys]
