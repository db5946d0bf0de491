"""The writing side of `usage_hourly`."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.sql import SQL, Composed, Identifier

from app.analytics.rollups import DIMENSIONS, HourlySums
from app.db.connection import Connection


def _join(names: Iterable[str]) -> Composed:
    return SQL(", ").join(map(Identifier, names))


_POSTGRES_TYPES: dict[object, LiteralString] = {
    int: "bigint",
    float: "float8",
    Decimal: "numeric",
    str: "text",
    str | None: "text",
    UUID | None: "uuid",
}
_COLUMNS: dict[str, LiteralString] = {
    field.name: _POSTGRES_TYPES[field.type] for field in msgspec.structs.fields(HourlySums)
}

# In the order of the key: who locks in one order never waits for somebody who waits for him.
ADD = (
    SQL("""
INSERT INTO usage_hourly ({names}) SELECT to_timestamp(hour), {but_hour}
FROM jsonb_to_recordset(%s::jsonb) AS added ({typed}) ORDER BY {dimensions}
ON CONFLICT ({dimensions}) DO UPDATE SET {sums}
""")
    .format(
        names=_join(_COLUMNS),
        but_hour=_join(name for name in _COLUMNS if name != "hour"),
        typed=SQL(", ").join(SQL("{} {}").format(Identifier(name), SQL(kind)) for name, kind in _COLUMNS.items()),
        dimensions=_join(DIMENSIONS),
        sums=SQL(", ").join(
            SQL("{0} = usage_hourly.{0} + excluded.{0}").format(Identifier(name))
            for name in _COLUMNS
            if name not in DIMENSIONS
        ),
    )
    .as_bytes()
)
DELETE_EMPTY = "DELETE FROM usage_hourly WHERE requests = 0 AND hour = to_timestamp(%s)"

_encode = msgspec.json.Encoder().encode


async def add_hourly(connection: Connection, sums: Sequence[HourlySums]) -> None:
    """Add `sums`, each of other dimensions, to what is there."""
    await connection.execute(ADD, (_encode(sums).decode(),))


async def take_back_hourly(connection: Connection, sums: HourlySums) -> None:
    """Add negative `sums`; when nothing is left of the hour in those dimensions it goes."""
    await add_hourly(connection, [sums])
    await connection.execute(DELETE_EMPTY, (sums.hour,))
