"""What came of the requests of this process, until the database has it: in bulk, and as often as it takes."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import psycopg

from app.analytics.store import is_about_data
from app.batch.ending_store import finish
from app.batch.types import Again, Done
from app.batch.work_store import give_back
from app.db.connection import DatabaseAwayError, PatientConnection
from app.errors import Dialect, RelayError, write_error

TOGETHER = 64
TOGETHER_BYTES = 8 * 2**20
WRITE_SECONDS = 30.0
AGAIN_SECONDS = 0.25
UNWRITABLE = "The answer cannot be stored."

logger = logging.getLogger("relaycore.batches")

OnWritten = Callable[[Done | Again], None]
"""Told of each outcome once it is written, or turned out to be no longer ours to write."""


class Outbox:
    """Writes outcomes behind. Nothing is given up: what cannot be written now is tried again."""

    def __init__(self, connection: PatientConnection, on_written: OnWritten) -> None:
        self.connection = connection
        self._on_written = on_written
        self._waiting: deque[Done | Again] = deque()
        self._filled = asyncio.Event()

    def put(self, outcome: Done | Again) -> None:
        """Have an outcome written."""
        self._waiting.append(outcome)
        self._filled.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                if not await self._write(take_some(self._waiting)):
                    await asyncio.sleep(AGAIN_SECONDS)

    async def flush(self) -> None:
        """Write what waits now, as far as the database takes it."""
        while self._waiting and await self._write(take_some(self._waiting)):
            pass

    async def _write(self, some: Sequence[Done | Again]) -> bool:
        """Write the first that wait, and let go of them; False when the database does not take them now."""
        done = [one for one in some if isinstance(one, Done)]
        again = [one for one in some if isinstance(one, Again)]
        try:
            if done:
                await self.connection.run(lambda c: finish(c, done), seconds=WRITE_SECONDS)
            if again:
                await self.connection.run(lambda c: give_back(c, again), seconds=WRITE_SECONDS)
        except DatabaseAwayError:
            return False
        except (psycopg.Error, ArithmeticError, AttributeError, TypeError, ValueError) as error:
            if not is_about_data(error):
                logger.warning("Results of batches cannot be written now: %s", error)
                return False
            return await self._write_apart(some, error)
        for one in some:
            self._waiting.remove(one)
            self._on_written(one)
        return True

    async def _write_apart(self, some: Sequence[Done | Again], error: Exception) -> bool:
        """Write outcomes each by itself; in the place of one that no database takes comes the word that it is so."""
        if len(some) > 1:
            return all([await self._write([one]) for one in some])
        logger.error("A result of a batch cannot be stored: %s", error)
        one = some[0]
        place = self._waiting.index(one)
        if isinstance(one, Done) and one.priced is not None:
            body = write_error(RelayError(UNWRITABLE, code="result_unwritable"), Dialect.OPENAI)
            self._waiting[place] = msgspec.structs.replace(
                one, outcome="errored", body=body, code="result_unwritable", priced=None
            )
            return True
        self._waiting.remove(one)  # it stays claimed, and others find it once its lease is over
        self._on_written(one)
        return True


def take_some(waiting: Sequence[Done | Again]) -> list[Done | Again]:
    """Return the first of those that wait: as many as one transaction takes."""
    some: list[Done | Again] = []
    size = 0
    for one in list(waiting)[:TOGETHER]:
        some.append(one)
        size += len(one.body) if isinstance(one, Done) else 0
        if size >= TOGETHER_BYTES:
            break
    return some
