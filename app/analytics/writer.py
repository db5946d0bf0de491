"""Brings rows to Postgres once each, by way of the spool when it is away."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial

import psycopg

from app.analytics.rows import PricedRow
from app.analytics.spool import Spool
from app.analytics.store import insert_missing_rows, insert_rows, is_about_data
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.wire.money import Hold

PROBE_SECONDS = 2.0
SCAN_SECONDS = 5.0  # how often the files of processes that died are looked for

OnSettled = Callable[[Hold, Decimal], None]
"""Told of each hold, and what its call cost, when that is in Postgres."""

log = logging.getLogger(__name__)


class RowWriter:
    """Settles batches; the counts say what became of their rows."""

    def __init__(
        self,
        connection: PatientConnection,
        spool: Spool,
        *,
        write_seconds: float,
        on_settled: OnSettled | None = None,
    ) -> None:
        self._connection = connection
        self._spool = spool
        self._write_seconds = write_seconds
        self._on_settled = on_settled
        self._refused: list[PricedRow] = []
        self._away = False
        self._scan_at = 0.0
        self.has_spooled = True
        self.written = self.spooled = self.replayed = self.rejected = 0
        self.last_error_at: float | None = None

    async def settle(self, rows: Sequence[PricedRow], *, again: bool) -> bool:
        """Put `rows` into Postgres, else into the spool; False when neither takes them.

        `again`: they may have been sent before, with an outcome nobody knows.
        """
        self._refused.clear()
        if await self._insert(rows, again=again):
            self.written += len(rows) - len(self._refused)
            self._tell_settled(rows)
            return True
        return await self.put_aside(rows)

    async def put_aside(self, rows: Sequence[PricedRow]) -> bool:
        """Put `rows` into the spool; False when it is full or the disk refuses."""
        stored = await asyncio.to_thread(self._spool.append, rows)
        if stored:
            self.spooled += len(rows)
            self.has_spooled = True
        return stored

    async def replay(self) -> bool:
        """Move one batch from the spool to Postgres; False when there is none or Postgres is away."""
        if not self.has_spooled and time.monotonic() < self._scan_at:
            return False
        if self._away and not await self._probe():
            return False
        self._scan_at = time.monotonic() + SCAN_SECONDS
        self._refused.clear()
        rows = await asyncio.to_thread(self._spool.read)
        self.has_spooled = rows is not None
        if rows is None or not await self._insert(rows, again=True):
            return False
        self._spool.done()
        self.replayed += len(rows)
        self._tell_settled(rows)
        return True

    def reject(self, row: object, error: Exception) -> None:
        """Park a row that cannot be stored, so that it does not hold up the others."""
        self.rejected += 1
        self.last_error_at = time.time()
        log.warning("A request row was refused and is kept in the spool folder: %s", type(error).__name__)
        self._spool.reject(row, f"{type(error).__name__}: {error}")

    async def _insert(self, rows: Sequence[PricedRow], *, again: bool) -> bool:
        insert = insert_missing_rows if again else insert_rows
        try:
            await self._connection.run(partial(insert, rows=rows), seconds=self._write_seconds)
        except DatabaseAwayError as error:
            return self._note_away(error)
        except (psycopg.Error, ArithmeticError, AttributeError, TypeError, ValueError) as error:
            if not is_about_data(error):
                return self._note_away(error)
            return await self._insert_good(rows, error, again=again)
        self._note_back()
        return True

    async def _insert_good(self, rows: Sequence[PricedRow], error: Exception, *, again: bool) -> bool:
        """Insert all of `rows` but those that Postgres refuses, found by halving."""
        if not again:
            return await self._insert(rows, again=True)
        if len(rows) == 1:
            self._refused.append(rows[0])
            self.reject(rows[0].row, error)
            return True
        middle = len(rows) // 2
        return await self._insert(rows[:middle], again=True) and await self._insert(rows[middle:], again=True)

    def _tell_settled(self, rows: Sequence[PricedRow]) -> None:
        """Say of each hold what its call cost, now that Postgres knows."""
        if self._on_settled is None:
            return
        refused = {id(priced) for priced in self._refused}
        for priced in rows:
            if priced.row.hold is None or id(priced) in refused:
                continue
            try:
                self._on_settled(priced.row.hold, priced.costs.estimated_cost or Decimal(0))
            except Exception:
                log.exception("What follows from a settled hold failed")

    async def _probe(self) -> bool:
        try:
            await self._connection.run(_ask, seconds=PROBE_SECONDS)
        except (DatabaseAwayError, psycopg.Error):
            return False
        self._note_back()
        return True

    def _note_away(self, error: Exception) -> bool:
        self.last_error_at = time.time()
        if not self._away:
            cause = error.__cause__ or error
            log.warning("Postgres takes no request rows (%s); they wait in the spool", type(cause).__name__)
        self._away = True
        return False

    def _note_back(self) -> None:
        if self._away:
            log.info("Postgres takes request rows again")
        self._away = False


async def _ask(connection: Connection) -> None:
    await connection.execute("SELECT 1")
