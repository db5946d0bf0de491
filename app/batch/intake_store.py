"""Batches on their way in: a row, its requests in large pieces, and in the end the money and the word that it is in."""

import json
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

import msgspec
from msgspec import structs
from psycopg.errors import UniqueViolation

from app.access.budget_store import reserve
from app.access.budget_types import Answer, Ask
from app.batch.ending_store import note_end
from app.batch.types import KeyTakenError, NewBatch, NewRequest
from app.batch.waking import defer_waking
from app.cache.packing import pack
from app.db.connection import Connection

INSERT_BATCH = """
INSERT INTO batches (
    id, shape, user_id, api_key_id, team_id, organization_id, tags, path, provider, model, state, priority, native,
    options,
    input_file_id, metadata, webhook_url, webhook_secret, idempotency_key, lease_until, deadline_at, expires_at)
VALUES (
    %(id)s, %(shape)s, %(user_id)s, %(api_key_id)s, %(team_id)s, %(organization_id)s, %(tags)s::text[], %(path)s,
    %(provider)s, %(model)s, 'validating', %(priority)s, %(native)s,
    %(options)s::jsonb, %(input_file_id)s, %(metadata)s::jsonb,
    %(webhook_url)s, %(webhook_secret)s, %(idempotency_key)s,
    CASE WHEN %(input_file_id)s::uuid IS NULL THEN now() + make_interval(secs => %(intake_seconds)s) END,
    CASE WHEN %(deadline)s THEN now() + make_interval(secs => %(span_seconds)s) END,
    now() + make_interval(secs => %(span_seconds)s))
"""
CLEAR_REQUESTS = "DELETE FROM batch_requests WHERE batch_id = %s"
CLEAR_CANCELLED = """
DELETE FROM batch_requests AS r USING batches AS b
WHERE r.batch_id = %s AND b.id = r.batch_id AND b.state = 'cancelled' AND b.total = 0
"""
# What stands behind the requests in a body is known last.
DESCRIBE = """
UPDATE batches SET priority = %(priority)s, native = %(native)s, metadata = %(metadata)s::jsonb,
                   webhook_url = %(webhook_url)s, webhook_secret = %(webhook_secret)s, fingerprint = %(fingerprint)s,
                   deadline_at = CASE WHEN %(deadline)s THEN now() + make_interval(secs => %(span_seconds)s) END,
                   expires_at = now() + make_interval(secs => %(span_seconds)s)
WHERE id = %(id)s AND state = 'validating'
"""
TAKE_OUT = "UPDATE batch_requests SET state = 'queued' WHERE batch_id = %s AND state = 'pooled'"
DELETE_BATCH = "DELETE FROM batches WHERE id = %s AND state = 'validating'"
COPY_REQUESTS = """
COPY batch_requests (batch_id, position, custom_id, path, provider, model, encoding, size, body, state, hold_id,
                     held_usd)
FROM STDIN
"""
LIVE_FOR_EVER = "INSERT INTO processes (id, lease_until) VALUES (%s, 'infinity') ON CONFLICT (id) DO NOTHING"
QUEUE = """
UPDATE batches SET state = 'queued', total = %(total)s, worker_id = NULL, lease_until = NULL
WHERE id = %(id)s AND state = 'validating' AND attempt = %(attempt)s
RETURNING (SELECT count(*) FROM batches AS b WHERE b.state IN ('queued', 'processing') AND b.id <> %(id)s)
"""
FAIL = """
UPDATE batches SET state = 'failed', errors = %(errors)s::jsonb, finished_at = now(), worker_id = NULL,
                   lease_until = NULL
WHERE id = %(id)s AND state = 'validating' AND attempt = %(attempt)s
RETURNING id
"""
CLAIM_READING = """
UPDATE batches SET attempt = attempt + 1, worker_id = %(worker_id)s,
                   lease_until = now() + make_interval(secs => %(seconds)s)
WHERE id = (
    SELECT id FROM batches WHERE state = 'validating' AND input_file_id IS NOT NULL
    AND (lease_until IS NULL OR lease_until < now())
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, attempt
"""
RENEW_READING = """
UPDATE batches SET lease_until = now() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s AND state = 'validating' AND attempt = %(attempt)s RETURNING id
"""
# Plans that were made while there were few requests (those of foreign keys as well) look through all of them for each.
ANALYZE = "ANALYZE (SKIP_LOCKED) batch_requests"
MANY_REQUESTS = 2000
KEEP_INTAKE = """
UPDATE batches SET lease_until = now() + make_interval(secs => %s)
WHERE id = %s AND state = 'validating' AND input_file_id IS NULL
"""
DELETE_STALLED = """
DELETE FROM batches WHERE id = %s AND state = 'validating' AND input_file_id IS NULL AND lease_until < now()
"""
HELD_SECONDS = 5e8
INTAKE_SECONDS = 60.0
"""How long after its last piece a batch that is sent counts as one that somebody still sends."""

_encode = msgspec.json.Encoder().encode


async def insert_batch(connection: Connection, new: NewBatch) -> None:
    """Store a batch that is being read; nobody works on it yet. Raises KeyTakenError for an idempotency key in use."""
    try:
        await connection.execute(INSERT_BATCH, _list_values(new))
    except UniqueViolation as error:
        if new.idempotency_key is None:
            raise
        raise KeyTakenError(new.idempotency_key) from error


async def describe_batch(connection: Connection, new: NewBatch, *, native: bool) -> None:
    """Store what was said of a batch after its requests; not `native`: none of them waits for a vendor's batch."""
    await connection.execute(DESCRIBE, _list_values(new))
    if not native:
        await connection.execute(TAKE_OUT, (new.id,))


def _list_values(new: NewBatch) -> dict[str, Any]:
    metadata = None if new.metadata is None else json.dumps(new.metadata)
    options = _encode(new.options).decode()
    return {
        **structs.asdict(new),
        "intake_seconds": INTAKE_SECONDS,
        "metadata": metadata,
        "tags": list(new.tags),
        "options": options,
    }


async def insert_requests(connection: Connection, batch_id: UUID, first: int, requests: Sequence[NewRequest]) -> None:
    """Store requests of a batch that is being read, from the place `first` on."""
    async with connection.cursor() as cursor, cursor.copy(COPY_REQUESTS) as copy:
        for position, new in enumerate(requests, first):
            encoding, kept = pack(new.item.body)
            await copy.write_row(
                (
                    batch_id,
                    position,
                    new.item.custom_id,
                    new.item.path,
                    new.provider,
                    new.model,
                    encoding,
                    len(new.item.body),
                    kept,
                    "pooled" if new.pooled else "queued",
                    new.hold_id,
                    new.held_usd,
                )
            )


async def keep_intake(connection: Connection, batch_id: UUID) -> None:
    """Say that a batch is still being sent."""
    await connection.execute(KEEP_INTAKE, (INTAKE_SECONDS, batch_id))


async def delete_stalled(connection: Connection, batch_id: UUID) -> None:
    """Take back a batch that nobody sends any more: whoever read it has died."""
    await connection.execute(DELETE_STALLED, (batch_id,))


async def clear_requests(connection: Connection, batch_id: UUID) -> None:
    """Take back what was stored of a batch that is read once more."""
    await connection.execute(CLEAR_REQUESTS, (batch_id,))


async def clear_cancelled(connection: Connection, batch_id: UUID) -> None:
    """Take back what was still stored of a batch that was cancelled while it was read; of no other."""
    await connection.execute(CLEAR_CANCELLED, (batch_id,))


async def delete_batch(connection: Connection, batch_id: UUID) -> None:
    """Take back a batch that was not accepted; one that was stays."""
    await connection.execute(DELETE_BATCH, (batch_id,))


async def accept_batch(
    connection: Connection, batch_id: UUID, attempt: int, total: int, asks: Sequence[Ask]
) -> tuple[int, list[Answer]]:
    """Hold the money of a batch and queue it, and return how many are ahead of it.

    All or nothing: where an answer grants nothing, or the batch is not ours any more (-1), nothing has changed.
    """
    answers: list[Answer] = []
    async with connection.transaction() as transaction:
        if asks:
            await connection.execute(LIVE_FOR_EVER, (batch_id,))
            answers = await reserve(connection, batch_id, asks)
        values = {"id": batch_id, "total": total, "attempt": attempt}
        line = await (await connection.execute(QUEUE, values)).fetchone()
        if line is None or any(answer.granted_usd is None for answer in answers):
            transaction.force_rollback = True
        else:
            await defer_waking(connection)
    if total >= MANY_REQUESTS:
        await connection.execute(ANALYZE)
    return (-1 if line is None else cast(int, line[0])), answers


async def fail_batch(connection: Connection, batch_id: UUID, attempt: int, errors: Sequence[dict[str, Any]]) -> bool:
    """Say that a batch cannot be read, and why, and take back what was stored of it; False when it is not ours."""
    values = {"id": batch_id, "attempt": attempt, "errors": json.dumps(list(errors))}
    async with connection.transaction():
        ours = await (await connection.execute(FAIL, values)).fetchone() is not None
        if ours:
            await connection.execute(CLEAR_REQUESTS, (batch_id,))
            await note_end(connection, batch_id)
    return ours


async def claim_reading(connection: Connection, worker_id: UUID, seconds: float) -> tuple[UUID, int] | None:
    """Return a batch whose file nobody reads, and the attempt under which it is ours."""
    cursor = await connection.execute(CLAIM_READING, {"worker_id": worker_id, "seconds": seconds})
    line = await cursor.fetchone()
    return None if line is None else (cast(UUID, line[0]), cast(int, line[1]))


async def renew_reading(connection: Connection, batch_id: UUID, attempt: int, seconds: float) -> bool:
    """Say that the file of a batch is still being read; False when it is not ours any more."""
    values = {"id": batch_id, "attempt": attempt, "seconds": seconds}
    return await (await connection.execute(RENEW_READING, values)).fetchone() is not None
