"""Keeps local snapshots as new as the database: woken by NOTIFY, and by a cheap poll when no notice comes."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping

import psycopg
from psycopg.sql import SQL, Identifier

from app.db.connection import Connection, DatabaseAwayError, PatientConnection, open_connection

Loader = Callable[[Connection, int], Awaitable[None]]
"""Loads what changed after a version of its snapshot (0: everything, in place of what was loaded before)."""

POLL_SECONDS = 1.0
QUERY_SECONDS = 2.0
LOAD_SECONDS = 30.0

logger = logging.getLogger("relaycore.watch")


class SnapshotError(Exception):
    """What is stored cannot be loaded; the log says why."""


class SnapshotWatch:
    """Calls each snapshot's loader whenever its version in the database is newer than the one loaded.

    The version is the truth and the notice only a wake-up: behind a transaction pooler, where notices are lost in
    silence, the poll still finds a change within a second.
    """

    def __init__(self, url: str, loaders: Mapping[str, Loader], name: str = "relaycore watch") -> None:
        self._loaders = loaders
        self._versions = dict.fromkeys(loaders, -1)
        self._connection = PatientConnection(url, name=name)
        self._listener = Listener(url, self.wake)
        self._wake = asyncio.Event()
        self._refreshing: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._away = False
        self.verified_at = -math.inf

    @property
    def age_seconds(self) -> float:
        """How long ago the snapshots were last known to be the newest."""
        return time.monotonic() - self.verified_at

    def wake(self) -> None:
        """Have the versions looked at soon."""
        self._wake.set()

    async def start(self) -> None:
        """Load every snapshot, then keep them new; without a database they are loaded once it is there.

        Raises SnapshotError when the database has something in it that cannot be loaded.
        """
        try:
            await self.refresh()
        except (DatabaseAwayError, psycopg.Error):
            logger.warning("The database is away; serving begins when it is back")
            self._away = True
        else:
            if self.verified_at == -math.inf:
                raise SnapshotError
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._listener.run())]

    async def close(self) -> None:
        """Stop watching."""
        running = [*self._tasks, *((self._refreshing,) if self._refreshing is not None else ())]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._connection.close()

    async def refresh(self) -> None:
        """Make the snapshots as new as the database is now; callers at the same time share one look.

        A caller that comes while a look is under way waits for the next one, which begins after its call.
        """
        running = self._refreshing
        if running is not None:
            await asyncio.wait({running})
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._load_changes())
        await asyncio.shield(self._refreshing)

    async def _load_changes(self) -> None:
        asked_at = time.monotonic()
        found = await self._connection.run(_read_versions, seconds=QUERY_SECONDS)
        changed = [name for name, version in self._versions.items() if found[name] != version]
        loaded = [await self._load(name, found[name]) for name in changed]
        if all(loaded):
            self.verified_at = asked_at

    async def _load(self, name: str, version: int) -> bool:
        """Bring one snapshot to `version`; False when what is stored does not fit, and the old one stays."""
        since = self._versions[name]
        since = since if 0 < since < version else 0  # a version that went back is another database's
        try:
            await self._connection.run(lambda c: self._loaders[name](c, since), seconds=LOAD_SECONDS)
        except DatabaseAwayError:
            raise
        except Exception:
            logger.exception("The %s snapshot cannot be loaded; the one before it stays", name)
            return False
        self._versions[name] = version
        return True

    async def _poll(self) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.refresh()
                self._note(away=False)
            except (DatabaseAwayError, psycopg.Error):
                self._note(away=True)
                await asyncio.sleep(POLL_SECONDS / 4)

    def _note(self, *, away: bool) -> None:
        if away != self._away:
            logger.warning("The database is %s", "away; known keys go on for a minute" if away else "back")
        self._away = away


class Listener:
    """One connection that waits for notices and says so; it comes back by itself after a break."""

    def __init__(self, url: str, wake: Callable[[], None], channel: str = "relaycore") -> None:
        self._url = url
        self._wake = wake
        self._channel = channel

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except psycopg.Error:
                await asyncio.sleep(POLL_SECONDS)

    async def _listen(self) -> None:
        connection = await open_connection(self._url, connect_timeout=5, application_name="relaycore listener")
        async with connection:
            await connection.execute(SQL("LISTEN {}").format(Identifier(self._channel)))
            self._wake()
            async for _ in connection.notifies():
                self._wake()


async def _read_versions(connection: Connection) -> dict[str, int]:
    cursor = await connection.execute("SELECT name, version FROM snapshot_versions")
    return {str(name): int(str(version)) for name, version in await cursor.fetchall()}
