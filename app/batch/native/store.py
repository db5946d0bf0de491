"""The vendors' batches behind ours: planned out of waiting requests, claimed, kept, brought forward and ended.

Rows of batches are locked before their requests, and those before rows of vendors' batches. Every change of a vendor's
batch is made under the attempt that was claimed.
"""

import json
from collections.abc import Sequence
from typing import Any, LiteralString, cast
from uuid import UUID

from msgspec import structs

from app.batch.native.types import Advance, Group, NativeBatch, NativeEnd, NativeState, NotOursError
from app.db.connection import Connection

HAS_WORK = """
SELECT EXISTS (SELECT FROM batch_requests WHERE state = 'pooled')
    OR EXISTS (SELECT FROM native_batches WHERE finished_at IS NULL)
"""
# Without MATERIALIZED a join may choose anew for each row, and so claim more than it may.
CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id FROM native_batches
    WHERE finished_at IS NULL AND look_at <= now() AND (lease_until IS NULL OR lease_until < now())
    AND (cancel_asked OR give_up_at <= now() OR NOT %(urgent)s) AND provider <> ALL (%(busy)s::text[])
    ORDER BY cancel_asked DESC, tries DESC, look_at LIMIT %(count)s FOR UPDATE SKIP LOCKED)
UPDATE native_batches AS n
SET attempt = n.attempt + 1, worker_id = %(worker_id)s,
    lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM due WHERE n.id = due.id
RETURNING n.id, n.protocol, n.provider, n.model, n.path, n.state, n.requests, n.key_place, n.remote_id,
          n.remote_files, n.tries, n.attempt, n.cancel_asked,
          extract(epoch FROM n.give_up_at - now())::float8,
          coalesce(extract(epoch FROM now() - n.sent_at), 0)::float8, extract(epoch FROM now())::float8
"""
RENEW = """
UPDATE native_batches AS n SET lease_until = now() + make_interval(secs => %(seconds)s)
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[]) AS k (id, attempt)
WHERE n.id = k.id AND n.attempt = k.attempt AND n.finished_at IS NULL AND n.lease_until IS NOT NULL
RETURNING n.id, n.attempt, n.cancel_asked
"""
# Whoever asks for an end while we work on it must not wait for the next look.
RELEASE = """
UPDATE native_batches
SET worker_id = NULL, lease_until = NULL, tries = %(tries)s, look_at = CASE
    WHEN cancel_asked AND NOT %(asked)s THEN now()
    ELSE least(now() + make_interval(secs => %(wait)s), greatest(give_up_at, now() + interval '1 second')) END
WHERE id = %(id)s AND attempt = %(attempt)s AND finished_at IS NULL
"""
ADVANCE = """
UPDATE native_batches
SET state = %(state)s, remote_id = coalesce(%(remote_id)s, remote_id), requests = coalesce(%(requests)s, requests),
    key_place = coalesce(%(key_place)s, key_place), remote_files = remote_files || %(files)s::jsonb,
    sent_at = CASE WHEN %(stamp)s THEN clock_timestamp() ELSE sent_at END,
    tries = CASE WHEN %(remote_id)s::text IS NULL THEN tries ELSE 0 END
WHERE id = %(id)s AND attempt = %(attempt)s AND finished_at IS NULL RETURNING id
"""
END = """
UPDATE native_batches
SET state = %(state)s, error = %(error)s, finished_at = now(), worker_id = NULL, lease_until = NULL
WHERE id = %(id)s AND attempt = %(attempt)s AND finished_at IS NULL RETURNING id
"""
IS_OURS = "SELECT EXISTS (SELECT FROM native_batches WHERE id = %s AND attempt = %s AND finished_at IS NULL)"
LIST_REFUSING = """
SELECT DISTINCT provider FROM native_batches
WHERE state = 'refused' AND finished_at > now() - make_interval(secs => %s)
"""
FIND_REMOTE = "SELECT remote_id FROM native_batches WHERE id = %s"
LIST_KNOWN = "SELECT remote_id FROM native_batches WHERE remote_id = ANY (%s) AND id <> %s"
FORGET = "DELETE FROM native_batches WHERE finished_at < now() - make_interval(days => %s)"
_Line = tuple[
    UUID, str, str, str, str, NativeState, int, int, str | None, dict[str, Any], int, int, bool, float, float, float
]


async def has_work(connection: Connection) -> bool:
    """Return whether anything waits for a vendor's batch, or is in one."""
    line = await (await connection.execute(HAS_WORK)).fetchone()
    return line is not None and bool(line[0])


async def claim_natives(
    connection: Connection,
    worker_id: UUID,
    count: int,
    seconds: float,
    *,
    urgent: bool = False,
    busy: Sequence[str] = (),
) -> list[NativeBatch]:
    """Claim at most `count` of those that something is due to be done about, none of `busy` providers' batches.

    `urgent`: only of those that are to be stopped.
    """
    values = {"worker_id": worker_id, "count": count, "seconds": seconds, "urgent": urgent, "busy": list(busy)}
    lines = cast(list[_Line], await (await connection.execute(CLAIM, values)).fetchall())
    return [_read_native(line) for line in lines]


def _read_native(line: _Line) -> NativeBatch:
    native_id, protocol, provider, model, path, state, requests, key_place, remote_id, files, tries, *rest = line
    attempt, cancel_asked, left, age, now = cast(tuple[int, bool, float, float, float], tuple(rest))
    return NativeBatch(
        id=native_id,
        protocol=protocol,
        group=Group(provider=provider, model=model, path=path),
        state=state,
        requests=requests,
        key_place=key_place,
        remote_id=remote_id,
        remote_files=files,
        tries=tries,
        attempt=attempt,
        cancel_asked=cancel_asked,
        left_seconds=left,
        age_seconds=age,
        now=now,
    )


async def renew_natives(
    connection: Connection, natives: Sequence[NativeBatch], seconds: float
) -> dict[tuple[UUID, int], bool]:
    """Keep claims, and return those that still hold, by id and attempt: whether somebody cancelled it.

    A claim that its worker never heard of, its answer being lost, is none of `natives`, and ends with its lease.
    """
    values = {"ids": [one.id for one in natives], "attempts": [one.attempt for one in natives], "seconds": seconds}
    cursor = await connection.execute(RENEW, values)
    lines = cast(list[tuple[UUID, int, bool]], await cursor.fetchall())
    return {(native_id, attempt): asked for native_id, attempt, asked in lines}


async def release_native(connection: Connection, native: NativeBatch, wait_seconds: float, tries: int) -> None:
    """Let go of a batch, to be looked at again after a while; `native` says whether its end was known of."""
    values = {"id": native.id, "attempt": native.attempt, "wait": wait_seconds, "tries": tries}
    await connection.execute(RELEASE, values | {"asked": native.cancel_asked})


async def advance_native(connection: Connection, native: NativeBatch, step: Advance) -> None:
    """Bring a batch forward. Raises NotOursError."""
    values = structs.asdict(step) | {"files": json.dumps(step.files)}
    await _change(connection, ADVANCE, native, values)


async def end_native(connection: Connection, native: NativeBatch, state: NativeEnd, error: str | None) -> None:
    """Bring a batch to its end, which no request is in any more. Raises NotOursError."""
    await _change(connection, END, native, {"state": state, "error": error})


async def check_ours(connection: Connection, native: NativeBatch) -> None:
    """Raise NotOursError when somebody else has taken the batch over."""
    line = await (await connection.execute(IS_OURS, (native.id, native.attempt))).fetchone()
    if line is None or not line[0]:
        raise NotOursError(str(native.id))


async def list_refusing(connection: Connection, seconds: float) -> set[str]:
    """Return the providers that refused a batch within so many seconds."""
    return {cast(str, line[0]) for line in await (await connection.execute(LIST_REFUSING, (seconds,))).fetchall()}


async def find_remote(connection: Connection, native_id: UUID) -> str | None:
    """Return which batch of the vendor's counts, as far as one is known."""
    line = await (await connection.execute(FIND_REMOTE, (native_id,))).fetchone()
    return cast("str | None", line[0]) if line is not None else None


async def list_known(connection: Connection, remote_ids: Sequence[str], native: NativeBatch) -> set[str]:
    """Return which of the vendor's ids belong to other batches of ours."""
    lines = await (await connection.execute(LIST_KNOWN, (list(remote_ids), native.id))).fetchall()
    return {cast(str, line[0]) for line in lines}


async def forget_natives(connection: Connection, days: int) -> None:
    """Delete what is over for so many days."""
    await connection.execute(FORGET, (days,))


async def _change(
    connection: Connection, statement: LiteralString, native: NativeBatch, values: dict[str, Any]
) -> None:
    cursor = await connection.execute(statement, values | {"id": native.id, "attempt": native.attempt})
    if await cursor.fetchone() is None:
        raise NotOursError(str(native.id))
