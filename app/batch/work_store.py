"""The requests of batches as workers meet them: claimed, kept, given back, rescued from the dead.

Whoever takes several locks takes the advisory lock of the books first, then rows of batches, then their requests, then
what money needs (alembic/sql/0004_budgets.sql). A row of a batch that somebody else holds is passed over.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
from psycopg.sql import SQL

from app.batch.types import Again, Key, Unwanted, Work
from app.cache.packing import unpack
from app.db.connection import Connection
from app.gateway.options import Options
from app.wire.money import Hold

FIND_OPEN = """
SELECT b.id FROM batches AS b
WHERE b.state IN ('queued', 'processing')
AND EXISTS (SELECT FROM batch_requests AS r WHERE r.batch_id = b.id AND r.state = 'queued' AND r.not_before <= now()
            AND (r.rescues > 0) = %(suspects)s)
ORDER BY b.priority DESC, b.claimed_at NULLS FIRST, b.created_at LIMIT %(batches)s
FOR NO KEY UPDATE SKIP LOCKED
"""
CLAIM = """
WITH picked AS (
    SELECT q.batch_id, q.position
    FROM unnest(%(ids)s::uuid[]) AS b (id)
    CROSS JOIN LATERAL (
        SELECT r.batch_id, r.position FROM batch_requests AS r
        WHERE r.batch_id = b.id AND r.state = 'queued' AND r.not_before <= now() AND (r.rescues > 0) = %(suspects)s
        AND coalesce(r.provider, '') <> ALL (%(resting)s::text[])
        ORDER BY r.not_before, r.position LIMIT %(share)s) AS q
    LIMIT %(count)s)
UPDATE batch_requests AS r
SET state = 'running', attempt = r.attempt + 1, worker_id = %(worker_id)s,
    lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM picked JOIN batches AS b ON b.id = picked.batch_id
WHERE r.batch_id = picked.batch_id AND r.position = picked.position AND r.state = 'queued'
RETURNING r.batch_id, r.position, r.attempt, r.path, r.provider, r.encoding, r.body, r.size, r.tries, r.rescues,
          b.user_id, b.api_key_id, b.tags, b.options, r.hold_id, r.held_usd,
          (SELECT extract(epoch FROM h.reserved_at)::float8 FROM reservations AS h WHERE h.id = r.hold_id)
"""
BEGIN_BATCHES = """
UPDATE batches SET claimed_at = clock_timestamp(), state = CASE state WHEN 'queued' THEN 'processing' ELSE state END,
                   started_at = coalesce(started_at, now())
WHERE id = ANY (%s)
"""
HAS_OPEN = "SELECT EXISTS (SELECT FROM batches WHERE state IN ('validating', 'queued', 'processing', 'cancelling'))"
HAS_SUSPECTS = """
SELECT EXISTS (SELECT FROM batch_requests AS r JOIN batches AS b ON b.id = r.batch_id
               WHERE r.state = 'queued' AND r.rescues > 0 AND r.not_before <= now()
               AND b.state IN ('queued', 'processing'))
"""
RENEW = """
UPDATE batch_requests AS r SET lease_until = now() + make_interval(secs => %(seconds)s)
FROM batches AS b
WHERE r.state = 'running' AND r.worker_id = %(worker_id)s AND r.lease_until IS NOT NULL AND b.id = r.batch_id
RETURNING r.batch_id, r.position, r.attempt,
          CASE WHEN b.state = 'cancelling' THEN 'cancelled' WHEN b.expires_at < now() THEN 'expired' END
"""
GIVE_BACK = """
UPDATE batch_requests AS r
SET state = 'queued', worker_id = NULL, lease_until = NULL, tries = r.tries + a.counts::int,
    not_before = now() + make_interval(secs => a.wait)
FROM unnest(%(ids)s::uuid[], %(positions)s::int[], %(attempts)s::int[], %(waits)s::float8[], %(counts)s::bool[])
     AS a (batch_id, position, attempt, wait, counts)
WHERE r.batch_id = a.batch_id AND r.position = a.position AND r.attempt = a.attempt AND r.state = 'running'
RETURNING r.batch_id
"""
NOTE_DEATHS = """
INSERT INTO worker_deaths (worker_id)
SELECT DISTINCT worker_id FROM batch_requests WHERE state = 'running' AND lease_until < now()
ON CONFLICT (worker_id) DO UPDATE SET at = now()
"""
# A request is hopeless when `limit` workers died over it, and more than died over others lately: where workers are
# killed all the time it is none of its doing. There is an end to that as well.
_HOPELESS = SQL("""
    (r.rescues + 1 >= %(limit)s
     AND ((r.rescues + 1) * 2 > (SELECT count(*) FROM worker_deaths WHERE at > now() - interval '10 minutes')
          OR r.rescues + 1 >= 4 * %(limit)s))
""")
RESCUE = (
    SQL("""
UPDATE batch_requests AS q
SET state = 'queued', worker_id = NULL, lease_until = NULL, rescues = q.rescues + 1, not_before = now()
FROM (SELECT r.batch_id, r.position FROM batch_requests AS r
      WHERE r.state = 'running' AND r.lease_until < now() AND NOT {}
      LIMIT 1000 FOR UPDATE SKIP LOCKED) AS dead
WHERE q.batch_id = dead.batch_id AND q.position = dead.position
RETURNING q.batch_id
""")
    .format(_HOPELESS)
    .as_bytes()
)
FIND_HOPELESS = (
    SQL("""
SELECT r.batch_id, r.position, r.attempt, r.hold_id, r.held_usd FROM batch_requests AS r
WHERE r.state = 'running' AND r.lease_until < now() AND {} LIMIT 100
""")
    .format(_HOPELESS)
    .as_bytes()
)

_Line = tuple[
    UUID, int, int, str, str | None, int, bytes, int, int, int, UUID, UUID | None, list[str], Any, UUID | None,
    Decimal | None, float | None,
]  # fmt: skip


async def claim(
    connection: Connection,
    worker_id: UUID,
    count: int,
    resting: Sequence[str],
    *,
    seconds: float,
    suspects: bool = False,
) -> list[Work]:
    """Claim at most `count` requests, fairly among the batches, none for the providers that are `resting`.

    `suspects`: those over which a worker died, instead of all others.
    """
    async with connection.transaction():
        values: dict[str, Any] = {"suspects": suspects, "batches": min(count, 16)}
        found = await (await connection.execute(FIND_OPEN, values)).fetchall()
        ids = [cast(UUID, line[0]) for line in found]
        if not ids:
            return []
        share = max(1, count // len(ids))
        values |= {"ids": ids, "share": share, "count": count, "resting": list(resting)}
        values |= {"worker_id": worker_id, "seconds": seconds}
        lines = cast(list[_Line], await (await connection.execute(CLAIM, values)).fetchall())
        await connection.execute(BEGIN_BATCHES, (ids,))
    return [_read_work(line) for line in lines]


def _read_work(line: _Line) -> Work:
    batch_id, position, attempt, path, provider, encoding, body, size, tries, rescues = line[:10]
    user_id, api_key_id, tags, options, hold_id, held_usd, held_at = line[10:]
    return Work(
        batch_id=batch_id,
        position=position,
        attempt=attempt,
        path=path,
        provider=provider,
        body=unpack(encoding, bytes(body), size),
        tries=tries,
        rescues=rescues,
        user_id=user_id,
        api_key_id=api_key_id,
        tags=tuple(tags),
        options=msgspec.convert(options, Options),
        hold=build_hold(hold_id, held_usd, held_at),
    )


def build_hold(hold_id: UUID | None, held_usd: Decimal | None, held_at: float | None) -> Hold | None:
    """Return a request's share of what its batch holds; None when no budget applied."""
    if hold_id is None or held_usd is None or held_at is None:
        return None
    return Hold(reservation_id=hold_id, kind="batch", amount_usd=held_usd, booked_at=held_at)


async def has_open(connection: Connection) -> bool:
    """Return whether there is a batch that is not over."""
    line = await (await connection.execute(HAS_OPEN)).fetchone()
    return line is not None and bool(line[0])


async def has_suspects(connection: Connection) -> bool:
    """Return whether requests wait over which a worker died."""
    line = await (await connection.execute(HAS_SUSPECTS)).fetchone()
    return line is not None and bool(line[0])


async def renew(connection: Connection, worker_id: UUID, seconds: float) -> dict[Key, tuple[int, Unwanted | None]]:
    """Keep what this worker has claimed, and return it: the attempt, and why the request is no longer wanted."""
    cursor = await connection.execute(RENEW, {"worker_id": worker_id, "seconds": seconds})
    lines = cast(list[tuple[UUID, int, int, Unwanted | None]], await cursor.fetchall())
    return {(batch_id, position): (attempt, unwanted) for batch_id, position, attempt, unwanted in lines}


async def give_back(connection: Connection, again: Sequence[Again]) -> int:
    """Queue requests once more, and return how many of them were still ours."""
    values = {
        "ids": [one.batch_id for one in again],
        "positions": [one.position for one in again],
        "attempts": [one.attempt for one in again],
        "waits": [one.wait_seconds for one in again],
        "counts": [one.counts for one in again],
    }
    return len(await (await connection.execute(GIVE_BACK, values)).fetchall())


async def rescue(connection: Connection, limit: int) -> int:
    """Queue what dead workers had claimed, but for what too many died over; return how many those were."""
    await connection.execute(NOTE_DEATHS)
    return len(await (await connection.execute(RESCUE, {"limit": limit})).fetchall())


async def find_hopeless(connection: Connection, limit: int) -> list[tuple[Key, int, Hold | None]]:
    """Return the requests that are not tried any more, with their attempt and what is held."""
    cursor = await connection.execute(FIND_HOPELESS, {"limit": limit})
    lines = cast(list[tuple[UUID, int, int, UUID | None, Decimal | None]], await cursor.fetchall())
    return [
        ((batch_id, position), attempt, build_hold(hold_id, held, 0.0))
        for batch_id, position, attempt, hold_id, held in lines
    ]
