"""The exact cache: memory over Postgres. What is looked up or stored at the same moment shares one statement."""

import asyncio
from itertools import islice

import msgspec
import psycopg

from app.cache.local import LocalCache
from app.cache.store import WRITER_OPTIONS, find_entries, upsert_entries
from app.cache.types import Entry
from app.db.connection import DatabaseAwayError, PatientConnection

FIND_SECONDS = 0.05
STORE_SECONDS = 5.0
MAX_WAITING_BYTES = 32 * 2**20
STORE_EVERY_SECONDS = 0.1
MAX_BATCH = 200
MAX_BATCH_BYTES = 4 * 2**20


class ExactCache:
    """Both tiers behind three calls. A database that is away or slow makes it a cache of this process alone."""

    def __init__(self, url: str, max_local_bytes: int) -> None:
        self.local = LocalCache(max_local_bytes)
        self._reader = PatientConnection(url, name="relaycore cache reader")
        self._writer = PatientConnection(url, name="relaycore cache writer", options=WRITER_OPTIONS)
        self._asked: dict[bytes, asyncio.Future[Entry | None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._waiting: dict[bytes, Entry] = {}
        self._waiting_bytes = 0
        self._something_to_store = asyncio.Event()
        self._storing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write behind."""
        self._storing = asyncio.create_task(self._store_forever())

    async def close(self) -> None:
        """Store what waits, as far as the database takes it, and let go of the connections."""
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)
        while self._waiting and await self._store_some():
            pass
        await self._reader.close()
        await self._writer.close()

    async def find(self, key: bytes) -> Entry | None:
        """Return the live entry under `key` from memory or Postgres."""
        entry = self.local.find(key)
        if entry is not None:
            return entry
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
        # An answer may have been put in while Postgres was asked.
        return await asyncio.shield(future) or self.local.find(key)

    def put(self, entry: Entry) -> None:
        """Keep `entry` in memory now and in Postgres soon."""
        self.local.put(entry)
        if self._waiting_bytes + len(entry.body) > MAX_WAITING_BYTES:
            return
        replaced = self._waiting.pop(entry.key, None)
        self._waiting_bytes += len(entry.body) - (len(replaced.body) if replaced is not None else 0)
        self._waiting[entry.key] = entry
        self._something_to_store.set()

    async def _ask(self) -> None:
        """Fetch what was asked for with one query at a time: what is asked for meanwhile shares the next one."""
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await self._answer(asked)
        finally:
            self._asking = None

    async def _answer(self, asked: dict[bytes, "asyncio.Future[Entry | None]"]) -> None:
        found: dict[bytes, Entry] = {}
        try:
            found = await self._reader.run(lambda c: find_entries(c, list(asked)), seconds=FIND_SECONDS)
        except (DatabaseAwayError, psycopg.Error, msgspec.MsgspecError, ValueError):
            pass
        finally:
            for key, future in asked.items():
                entry = found.get(key)
                if entry is not None:
                    self.local.put(entry)
                if not future.done():
                    future.set_result(entry)

    async def _store_forever(self) -> None:
        while True:
            await self._something_to_store.wait()
            if len(self._waiting) < MAX_BATCH:
                await asyncio.sleep(STORE_EVERY_SECONDS)  # a statement for many costs little more than one for a few
            if not await self._store_some():
                await asyncio.sleep(1)

    def _take_batch(self) -> list[Entry]:
        """Return the entries that waited longest, few enough not to hold up the loop while they are written."""
        batch: list[Entry] = []
        left = MAX_BATCH_BYTES
        for entry in islice(self._waiting.values(), MAX_BATCH):
            batch.append(entry)
            left -= len(entry.body)
            if left < 0:
                break
        return batch

    async def _store_some(self) -> bool:
        """Store one batch; False when the database did not take it (it stays waiting, unless it is at fault itself)."""
        batch = self._take_batch()
        try:
            await self._writer.run(lambda c: upsert_entries(c, batch), seconds=STORE_SECONDS)
        except DatabaseAwayError:
            return False
        except psycopg.Error:
            pass  # an entry that Postgres refuses is only lost as an entry
        for entry in batch:
            if self._waiting.get(entry.key) is entry:
                del self._waiting[entry.key]
                self._waiting_bytes -= len(entry.body)
        if not self._waiting:
            self._something_to_store.clear()
        return True
