"""Where batches are handed in, asked after and taken back, whatever shape they come in."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from app.access.types import Caller
from app.batch.intake import Intake
from app.batch.stopping_store import cancel_batch
from app.batch.types import Batch, NewBatch, Outcome, Result, Shape
from app.batch.view_store import ALL_OUTCOMES, find_batch, find_pace, ping, stream_results
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.errors import BadRequestError, NotFoundError, UnavailableError
from app.gateway.parts import Parts

T = TypeVar("T")

READ_SECONDS = 5.0
CHANGE_SECONDS = 30.0
FRESH_SECONDS = 1.0
PING_SECONDS = 0.9
REOPEN_SECONDS = 0.3
PACE_SECONDS = 10.0
AWAY = "The database is away."
UNFIT = "Something in it cannot be stored: a NUL character, or a number that is too large."
AWAY_ERRORS = (DatabaseAwayError, psycopg.OperationalError)
RETRY_SOON = ((b"retry-after", b"1"),)
NOT_FOUND = "There is no such batch."


class Desk:
    """The batches as those see them who send them. What belongs to others is not there."""

    def __init__(self, url: str, parts: Parts) -> None:
        self.parts = parts
        self._reader = PatientConnection(url, name="relaycore batch views")
        self._writer = PatientConnection(url, name="relaycore batch intake")
        self._asked: set[asyncio.Task[Any]] = set()
        self._fresh_until: dict[int, float] = {}
        self._away_until = 0.0
        self._pace: float | None = None
        self._pace_until = 0.0

    async def close(self) -> None:
        """Let go of the connections."""
        await asyncio.gather(*self._asked, return_exceptions=True)
        await self._reader.close()
        await self._writer.close()

    def open_intake(self, new: NewBatch, caller: Caller, *, strict: bool) -> Intake:
        """Return the way in of a batch."""
        return Intake(new, caller, self.parts, self.change, strict=strict)

    async def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return what `work` reads. Raises UnavailableError when the database does not answer."""
        return await self._run(self._reader, work, READ_SECONDS)

    async def change(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return what `work` changes. Raises UnavailableError when the database does not answer."""
        return await self._run(self._writer, work, CHANGE_SECONDS)

    async def get_batch(self, caller: Caller, batch_id: UUID | None, shapes: Sequence[Shape] = ()) -> Batch:
        """Return a batch of the caller's (an administrator's are all) of one of `shapes` (none named: of any).

        Raises NotFoundError; `batch_id` None is one that cannot be.
        """
        found = await self.read(lambda c: find_batch(c, batch_id)) if batch_id is not None else None
        if found is None or (found.user_id != caller.user_id and not caller.admin):
            raise NotFoundError(NOT_FOUND, code="batch_not_found")
        if shapes and found.shape not in shapes:
            raise NotFoundError(NOT_FOUND, code="batch_not_found")
        return found

    async def cancel(self, batch: Batch) -> bool:
        """Cancel a batch; False when it was over already."""
        return await self.change(lambda c: cancel_batch(c, batch.id))

    def stream_results(
        self, batch_id: UUID, outcomes: Sequence[Outcome] = ALL_OUTCOMES, after: int = -1
    ) -> AsyncIterator[list[Result]]:
        """Yield the results of a batch page by page, in the order of its requests."""
        return stream_results(self.read, batch_id, outcomes, after)

    async def find_pace(self) -> float | None:
        """Return how many requests a second were finished lately, as it was known a moment ago; None: hardly any."""
        now = time.monotonic()
        if now >= self._pace_until:
            self._pace, self._pace_until = await self.read(find_pace), now + PACE_SECONDS
        return self._pace

    async def _freshen(self, connection: PatientConnection) -> None:
        """Find out before it matters that a connection broke while nobody used it, or that nobody answers."""
        if time.monotonic() < self._fresh_until.get(id(connection), 0.0):
            return
        began = time.monotonic()
        if began < self._away_until:
            raise DatabaseAwayError(AWAY)
        try:
            await connection.run(ping, seconds=PING_SECONDS)
        except AWAY_ERRORS:
            # A broken connection is found out at once. What took long is there and does not answer; the loop's timers
            # count from its last turn, so that they may end some milliseconds early.
            if time.monotonic() - began >= PING_SECONDS / 2:
                self._away_until = time.monotonic() + FRESH_SECONDS
                raise
            await asyncio.sleep(REOPEN_SECONDS)
            await connection.run(ping, seconds=PING_SECONDS)

    async def _run(
        self, connection: PatientConnection, work: Callable[[Connection], Awaitable[T]], seconds: float
    ) -> T:
        # A client that leaves takes no query with it: what it broke off, others would find to be a database away.
        task = asyncio.create_task(self._ask(connection, work, seconds))
        self._asked.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked has heard of it, or has left

    async def _ask(
        self, connection: PatientConnection, work: Callable[[Connection], Awaitable[T]], seconds: float
    ) -> T:
        try:
            await self._freshen(connection)
            done = await connection.run(work, seconds=seconds)
        except AWAY_ERRORS as error:
            raise UnavailableError(AWAY, headers=RETRY_SOON) from error
        except psycopg.DataError as error:  # NUL in a text, or a number that is too large for its place
            raise BadRequestError(UNFIT) from error
        self._fresh_until[id(connection)] = time.monotonic() + FRESH_SECONDS
        return done
