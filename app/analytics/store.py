"""The writing side of the `requests` table: COPY for new rows, and a form of it that may be repeated."""

import asyncio
from collections.abc import Sequence

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from app.analytics.rows import COLUMNS, PricedRow, build_values
from app.db.connection import Connection

SESSION_OPTIONS = "-c synchronous_commit=off -c statement_timeout=30s -c idle_in_transaction_session_timeout=10s"
"""A crash of Postgres may lose the last moments of analytics; in return no write waits for its disk."""

ROWS_A_TURN = 100
_POISON_CLASSES = frozenset({"22", "23", "54"})  # bad data, broken constraints, limits exceeded

_NAMES = SQL(", ").join(Identifier(name) for name, _ in COLUMNS)
_TYPES = [kind for _, kind in COLUMNS]

COPY = SQL("COPY requests ({}) FROM STDIN (FORMAT BINARY)").format(_NAMES)
STAGE = "CREATE TEMP TABLE IF NOT EXISTS staged_requests (LIKE requests INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
COPY_STAGED = SQL("COPY pg_temp.staged_requests ({}) FROM STDIN (FORMAT BINARY)").format(_NAMES)
MOVE_STAGED = SQL("""
INSERT INTO requests ({names}) SELECT {names} FROM pg_temp.staged_requests
ON CONFLICT (id, request_time) DO NOTHING
""").format(names=_NAMES)


async def insert_rows(connection: Connection, rows: Sequence[PricedRow]) -> None:
    """Insert rows that were never sent before, all or none."""
    await _copy(connection, COPY, rows)


async def insert_missing_rows(connection: Connection, rows: Sequence[PricedRow]) -> int:
    """Insert those of `rows` that are not there yet, all or none, and return how many those were.

    For rows whose first insert ended without an answer. Should that one still be running, this waits for it.
    """
    async with connection.transaction():
        await connection.execute(STAGE)
        await _copy(connection, COPY_STAGED, rows)
        cursor = await connection.execute(MOVE_STAGED)
        return cursor.rowcount


async def _copy(connection: Connection, statement: Composed, rows: Sequence[PricedRow]) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(_TYPES)
        for start in range(0, len(rows), ROWS_A_TURN):
            for row in rows[start : start + ROWS_A_TURN]:
                await copy.write_row(build_values(row))
            await asyncio.sleep(0)  # requests wait for the same loop


def is_about_data(error: Exception) -> bool:
    """Return whether an insert failed because of what is in a row, so that it would fail again and again."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate[:2] in _POISON_CLASSES
    return isinstance(error, (psycopg.DataError, ArithmeticError, AttributeError, TypeError, ValueError))
