"""One web process among the others: its lease in the database, and the settling of what dead ones left behind."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import psycopg

from app.access.budget_store import end_process, reap, renew_lease
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.wire.ids import make_uuid7

T = TypeVar("T")

LEASE_SECONDS = 15.0
RENEW_SECONDS = 3.0
AGAIN_SECONDS = 0.5
QUERY_SECONDS = 2.0
REAP_SECONDS = 10.0
LEAST_LEFT_SECONDS = 2.0
"""How much of the lease must be left for money to be spent on its strength."""

logger = logging.getLogger("relaycore.processes")


class ProcessLease:
    """Says to the others that this process lives. Whoever lets it run out is taken for dead, and its holds settled.

    `losses` counts how often that may have happened to this process: what it held before, it holds no longer. `turn` is
    the last one in which it asked for something; the answers to those before it are there, or not awaited any more.
    """

    def __init__(self, url: str) -> None:
        self.id: UUID = make_uuid7()
        self.losses = 0
        self.turn = 0
        self._on_loss: list[Callable[[], None]] = []
        self._connection = PatientConnection(url, name="relaycore lease")
        self._held_until = 0.0
        self._held_since = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_sure(self) -> bool:
        """Whether nobody can have taken this process for dead, nor will in the next moments."""
        return time.monotonic() + LEAST_LEFT_SECONDS < self._held_until

    def begin_turn(self) -> int:
        """Return the number of the turn that begins."""
        self.turn += 1
        return self.turn

    def on_loss(self, act: Callable[[], None]) -> None:
        """Have `act` called when this process may have been taken for dead."""
        self._on_loss.append(act)

    async def start(self) -> None:
        """Take the lease and keep it; without a database it is taken once it is there."""
        await self.renew()
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Give the lease up: what is still held in its name is free to be settled by the others."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._try(lambda c: end_process(c, self.id), QUERY_SECONDS)
        await self._connection.close()

    async def renew(self) -> bool:
        """Prolong the lease; False when the database did not answer."""
        asked = time.monotonic()
        turns_over = max(self.turn - 1, 0)
        alive = await self._try(lambda c: renew_lease(c, self.id, LEASE_SECONDS, turns_over), QUERY_SECONDS)
        if alive is None:
            return False
        if not alive or asked > self._held_until:
            self._note_loss(asked)
        self._held_until = max(self._held_until, asked + LEASE_SECONDS)
        return True

    def _note_loss(self, at: float) -> None:
        self.losses += 1
        self._held_since = at
        for act in self._on_loss:
            act()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS if self.is_sure else AGAIN_SECONDS)
            # After an outage every lease has run out; the living renew theirs before anybody is taken for dead.
            if await self.renew() and time.monotonic() - self._held_since > LEASE_SECONDS:
                await self._try(self._settle_dead, REAP_SECONDS)

    async def _settle_dead(self, connection: Connection) -> None:
        settled = await reap(connection)
        if settled:
            logger.warning("%d holds of processes that died were settled as estimated", settled)

    async def _try(self, work: Callable[[Connection], Awaitable[T]], seconds: float) -> T | None:
        """Return what `work` returns, None when the database does not answer."""
        try:
            return await self._connection.run(work, seconds=seconds)
        except (DatabaseAwayError, psycopg.Error):
            return None
