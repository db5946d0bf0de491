"""The files of batches: those that were uploaded, piece by piece, and those that the results of a batch make up."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, cast
from uuid import UUID

import msgspec
from psycopg.sql import SQL

from app.batch.types import NewBatch, Outcome
from app.cache.packing import pack, unpack
from app.db.connection import Connection

INSERT_FILE = "INSERT INTO batch_files (id, user_id, api_key_id, filename, purpose) VALUES (%s, %s, %s, %s, '')"
INSERT_PIECE = "INSERT INTO batch_file_pieces (file_id, position, encoding, size, data) VALUES (%s, %s, %s, %s, %s)"
COMPLETE = """
UPDATE batch_files SET purpose = %(purpose)s, size = %(size)s, complete = true,
                       expires_at = created_at + make_interval(secs => %(seconds)s::float8)
WHERE id = %(id)s
"""
DELETE_FILE = "DELETE FROM batch_files WHERE id = %s"
FIND_FILE = """
SELECT id, user_id, filename, purpose, size, created_at, expires_at FROM batch_files
WHERE id = %s AND complete AND (expires_at IS NULL OR expires_at > now())
"""
PIECE = "SELECT encoding, size, data FROM batch_file_pieces WHERE file_id = %s AND position = %s"

# Nothing is stored twice: what a batch came to is a file by its id alone, and as long as its lines are written.
LINE_SIZE = """
octet_length(to_json(r.custom_id)::text) + CASE
    WHEN s.outcome = 'cancelled' THEN %(cancelled)s
    WHEN s.outcome = 'expired' THEN %(expired)s
    ELSE %(answered)s + s.size + length(s.status_code::text) + CASE WHEN s.request_id IS NULL THEN 4 ELSE 38 END END
"""
OUTPUT_SIZES = (
    SQL("""
SELECT s.batch_id, s.outcome = 'succeeded', sum({})::bigint
FROM batch_results AS s JOIN batch_requests AS r ON r.batch_id = s.batch_id AND r.position = s.position
WHERE s.batch_id = ANY (%(ids)s) GROUP BY 1, 2
""")
    .format(SQL(LINE_SIZE))
    .as_bytes()
)
LIST_FILES = """
WITH f AS (
    SELECT 'file-' || replace(id::text, '-', '') AS name, id, 'input' AS kind, created_at, filename, purpose, size,
           expires_at
    FROM batch_files
    WHERE complete AND (expires_at IS NULL OR expires_at > now())
    AND (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s)
    UNION ALL
    SELECT 'file-' || replace(b.id::text, '-', '') || '-' || k.kind, b.id, k.kind, b.finished_at, '', 'batch_output', 0,
           NULL
    FROM batches AS b CROSS JOIN (VALUES ('output', true), ('error', false)) AS k (kind, good)
    WHERE b.shape = 'openai' AND b.finished_at IS NOT NULL
    AND (%(user_id)s::uuid IS NULL OR b.user_id = %(user_id)s)
    AND CASE WHEN k.good THEN b.succeeded ELSE b.errored + b.cancelled + b.expired END > 0
    AND EXISTS (SELECT FROM batch_results AS s WHERE s.batch_id = b.id AND (s.outcome = 'succeeded') = k.good))
SELECT id, kind, filename, purpose, size, created_at, expires_at FROM f
WHERE (%(purpose)s::text IS NULL OR purpose = %(purpose)s)
"""
BACKWARDS = """
AND (%(after)s::text IS NULL
     OR (created_at, name) < (coalesce((SELECT created_at FROM f WHERE name = %(after)s),
                                         (SELECT finished_at FROM batches WHERE id = %(after_batch)s),
                                         %(after_at)s), %(after)s))
ORDER BY created_at DESC, name DESC LIMIT %(limit)s
"""
FORWARDS = """
AND (%(after)s::text IS NULL
     OR (created_at, name) > (coalesce((SELECT created_at FROM f WHERE name = %(after)s),
                                         (SELECT finished_at FROM batches WHERE id = %(after_batch)s),
                                         %(after_at)s), %(after)s))
ORDER BY created_at, name LIMIT %(limit)s
"""
HAS_OUTPUTS = """
SELECT b.id,
       CASE WHEN b.succeeded > 0 THEN EXISTS (
           SELECT FROM batch_results AS s WHERE s.batch_id = b.id AND s.outcome = 'succeeded') ELSE false END,
       CASE WHEN b.errored + b.cancelled + b.expired > 0 THEN EXISTS (
           SELECT FROM batch_results AS s WHERE s.batch_id = b.id AND s.outcome <> 'succeeded') ELSE false END
FROM batches AS b WHERE b.id = ANY (%s) AND b.finished_at IS NOT NULL
"""
DELETE_OUTPUT = "DELETE FROM batch_results WHERE batch_id = %s AND (outcome = 'succeeded') = %s"
# The hour around it is for processes whose clocks differ.
SUM_USAGE = """
SELECT sum(q.input_tokens + coalesce(q.cache_read_tokens, 0) + coalesce(q.cache_write_5m_tokens, 0)
           + coalesce(q.cache_write_1h_tokens, 0) + coalesce(q.input_audio_tokens, 0)
           + coalesce(q.input_image_tokens, 0))::bigint,
       sum(q.cache_read_tokens)::bigint,
       sum(q.output_tokens + coalesce(q.reasoning_tokens, 0) + coalesce(q.output_audio_tokens, 0)
           + coalesce(q.output_image_tokens, 0))::bigint,
       sum(q.reasoning_tokens)::bigint
FROM batches AS b
JOIN batch_results AS s ON s.batch_id = b.id
JOIN requests AS q ON q.id = s.request_id AND q.request_time > b.created_at - interval '1 hour'
                  AND q.request_time < b.finished_at + interval '1 hour'
WHERE b.id = %s
"""
CLAIM_ONE = """
UPDATE batches SET attempt = attempt + 1, worker_id = %(worker_id)s,
                   lease_until = now() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s RETURNING attempt
"""
FIND_NEW = """
SELECT id, shape, user_id, api_key_id, team_id, organization_id, tags, path, provider, model, priority, native,
       extract(epoch FROM expires_at - created_at)::float8, deadline_at IS NOT NULL, input_file_id, metadata
FROM batches WHERE id = %s
"""

NEW_FIELDS = (
    "id", "shape", "user_id", "api_key_id", "team_id", "organization_id", "tags", "path", "provider", "model",
    "priority", "native", "span_seconds", "deadline", "input_file_id", "metadata",
)  # fmt: skip
OUTCOMES: Mapping[str, tuple[Outcome, ...]] = {
    "output": ("succeeded",),
    "error": ("errored", "cancelled", "expired", "parked"),
}
"""What the lines of the files of a batch tell of."""

_File = tuple[UUID, UUID, str, str, int, datetime, datetime | None]

Ask = Callable[[Callable[[Connection], Awaitable[bytes | None]]], Awaitable[bytes | None]]
"""Has a question asked of the database."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file: one that was uploaded (`kind` is "input"), or one of a batch, whose id it goes by ("output", "error")."""

    id: UUID
    kind: str
    filename: str
    purpose: str
    size: int
    created_at: datetime
    expires_at: datetime | None = None
    user_id: UUID | None = None


class Usage(msgspec.Struct, frozen=True):
    """What all requests of a batch used together."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


async def insert_file(
    connection: Connection, file_id: UUID, user_id: UUID, api_key_id: UUID | None, filename: str
) -> None:
    """Begin a file that is being uploaded."""
    await connection.execute(INSERT_FILE, (file_id, user_id, api_key_id, filename))


async def insert_piece(connection: Connection, file_id: UUID, position: int, data: bytes) -> None:
    """Store the next piece of a file."""
    encoding, kept = pack(data)
    await connection.execute(INSERT_PIECE, (file_id, position, encoding, len(data), kept))


async def complete_file(
    connection: Connection, file_id: UUID, purpose: str, size: int, seconds: float | None = None
) -> None:
    """Say that a file is there; for so many seconds, or as long as all are kept."""
    values = {"id": file_id, "purpose": purpose, "size": size, "seconds": seconds}
    await connection.execute(COMPLETE, values)


async def delete_file(connection: Connection, file_id: UUID) -> None:
    """Delete a file that was uploaded, or what there is of it."""
    await connection.execute(DELETE_FILE, (file_id,))


async def find_file(connection: Connection, file_id: UUID) -> File | None:
    """Return a file that was uploaded, whoever's it is."""
    line = await (await connection.execute(FIND_FILE, (file_id,))).fetchone()
    if line is None:
        return None
    _, user_id, filename, purpose, size, created_at, expires_at = cast(_File, line)
    return File(
        id=file_id,
        kind="input",
        filename=filename,
        purpose=purpose,
        size=size,
        created_at=created_at,
        expires_at=expires_at,
        user_id=user_id,
    )


async def stream_pieces(ask: Ask, file_id: UUID) -> AsyncIterator[bytes]:
    """Yield a file piece by piece; between them nothing is held. It ends where a piece is not there."""
    position = 0
    while (data := await ask(partial(find_piece, file_id=file_id, position=position))) is not None:
        yield data
        position += 1


async def find_piece(connection: Connection, file_id: UUID, position: int) -> bytes | None:
    """Return one piece of a file."""
    line = await (await connection.execute(PIECE, (file_id, position))).fetchone()
    if line is None:
        return None
    encoding, size, data = cast(tuple[int, int, bytes], line)
    return unpack(encoding, bytes(data), size)


async def list_files(connection: Connection, values: dict[str, Any], *, ascending: bool) -> tuple[list[File], bool]:
    """Return a page of the files of a user, and whether there are more.

    `values` are user_id (None: of all), purpose (None: any), limit, and after, the id of the last file of the page
    before; should it be gone, it stands for the end of the batch whose it was (after_batch), else for an instant
    (after_at). Files of batches come without a size.
    """
    limit = values["limit"]
    query = LIST_FILES + (FORWARDS if ascending else BACKWARDS)
    cursor = await connection.execute(query.encode(), {**values, "limit": limit + 1})
    lines = cast(list[tuple[UUID, str, str, str, int, datetime, datetime | None]], await cursor.fetchall())
    names = ("id", "kind", "filename", "purpose", "size", "created_at", "expires_at")
    shown: list[dict[str, Any]] = [dict(zip(names, line, strict=True)) for line in lines[:limit]]
    found = [File(**values) for values in shown]
    return found, len(lines) > limit


async def measure_outputs(
    connection: Connection, ids: Sequence[UUID], sizes: Mapping[str, int]
) -> dict[tuple[UUID, str], int]:
    """Return how many bytes the files of batches have, by batch and kind.

    `sizes` are those of their lines but for what differs in each.
    """
    cursor = await connection.execute(OUTPUT_SIZES, {**sizes, "ids": list(ids)})
    lines = cast(list[tuple[UUID, bool, int]], await cursor.fetchall())
    return {(batch_id, "output" if good else "error"): size for batch_id, good, size in lines}


async def list_outputs(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, frozenset[str]]:
    """Return which files there are of batches that are over."""
    lines = cast(list[tuple[UUID, bool, bool]], await (await connection.execute(HAS_OUTPUTS, (list(ids),))).fetchall())
    return {
        batch_id: frozenset(kind for kind, there in (("output", good), ("error", bad)) if there)
        for batch_id, good, bad in lines
    }


async def delete_output(connection: Connection, batch_id: UUID, kind: str) -> None:
    """Delete a file of a batch: the results that it is made of."""
    await connection.execute(DELETE_OUTPUT, (batch_id, kind == "output"))


async def sum_usage(connection: Connection, batch_id: UUID) -> Usage | None:
    """Return what a batch that is over used; None when nothing is known of it."""
    line = await (await connection.execute(SUM_USAGE, (batch_id,))).fetchone()
    sums = cast(tuple[int | None, ...], line)
    return None if sums[0] is None else Usage(*(one or 0 for one in sums))


async def claim_one(connection: Connection, batch_id: UUID, worker_id: UUID, seconds: float) -> int:
    """Claim the reading of the file of a batch that was stored in the same transaction; return the attempt."""
    values = {"id": batch_id, "worker_id": worker_id, "seconds": seconds}
    line = await (await connection.execute(CLAIM_ONE, values)).fetchone()
    return cast(int, cast(tuple[object], line)[0])


async def find_new(connection: Connection, batch_id: UUID) -> NewBatch | None:
    """Return a batch as it was handed in."""
    line = await (await connection.execute(FIND_NEW, (batch_id,))).fetchone()
    if line is None:
        return None
    values: dict[str, Any] = dict(zip(NEW_FIELDS, line, strict=True))
    values["tags"] = tuple(values["tags"])
    return NewBatch(**values)
