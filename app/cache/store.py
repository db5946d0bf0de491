"""The tier in Postgres, shared by all processes and kept over restarts."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from psycopg.sql import SQL

from app.cache.clearing import Cleared, Clearing
from app.cache.packing import PLAIN, pack, unpack
from app.cache.types import Entry, Found
from app.db.connection import Connection
from app.wire.usage import Usage

WRITER_OPTIONS = "-c synchronous_commit=off"
"""A crash of Postgres may lose the last answers; in return no write waits for its disk."""

LARGE_BYTES = 256 * 1024
"""What is compressed and decompressed beside the event loop, not on it."""

LEASE_SECONDS = 5.0
"""How long a call may be led without a sign of life from its process."""

LINGER_SECONDS = 1.0
"""How long a lease outlives the call that was answered: nobody may take it who does not see the entry yet."""

_COLUMNS = SQL(
    "key, scope, user_id, api_key_id, provider, model, endpoint, streamed, content_type, encoding, body, size, usage, "
    "tags, created_at, expires_at"
)
_FIND = SQL("SELECT {columns} FROM cache_entries WHERE key = ANY(%(keys)b) AND expires_at > now()").format(
    columns=_COLUMNS
)
FIND = _FIND.as_bytes()

# Who asks for a key that has no entry takes its lease when nobody else has it. The order of the keys is the same in all
# processes, so none waits for another in a circle.
FIND_OR_LEASE = (
    SQL("""
WITH found AS MATERIALIZED ({find}), taken AS (
    INSERT INTO cache_leases AS held (key, owner, until)
    SELECT wanted, %(owner)b, now() + make_interval(secs => %(seconds)b)
    FROM unnest(%(leases)b::bytea[]) AS wanted
    WHERE NOT EXISTS (SELECT FROM found WHERE found.key = wanted)
    ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, until = excluded.until
    WHERE held.until <= now() OR held.owner = excluded.owner
    RETURNING held.key
)
SELECT {columns} FROM found
UNION ALL
SELECT key, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM taken
""")
    .format(find=_FIND, columns=_COLUMNS)
    .as_bytes()
)

# An answer replaces all earlier ones to the same call, in whatever slot; the question that another answer was kept with
# goes too: it comes back with this one where it suits.
UPSERT = (
    SQL("""
WITH written AS (
    INSERT INTO cache_entries ({columns}, slot)
    SELECT e.key, e.scope, e.user_id, e.api_key_id, e.provider, e.model, e.endpoint, e.streamed, e.content_type,
        e.encoding, e.body, e.size, e.usage, ARRAY(SELECT jsonb_array_elements_text(e.tags)),
        to_timestamp(e.created_at), to_timestamp(e.expires_at), s.slot
    FROM unnest(%b::bytea[], %b::text[], %b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::bool[],
        %b::text[], %t::int2[], %b::bytea[], %t::int4[], %b::bytea[], %t::jsonb[], %b::float8[], %b::float8[])
        AS e ({columns})
    JOIN cache_slots s ON s.closed_at IS NULL AND s.class = relaycore_cache_class(e.expires_at - e.created_at)
    ON CONFLICT (key, slot) DO UPDATE SET
        streamed = excluded.streamed, content_type = excluded.content_type, encoding = excluded.encoding,
        body = excluded.body, size = excluded.size, usage = excluded.usage, tags = excluded.tags,
        user_id = excluded.user_id, api_key_id = excluded.api_key_id, model = excluded.model,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    RETURNING key, slot
), questions AS (DELETE FROM semantic_entries AS q USING written WHERE q.key = written.key)
DELETE FROM cache_entries AS old USING written WHERE old.key = written.key AND old.slot <> written.slot
""")
    .format(columns=_COLUMNS)
    .as_bytes()
)

RENEW = """
UPDATE cache_leases SET until = now() + make_interval(secs => %(seconds)s)
WHERE owner = %(owner)s AND key = ANY(%(keys)s)
"""
LINGER = RENEW
GIVE_UP = "DELETE FROM cache_leases WHERE owner = %(owner)s AND key = ANY(%(keys)s)"

TURN_SLOTS = "SELECT relaycore_turn_cache_slots(%s, make_interval(secs => %s))"
DROP_SLOT = "SELECT relaycore_drop_cache_slot(%s)"

CLEARINGS = "SELECT what, extract(epoch FROM at)::float8 FROM cache_clearings WHERE version > %s ORDER BY version"

_encode_usage = msgspec.msgpack.Encoder().encode
_decode_usage = msgspec.msgpack.Decoder(Usage).decode
_encode_tags = msgspec.json.Encoder().encode
Line = tuple[
    bytes,
    str,
    UUID,
    UUID | None,
    str,
    str,
    str,
    bool,
    str,
    int,
    bytes,
    int,
    bytes | None,
    list[str],
    datetime,
    datetime,
]


async def find_entries(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, Entry]:
    """Return the live entries among `keys`."""
    cursor = await connection.execute(FIND, {"keys": list(keys)}, binary=True)
    return await _read_newest(cast(list[Line], await cursor.fetchall()))


async def find_or_lease(
    connection: Connection, keys: Sequence[bytes], leases: Sequence[bytes], owner: UUID
) -> dict[bytes, Found]:
    """Return what there is under each of `keys`; those of `leases` that have no entry are leased if they are free."""
    if not leases:
        entries = await find_entries(connection, keys)
        return {key: Found(entry=entries.get(key)) for key in keys}
    values = {"keys": list(keys), "leases": sorted(leases), "owner": owner, "seconds": LEASE_SECONDS}
    cursor = await connection.execute(FIND_OR_LEASE, values, binary=True)
    lines = cast(list[Line | tuple[bytes, None]], await cursor.fetchall())
    taken = {bytes(line[0]) for line in lines if line[1] is None}
    entries = await _read_newest([line for line in lines if line[1] is not None])
    wanted = set(leases)
    return {key: Found(entry=entries.get(key), leads=key in taken or key not in wanted) for key in keys}


async def upsert_entries(connection: Connection, entries: Sequence[Entry]) -> None:
    """Store `entries`, of different keys, newer ones in place of older."""
    ordered = sorted(entries, key=lambda entry: entry.key)  # one order everywhere: writers cannot deadlock
    columns = await asyncio.to_thread(_write_all, ordered) if _are_large(ordered) else _write_all(ordered)
    await connection.execute(UPSERT, columns)


async def renew_leases(connection: Connection, keys: Sequence[bytes], owner: UUID) -> None:
    """Give a sign of life for the calls under `keys`."""
    await connection.execute(RENEW, {"keys": list(keys), "owner": owner, "seconds": LEASE_SECONDS})


async def end_leases(connection: Connection, keys: Sequence[bytes], owner: UUID) -> None:
    """End the leases of calls whose answers are stored in the same transaction."""
    await connection.execute(LINGER, {"keys": list(keys), "owner": owner, "seconds": LINGER_SECONDS})


async def give_up_leases(connection: Connection, keys: Sequence[bytes], owner: UUID) -> None:
    """Let others make the calls under `keys`, which came to nothing that can be shared."""
    await connection.execute(GIVE_UP, {"keys": list(keys), "owner": owner})


async def turn_slots(connection: Connection, max_bytes: int, max_age_seconds: float) -> int:
    """Keep the caches at their size and age; return how many slots were dropped.

    Each goes in a transaction of its own, for which nobody waits long; one that is in use goes the next time.
    """
    over = await (await connection.execute(TURN_SLOTS, (max_bytes, max_age_seconds))).fetchall()
    done = [await (await connection.execute(DROP_SLOT, slot)).fetchone() for slot in over]
    return done.count((True,))


async def list_clearings(connection: Connection, since: int) -> list[Cleared]:
    """Return what was cleared after a version of the cache's snapshot."""
    lines = cast(list[tuple[Any, float]], await (await connection.execute(CLEARINGS, (since,))).fetchall())
    return [Cleared(what=msgspec.convert(what, Clearing), at=at) for what, at in lines]


async def _read_newest(lines: Sequence[Line]) -> dict[bytes, Entry]:
    large = sum(line[11] for line in lines if line[9] != PLAIN) > LARGE_BYTES
    return await asyncio.to_thread(_read_all, lines) if large else _read_all(lines)


def _read_all(lines: Iterable[Line]) -> dict[bytes, Entry]:
    found: dict[bytes, Entry] = {}
    for line in lines:
        try:
            entry = _read(line)
        except (ValueError, msgspec.MsgspecError):
            continue  # it cannot be read: then there is none
        before = found.get(entry.key)
        if before is None or before.created_at < entry.created_at:
            found[entry.key] = entry
    return found


def _read(line: Line) -> Entry:
    usage = line[12]
    return Entry(
        key=bytes(line[0]),
        scope=line[1],
        user_id=line[2],
        api_key_id=line[3],
        provider=line[4],
        model=line[5],
        endpoint=line[6],
        streamed=line[7],
        content_type=line[8],
        body=unpack(line[9], bytes(line[10]), line[11]),
        usage=_decode_usage(usage) if usage is not None else None,
        tags=tuple(line[13]),
        created_at=line[14].timestamp(),
        expires_at=line[15].timestamp(),
    )


def _are_large(entries: Sequence[Entry]) -> bool:
    return sum(len(entry.body) for entry in entries) > LARGE_BYTES


def _write_all(entries: Sequence[Entry]) -> list[list[object]]:
    return [list(column) for column in zip(*map(_write, entries), strict=True)]


def _write(entry: Entry) -> tuple[object, ...]:
    encoding, body = pack(entry.body)
    return (
        entry.key,
        entry.scope,
        entry.user_id,
        entry.api_key_id,
        entry.provider,
        entry.model,
        entry.endpoint,
        entry.streamed,
        entry.content_type,
        encoding,
        body,
        len(entry.body),
        _encode_usage(entry.usage) if entry.usage is not None else None,
        _encode_tags(entry.tags).decode(),
        entry.created_at,
        entry.expires_at,
    )
