"""The table of calls with an Idempotency-Key: one row for a key, from its first call until it expires."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

import msgspec

from app.db.connection import Connection
from app.wire.http import Headers

# A key is taken when it is new, when its time is over, or when its row is a call of ours that never went out (its
# token is among the `lost`). The row that is in the way is not seen by the statement that met it: then neither half
# yields a line, and asking again does.
BEGIN = """
WITH started AS (
    INSERT INTO idempotent_calls AS held
        (scope, key_hash, body_hash, state, process_id, token, request_id, expires_at)
    VALUES (%(scope)s, %(key_hash)s, %(body_hash)s, 'running', %(process_id)s, %(token)s, %(request_id)s,
        now() + make_interval(secs => %(seconds)s))
    ON CONFLICT (scope, key_hash) DO UPDATE SET
        body_hash = excluded.body_hash, state = excluded.state, process_id = excluded.process_id,
        token = excluded.token, request_id = excluded.request_id, status = NULL, headers = NULL, body = NULL,
        created_at = now(), expires_at = excluded.expires_at
    WHERE held.expires_at <= now() OR held.token = ANY(%(lost)s::uuid[])
    RETURNING 1
)
SELECT 'started', true, ''::text, NULL::integer, NULL::bytea, NULL::bytea FROM started
UNION ALL
SELECT CASE
        WHEN state <> 'running' THEN state
        WHEN process_id = %(process_id)s THEN state
        WHEN EXISTS (SELECT FROM processes WHERE id = process_id AND lease_until > now()) THEN state
        ELSE 'unknown'
    END,
    body_hash = %(body_hash)s, request_id, status, headers, CASE WHEN body_hash = %(body_hash)s THEN body END
FROM idempotent_calls
WHERE scope = %(scope)s AND key_hash = %(key_hash)s AND NOT EXISTS (SELECT FROM started)
"""

# What a process learns in the end stands, though others may have taken it for dead meanwhile.
FINISH = """
UPDATE idempotent_calls SET state = %(state)s, status = %(status)s, headers = %(headers)b, body = %(body)b
WHERE scope = %(scope)s AND key_hash = %(key_hash)s AND token = %(token)s
"""

ABANDON = """
DELETE FROM idempotent_calls WHERE scope = %(scope)s AND key_hash = %(key_hash)s AND token = %(token)s
"""
ABANDON_ALL = """
DELETE FROM idempotent_calls AS held
USING unnest(%s::bytea[], %s::bytea[], %s::uuid[]) AS lost (scope, key_hash, token)
WHERE held.scope = lost.scope AND held.key_hash = lost.key_hash AND held.token = lost.token
RETURNING held.token
"""

DELETE_EXPIRED = """
WITH expired AS MATERIALIZED (
    SELECT scope, key_hash FROM idempotent_calls WHERE expires_at <= now() ORDER BY expires_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED)
DELETE FROM idempotent_calls AS held USING expired
WHERE held.scope = expired.scope AND held.key_hash = expired.key_hash
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Headers).decode
Line = tuple[str, bool, str, int | None, bytes | None, bytes | None]


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A call that may be made now; whoever holds this has to say how it ended."""

    scope: bytes
    key_hash: bytes
    token: UUID


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a call ended: `state` is "done" with the answer, "too_large", "unknown", or "free" when it was not made."""

    started: Started
    state: str
    status: int | None = None
    headers: Headers = []
    body: bytes = b""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a key stands for: `state` is "started" (by us, now), "running", "done", "too_large" or "unknown"."""

    state: str
    same_body: bool
    request_id: str
    status: int | None = None
    headers: Headers = []
    body: bytes = b""


async def begin_call(
    connection: Connection,
    started: Started,
    body_hash: bytes,
    *,
    process_id: UUID,
    request_id: str,
    seconds: float,
    lost: Sequence[UUID],
) -> Found | None:
    """Take the key, or return what it stands for; None when it changed hands in this very moment."""
    values = {
        "scope": started.scope,
        "key_hash": started.key_hash,
        "token": started.token,
        "body_hash": body_hash,
        "process_id": process_id,
        "request_id": request_id,
        "seconds": seconds,
        "lost": list(lost),
    }
    line = cast(Line | None, await (await connection.execute(BEGIN, values, binary=True)).fetchone())
    return _read(line) if line is not None else None


async def end_call(connection: Connection, ending: Ending) -> bool:
    """Note how a call ended; False when its row was not there."""
    started = ending.started
    values: dict[str, object] = {"scope": started.scope, "key_hash": started.key_hash, "token": started.token}
    if ending.state == "free":
        return (await connection.execute(ABANDON, values)).rowcount > 0
    values |= {"state": ending.state, "status": ending.status, "headers": _encode(ending.headers), "body": ending.body}
    return (await connection.execute(FINISH, values)).rowcount > 0


async def abandon_calls(connection: Connection, lost: Sequence[Started]) -> set[UUID]:
    """Free the keys of calls that were not made, and return the tokens of those that were taken."""
    values = [one.scope for one in lost], [one.key_hash for one in lost], [one.token for one in lost]
    return {
        token for (token,) in cast(list[tuple[UUID]], await (await connection.execute(ABANDON_ALL, values)).fetchall())
    }


async def delete_expired_calls(connection: Connection, limit: int = 1000) -> int:
    """Delete at most `limit` keys whose time is over and return how many."""
    return (await connection.execute(DELETE_EXPIRED, {"limit": limit})).rowcount


def _read(line: Line) -> Found:
    return Found(
        state=line[0],
        same_body=line[1],
        request_id=line[2],
        status=line[3],
        headers=_decode(line[4]) if line[4] is not None else [],
        body=bytes(line[5]) if line[5] is not None else b"",
    )
