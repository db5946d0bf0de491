"""Decisions and what checks said of them, written a moment behind; the same transaction keeps the sums of evidence."""

import asyncio
import logging
from uuid import UUID

import psycopg

from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.semantic.evidence import WINDOW
from app.semantic.store import insert_decisions, judge_decisions, sum_evidence
from app.semantic.types import Decision, Verdict

logger = logging.getLogger("relaycore.semantic")

WRITE_EVERY_SECONDS = 0.1
WRITE_SECONDS = 5.0
AGAIN_SECONDS = 1.0
MAX_WAITING = 10_000
MAX_BATCH = 500


class DecisionLog:
    """What waits to be written, in order. Of too much, what is new is dropped: evidence is a sample anyway."""

    def __init__(self, url: str) -> None:
        self._connection = PatientConnection(url, name="relaycore semantic log")
        self._decisions: dict[UUID, Decision] = {}
        self._verdicts: list[Verdict] = []
        self._something = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    def start(self) -> None:
        """Begin to write behind."""
        self._writing = asyncio.create_task(self._write_forever())

    async def close(self) -> None:
        """Write what waits, as far as the database takes it."""
        async with self._turn:  # a write that is under way comes to its end
            if self._writing is not None:
                self._writing.cancel()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self.flush()
        await self._connection.close()

    async def flush(self) -> None:
        """Write what waits now, as far as the database takes it."""
        while (self._decisions or self._verdicts) and await self._write_some():
            pass

    def note(self, decision: Decision) -> None:
        """Have a decision written."""
        if len(self._decisions) < MAX_WAITING:
            self._decisions[decision.id] = decision
            self._something.set()

    def judge(self, verdict: Verdict) -> None:
        """Have it written what a check said."""
        if len(self._verdicts) < MAX_WAITING:
            self._verdicts.append(verdict)
            self._something.set()

    async def _write_forever(self) -> None:
        while True:
            await self._something.wait()
            await asyncio.sleep(WRITE_EVERY_SECONDS)
            if not await self._write_some():
                await asyncio.sleep(AGAIN_SECONDS)

    async def _write_some(self) -> bool:
        """Write what waits now; False when the database did not take it, and it stays waiting."""
        async with self._turn:
            return await self._write_batch()

    async def _write_batch(self) -> bool:
        decisions = list(self._decisions.values())[:MAX_BATCH]
        verdicts = self._verdicts[:MAX_BATCH] if len(decisions) < MAX_BATCH else []
        try:
            await self._connection.run(lambda c: write(c, decisions, verdicts), seconds=WRITE_SECONDS)
        except DatabaseAwayError:
            return False
        except (psycopg.Error, ValueError):
            logger.exception("%d decisions about similar answers were refused", len(decisions))
        for one in decisions:
            self._decisions.pop(one.id, None)
        del self._verdicts[: len(verdicts)]
        if not self._decisions and not self._verdicts:
            self._something.clear()
        return True


async def write(connection: Connection, decisions: list[Decision], verdicts: list[Verdict]) -> None:
    """Write decisions and verdicts, and the sums that change by them."""
    async with connection.transaction():
        if decisions:
            await insert_decisions(connection, decisions)
        if verdicts:
            await judge_decisions(connection, verdicts)
        judged = [(one.namespace, one.policy) for one in decisions if one.verdict is not None]
        judged += [(one.namespace, one.policy) for one in verdicts]
        await sum_evidence(connection, judged, WINDOW)
