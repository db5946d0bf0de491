"""The writing side of `requests` and of what follows from its rows, all in one transaction a batch."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import msgspec
import psycopg
from psycopg.sql import SQL, Composed, Identifier

from app.analytics.aborted_store import list_aborted, make_way
from app.analytics.hourly_store import add_hourly
from app.analytics.postings import LEDGER_COLUMNS, Key, find_key, has_money, list_ledger_values, list_settlements
from app.analytics.rollups import sum_by_hour
from app.analytics.rows import COLUMNS, PricedRow, build_values
from app.db.connection import Connection

SESSION_OPTIONS = "-c synchronous_commit=off -c statement_timeout=30s -c idle_in_transaction_session_timeout=10s"
"""A crash of Postgres may lose the last moments of analytics, never money; in return few writes wait for its disk."""

ROWS_A_TURN = 100
_POISON_CLASSES = frozenset({"22", "23", "54"})  # bad data, broken constraints, limits exceeded


def _join(names: Iterable[str]) -> Composed:
    return SQL(", ").join(map(Identifier, names))


_NAMES = _join(name for name, _ in COLUMNS)
_LEDGER_NAMES = _join(name for name, _ in LEDGER_COLUMNS)
_TYPES = [psycopg.adapters.types.get_oid(kind) for _, kind in COLUMNS]
_LEDGER_TYPES = [psycopg.adapters.types.get_oid(kind) for _, kind in LEDGER_COLUMNS]

COPY = SQL("COPY requests ({}) FROM STDIN (FORMAT BINARY)").format(_NAMES).as_bytes()
COPY_LEDGER = SQL("COPY ledger ({}) FROM STDIN (FORMAT BINARY)").format(_LEDGER_NAMES).as_bytes()
STAGE = "CREATE TEMP TABLE IF NOT EXISTS staged_requests (LIKE requests INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
COPY_STAGED = SQL("COPY pg_temp.staged_requests ({}) FROM STDIN (FORMAT BINARY)").format(_NAMES).as_bytes()
MOVE_STAGED = (
    SQL("""
INSERT INTO requests ({names}) SELECT {names} FROM pg_temp.staged_requests
ON CONFLICT (id, request_time) DO NOTHING
RETURNING id, request_time
""")
    .format(names=_NAMES)
    .as_bytes()
)

# Who posts is first in line for the budgets' lock, as alembic/sql/0004_budgets.sql has it, and waits for the disk.
BEGIN_POSTING = "SELECT set_config('synchronous_commit', 'on', true), relaycore_begin_posting(%s)"
ADJUST = "SELECT relaycore_adjust(%s::jsonb)"
SETTLE = "SELECT relaycore_settle(%s::jsonb)"
HAS_BUDGETS = "SELECT EXISTS (SELECT FROM budgets WHERE deleted_at IS NULL)"

_encode = msgspec.json.Encoder().encode


async def insert_rows(connection: Connection, rows: Sequence[PricedRow]) -> None:
    """Insert rows that were never sent before, with all that follows from them: everything or nothing."""
    async with connection.transaction():
        if any(map(has_money, rows)):
            await connection.execute(BEGIN_POSTING, (False,))
        await _copy(connection, COPY, _TYPES, rows, _list_values)
        await _post(connection, rows)


async def insert_missing_rows(connection: Connection, rows: Sequence[PricedRow]) -> None:
    """Insert those of `rows` that are not there yet, and what follows from those: everything or nothing.

    For rows whose first insert ended without an answer. Should that one still be running, this waits for it. Rows
    that others wrote for us, because they took us for dead, give way to the true ones.
    """
    by_key = {find_key(priced): priced for priced in reversed(rows)}
    async with connection.transaction():
        if any(map(has_money, rows)):
            await connection.execute(BEGIN_POSTING, (False,))
        await _stage(connection, by_key.values())
        missing = [by_key.pop(key) for key in await _move(connection)]
        aborted = await list_aborted(connection, by_key) if by_key else []
        await _post(connection, missing)
    if aborted:
        await _correct(connection, {key: by_key[key] for key in aborted})


async def _correct(connection: Connection, rows: Mapping[Key, PricedRow]) -> None:
    """Put `rows` in the place of what is on record for them, whose money is booked already: only the difference is."""
    async with connection.transaction():
        await connection.execute(BEGIN_POSTING, (True,))
        await _stage(connection, rows.values())
        corrected, adjustments = await make_way(connection, rows)
        await _move(connection)
        await _post(connection, corrected, settle=False)
        if adjustments:
            await connection.execute(ADJUST, (_encode(adjustments).decode(),))


async def _stage(connection: Connection, rows: Iterable[PricedRow]) -> None:
    await connection.execute(STAGE)
    await _copy(connection, COPY_STAGED, _TYPES, list(rows), _list_values)


async def _move(connection: Connection) -> list[Key]:
    """Insert the staged rows that are not there, and return which those were."""
    return cast(list[Key], await (await connection.execute(MOVE_STAGED)).fetchall())


async def _post(connection: Connection, rows: Sequence[PricedRow], *, settle: bool = True) -> None:
    """Write what follows from `rows`. The budgets come last: their counters are what others wait for.

    Nobody makes a budget meanwhile (`relaycore_begin_posting`): where there is none and nothing is held, there is
    nobody to tell.
    """
    settle = settle and any(map(has_money, rows))
    if settle:
        await _copy(connection, COPY_LEDGER, _LEDGER_TYPES, rows, list_ledger_values)
    if rows:
        await add_hourly(connection, sum_by_hour(rows))
    if settle and (any(priced.row.hold is not None for priced in rows) or await _has_budgets(connection)):
        await connection.execute(SETTLE, (_encode(list_settlements(rows)).decode(),))


async def _has_budgets(connection: Connection) -> bool:
    line = await (await connection.execute(HAS_BUDGETS)).fetchone()
    return line is not None and bool(line[0])


async def _copy(
    connection: Connection,
    statement: bytes,
    types: Sequence[int],
    rows: Sequence[PricedRow],
    list_lines: Callable[[PricedRow], Iterable[Sequence[object]]],
) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for start in range(0, len(rows), ROWS_A_TURN):
            for row in rows[start : start + ROWS_A_TURN]:
                for values in list_lines(row):
                    await copy.write_row(values)
            await asyncio.sleep(0)  # requests wait for the same loop


def _list_values(row: PricedRow) -> tuple[tuple[object, ...]]:
    return (build_values(row),)


def is_about_data(error: Exception) -> bool:
    """Return whether an insert failed because of what is in a row, so that it would fail again and again."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate[:2] in _POISON_CLASSES
    return isinstance(error, (psycopg.DataError, ArithmeticError, AttributeError, TypeError, ValueError))
