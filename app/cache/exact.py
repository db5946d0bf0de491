"""The exact cache: memory over Postgres, and who makes a call that several processes are asked at the same time."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from uuid import uuid4

import psycopg

from app.cache.behind import WriteBehind
from app.cache.clearing import Cleared, any_takes
from app.cache.clearing_store import delete_cleared
from app.cache.finder import Finder
from app.cache.local import LocalCache
from app.cache.store import WRITER_OPTIONS, find_entries, list_clearings, renew_leases
from app.cache.types import Entry, Found
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.semantic.types import Likeness

OPEN_SECONDS = 5.0
RENEW_SECONDS = 1.5
LOOK_AGAIN_SECONDS = (0.03, 0.06, 0.12, 0.25)
SILENT_SECONDS = 0.6
"""For how long the database has to be away until a call is made that another process was seen to make: a look that it
is slow to answer is no reason to."""


class ExactCache:
    """Both tiers behind few calls. A database that is away or slow makes it a cache of this process alone."""

    def __init__(self, url: str, max_local_bytes: int) -> None:
        owner = uuid4()
        self.local = LocalCache(max_local_bytes)
        self._owner = owner
        self._reader = PatientConnection(url, name="relaycore cache reader", options=WRITER_OPTIONS)
        self._writer = PatientConnection(url, name="relaycore cache writer", options=WRITER_OPTIONS)
        self._finder = Finder(self._reader, owner)
        self._behind = WriteBehind(self._writer, owner)
        self._led: set[bytes] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write behind, and open the connection that look-ups will need."""
        self._behind.start()
        self._opening = asyncio.create_task(self._open_reader())

    async def close(self) -> None:
        """Store what waits, as far as the database takes it, and let go of the connections."""
        for task in (self._renewing, self._opening):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._finder.close()
        await self._behind.close()
        await self._reader.close()
        await self._writer.close()

    @property
    def away(self) -> bool:
        """Whether Postgres is known not to answer just now."""
        return self._reader.away

    async def flush(self) -> None:
        """Store what waits now, as far as the database takes it."""
        await self._behind.flush()

    async def find(self, key: bytes, *, lease: bool = False) -> Found:
        """Return the live entry under `key` from memory or Postgres, or else whether the call is ours to make.

        With `lease` it is only when no other process makes it; without one it always is.
        """
        entry = self.local.find(key)
        if entry is not None:
            return Found(entry=entry)
        found = await self._finder.find(key, lease=lease)
        if found.entry is not None:
            self.local.put(found.entry)
            return found
        late = self.local.find(key)  # an answer may have been put in while Postgres was asked
        return found if late is None else Found(entry=late)

    async def await_other(self, key: bytes) -> Found:
        """Wait while another process makes the call under `key`: until its answer is there, or the call is ours.

        Returns too when that process dies, and when the database stays away.
        """
        answered_at, look = time.monotonic(), 0
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS[min(look, len(LOOK_AGAIN_SECONDS) - 1)])
            look += 1
            found = await self.find(key, lease=True)
            if not found.away:
                answered_at = time.monotonic()
            silent = time.monotonic() - answered_at >= SILENT_SECONDS
            if found.entry is not None or (found.leads and (silent or not found.away)):
                return found

    def lead(self, key: bytes) -> None:
        """Note that this process makes the call under `key`; `put` or `give_up` ends that."""
        self._led.add(key)
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())

    def give_up(self, key: bytes) -> None:
        """Note that the call under `key` came to nothing that is kept."""
        if key in self._led:
            self._led.discard(key)
            self._behind.give_up(key)

    def put(self, entry: Entry, likeness: Likeness | None = None, *, replaces: bool = False) -> None:
        """Keep `entry` in memory now and in Postgres soon, and with it the question that it answers.

        `replaces`: other processes may have an older one in memory, which they are told to forget.
        """
        self.local.put(entry)
        if self._behind.put(entry, likeness, replaces=replaces):
            self._led.discard(entry.key)
        else:
            self.give_up(entry.key)

    async def load_clearings(self, connection: Connection, since: int) -> None:
        """Forget what was cleared after a version of the cache's snapshot, here and in what others wrote meanwhile."""
        if since == 0:
            self._forget(lambda _: True)
            return
        clearings = await list_clearings(connection, since)
        self._forget(lambda entry: any_takes(clearings, entry))
        await self._delete_again(connection, clearings)

    def _forget(self, takes: Callable[[Entry], bool]) -> None:
        self.local.clear(takes)
        self._behind.clear(takes)

    async def _delete_again(self, connection: Connection, clearings: Sequence[Cleared]) -> None:
        """Delete what came to the table between the clearing and its notice here."""
        for one in clearings:
            if not one.what.in_memory:
                await delete_cleared(connection, one)

    async def _open_reader(self) -> None:
        with contextlib.suppress(DatabaseAwayError, psycopg.Error):
            await self._reader.run(lambda c: find_entries(c, [b""]), seconds=OPEN_SECONDS)

    async def _renew(self) -> None:
        """Keep the leases of calls that take long."""
        while self._led:
            await asyncio.sleep(RENEW_SECONDS)
            with contextlib.suppress(DatabaseAwayError, psycopg.Error):
                await self._renew_once(list(self._led))
        self._renewing = None

    async def _renew_once(self, keys: Iterable[bytes]) -> None:
        led = list(keys)
        if led:
            await self._writer.run(lambda c: renew_leases(c, led, self._owner), seconds=RENEW_SECONDS)
