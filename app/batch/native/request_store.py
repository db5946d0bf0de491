"""The requests in vendors' batches: read page by page, marked as sent, and let go of where they got no answer."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
from psycopg.sql import SQL

from app.batch.ending_store import LOCK_BATCHES, finish
from app.batch.native.store import check_ours
from app.batch.native.types import NativeBatch, NativeRequest, Place
from app.batch.types import Done, Key
from app.batch.waking import NOTIFY
from app.batch.work_store import build_hold
from app.cache.packing import unpack
from app.db.connection import Connection
from app.gateway.options import Options

# Few of the many requests of a vendor's batch are found by their keys: "IS NOT DISTINCT FROM" keeps Postgres from
# walking through all of them by the index of vendors' batches instead.
FIND = """
SELECT r.batch_id, r.position, r.path, r.encoding, r.body, r.size, b.user_id, b.api_key_id, b.tags, b.options,
       r.hold_id, r.held_usd,
       (SELECT extract(epoch FROM h.reserved_at)::float8 FROM reservations AS h WHERE h.id = r.hold_id)
FROM unnest(%(ids)s::uuid[], %(positions)s::int[]) AS k (id, position)
JOIN batch_requests AS r ON r.batch_id = k.id AND r.position = k.position
JOIN batches AS b ON b.id = r.batch_id
WHERE r.native_id IS NOT DISTINCT FROM %(id)s AND r.state = 'native'
ORDER BY r.batch_id, r.position
"""
LIST_KEYS = """
SELECT batch_id, position FROM batch_requests WHERE native_id = %s AND state = 'native' ORDER BY batch_id, position
"""
UNSEND = "UPDATE batch_requests SET sent = false WHERE native_id = %s AND state = 'native' AND sent"
MARK = """
UPDATE batch_requests AS r SET sent = true FROM unnest(%(ids)s::uuid[], %(positions)s::int[]) AS k (id, position)
WHERE r.batch_id = k.id AND r.position = k.position AND r.native_id IS NOT DISTINCT FROM %(id)s AND r.state = 'native'
"""
LIST_BATCHES = "SELECT DISTINCT batch_id FROM batch_requests WHERE native_id = %s AND state = 'native'"
LIST_CANCELLED = """
SELECT r.batch_id, r.position, r.hold_id, r.held_usd FROM batch_requests AS r JOIN batches AS b ON b.id = r.batch_id
WHERE r.native_id = %s AND r.state = 'native' AND b.state = 'cancelling' LIMIT 500
"""
# In a batch that is being cancelled nobody would look for them any more.
_LET_GO = SQL("""
UPDATE batch_requests AS r
SET state = %(place)s, native_id = NULL, sent = false, not_before = now(),
    tries = r.tries + CASE WHEN %(counts)s AND r.sent THEN 1 ELSE 0 END
FROM batches AS b {}
WHERE r.native_id IS NOT DISTINCT FROM %(id)s AND r.state = 'native' AND b.id = r.batch_id
AND b.state <> 'cancelling' AND {}
""")
LET_ALL_GO = _LET_GO.format(SQL(""), SQL("r.native_id = %(id)s")).as_bytes()
LET_SOME_GO = _LET_GO.format(
    SQL("CROSS JOIN unnest(%(ids)s::uuid[], %(positions)s::int[]) AS k (id, position)"),
    SQL("r.batch_id = k.id AND r.position = k.position"),
).as_bytes()
COUNT_LEFT = "SELECT count(*) FROM batch_requests WHERE native_id = %s AND state = 'native'"

_Line = tuple[
    UUID, int, str, int, bytes, int, UUID, UUID | None, list[str], Any, UUID | None, Decimal | None, float | None
]  # fmt: skip


async def list_keys(connection: Connection, native_id: UUID) -> list[Key]:
    """Return which requests are in a vendor's batch, in their order."""
    return cast(list[Key], await (await connection.execute(LIST_KEYS, (native_id,))).fetchall())


async def find_requests(connection: Connection, native_id: UUID, keys: Sequence[Key]) -> dict[Key, NativeRequest]:
    """Return those of the requests that are still in a vendor's batch, in their order."""
    cursor = await connection.execute(FIND, _split(native_id, keys))
    found = [_read(line) for line in cast(list[_Line], await cursor.fetchall())]
    return {one.key: one for one in found}


def _read(line: _Line) -> NativeRequest:
    batch_id, position, path, encoding, body, size, user_id, api_key_id, tags, *rest = line
    options, hold_id, held_usd, held_at = cast(tuple[Any, UUID | None, Decimal | None, float | None], tuple(rest))
    return NativeRequest(
        batch_id=batch_id,
        position=position,
        path=path,
        body=unpack(encoding, bytes(body), size),
        user_id=user_id,
        api_key_id=api_key_id,
        tags=tuple(tags),
        options=msgspec.convert(options, Options),
        hold=build_hold(hold_id, held_usd, held_at),
    )


async def unsend(connection: Connection, native: NativeBatch) -> None:
    """Note that no request is known to go out. Raises NotOursError."""
    await check_ours(connection, native)
    await connection.execute(UNSEND, (native.id,))


async def mark_sent(connection: Connection, native: NativeBatch, keys: Sequence[Key]) -> None:
    """Note which requests go out. Raises NotOursError."""
    await check_ours(connection, native)
    await connection.execute(MARK, _split(native.id, keys))


async def finish_native(connection: Connection, native: NativeBatch, done: Sequence[Done]) -> list[Done]:
    """Write results of a vendor's batch, and return those that were still ours to write. Raises NotOursError."""
    await check_ours(connection, native)
    return await finish(connection, done)


async def let_go(
    connection: Connection,
    native: NativeBatch,
    *,
    keys: Sequence[Key] | None = None,
    place: Place = "queued",
    counts: bool = False,
) -> None:
    """Take requests out of a vendor's batch, some or (`keys` None) all of them. Raises NotOursError.

    `counts`: those that were sent have failed once. Those of batches that are being cancelled stay where they are.
    """
    async with connection.transaction():
        ids = [line[0] for line in await (await connection.execute(LIST_BATCHES, (native.id,))).fetchall()]
        await connection.execute(LOCK_BATCHES, (ids,))
        await check_ours(connection, native)
        values: dict[str, Any] = {"id": native.id, "place": place, "counts": counts}
        if keys is None:
            await connection.execute(LET_ALL_GO, values)
        else:
            await connection.execute(LET_SOME_GO, values | _split(native.id, keys))
        await connection.execute(NOTIFY)


async def settle_rest(connection: Connection, native: NativeBatch, *, counts: bool) -> None:
    """Take everything out that is left: of batches that are being cancelled it is done. Raises NotOursError."""
    while True:
        await let_go(connection, native, counts=counts)
        lines = await (await connection.execute(LIST_CANCELLED, (native.id,))).fetchall()
        if lines:
            await finish_native(connection, native, [_build_cancelled(line, native.id) for line in lines])
        left = await (await connection.execute(COUNT_LEFT, (native.id,))).fetchone()
        if left is None or not left[0]:
            return


def _build_cancelled(line: Sequence[object], native_id: UUID) -> Done:
    batch_id, position, hold_id, held_usd = cast(tuple[UUID, int, UUID | None, Decimal | None], line)
    return Done(
        batch_id=batch_id,
        position=position,
        attempt=0,
        outcome="cancelled",
        code="batch_cancelled",
        body=b"",
        hold=build_hold(hold_id, held_usd, 0.0),
        native_id=native_id,
    )


def _split(native_id: UUID, keys: Sequence[Key]) -> dict[str, Any]:
    return {"id": native_id, "ids": [key[0] for key in keys], "positions": [key[1] for key in keys]}
