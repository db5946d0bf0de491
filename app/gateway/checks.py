"""Finding out whether similar answers are right: the provider is asked as well, and the two answers are compared."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from secrets import SystemRandom

import msgspec

from app.cache.types import Entry
from app.gateway.answer_words import read_text
from app.gateway.call import Call
from app.providers.protocol import Endpoint
from app.semantic.evidence import choose_share
from app.semantic.lookup import SemanticCache
from app.semantic.types import Decision, Evidence, Verdict
from app.wire.caching import SemanticConfig

logger = logging.getLogger("relaycore.semantic")

_CHANCE = SystemRandom()

MAX_CHECKS = 16
"""How many checks are under way at a time; answers that come meanwhile are not checked."""

MAX_LATER = 256
"""How many checks wait for their batches."""

Ask = Callable[[Call], Awaitable[bytes | None]]
"""Asks the provider behind everybody's back and returns the body of a complete answer."""


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored answer to a similar question, what was decided about it, and what that was decided by."""

    decision: Decision
    entry: Entry
    evidence: Evidence
    rules: SemanticConfig


class Checks:
    """The checks under way. They end with the process: what is not checked is no evidence."""

    def __init__(self, semantic: SemanticCache) -> None:
        self.ask: Ask | None = None
        self.ask_later: Ask | None = None
        self._semantic = semantic
        self._running: set[asyncio.Task[None]] = set()
        self._later: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [*self._running, *self._later]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def compare_kept(self, shadow: Shadow, kept: Entry | None, endpoint: Endpoint) -> None:
        """Compare an answer that was not served with the provider's, which the client got."""
        if kept is None:
            self._semantic.log.note(shadow.decision)
            return
        self._start(self._compare_kept(shadow, kept, endpoint), otherwise=shadow.decision)

    def note_served(self, shadow: Shadow, call: Call, endpoint: Endpoint, *, may_ask: bool = True) -> None:
        """Write down that an answer was served, and have a sample of them checked, where the provider may be asked."""
        self._semantic.log.note(shadow.decision)
        share = choose_share(shadow.evidence, shadow.rules)
        later = shadow.rules.checks == "batch" and self.ask_later is not None
        ask = self.ask_later if later else self.ask
        if may_ask and ask is not None and _CHANCE.random() < share:
            self._start(self._check_served(shadow, call, endpoint, ask), later=later)

    def _start(
        self, work: Coroutine[None, None, None], otherwise: Decision | None = None, *, later: bool = False
    ) -> None:
        running, most = (self._later, MAX_LATER) if later else (self._running, MAX_CHECKS)
        if len(running) >= most:
            work.close()
            if otherwise is not None:
                self._semantic.log.note(otherwise)
            return
        task = asyncio.create_task(work)
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            logger.error("a check of a similar answer failed", exc_info=task.exception())

    async def _compare_kept(self, shadow: Shadow, kept: Entry, endpoint: Endpoint) -> None:
        verdict = await self._compare(shadow, endpoint, kept.body, streamed=kept.streamed)
        self._semantic.log.note(msgspec.structs.replace(shadow.decision, verdict=verdict))

    async def _check_served(self, shadow: Shadow, call: Call, endpoint: Endpoint, ask: Ask) -> None:
        body = await ask(call)
        verdict = await self._compare(shadow, endpoint, body, streamed=call.streamed) if body is not None else None
        if verdict is not None:
            one = shadow.decision
            self._semantic.log.judge(
                Verdict(decision_id=one.id, namespace=one.namespace, policy=one.policy, verdict=verdict)
            )

    async def _compare(self, shadow: Shadow, endpoint: Endpoint, body: bytes, *, streamed: bool) -> str | None:
        """Return what the comparison says; None when there is nothing to compare."""
        stored = read_text(endpoint, shadow.entry.body, streamed=shadow.entry.streamed)
        if stored is None:
            return None
        asked = read_text(endpoint, body, streamed=streamed)
        if asked is None:
            return "different"  # a refusal, a tool or an unfinished answer where the stored one is plain words
        return await self._semantic.compare(stored, asked)
