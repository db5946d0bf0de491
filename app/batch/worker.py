"""Works off the requests of batches: claims them, has them called, writes what came of them, and rescues the dead's.

The table of requests is the record; whatever wakes this only makes it look sooner. A process that dies, freezes or
loses the database loses its claims after LEASE_SECONDS, and whatever it still does under them has no effect.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import TypeVar

import msgspec
import psycopg

from app.batch.calling import Calling
from app.batch.ending_store import finish, free_forgotten
from app.batch.judging import build_again
from app.batch.outbox import Outbox
from app.batch.pace import Pace
from app.batch.quarantine import SUSPECT_FROM, Quarantine
from app.batch.stopping_store import end_late
from app.batch.types import Again, Done, Key, Unwanted, Work
from app.batch.work_store import (
    Room,
    claim,
    find_hopeless,
    give_back,
    has_suspects,
    look_around,
    renew,
    rescue,
)
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.errors import Dialect, RelayError, write_error
from app.gateway.parts import Parts
from app.wire.ids import make_uuid7

LEASE_SECONDS = 5.0
KEEP_SECONDS = 1.0
SPARE_SECONDS = 2.0
JUMP_SECONDS = 2.0
LOOK_SECONDS = 1.0
SOON_SECONDS = 0.05
TIDY_SECONDS = 30.0
QUERY_SECONDS = 5.0
MAX_RESCUES = 3
PARKED = f"{MAX_RESCUES} workers died over this request; it is not tried any more."

AWAY = (DatabaseAwayError, psycopg.Error)

T = TypeVar("T")

logger = logging.getLogger("relaycore.batches")


class Running(msgspec.Struct, kw_only=True):
    """A request under way in this process. `ended`: it came to something that is not written yet."""

    work: Work
    task: asyncio.Task[None] | None = None
    claimed_at: float
    unwanted: Unwanted | None = None
    ended: bool = False


class BatchWorker:
    """One process's share of the batches."""

    def __init__(self, url: str, parts: Parts) -> None:
        self.id = make_uuid7()
        self._url = url
        self._parts = parts
        self._pace = Pace(parts.catalog.current.batch.concurrency)
        self._calling = Calling(parts, parts.directory.find_holder, self._pace)
        self._claims = PatientConnection(url, name="relaycore batches")
        self._keeping = PatientConnection(url, name="relaycore batch leases")
        self._outbox = Outbox(PatientConnection(url, name="relaycore batch results"), self._settled)
        self._running: dict[Key, Running] = {}
        self._wake = asyncio.Event()
        self._quarantine = Quarantine()
        self._suspects = False
        self._clock: float | None = None
        self._in_touch_since: float | None = None
        self._tidied_at = 0.0

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled; then what is under way goes back to the others."""
        loops = [self._look_for_work(), self._keep_claims(), self._outbox.run()]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()

    async def _close(self) -> None:
        running = list(self._running.values())
        for one in running:
            if one.task is not None:
                one.task.cancel()
        await asyncio.gather(*(one.task for one in running if one.task is not None), return_exceptions=True)
        await self._outbox.flush()
        again = [build_again(one.work, 0.0, counts=False) for one in running if not one.ended]
        last = PatientConnection(self._url, name="relaycore batches")  # the others may just have been broken off
        if again:
            await self._try(last, lambda c: give_back(c, again))
        for connection in (last, self._claims, self._keeping, self._outbox.connection):
            await connection.close()

    async def _look_for_work(self) -> None:
        wait = 0.0
        while True:
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            wait = await self._claim()

    async def _claim(self) -> float:
        """Claim what there is room for, and return after how many seconds to look again."""
        config = self._parts.catalog.current.batch
        self._pace.most = config.concurrency
        now = time.monotonic()
        choice = self._quarantine.choose(
            now, waiting=self._suspects, running=len(self._running), alone_since=self._find_alone()
        )
        # Whoever calls interactively comes first: each of their calls takes the place of one of ours, but for the last.
        free = max(config.concurrency - self._parts.traffic.calls, 1) - len(self._running)
        if choice == "nothing" or free <= 0:
            return LOOK_SECONDS
        suspect = choice == "suspect"
        room = Room(count=1 if suspect else free, lanes=self._pace.list_rooms(now), most=config.concurrency)
        ask = partial(claim, worker_id=self.id, room=room, seconds=LEASE_SECONDS, suspects=suspect)
        found = await self._try(self._claims, ask)
        for work in found or ():
            self._start(work)
        return SOON_SECONDS if found else LOOK_SECONDS

    def _find_alone(self) -> float | None:
        """Return since when a suspect is under way here; None when none is."""
        since = [one.claimed_at for one in self._running.values() if one.work.rescues >= SUSPECT_FROM]
        return min(since, default=None)

    def _start(self, work: Work) -> None:
        running = self._running[work.key] = Running(work=work, claimed_at=time.monotonic())
        running.task = asyncio.create_task(self._work(running))

    async def _work(self, running: Running) -> None:
        work = running.work
        try:
            outcome = await self._calling.call(work, lambda: running.unwanted)
        except asyncio.CancelledError:
            self._running.pop(work.key, None)  # somebody else's by now, or given back when we close
            raise
        except Exception:
            logger.exception("request %d of batch %s failed", work.position, work.batch_id)
            outcome = build_again(work, 5.0, counts=True)
        running.ended = True
        self._outbox.put(outcome)

    def _settled(self, outcome: Done | Again) -> None:
        """Note that an outcome is written, or was not ours to write."""
        self._running.pop((outcome.batch_id, outcome.position), None)
        if isinstance(outcome, Done) and outcome.priced is not None and outcome.priced.row.hold is not None:
            row, cost = outcome.priced.row, outcome.priced.costs.estimated_cost
            if row.hold is not None and row.hold.kind != "batch":
                self._parts.budgets.settled(row.hold, cost or Decimal(0))
        self._wake.set()

    async def _keep_claims(self) -> None:
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            await self._keep()

    async def _keep(self) -> None:
        asked_at = time.monotonic()
        around = await self._try(self._keeping, look_around)
        if around is None:
            self._in_touch_since = None
            return
        self._follow_clock(around[1], asked_at)
        await self._tidy(asked_at)
        if not around[0] and not self._running:
            return
        works = [one.work for one in self._running.values()]
        ask = partial(renew, worker_id=self.id, works=works, seconds=LEASE_SECONDS, spare=SPARE_SECONDS)
        kept = await self._try(self._keeping, ask)
        if kept is None:
            self._in_touch_since = None
            return
        self._stop_unwanted(kept, asked_at)
        # After an outage every claim has run out; the living renew theirs before anybody is taken for dead.
        if self._in_touch_since is not None and asked_at - self._in_touch_since >= LEASE_SECONDS:
            await self._rescue()
        if await self._try(self._keeping, end_late):
            self._wake.set()
        self._suspects = bool(await self._try(self._keeping, has_suspects))

    def _follow_clock(self, database_time: float, now: float) -> None:
        """Note since when we are in touch; a clock that jumped says as little of the others as an outage does."""
        skew = database_time - now
        if self._clock is None or abs(skew - self._clock) > JUMP_SECONDS:
            self._in_touch_since = None
        self._clock = skew
        if self._in_touch_since is None:
            self._in_touch_since = now

    async def _tidy(self, now: float) -> None:
        if now - self._tidied_at >= TIDY_SECONDS:
            self._tidied_at = now
            await self._try(self._keeping, free_forgotten)

    def _stop_unwanted(self, kept: dict[Key, Unwanted | None], asked_at: float) -> None:
        for key, one in list(self._running.items()):
            if one.ended or one.task is None or one.claimed_at >= asked_at:
                continue
            if key not in kept:
                one.task.cancel()  # taken over by somebody else: what we do has no effect any more
            elif kept[key] is not None and one.unwanted is None:
                one.unwanted = kept[key]
                one.task.cancel()

    async def _rescue(self) -> None:
        rescued = await self._try(self._keeping, partial(rescue, limit=MAX_RESCUES))
        if rescued:
            logger.warning("%d requests of batches were taken over from workers that died", rescued)
            self._wake.set()
        for key, attempt, hold in await self._try(self._keeping, partial(find_hopeless, limit=MAX_RESCUES)) or ():
            logger.error("Request %d of batch %s is parked: %d workers died over it", key[1], key[0], MAX_RESCUES)
            parked = Done(
                batch_id=key[0],
                position=key[1],
                attempt=attempt,
                outcome="parked",
                status_code=500,
                code="request_parked",
                body=write_error(RelayError(PARKED, code="request_parked"), Dialect.OPENAI),
                hold=hold,
            )
            await self._try(self._keeping, partial(finish, done=[parked]))

    async def _try(self, connection: PatientConnection, work: Callable[[Connection], Awaitable[T]]) -> T | None:
        """Return what `work` returns, None when the database does not answer or refuses."""
        try:
            return await connection.run(work, seconds=QUERY_SECONDS)
        except AWAY as error:
            if not isinstance(error, (DatabaseAwayError, psycopg.OperationalError)):
                logger.warning("The database refuses work on batches: %s", error)
            return None
