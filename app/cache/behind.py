"""Stores entries a moment behind, in bulk, and ends the leases of the calls that they answer."""

import asyncio
import contextlib
from collections.abc import Callable
from itertools import islice
from uuid import UUID

import msgspec
import psycopg

from app.cache.clearing_store import forget_older
from app.cache.store import end_leases, give_up_leases, upsert_entries
from app.cache.types import Entry
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.semantic.store import insert_likenesses
from app.semantic.types import Likeness

STORE_SECONDS = 5.0
STORE_EVERY_SECONDS = 0.1
AGAIN_SECONDS = 1.0
MAX_WAITING_BYTES = 32 * 2**20
MAX_BATCH = 200
MAX_GIVEN_UP = 10_000
"""Leases that are not given up lapse by themselves."""

MAX_BATCH_BYTES = 4 * 2**20

REFUSED = (psycopg.Error, ValueError)
"""What a batch may be refused with: by Postgres (among others for a slot that is being opened), or on the way."""


class Waiting(msgspec.Struct, frozen=True):
    """What is to be stored: an answer, the question that others may be like, and whether an older answer goes."""

    entry: Entry
    likeness: Likeness | None = None
    replaces: bool = False


class WriteBehind:
    """The queue in front of the table. What does not fit any more is not stored."""

    def __init__(self, connection: PatientConnection, owner: UUID) -> None:
        self._connection = connection
        self._owner = owner
        self._waiting: dict[bytes, Waiting] = {}
        self._waiting_bytes = 0
        self._given_up: set[bytes] = set()
        self._something = asyncio.Event()
        self._storing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    def start(self) -> None:
        """Begin to write behind."""
        self._storing = asyncio.create_task(self._store_forever())

    async def close(self) -> None:
        """Store what waits, as far as the database takes it."""
        async with self._turn:  # a write that is under way comes to its end
            if self._storing is not None:
                self._storing.cancel()
        if self._storing is not None:
            await asyncio.gather(self._storing, return_exceptions=True)
        await self.flush()

    async def flush(self) -> None:
        """Store what waits now, as far as the database takes it."""
        while (self._waiting or self._given_up) and await self._store_some():
            pass

    def put(self, entry: Entry, likeness: Likeness | None = None, *, replaces: bool = False) -> bool:
        """Have `entry` stored soon; False when too much waits already."""
        if self._waiting_bytes + len(entry.body) > MAX_WAITING_BYTES:
            return False
        self._forget(entry.key)
        self._waiting_bytes += len(entry.body)
        self._waiting[entry.key] = Waiting(entry, likeness, replaces)
        self._something.set()
        return True

    def give_up(self, key: bytes) -> None:
        """Let others make the call under `key` soon."""
        if len(self._given_up) < MAX_GIVEN_UP:
            self._given_up.add(key)
            self._something.set()

    def clear(self, takes: Callable[[Entry], bool]) -> None:
        """Do not store what `takes` says yes to."""
        for key in [key for key, one in self._waiting.items() if takes(one.entry)]:
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        replaced = self._waiting.pop(key, None)
        if replaced is not None:
            self._waiting_bytes -= len(replaced.entry.body)

    async def _store_forever(self) -> None:
        while True:
            await self._something.wait()
            if len(self._waiting) < MAX_BATCH and not self._given_up:
                await asyncio.sleep(STORE_EVERY_SECONDS)  # a statement for many costs little more than one for a few
            if not await self._store_some():
                await asyncio.sleep(AGAIN_SECONDS)

    def _take_batch(self) -> list[Waiting]:
        """Return what waited longest, little enough not to hold up the loop while it is written."""
        batch: list[Waiting] = []
        left = MAX_BATCH_BYTES
        for one in islice(self._waiting.values(), MAX_BATCH):
            batch.append(one)
            left -= len(one.entry.body)
            if left < 0:
                break
        return batch

    async def _store_some(self) -> bool:
        """Store one batch; False when the database did not take it (it stays waiting, unless it is at fault itself)."""
        async with self._turn:
            batch, given_up = self._take_batch(), list(self._given_up)
            try:
                await self._store(batch, given_up)
            except DatabaseAwayError:
                return False
            self._given_up.difference_update(given_up)
            for one in batch:
                if self._waiting.get(one.entry.key) is one:
                    self._forget(one.entry.key)
            if not self._waiting and not self._given_up:
                self._something.clear()
            return True

    async def _store(self, batch: list[Waiting], given_up: list[bytes]) -> None:
        """Store a batch, or as much of it as Postgres takes: what is refused is only lost as an entry."""
        try:
            await self._run(batch, given_up)
        except REFUSED:
            for one in batch:
                with contextlib.suppress(*REFUSED):
                    await self._run([one], [])

    async def _run(self, batch: list[Waiting], given_up: list[bytes]) -> None:
        await self._connection.run(lambda c: self._write(c, batch, given_up), seconds=STORE_SECONDS)

    async def _write(self, connection: Connection, batch: list[Waiting], given_up: list[bytes]) -> None:
        if given_up:
            await give_up_leases(connection, given_up, self._owner)
        if not batch:
            return
        likenesses = [(one.entry, one.likeness) for one in batch if one.likeness is not None]
        async with connection.transaction():
            await upsert_entries(connection, [one.entry for one in batch])
            await end_leases(connection, [one.entry.key for one in batch], self._owner)
            for one in batch:
                if one.replaces:
                    await forget_older(connection, one.entry)
            if likenesses:
                # By itself an answer is kept though its question is refused; in a batch nobody knows whose it was.
                with contextlib.suppress(*(REFUSED if len(batch) == 1 else ())):
                    async with connection.transaction():
                        await insert_likenesses(connection, likenesses)
