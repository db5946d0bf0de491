"""The requests of batches as workers meet them: claimed, kept, given back, rescued from the dead.

Whoever takes several locks takes the advisory lock of the books first, then rows of batches, then their requests, then
what money needs (alembic/sql/0004_budgets.sql). A row of a batch that somebody else holds is passed over.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
from psycopg.sql import SQL

from app.batch.quarantine import SUSPECT_FROM
from app.batch.types import Again, Key, Unwanted, Work
from app.cache.packing import unpack
from app.db.connection import Connection
from app.gateway.options import Options
from app.wire.money import Hold

# Times that lie too far ahead come from a clock that was set back: they count as over.
_DUE = SQL("(r.not_before <= now() OR r.not_before > now() + interval '15 minutes')")
_DEAD = SQL("(r.lease_until < now() OR r.lease_until > now() + interval '15 minutes')")
# Users take turns; of one user's batches the one with the higher priority comes first.
FIND_OPEN = (
    SQL("""
WITH ready AS (
    SELECT b.id, b.claimed_at,
           row_number() OVER (PARTITION BY b.user_id ORDER BY b.priority DESC, b.claimed_at NULLS FIRST, b.created_at)
               AS turn
    FROM batches AS b
    WHERE b.state IN ('queued', 'processing')
    AND EXISTS (SELECT FROM batch_requests AS r
                WHERE r.batch_id = b.id AND r.state = 'queued' AND {due} AND (r.rescues >= %(from)s) = %(suspects)s
                AND coalesce(r.provider, '') <> ALL (%(resting)s::text[]))),
chosen AS (SELECT * FROM ready ORDER BY turn, claimed_at NULLS FIRST LIMIT %(batches)s)
SELECT b.id FROM batches AS b JOIN chosen AS c ON c.id = b.id
ORDER BY c.turn, c.claimed_at NULLS FIRST
FOR NO KEY UPDATE OF b SKIP LOCKED
""")
    .format(due=_DUE)
    .as_bytes()
)
CLAIM = (
    SQL("""
WITH found AS (
    SELECT q.batch_id, q.position, q.place,
           row_number() OVER (PARTITION BY q.provider ORDER BY q.place, b.turn) AS of_provider, l.room
    FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS b (id, turn)
    CROSS JOIN LATERAL (
        SELECT r.batch_id, r.position, coalesce(r.provider, '') AS provider,
               row_number() OVER (ORDER BY r.not_before, r.position) AS place
        FROM batch_requests AS r
        WHERE r.batch_id = b.id AND r.state = 'queued' AND {due} AND (r.rescues >= %(from)s) = %(suspects)s
        AND coalesce(r.provider, '') <> ALL (%(resting)s::text[])
        ORDER BY r.not_before, r.position LIMIT %(count)s) AS q
    LEFT JOIN unnest(%(providers)s::text[], %(rooms)s::int[]) AS l (provider, room) ON l.provider = q.provider),
picked AS (
    SELECT batch_id, position FROM found WHERE of_provider <= coalesce(room, %(most)s)
    ORDER BY place LIMIT %(count)s)
UPDATE batch_requests AS r
SET state = 'running', attempt = r.attempt + 1, worker_id = %(worker_id)s,
    lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM picked JOIN batches AS b ON b.id = picked.batch_id
WHERE r.batch_id = picked.batch_id AND r.position = picked.position AND r.state = 'queued'
RETURNING r.batch_id, r.position, r.attempt, r.path, r.provider, r.encoding, r.body, r.size, r.tries, r.rescues,
          b.user_id, b.api_key_id, b.tags, b.options, r.hold_id, r.held_usd,
          (SELECT extract(epoch FROM h.reserved_at)::float8 FROM reservations AS h WHERE h.id = r.hold_id)
""")
    .format(due=_DUE)
    .as_bytes()
)
BEGIN_BATCHES = """
UPDATE batches SET claimed_at = clock_timestamp(), state = CASE state WHEN 'queued' THEN 'processing' ELSE state END,
                   started_at = coalesce(started_at, now())
WHERE id = ANY (%s)
"""
MOST_BATCHES = 16
"""From how many batches requests are claimed together."""

HAS_OPEN = """
SELECT EXISTS (SELECT FROM batches WHERE state IN ('validating', 'queued', 'processing', 'cancelling')),
       extract(epoch FROM clock_timestamp())::float8
"""
HAS_SUSPECTS = """
SELECT EXISTS (SELECT FROM batch_requests AS r JOIN batches AS b ON b.id = r.batch_id
               WHERE r.state = 'queued' AND r.rescues >= 2 AND r.not_before <= now()
               AND b.state IN ('queued', 'processing'))
"""
RENEW = """
UPDATE batch_requests AS r SET lease_until = now() + make_interval(secs => %(seconds)s)
FROM unnest(%(ids)s::uuid[], %(positions)s::int[], %(attempts)s::int[]) AS m (batch_id, position, attempt)
JOIN batches AS b ON b.id = m.batch_id
WHERE r.batch_id = m.batch_id AND r.position = m.position AND r.attempt = m.attempt AND r.state = 'running'
AND r.worker_id = %(worker_id)s
RETURNING r.batch_id, r.position,
          CASE WHEN b.state = 'cancelling' THEN 'cancelled' WHEN b.expires_at < now() THEN 'expired' END
"""
# A claim that this worker never heard of: the database made it after we had stopped waiting. What we know was renewed
# just now; what was claimed a moment ago is on its way to us.
GIVE_BACK_UNKNOWN = """
UPDATE batch_requests SET state = 'queued', worker_id = NULL, lease_until = NULL
WHERE state = 'running' AND worker_id = %s AND lease_until < now() + make_interval(secs => %s)
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
NOTE_DEATHS = (
    SQL("""
INSERT INTO worker_deaths (worker_id)
SELECT DISTINCT r.worker_id FROM batch_requests AS r WHERE r.state = 'running' AND {dead}
ON CONFLICT (worker_id) DO UPDATE SET at = now()
""")
    .format(dead=_DEAD)
    .as_bytes()
)
# A request is hopeless when `limit` workers died over it, and more than died over others lately: where workers are
# killed all the time it is none of its doing. There is an end to that as well.
_HOPELESS = SQL("""
    (r.rescues + 1 >= %(limit)s
     AND ((r.rescues + 1) * 2 > (SELECT count(*) FROM worker_deaths WHERE at > now() - interval '10 minutes')
          OR r.rescues + 1 >= 4 * %(limit)s))
""")
RESCUE = (
    SQL("""
WITH dead AS MATERIALIZED (
    SELECT r.batch_id, r.position FROM batch_requests AS r
    WHERE r.state = 'running' AND {dead} AND NOT {hopeless}
    LIMIT 1000 FOR UPDATE SKIP LOCKED)
UPDATE batch_requests AS q
SET state = 'queued', worker_id = NULL, lease_until = NULL, rescues = q.rescues + 1, not_before = now()
FROM dead WHERE q.batch_id = dead.batch_id AND q.position = dead.position
RETURNING q.batch_id
""")
    .format(dead=_DEAD, hopeless=_HOPELESS)
    .as_bytes()
)
FIND_HOPELESS = (
    SQL("""
SELECT r.batch_id, r.position, r.attempt, r.hold_id, r.held_usd FROM batch_requests AS r
WHERE r.state = 'running' AND {dead} AND {hopeless} LIMIT 100
""")
    .format(dead=_DEAD, hopeless=_HOPELESS)
    .as_bytes()
)

_Line = tuple[
    UUID, int, int, str, str | None, int, bytes, int, int, int, UUID, UUID | None, list[str], Any, UUID | None,
    Decimal | None, float | None,
]  # fmt: skip


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be claimed: `count` in all, `lanes` of each provider that is known, `most` of any other."""

    count: int
    lanes: Mapping[str, int] = {}
    most: int = 1_000_000


async def claim(
    connection: Connection, worker_id: UUID, room: Room, *, seconds: float, suspects: bool = False
) -> list[Work]:
    """Claim requests, fairly among users and their batches, none of providers that have no room.

    `suspects`: those over which workers died, instead of all others.
    """
    resting = [name for name, left in room.lanes.items() if left <= 0]
    values: dict[str, Any] = {"suspects": suspects, "from": SUSPECT_FROM, "batches": min(room.count, MOST_BATCHES)}
    values |= {"count": room.count, "resting": resting, "most": room.most}
    values |= {"providers": list(room.lanes), "rooms": list(room.lanes.values())}
    values |= {"worker_id": worker_id, "seconds": seconds}
    async with connection.transaction():
        found = await (await connection.execute(FIND_OPEN, values)).fetchall()
        ids = [cast(UUID, line[0]) for line in found]
        if not ids:
            return []
        lines = cast(list[_Line], await (await connection.execute(CLAIM, values | {"ids": ids})).fetchall())
        works = [_read_work(line) for line in lines]
        await connection.execute(BEGIN_BATCHES, (ids,))
    return works


def _read_work(line: _Line) -> Work:
    """Return a claimed request, whatever is in its row: what cannot be read comes to an error of its own."""
    batch_id, position, attempt, path, provider, encoding, body, size, tries, rescues = line[:10]
    user_id, api_key_id, tags, options, hold_id, held_usd, held_at = line[10:]
    try:
        plain, asked = unpack(encoding, bytes(body or b""), size), msgspec.convert(options, Options)
    except ValueError:  # msgspec's own among them
        plain, asked = b"", Options()
    return Work(
        batch_id=batch_id,
        position=position,
        attempt=attempt,
        path=path,
        provider=provider,
        body=plain,
        tries=tries,
        rescues=rescues,
        user_id=user_id,
        api_key_id=api_key_id,
        tags=tuple(tags),
        options=asked,
        hold=build_hold(hold_id, held_usd, held_at),
    )


def build_hold(hold_id: UUID | None, held_usd: Decimal | None, held_at: float | None) -> Hold | None:
    """Return a request's share of what its batch holds; None when no budget applied."""
    if hold_id is None or held_usd is None or held_at is None:
        return None
    return Hold(reservation_id=hold_id, kind="batch", amount_usd=held_usd, booked_at=held_at)


async def look_around(connection: Connection) -> tuple[bool, float]:
    """Return whether there is a batch that is not over, and the database's time (seconds since the epoch)."""
    line = await (await connection.execute(HAS_OPEN)).fetchone()
    return cast(tuple[bool, float], line)


async def has_suspects(connection: Connection) -> bool:
    """Return whether requests wait over which a worker died."""
    line = await (await connection.execute(HAS_SUSPECTS)).fetchone()
    return line is not None and bool(line[0])


async def renew(
    connection: Connection, worker_id: UUID, works: Sequence[Work], seconds: float, *, spare: float
) -> dict[Key, Unwanted | None]:
    """Keep the claims of `works`; return those that are ours still, and why a request is no longer wanted.

    What this worker holds beside them goes back, once its lease has less than `spare` seconds left.
    """
    values = {
        "ids": [one.batch_id for one in works],
        "positions": [one.position for one in works],
        "attempts": [one.attempt for one in works],
        "worker_id": worker_id,
        "seconds": seconds,
    }
    cursor = await connection.execute(RENEW, values)
    lines = cast(list[tuple[UUID, int, Unwanted | None]], await cursor.fetchall())
    await connection.execute(GIVE_BACK_UNKNOWN, (worker_id, spare))
    return {(batch_id, position): unwanted for batch_id, position, unwanted in lines}


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
