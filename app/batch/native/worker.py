"""Works on the vendors' batches behind ours: plans them, and takes each a step further when it is due.

What is on record in the database is all there is to know: a process that dies, freezes or loses the database loses its
claims after LEASE_SECONDS, and whatever it still does under them has no effect.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

import msgspec
import psycopg

from app.batch.native.plan_store import Planning, plan, take_out_late
from app.batch.native.steps import Again, Steps
from app.batch.native.store import (
    claim_natives,
    forget_natives,
    has_work,
    list_refusing,
    release_native,
    renew_natives,
)
from app.batch.native.types import Bounds, Group, NativeBatch, NotOursError
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.gateway.parts import Parts
from app.providers.batches import BATCH_PROTOCOLS
from app.wire.ids import make_uuid7

T = TypeVar("T")

LEASE_SECONDS = 10.0
KEEP_SECONDS = 0.5
LOOK_SECONDS = 0.5
QUERY_SECONDS = 5.0
STEP_QUERY_SECONDS = 60.0
AGAIN_SECONDS = 1.0
TIDY_SECONDS = 600.0
ENOUGH_CALLS = 1000
"""As many single calls do not wait for more of them."""

REFUSED_SECONDS = 300.0
"""How long the requests for a provider that refused a batch are called directly."""

AT_ONCE = 6
AT_ONCE_EACH = 2
AT_ONCE_STOPPED = 16
"""How many vendors' batches one process works on at a time, how many of one provider's, and how many more that are to
be stopped."""

AWAY = (DatabaseAwayError, psycopg.Error)

logger = logging.getLogger("relaycore.batches")


class Running(msgspec.Struct, kw_only=True):
    """A step under way in this process."""

    steps: Steps
    claimed_at: float
    task: asyncio.Task[None] | None = None


class NativeWorker:
    """One process's share of the vendors' batches."""

    def __init__(self, url: str, parts: Parts) -> None:
        self.id = make_uuid7()
        self._parts = parts
        self._claims = PatientConnection(url, name="relaycore native batches")
        self._keeping = PatientConnection(url, name="relaycore native leases")
        self._working = PatientConnection(url, name="relaycore native work")
        self._running: dict[UUID, Running] = {}
        self._wake = asyncio.Event()
        self._refusing: set[str] = set()
        self._tidied_at = 0.0

    async def run(self) -> None:
        """Work until cancelled; then what is under way goes back to the others."""
        tasks = [asyncio.create_task(loop) for loop in (self._look_for_work(), self._keep_claims())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()

    async def _close(self) -> None:
        steps = [one.task for one in self._running.values() if one.task is not None]
        for task in steps:
            task.cancel()
        await asyncio.gather(*steps, return_exceptions=True)
        for connection in (self._claims, self._keeping, self._working):
            await connection.close()

    async def _look_for_work(self) -> None:
        while True:
            if await self._try(self._claims, has_work):
                await self._plan()
                await self._claim()
            self._wake.clear()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _plan(self) -> None:
        """Make batches of what waits."""
        config = self._parts.catalog.current.batch
        late = partial(take_out_late, reserve_seconds=config.reserve_seconds, native=config.native)
        await self._try(self._claims, late)
        refusing = await self._try(self._claims, partial(list_refusing, seconds=REFUSED_SECONDS))
        if refusing is None:
            return
        self._refusing = refusing
        planning = Planning(
            self._find_bounds,
            enough=ENOUGH_CALLS,
            pool_seconds=config.pool_seconds,
            reserve_seconds=config.reserve_seconds,
        )
        while await self._try(
            self._claims, partial(plan, planning=planning, native_id=make_uuid7()), STEP_QUERY_SECONDS
        ):
            pass
        if time.monotonic() - self._tidied_at >= TIDY_SECONDS:
            self._tidied_at = time.monotonic()
            await self._try(self._claims, partial(forget_natives, days=config.retention_days))

    def _find_bounds(self, group: Group) -> Bounds | None:
        """Return what a batch of these requests may hold; None when they are to be called directly."""
        snapshot = self._parts.catalog.current
        provider = snapshot.providers.get(group.provider)
        protocol = BATCH_PROTOCOLS.get(provider.vendor) if provider is not None else None
        if protocol is None or group.provider in snapshot.batch.direct_providers or group.provider in self._refusing:
            return None
        return Bounds(protocol=protocol.name, max_requests=protocol.max_requests, max_bytes=protocol.max_bytes)

    async def _claim(self) -> None:
        """Begin what is due, as far as there is room; what is to be stopped waits for no room.

        No provider takes all of the room, however long it takes to answer.
        """
        claim = partial(claim_natives, worker_id=self.id, seconds=LEASE_SECONDS)
        await self._begin(partial(claim, count=AT_ONCE_STOPPED, urgent=True))
        while (busy := self._count_busy()).total() < AT_ONCE:
            full = [provider for provider, count in busy.items() if count >= AT_ONCE_EACH]
            if not await self._begin(partial(claim, count=1, busy=full)):
                return

    def _count_busy(self) -> Counter[str]:
        """Return how much of the room each provider takes."""
        natives = [one.steps.native for one in self._running.values()]
        return Counter(native.group.provider for native in natives if not native.stops)

    async def _begin(self, claim: Callable[[Connection], Awaitable[list[NativeBatch]]]) -> bool:
        claimed = await self._try(self._claims, claim) or []
        for native in claimed:
            steps = Steps(native, self._do, self._parts, refused=native.group.provider in self._refusing)
            running = Running(steps=steps, claimed_at=time.monotonic())
            former = self._running.get(native.id)
            if former is not None and former.task is not None:
                former.task.cancel()  # we were away for so long that it is ours anew
            self._running[native.id] = running
            running.task = asyncio.create_task(self._take_step(running))
        return bool(claimed)

    async def _do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        return await self._working.run(work, seconds=STEP_QUERY_SECONDS)

    async def _take_step(self, running: Running) -> None:
        native = running.steps.native
        again: Again | None = Again(wait_seconds=0.0, tries=native.tries)
        try:
            again = await running.steps.take()
        except NotOursError:
            again = None
        except AWAY as error:
            logger.warning("The work on a vendor's batch waits for the database: %s", type(error).__name__)
            again = Again(wait_seconds=AGAIN_SECONDS, tries=native.tries)
        except Exception:
            logger.exception("the vendor's batch behind %s failed", native.id)
            again = Again(wait_seconds=LEASE_SECONDS, tries=native.tries + 1)
        finally:
            if self._running.get(native.id) is running:
                del self._running[native.id]
            if again is not None:
                await self._release(running, again)
            self._wake.set()

    async def _release(self, running: Running, again: Again) -> None:
        release = partial(
            release_native, native=running.steps.native, wait_seconds=again.wait_seconds, tries=again.tries
        )
        await self._try(self._keeping, release)

    async def _keep_claims(self) -> None:
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            if not self._running:
                continue
            asked_at = time.monotonic()
            natives = [one.steps.native for one in self._running.values()]
            renew = partial(renew_natives, natives=natives, seconds=LEASE_SECONDS)
            kept = await self._try(self._keeping, renew)
            if kept is not None:
                self._stop_unwanted(kept, asked_at)

    def _stop_unwanted(self, kept: dict[tuple[UUID, int], bool], asked_at: float) -> None:
        """Break off what others have taken over, and what holds up an end that somebody asked for."""
        for one in list(self._running.values()):
            if one.task is None or one.claimed_at >= asked_at or one.steps.over:
                continue
            native = one.steps.native
            asked = kept.get((native.id, native.attempt))
            if asked is None or (asked and not native.cancel_asked):
                one.task.cancel()

    async def _try(
        self,
        connection: PatientConnection,
        work: Callable[[Connection], Awaitable[T]],
        seconds: float = QUERY_SECONDS,
    ) -> T | None:
        """Return what `work` returns, None when the database does not answer or refuses."""
        try:
            return await connection.run(work, seconds=seconds)
        except AWAY as error:
            if not isinstance(error, (DatabaseAwayError, psycopg.OperationalError)):
                logger.warning("The database refuses work on vendors' batches: %s", error)
            return None
