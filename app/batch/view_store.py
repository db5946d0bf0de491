"""Batches as they are shown: one, a page of them, and their results page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, cast
from uuid import UUID

from psycopg.sql import SQL

from app.batch.types import Batch, Counts, Outcome, Result, Shape, State
from app.cache.packing import unpack
from app.db.connection import Connection

_COLUMNS = SQL("""
    id, shape, user_id, api_key_id, path, provider, model, state, total, succeeded, errored, cancelled, expired,
    input_file_id, metadata, errors, created_at, deadline_at, expires_at, started_at, cancel_asked_at, finished_at
""")
# What is on its way in was not accepted yet, unless a file holds it.
_SEEN = SQL("(state <> 'validating' OR input_file_id IS NOT NULL)")
FIND = SQL("SELECT {} FROM batches WHERE id = %(id)s").format(_COLUMNS).as_bytes()
LIST = (
    SQL("""
SELECT {columns} FROM batches
WHERE (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s) AND shape = ANY (%(shapes)s::text[])
AND {seen} AND (%(after)s::uuid IS NULL
     OR (created_at, id) < (coalesce((SELECT created_at FROM batches WHERE id = %(after)s), %(after_at)s), %(after)s))
AND (%(before)s::uuid IS NULL
     OR (created_at, id) > (coalesce((SELECT created_at FROM batches WHERE id = %(before)s), %(before_at)s),
                            %(before)s))
ORDER BY CASE WHEN %(before)s::uuid IS NULL THEN created_at END DESC,
         CASE WHEN %(before)s::uuid IS NULL THEN id END DESC, created_at, id
LIMIT %(limit)s
""")
    .format(columns=_COLUMNS, seen=_SEEN)
    .as_bytes()
)
COUNT_ALL = (
    SQL("""
SELECT count(*) FROM batches
WHERE (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s) AND shape = ANY (%(shapes)s::text[]) AND {seen}
""")
    .format(seen=_SEEN)
    .as_bytes()
)
COUNT_AHEAD = """
SELECT count(*) FROM batches WHERE state IN ('validating', 'queued', 'processing') AND created_at < %s
"""
RESULTS = """
SELECT s.position, r.custom_id, s.outcome, s.status_code, s.code, s.encoding, s.size, s.body, s.request_id, s.native,
       s.cost_usd, s.saved_usd, s.finished_at
FROM batch_results AS s JOIN batch_requests AS r ON r.batch_id = s.batch_id AND r.position = s.position
WHERE s.batch_id = %(id)s AND s.position > %(after)s AND s.outcome = ANY (%(outcomes)s::text[])
ORDER BY s.position LIMIT %(limit)s
"""
HAS_RESULTS = "SELECT EXISTS (SELECT FROM batch_results WHERE batch_id = %s AND outcome = ANY (%s::text[]))"
FIND_REPEATED = "SELECT id, fingerprint FROM batches WHERE user_id = %s AND idempotency_key = %s"
SUM_COSTS = "SELECT sum(cost_usd), sum(saved_usd) FROM batch_results WHERE batch_id = %s"
PACE = """
SELECT sum(total), extract(epoch FROM sum(finished_at - started_at))::float8
FROM (SELECT total, started_at, finished_at FROM batches
      WHERE finished_at > now() - interval '1 hour' AND created_at > now() - interval '1 day'
      ORDER BY created_at DESC LIMIT 20) AS lately
"""
DELETE_OLD = """
DELETE FROM batches WHERE id IN (
    SELECT id FROM batches
    WHERE finished_at < now() - make_interval(days => %s)
    OR (state = 'validating' AND input_file_id IS NULL AND created_at < now() - interval '1 hour') LIMIT 20)
"""
DELETE_OLD_FILES = """
DELETE FROM batch_files WHERE id IN (
    SELECT f.id FROM batch_files AS f
    WHERE (f.created_at < now() - make_interval(days => %s)
           OR f.expires_at < now() OR (NOT f.complete AND f.created_at < now() - interval '1 day'))
    AND NOT EXISTS (SELECT FROM batches AS b WHERE b.input_file_id = f.id AND b.finished_at IS NULL) LIMIT 20)
"""

FORGET_DEATHS = "DELETE FROM worker_deaths WHERE at < now() - interval '1 day'"

ALL_OUTCOMES: tuple[Outcome, ...] = ("succeeded", "errored", "cancelled", "expired", "parked")
LATEST_MS = 2**45
PAGE_RESULTS = 200
PAGE_BYTES = 4 * 2**20
"""How much a page of results may be, whatever their number: the next one is then shorter."""

_Line = tuple[
    UUID, Shape, UUID, UUID | None, str | None, str | None, str | None, State, int, int, int, int, int, UUID | None,
    dict[str, Any] | None, list[dict[str, Any]] | None, datetime, datetime | None, datetime, datetime | None,
    datetime | None, datetime | None,
]  # fmt: skip
_Result = tuple[
    int, str, Outcome, int | None, str | None, int, int, bytes, UUID | None, bool, Decimal | None, Decimal | None,
    datetime,
]  # fmt: skip

Ask = Callable[[Callable[[Connection], Awaitable[list[Result]]]], Awaitable[list[Result]]]
"""Has a question asked of the database."""


async def ping(connection: Connection) -> None:
    """Ask for nothing."""
    await connection.execute("SELECT 1")


async def find_batch(connection: Connection, batch_id: UUID) -> Batch | None:
    """Return a batch, whoever's it is."""
    line = await (await connection.execute(FIND, {"id": batch_id})).fetchone()
    return None if line is None else _read_batch(cast(_Line, line))


async def find_repeated(connection: Connection, user_id: UUID, key: str) -> tuple[UUID, bytes | None] | None:
    """Return the batch that an idempotency key of a user stands for, and what stands for all that was sent.

    That is None while it is being read.
    """
    line = await (await connection.execute(FIND_REPEATED, (user_id, key))).fetchone()
    return None if line is None else (cast(UUID, line[0]), None if line[1] is None else bytes(cast(bytes, line[1])))


async def list_batches(
    connection: Connection,
    user_id: UUID | None,
    shapes: Sequence[Shape],
    *,
    limit: int,
    after: UUID | None = None,
    before: UUID | None = None,
) -> tuple[list[Batch], bool]:
    """Return a page of the batches of a user (None: of all), newest first, and whether there are more.

    `after` is the last one of the page before; `before` the first one of the page behind. One that is gone by now
    stands for the time at which its id was made.
    """
    values: dict[str, Any] = {"user_id": user_id, "shapes": list(shapes), "limit": limit + 1}
    values |= {"after": after, "after_at": find_instant(after), "before": before, "before_at": find_instant(before)}
    lines = cast(list[_Line], await (await connection.execute(LIST, values)).fetchall())
    found = [_read_batch(line) for line in lines[:limit]]
    return (found if before is None else found[::-1]), len(lines) > limit


def find_instant(made: UUID | None) -> datetime | None:
    """Return when an id was made (UUID version 7)."""
    return None if made is None else datetime.fromtimestamp(min(made.int >> 80, LATEST_MS) / 1000, UTC)


async def count_batches(connection: Connection, user_id: UUID | None, shapes: Sequence[Shape]) -> int:
    """Return how many batches a user has (None: there are)."""
    cursor = await connection.execute(COUNT_ALL, {"user_id": user_id, "shapes": list(shapes)})
    return cast(int, cast(tuple[object], await cursor.fetchone())[0])


async def count_ahead(connection: Connection, created_at: datetime) -> int:
    """Return how many batches that came before are not done yet."""
    cursor = await connection.execute(COUNT_AHEAD, (created_at,))
    return cast(int, cast(tuple[object], await cursor.fetchone())[0])


async def sum_costs(connection: Connection, batch_id: UUID) -> tuple[Decimal | None, Decimal | None]:
    """Return what the results of a batch cost so far, and what was saved; None where nothing is known."""
    cursor = await connection.execute(SUM_COSTS, (batch_id,))
    return cast(tuple[Decimal | None, Decimal | None], await cursor.fetchone())


async def find_pace(connection: Connection) -> float | None:
    """Return how many requests a second were finished in the batches that ended lately; None when hardly any were."""
    line = cast(tuple[int | None, float | None], await (await connection.execute(PACE)).fetchone())
    return line[0] / max(line[1], 1.0) if line[0] is not None and line[0] >= 10 and line[1] is not None else None


async def list_results(
    connection: Connection, batch_id: UUID, after: int, outcomes: Sequence[Outcome], limit: int
) -> list[Result]:
    """Return the next results of a batch in the order of its requests."""
    values = {"id": batch_id, "after": after, "outcomes": list(outcomes), "limit": limit}
    cursor = await connection.execute(RESULTS, values)
    return [_read_result(line) for line in cast(list[_Result], await cursor.fetchall())]


async def has_results(connection: Connection, batch_id: UUID, outcomes: Sequence[Outcome]) -> bool:
    """Return whether a batch has a result of one of these kinds."""
    line = await (await connection.execute(HAS_RESULTS, (batch_id, list(outcomes)))).fetchone()
    return line is not None and bool(line[0])


async def stream_results(
    ask: Ask, batch_id: UUID, outcomes: Sequence[Outcome] = ALL_OUTCOMES, after: int = -1
) -> AsyncIterator[list[Result]]:
    """Yield all results page by page; between the pages nothing is held, neither a connection nor their bytes."""
    limit = PAGE_RESULTS
    while page := await ask(partial(list_results, batch_id=batch_id, after=after, outcomes=outcomes, limit=limit)):
        yield page
        after = page[-1].position
        size = sum(len(result.body) for result in page)
        limit = max(1, min(PAGE_RESULTS, limit * PAGE_BYTES // max(size, 1)))


async def delete_old(connection: Connection, days: int) -> int:
    """Delete batches and files that are older than they are kept, a few at a time; return how many batches."""
    gone = (await connection.execute(DELETE_OLD, (days,))).rowcount
    await connection.execute(DELETE_OLD_FILES, (days,))
    await connection.execute(FORGET_DEATHS)
    return gone


def _read_batch(line: _Line) -> Batch:
    (
        batch_id, shape, user_id, api_key_id, path, provider, model, state, total, succeeded, errored, cancelled,
        expired, input_file_id, metadata, errors, created_at, deadline_at, expires_at, started_at, cancel_asked_at,
        finished_at,
    ) = line  # fmt: skip
    return Batch(
        id=batch_id,
        shape=shape,
        user_id=user_id,
        api_key_id=api_key_id,
        path=path,
        provider=provider,
        model=model,
        state=state,
        counts=Counts(total=total, succeeded=succeeded, errored=errored, cancelled=cancelled, expired=expired),
        input_file_id=input_file_id,
        metadata=metadata,
        errors=errors,
        created_at=created_at,
        deadline_at=deadline_at,
        expires_at=expires_at,
        started_at=started_at,
        cancel_asked_at=cancel_asked_at,
        finished_at=finished_at,
    )


def _read_result(line: _Result) -> Result:
    position, custom_id, outcome, status_code, code, encoding, size, body, request_id, native, cost, saved, at = line
    return Result(
        position=position,
        custom_id=custom_id,
        outcome=outcome,
        status_code=status_code,
        code=code,
        body=unpack(encoding, bytes(body), size),
        request_id=request_id,
        native=native,
        cost_usd=cost,
        saved_usd=saved,
        finished_at=at,
    )
