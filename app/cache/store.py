"""The tier in Postgres, shared by all processes and kept over restarts."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

import msgspec

from app.cache.types import Entry
from app.db.connection import Connection
from app.wire.usage import Usage

WRITER_OPTIONS = "-c synchronous_commit=off"
"""A crash of Postgres may lose the last answers; in return no write waits for its disk."""

FIND = """
SELECT key, scope, provider, model, endpoint, streamed, content_type, body, usage, created_at, expires_at
FROM cache_entries WHERE key = ANY(%(keys)b) AND expires_at > now()
"""

UPSERT = """
INSERT INTO cache_entries
    (key, scope, provider, model, endpoint, streamed, content_type, body, usage, created_at, expires_at)
SELECT key, scope, provider, model, endpoint, streamed, content_type, body, usage,
    to_timestamp(created_at), to_timestamp(expires_at)
FROM unnest(%b::bytea[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bool[], %b::text[], %b::bytea[],
    %b::bytea[], %b::float8[], %b::float8[])
    AS entries (key, scope, provider, model, endpoint, streamed, content_type, body, usage, created_at, expires_at)
ON CONFLICT (key) DO UPDATE SET
    streamed = excluded.streamed, content_type = excluded.content_type, body = excluded.body, usage = excluded.usage,
    created_at = excluded.created_at, expires_at = excluded.expires_at
"""

DELETE_EXPIRED = """
DELETE FROM cache_entries WHERE key IN (
    SELECT key FROM cache_entries WHERE expires_at <= now() ORDER BY expires_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED)
"""

_encode_usage = msgspec.msgpack.Encoder().encode
_decode_usage = msgspec.msgpack.Decoder(Usage).decode
Line = tuple[bytes, str, str, str, str, bool, str, bytes, bytes | None, datetime, datetime]


async def find_entries(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, Entry]:
    """Return the live entries among `keys`."""
    cursor = await connection.execute(FIND, {"keys": list(keys)}, binary=True)
    lines = cast(list[Line], await cursor.fetchall())
    return {bytes(line[0]): _read(line) for line in lines}


async def upsert_entries(connection: Connection, entries: Sequence[Entry]) -> None:
    """Store `entries`, of different keys, newer ones in place of older."""
    ordered = sorted(entries, key=lambda entry: entry.key)  # one order everywhere: writers cannot deadlock
    columns = zip(*map(_write, ordered), strict=True)
    await connection.execute(UPSERT, [list(column) for column in columns])


async def delete_expired(connection: Connection, limit: int = 1000) -> int:
    """Delete at most `limit` entries whose time is over and return how many."""
    return (await connection.execute(DELETE_EXPIRED, {"limit": limit})).rowcount


def _read(line: Line) -> Entry:
    usage = line[8]
    return Entry(
        key=bytes(line[0]),
        scope=bytes.fromhex(line[1]),
        provider=line[2],
        model=line[3],
        endpoint=line[4],
        streamed=line[5],
        content_type=line[6],
        body=bytes(line[7]),
        usage=_decode_usage(usage) if usage is not None else None,
        created_at=line[9].timestamp(),
        expires_at=line[10].timestamp(),
    )


def _write(entry: Entry) -> tuple[object, ...]:
    return (
        entry.key,
        entry.scope.hex(),
        entry.provider,
        entry.model,
        entry.endpoint,
        entry.streamed,
        entry.content_type,
        entry.body,
        _encode_usage(entry.usage) if entry.usage is not None else None,
        entry.created_at,
        entry.expires_at,
    )
