"""Results of batches, written once each: with their cost, their batch's counts, and what follows from its end."""

from collections.abc import Iterable, Sequence
from typing import Any, cast
from uuid import UUID

from app.analytics.store import BEGIN_POSTING, insert_rows
from app.batch.ending_types import Ended, count_outcomes
from app.batch.types import Done, Key
from app.cache.packing import pack
from app.db.connection import Connection

LOCK_BATCHES = "SELECT id FROM batches WHERE id = ANY (%s) ORDER BY id FOR NO KEY UPDATE"
TAKE_RUNNING = """
UPDATE batch_requests AS r SET state = 'done', body = NULL, worker_id = NULL, lease_until = NULL
FROM unnest(%(ids)s::uuid[], %(positions)s::int[], %(attempts)s::int[]) AS d (batch_id, position, attempt)
WHERE r.batch_id = d.batch_id AND r.position = d.position AND r.attempt = d.attempt AND r.state = 'running'
RETURNING r.batch_id, r.position
"""
# "IS NOT DISTINCT FROM" has a request found by its key: by the index of vendors' batches all of it would be read.
TAKE_NATIVE = """
UPDATE batch_requests AS r SET state = 'done', body = NULL
FROM unnest(%(ids)s::uuid[], %(positions)s::int[], %(natives)s::uuid[]) AS d (batch_id, position, native_id)
WHERE r.batch_id = d.batch_id AND r.position = d.position AND r.native_id IS NOT DISTINCT FROM d.native_id
AND r.state = 'native'
RETURNING r.batch_id, r.position
"""
COPY_RESULTS = """
COPY batch_results (batch_id, position, outcome, status_code, code, encoding, size, body, request_id, provider, model,
                    cache_status, native, cost_usd, saved_usd)
FROM STDIN
"""
COUNT = """
UPDATE batches AS b
SET succeeded = b.succeeded + c.succeeded, errored = b.errored + c.errored, cancelled = b.cancelled + c.cancelled,
    expired = b.expired + c.expired
FROM unnest(%(ids)s::uuid[], %(succeeded)s::int[], %(errored)s::int[], %(cancelled)s::int[], %(expired)s::int[])
     AS c (id, succeeded, errored, cancelled, expired)
WHERE b.id = c.id
"""
END = """
UPDATE batches AS b
SET state = CASE WHEN b.cancelled > 0 THEN 'cancelled' WHEN b.expired > 0 THEN 'expired' ELSE 'completed' END,
    finished_at = now(), started_at = coalesce(b.started_at, now())
WHERE b.id = ANY (%s) AND b.finished_at IS NULL AND b.state <> 'validating'
AND b.succeeded + b.errored + b.cancelled + b.expired = b.total
RETURNING b.id, b.shape, b.state, b.total, b.succeeded, b.errored, b.cancelled, b.expired, b.webhook_url IS NOT NULL
"""
FIND_ENDED = """
SELECT id, shape, state, total, succeeded, errored, cancelled, expired, webhook_url IS NOT NULL
FROM batches WHERE id = %s AND finished_at IS NOT NULL
"""
INSERT_DELIVERY = "INSERT INTO webhook_deliveries (id, batch_id, event, payload) VALUES (%s, %s, %s, %s)"
FREE_HOLDS = """
SELECT relaycore_release(b.id, ARRAY(SELECT r.id FROM reservations AS r WHERE r.process_id = b.id))
FROM batches AS b JOIN processes AS p ON p.id = b.id WHERE b.id = %s AND b.finished_at IS NOT NULL
"""
FORGET_HOLDERS = """
DELETE FROM processes AS p USING batches AS b
WHERE p.id = b.id AND b.id = %s AND b.finished_at IS NOT NULL
AND NOT EXISTS (SELECT FROM reservations AS r WHERE r.process_id = p.id)
"""
LIST_HOLDERS = """
SELECT b.id FROM batches AS b JOIN processes AS p ON p.id = b.id WHERE b.finished_at IS NOT NULL
"""

_Ended = tuple[UUID, str, str, int, int, int, int, int, bool]


async def finish(connection: Connection, done: Sequence[Done]) -> list[Done]:
    """Write the results of requests that are still ours, with what they cost, and return those.

    One transaction: either a request has its result, its line of the record and its cost, or nothing of these. What
    others have taken over meanwhile is theirs; nothing of it is written.
    """
    async with connection.transaction():
        await connection.execute(BEGIN_POSTING, (False,))
        ids = sorted({one.batch_id for one in done})
        await connection.execute(LOCK_BATCHES, (ids,))
        taken = await take(connection, done)
        ours = [one for one in done if one.key in taken]
        await copy_results(connection, ours)
        rows = [one.priced for one in ours if one.priced is not None]
        if rows:
            await insert_rows(connection, rows)
        await count(connection, ours)
        await end_batches(connection, ids)
    await free_holds(connection, ids)
    return ours


async def take(connection: Connection, done: Sequence[Done]) -> set[Key]:
    """Mark requests as done that are still as they were claimed, and return which those are."""
    claimed = [one for one in done if one.native_id is None]
    native = [one for one in done if one.native_id is not None]
    taken: list[tuple[object, ...]] = []
    if claimed:
        taken += await (await connection.execute(TAKE_RUNNING, _split(claimed))).fetchall()
    if native:
        taken += await (await connection.execute(TAKE_NATIVE, _split(native))).fetchall()
    return {cast(Key, (line[0], line[1])) for line in taken}


def _split(done: Sequence[Done]) -> dict[str, list[Any]]:
    return {
        "ids": [one.batch_id for one in done],
        "positions": [one.position for one in done],
        "attempts": [one.attempt for one in done],
        "natives": [one.native_id for one in done],
    }


async def copy_results(connection: Connection, done: Iterable[Done]) -> None:
    """Insert results; a second one of the same request breaks the key."""
    async with connection.cursor() as cursor, cursor.copy(COPY_RESULTS) as copy:
        for one in done:
            encoding, kept = pack(one.body)
            row = one.priced.row if one.priced is not None else None
            costs = one.priced.costs if one.priced is not None else None
            await copy.write_row(
                (
                    one.batch_id,
                    one.position,
                    one.outcome,
                    one.status_code,
                    one.code,
                    encoding,
                    len(one.body),
                    kept,
                    row and row.id,
                    row and row.provider,
                    row and row.model,
                    row and row.cache_status,
                    one.native_id is not None,
                    costs and costs.estimated_cost,
                    costs and costs.saved_cost,
                )
            )


async def count(connection: Connection, done: Sequence[Done]) -> None:
    """Add results to the counts of their batches."""
    counts = count_outcomes(done)
    if not counts:
        return
    values = {
        "ids": list(counts),
        "succeeded": [one.succeeded for one in counts.values()],
        "errored": [one.errored for one in counts.values()],
        "cancelled": [one.cancelled for one in counts.values()],
        "expired": [one.expired for one in counts.values()],
    }
    await connection.execute(COUNT, values)


async def end_batches(connection: Connection, ids: Sequence[UUID]) -> None:
    """Bring those of the batches to their end all of whose requests are done, and note whom to tell."""
    await _tell(connection, cast(list[_Ended], await (await connection.execute(END, (list(ids),))).fetchall()))


async def note_end(connection: Connection, batch_id: UUID) -> None:
    """Note whom to tell of a batch that came to its end without its requests; in the transaction that ended it."""
    await _tell(connection, cast(list[_Ended], await (await connection.execute(FIND_ENDED, (batch_id,))).fetchall()))


async def _tell(connection: Connection, lines: Iterable[_Ended]) -> None:
    for line in lines:
        ended = Ended(*line)
        if ended.tells:
            event = ended.build_event()
            values = (event.id, ended.id, event.type, event.payload)
            await connection.execute(INSERT_DELIVERY, values)


async def free_holds(connection: Connection, ids: Sequence[UUID]) -> None:
    """Give back what batches that are over still hold; what is left of it after a crash, the next round finds."""
    for batch_id in ids:  # each by itself: a transaction locks the counters of budgets once
        await connection.execute(FREE_HOLDS, (batch_id,))
        await connection.execute(FORGET_HOLDERS, (batch_id,))


async def free_forgotten(connection: Connection) -> None:
    """Give back what any batch that is over still holds."""
    ids = [cast(UUID, line[0]) for line in await (await connection.execute(LIST_HOLDERS)).fetchall()]
    if ids:
        await free_holds(connection, ids)
