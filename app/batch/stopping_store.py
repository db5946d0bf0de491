"""Stopping batches: because somebody asks for it, or because their time is over."""

from decimal import Decimal
from typing import Literal, cast
from uuid import UUID

from app.batch.ending_store import LOCK_BATCHES, end_batches, free_holds, note_end
from app.batch.intake_store import clear_requests
from app.batch.waking import NOTIFY
from app.db.connection import Connection

ASK = """
UPDATE batches SET cancel_asked_at = now(),
                   state = CASE state WHEN 'validating' THEN 'cancelled' ELSE 'cancelling' END,
                   finished_at = CASE state WHEN 'validating' THEN now() END
WHERE id = %s AND state IN ('validating', 'queued', 'processing')
RETURNING state
"""
DROP_WAITING = """
WITH gone AS (
    UPDATE batch_requests SET state = 'done', body = NULL
    WHERE batch_id = %(id)s AND state IN ('queued', 'pooled') RETURNING position),
written AS (
    INSERT INTO batch_results (batch_id, position, outcome, code, body)
    SELECT %(id)s, position, %(outcome)s, %(code)s, '' FROM gone)
UPDATE batches AS b SET cancelled = b.cancelled + n.cancelled, expired = b.expired + n.expired
FROM (SELECT count(*) FILTER (WHERE %(outcome)s = 'cancelled') AS cancelled,
             count(*) FILTER (WHERE %(outcome)s = 'expired') AS expired FROM gone) AS n
WHERE b.id = %(id)s
"""
# A vendor's batch that holds requests of others as well goes on; ours in it are done without their answers.
LEAVE_SHARED = """
WITH shared AS (
    SELECT DISTINCT mine.native_id AS id FROM batch_requests AS mine
    WHERE mine.batch_id = %(id)s AND mine.state = 'native'
    AND EXISTS (SELECT FROM batch_requests AS other
                WHERE other.native_id = mine.native_id AND other.state = 'native' AND other.batch_id <> %(id)s))
UPDATE batch_requests AS r SET state = 'queued', native_id = NULL
FROM shared WHERE r.batch_id = %(id)s AND r.native_id = shared.id AND r.state = 'native'
"""
ASK_NATIVE = """
UPDATE native_batches AS n SET cancel_asked = true, look_at = now()
WHERE n.finished_at IS NULL
AND EXISTS (SELECT FROM batch_requests AS r WHERE r.native_id = n.id AND r.batch_id = %s AND r.state = 'native')
"""
LIST_HELD = """
SELECT v.id, coalesce(sum(r.held_usd) FILTER (WHERE r.state <> 'done'), 0)
FROM reservations AS v
LEFT JOIN batch_requests AS r ON r.batch_id = %(id)s AND r.hold_id = v.id
WHERE v.process_id = %(id)s GROUP BY v.id
"""
RELEASE_SPARE = "SELECT relaycore_release(%s, %s::uuid[], %s::numeric[])"
FIND_LATE = """
SELECT id, CASE state WHEN 'cancelling' THEN 'cancelled' ELSE 'expired' END FROM batches AS b
WHERE (b.state = 'cancelling' OR (b.state IN ('queued', 'processing') AND b.expires_at < now()))
AND EXISTS (SELECT FROM batch_requests AS r WHERE r.batch_id = b.id AND r.state IN ('queued', 'pooled', 'native')
            AND (b.state <> 'cancelling' OR r.state <> 'native'))
LIMIT 10
"""
DELETE_ENDED = "DELETE FROM batches WHERE id = %s AND finished_at IS NOT NULL"
CODES = {"cancelled": "batch_cancelled", "expired": "batch_expired"}


async def cancel_batch(connection: Connection, batch_id: UUID) -> bool:
    """Cancel a batch: what waits is done at once, what runs is stopped by its workers. False: it was over already."""
    async with connection.transaction():
        await connection.execute(LOCK_BATCHES, ([batch_id],))
        line = await (await connection.execute(ASK, (batch_id,))).fetchone()
        if line is None:
            return False
        if line[0] == "cancelling":
            await _drop(connection, batch_id, "cancelled")
        else:  # it was still being read
            await clear_requests(connection, batch_id)
            await note_end(connection, batch_id)
        await connection.execute(NOTIFY)
    await free_holds(connection, [batch_id])
    return True


async def delete_ended(connection: Connection, batch_id: UUID) -> None:
    """Delete a batch that is over with all that it came to, once nothing is held for it any more."""
    await free_holds(connection, [batch_id])
    await connection.execute(DELETE_ENDED, (batch_id,))


async def end_late(connection: Connection) -> int:
    """End what waits in batches whose time is over, and what came back to those that were cancelled; return how many.

    A request that was under way at the cancellation may be given back, or taken over from a dead worker, after it.
    """
    found = await (await connection.execute(FIND_LATE)).fetchall()
    for batch_id, outcome in cast(list[tuple[UUID, Literal["cancelled", "expired"]]], found):
        async with connection.transaction():
            await connection.execute(LOCK_BATCHES, ([batch_id],))
            await _drop(connection, batch_id, outcome)
        await free_holds(connection, [batch_id])
    return len(found)


async def _drop(connection: Connection, batch_id: UUID, outcome: Literal["cancelled", "expired"]) -> None:
    values = {"id": batch_id, "outcome": outcome, "code": CODES[outcome]}
    await connection.execute(LEAVE_SHARED, values)
    await connection.execute(DROP_WAITING, values)
    await connection.execute(ASK_NATIVE, (batch_id,))
    await end_batches(connection, [batch_id])
    held = cast(list[tuple[UUID, Decimal]], await (await connection.execute(LIST_HELD, values)).fetchall())
    if held:
        ids, kept = [line[0] for line in held], [line[1] for line in held]
        await connection.execute(RELEASE_SPARE, (batch_id, ids, kept))
