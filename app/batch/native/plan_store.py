"""Vendors' batches planned out of waiting requests: what goes where, and what is called directly after all.

Rows of batches are locked before their requests, and those before rows of vendors' batches.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from app.batch.native.types import Bounds, Group
from app.batch.waking import NOTIFY
from app.batch.work_store import BEGIN_BATCHES
from app.db.connection import Connection

# What is too near to its end, or may not go into a vendor's batch any more, is called directly.
TAKE_OUT_LATE = """
UPDATE batch_requests AS r SET state = 'queued' FROM batches AS b
WHERE r.state = 'pooled' AND b.id = r.batch_id AND b.state IN ('queued', 'processing')
AND (NOT %(native)s OR b.native = 'never' OR b.expires_at <= now() + make_interval(secs => %(reserve)s))
"""
FIND_WHOLE = """
SELECT b.id FROM batches AS b
WHERE b.state IN ('queued', 'processing') AND b.shape <> 'call' AND b.native <> 'never'
AND b.id IN (SELECT r.batch_id FROM batch_requests AS r WHERE r.state = 'pooled')
ORDER BY b.priority DESC, b.created_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""
FIND_GROUP = """
SELECT provider, model, path FROM batch_requests
WHERE batch_id = %s AND state = 'pooled' ORDER BY position LIMIT 1
"""
FIND_CALLS = """
SELECT r.provider, r.model, r.path FROM batch_requests AS r JOIN batches AS b ON b.id = r.batch_id
WHERE r.state = 'pooled' AND b.shape = 'call' AND b.state IN ('queued', 'processing')
GROUP BY r.provider, r.model, r.path
HAVING count(*) >= %(enough)s OR min(r.not_before) <= now() - make_interval(secs => %(seconds)s)
LIMIT 1
"""
LOCK_CALLS = """
SELECT b.id FROM batches AS b JOIN batch_requests AS r ON r.batch_id = b.id
WHERE r.state = 'pooled' AND b.shape = 'call' AND b.state IN ('queued', 'processing')
AND r.provider = %(provider)s AND r.model = %(model)s AND r.path = %(path)s
ORDER BY b.created_at LIMIT %(limit)s FOR NO KEY UPDATE OF b SKIP LOCKED
"""
TAKE = """
WITH picked AS (
    SELECT r.batch_id, r.position, row_number() OVER w AS place, sum(r.size + %(overhead)s) OVER w AS bytes
    FROM batch_requests AS r
    WHERE r.batch_id = ANY (%(ids)s::uuid[]) AND r.state = 'pooled'
    AND r.provider = %(provider)s AND r.model = %(model)s AND r.path = %(path)s
    WINDOW w AS (ORDER BY r.batch_id, r.position))
UPDATE batch_requests AS r SET state = 'native', native_id = %(id)s, sent = false FROM picked AS p
WHERE p.place <= %(max_requests)s AND (p.place = 1 OR p.bytes <= %(max_bytes)s)
AND r.batch_id = p.batch_id AND r.position = p.position AND r.state = 'pooled'
"""
TAKE_OUT = """
UPDATE batch_requests SET state = 'queued'
WHERE batch_id = ANY (%(ids)s::uuid[]) AND state = 'pooled'
AND provider = %(provider)s AND model = %(model)s AND path = %(path)s
"""
INSERT = """
INSERT INTO native_batches (id, protocol, provider, model, path, requests, give_up_at, remote_files)
SELECT %(id)s, %(protocol)s, %(provider)s, %(model)s, %(path)s, %(requests)s,
       min(b.expires_at) - make_interval(secs => %(reserve)s),
       jsonb_strip_nulls(jsonb_build_object('passed', min(nullif(b.options->'passed', '{}')::text)::jsonb))
FROM batches AS b WHERE b.id = ANY (%(ids)s::uuid[])
"""
# What failed comes first: when it fails for good, those behind it do not have to find out by themselves.
OVERHEAD_BYTES = 256
"""What stands around a request in a vendor's batch, at most about."""


class Planning:
    """What decides which waiting requests go where: `find_bounds` returns None where they are to be called directly."""

    def __init__(
        self, find_bounds: Callable[[Group], Bounds | None], *, enough: int, pool_seconds: float, reserve_seconds: float
    ) -> None:
        self.find_bounds = find_bounds
        self.enough = enough
        self.pool_seconds = pool_seconds
        self.reserve_seconds = reserve_seconds


async def take_out_late(connection: Connection, reserve_seconds: float, *, native: bool) -> None:
    """Have requests called directly whose end is near, all of them where nothing is `native` any more."""
    await connection.execute(TAKE_OUT_LATE, {"reserve": reserve_seconds, "native": native})


async def plan(connection: Connection, planning: Planning, native_id: UUID) -> bool:
    """Make one batch of waiting requests, or have them called directly; False when none wait any more."""
    async with connection.transaction():
        found = await _find_whole(connection) or await _find_calls(connection, planning)
        if found is None:
            return False
        group, ids = found
        values: dict[str, Any] = {"provider": group.provider, "model": group.model, "path": group.path, "ids": ids}
        bounds = planning.find_bounds(group)
        if bounds is None:
            taken = (await connection.execute(TAKE_OUT, values)).rowcount
            await connection.execute(NOTIFY)
            return taken > 0
        values |= {"id": native_id, "protocol": bounds.protocol, "overhead": OVERHEAD_BYTES}
        values |= {"max_requests": bounds.max_requests, "max_bytes": bounds.max_bytes}
        taken = (await connection.execute(TAKE, values)).rowcount
        if taken:
            await connection.execute(INSERT, values | {"requests": taken, "reserve": planning.reserve_seconds})
            await connection.execute(BEGIN_BATCHES, (ids,))
    return taken > 0


async def _find_whole(connection: Connection) -> tuple[Group, list[UUID]] | None:
    line = await (await connection.execute(FIND_WHOLE)).fetchone()
    if line is None:
        return None
    group = await (await connection.execute(FIND_GROUP, (line[0],))).fetchone()
    return None if group is None else (_read_group(group), [cast(UUID, line[0])])


async def _find_calls(connection: Connection, planning: Planning) -> tuple[Group, list[UUID]] | None:
    values = {"enough": planning.enough, "seconds": planning.pool_seconds}
    line = await (await connection.execute(FIND_CALLS, values)).fetchone()
    if line is None:
        return None
    group = _read_group(line)
    wanted = {"provider": group.provider, "model": group.model, "path": group.path, "limit": planning.enough}
    ids = [cast(UUID, one[0]) for one in await (await connection.execute(LOCK_CALLS, wanted)).fetchall()]
    return (group, ids) if ids else None


def _read_group(line: Sequence[object]) -> Group:
    provider, model, path = cast(tuple[str, str, str], line)
    return Group(provider=provider, model=model, path=path)
