"""Admits calls within their limits: asked of the database in bulk, with what was finished meanwhile."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from uuid import UUID

import psycopg

from app.access.limit_clock import Reading, SteadyClock
from app.access.limit_full import FullScopes
from app.access.limit_rules import build_refusal, list_parallel
from app.access.limit_store import CLOCK_IS_LATE, SESSION_OPTIONS, admit, finish, move_clock, read_clock
from app.access.limit_types import Admission, Asking, Decision, Done
from app.db.connection import DatabaseAwayError, PatientConnection
from app.errors import UnavailableError

WINDOW_SECONDS = 60.5
"""The minute, and a margin: calls reach providers a little after they were admitted, some later than others."""

ASKS_A_TURN = 128
QUERY_SECONDS = 2.0
CLOCK_LOOKS = 3
FINISH_SECONDS = 0.01
"""How long finished calls wait for one to be admitted in the same round trip."""

AGAIN_SECONDS = 0.5
DOUBT_SECONDS = 5.0
"""After how long calls under way are told once more: an admission that nobody waits for any more may have come late."""

PARALLEL_SECONDS = 0.05
"""After how long a call is tried again that found too many under way: one may have ended elsewhere just now."""

AWAY = "The rate limits cannot be checked: the database is away."
RETRY_SOON = ((b"retry-after", b"1"),)

Waiting = asyncio.Future[Decision]

logger = logging.getLogger("relaycore.limits")


class RateLimiter:
    """The limits as this process's calls meet them. Without a database nobody who has limits is admitted."""

    def __init__(self, url: str, process_id: UUID, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self._process_id = process_id
        self._window_seconds = window_seconds
        self._connection = PatientConnection(url, name="relaycore limits", options=SESSION_OPTIONS)
        self._clock = SteadyClock()
        self._clock_is_doubtful = False
        self._full = FullScopes()
        self._asking: list[tuple[Asking, Waiting]] = []
        self._corrections: Counter[tuple[str, UUID]] = Counter()
        self._under_way: Counter[str] = Counter()
        self._untold: set[str] = set()
        self._runner: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._doubts: set[str] = set()
        self._doubt_timer: asyncio.TimerHandle | None = None

    async def admit(self, asking: Asking) -> Admission:
        """Return the admission of a call, which is finished once, whatever becomes of it.

        Raises LimitReachedError when a limit is reached, UnavailableError when nobody can tell.
        """
        decision = self._full.find(asking, time.monotonic()) or await self._ask(asking)
        refusal = decision.refusal
        if refusal is not None and refusal.limit == "max_parallel" and refusal.value > 0:
            await asyncio.sleep(PARALLEL_SECONDS)
            self._untold.update(list_parallel(asking))  # should the database have counted calls that are none
            decision = await self._ask(asking)
        if decision.refusal is not None:
            raise build_refusal(decision.refusal, asking, decision.standing)
        return Admission(asking=asking, event_id=decision.event_id, standing=decision.standing)

    def finish(self, admission: Admission, tokens: int | None) -> None:
        """Note that a call is over and what it used; None: unknown, what it was admitted for stays counted."""
        if admission.finished:
            return
        admission.finished = True
        self._finish(admission.asking, admission.event_id, tokens)

    def tell_anew(self) -> None:
        """Have all calls under way counted again: the others may have taken this process for dead."""
        self._untold.update(self._under_way)
        self._tell_soon(FINISH_SECONDS)

    async def close(self) -> None:
        """Tell the database what was finished, and let go of the connection."""
        if self._doubt_timer is not None:
            self._doubt_timer.cancel()
        if self._runner is not None:
            await asyncio.gather(self._runner, return_exceptions=True)
        self._cancel_timer()
        done = self._take_done()
        if done:
            await self._tell(done)
        await self._connection.close()

    def _finish(self, asking: Asking, event_id: UUID, tokens: int | None) -> None:
        for limit in asking.limits:
            if limit.tpm is not None and tokens is not None and tokens != asking.tokens:
                self._corrections[limit.scope, event_id] += tokens - asking.tokens
            if limit.max_parallel is not None:
                self._under_way[limit.scope] -= 1
                self._untold.add(limit.scope)
        self._tell_soon(FINISH_SECONDS)

    async def _ask(self, asking: Asking) -> Decision:
        """Have the database asked together with whoever asks at the same time."""
        waiting: Waiting = asyncio.get_running_loop().create_future()
        self._asking.append((asking, waiting))
        self._start()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._take_back(asking, waiting.result())
            raise

    def _take_back(self, asking: Asking, decision: Decision) -> None:
        """Finish a call whose client left before it knew that it was admitted."""
        if decision.refusal is None:
            self._finish(asking, decision.event_id, 0)

    def _tell_soon(self, seconds: float) -> None:
        if (self._corrections or self._untold) and self._runner is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._start)

    def _start(self) -> None:
        self._cancel_timer()
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self) -> None:
        """Make one round trip after the other: what is asked for meanwhile shares the next one."""
        answered = False
        try:
            answered = await self._turn()
            while self._asking:
                answered = await self._turn()
        finally:
            self._runner = None
            self._tell_soon(FINISH_SECONDS if answered else AGAIN_SECONDS)

    async def _turn(self) -> bool:
        """Make a round trip; False when the database did not answer."""
        done = self._take_done()
        turn, self._asking = self._asking[:ASKS_A_TURN], self._asking[ASKS_A_TURN:]
        turn = [(asking, waiting) for asking, waiting in turn if not waiting.done()]
        if turn:
            return await self._serve(turn, done)
        return not done or await self._tell(done)

    async def _serve(self, turn: list[tuple[Asking, Waiting]], done: Done) -> bool:
        askings = [asking for asking, _ in turn]
        sent = time.monotonic()
        try:
            decisions = await self._decide(askings, done)
        except Exception as error:
            if not isinstance(error, (DatabaseAwayError, psycopg.Error)):
                logger.exception("Asking for admission failed")
            self._lose(askings, done)
            self._refuse_all([waiting for _, waiting in turn])
            return False
        received = time.monotonic()
        for (asking, waiting), decision in zip(turn, decisions, strict=True):
            self._note(asking, decision, sent, received)
            if not waiting.done():
                waiting.set_result(decision)
            else:
                self._take_back(asking, decision)
        return True

    def _note(self, asking: Asking, decision: Decision, sent: float, received: float) -> None:
        if decision.refusal is not None:
            self._full.note(decision, sent, received)
            return
        for limit in asking.limits:
            if limit.max_parallel is not None:
                self._under_way[limit.scope] += 1

    async def _decide(self, askings: list[Asking], done: Done) -> list[Decision]:
        """Ask the database; when its clock may have jumped, find that out first."""
        for _ in range(CLOCK_LOOKS):
            if self._clock_is_doubtful:
                await self._look_at_clock()
            sent = time.monotonic()
            work = partial(
                admit,
                process_id=self._process_id,
                askings=askings,
                done=done,
                window_seconds=self._window_seconds,
                latest=self._clock.find_latest(sent),
            )
            try:
                decisions = await self._connection.run(work, seconds=QUERY_SECONDS)
            except psycopg.Error as error:
                if error.sqlstate != CLOCK_IS_LATE:
                    raise
                self._clock_is_doubtful = True
                continue
            reading = Reading(decisions[0].standing.at, sent, time.monotonic())
            if self._clock.find_jump(reading):
                self._clock_is_doubtful = True  # before the next turn
            else:
                self._clock.note(reading)
            return decisions
        raise DatabaseAwayError("the database's clock does not hold still")

    async def _look_at_clock(self) -> None:
        """Find out whether the database's clock jumped, and take the jump back for what was admitted before it."""
        sent = time.monotonic()
        at = await self._connection.run(read_clock, seconds=QUERY_SECONDS)
        reading = Reading(at, sent, time.monotonic())
        jump = self._clock.find_jump(reading)
        if jump:
            logger.warning("The database's clock jumped by %.1f seconds", jump)
            await self._connection.run(partial(move_clock, jump_seconds=jump), seconds=QUERY_SECONDS)
        self._clock.note(reading)
        self._clock_is_doubtful = False

    def _lose(self, askings: Iterable[Asking], done: Done) -> None:
        """Note that nobody knows what the database did: calls under way are told anew, tokens stay as admitted."""
        scopes = {*done.calls, *(scope for asking in askings for scope in list_parallel(asking))}
        self._untold |= scopes
        self._doubts |= scopes
        if scopes:
            if self._doubt_timer is not None:
                self._doubt_timer.cancel()
            self._doubt_timer = asyncio.get_running_loop().call_later(DOUBT_SECONDS, self._tell_doubts)

    def _tell_doubts(self) -> None:
        self._untold |= self._doubts
        self._doubts.clear()
        self._start()

    def _refuse_all(self, waitings: list[Waiting]) -> None:
        """Refuse those that were asked for, and those behind them: they would only wait for the same."""
        waitings += [waiting for _, waiting in self._asking]
        self._asking = []
        for waiting in waitings:
            if not waiting.done():
                waiting.set_exception(UnavailableError(AWAY, headers=RETRY_SOON))

    def _take_done(self) -> Done:
        tokens = [(scope, event_id, more) for (scope, event_id), more in self._corrections.items() if more]
        done = Done(tokens=tokens, calls={scope: self._under_way[scope] for scope in self._untold})
        self._corrections.clear()
        self._untold.clear()
        for scope, calls in done.calls.items():
            if not calls:
                del self._under_way[scope]
        return done

    async def _tell(self, done: Done) -> bool:
        try:
            await self._connection.run(partial(finish, process_id=self._process_id, done=done), seconds=QUERY_SECONDS)
        except (DatabaseAwayError, psycopg.Error):
            self._lose((), done)
            return False
        return True
