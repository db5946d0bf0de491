"""Looks entries up in Postgres: what is asked for at the same moment shares one statement."""

import asyncio
import logging
from uuid import UUID

import psycopg

from app.cache.store import find_or_lease
from app.cache.types import Found
from app.db.connection import DatabaseAwayError, PatientConnection

logger = logging.getLogger("relaycore.cache")

FIND_SECONDS = 0.05
ALONE = Found(away=True)
"""What a look-up comes to when the database does not answer: nobody else is known to make the call."""


class Finder:
    """Asks with one query at a time; what is asked for meanwhile shares the next one. `owner` takes the leases."""

    def __init__(self, connection: PatientConnection, owner: UUID) -> None:
        self._connection = connection
        self._owner = owner
        self._asked: dict[bytes, asyncio.Future[Found]] = {}
        self._leases: set[bytes] = set()
        self._asking: asyncio.Task[None] | None = None

    async def find(self, key: bytes, *, lease: bool) -> Found:
        """Return what there is under `key`; `lease`: who asks makes the call if there is no entry and it is free."""
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
        if lease:
            self._leases.add(key)
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Answer those who still wait."""
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                leases, self._leases = self._leases, set()
                await self._answer(asked, leases)
        finally:
            self._asking = None

    async def _answer(self, asked: dict[bytes, "asyncio.Future[Found]"], leases: set[bytes]) -> None:
        found: dict[bytes, Found] = {}
        try:
            found = await self._connection.run(
                lambda c: find_or_lease(c, list(asked), list(leases), self._owner), seconds=FIND_SECONDS
            )
        except (DatabaseAwayError, psycopg.Error):
            pass
        except Exception:
            logger.exception("a look-up of %d keys failed", len(asked))
        finally:
            for key, future in asked.items():
                if not future.done():
                    future.set_result(found.get(key, ALONE))
