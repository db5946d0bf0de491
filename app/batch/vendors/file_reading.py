"""Reads the files of batches that are too large to be read while their sender waits.

A reader that dies, freezes or loses the database loses its claim after LEASE_SECONDS, and the next one begins anew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

import psycopg

from app.batch.desk import Desk
from app.batch.intake_store import claim_reading, clear_cancelled, renew_reading
from app.batch.vendors.file_store import find_new
from app.batch.vendors.openai_intake import FileIntake, fail
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.errors import ConflictError, RelayError, UnavailableError
from app.gateway.parts import Parts
from app.wire.ids import make_uuid7

LEASE_SECONDS = 10.0
KEEP_SECONDS = 1.0
LOOK_SECONDS = 1.0
QUERY_SECONDS = 5.0
MAX_READERS = 10
KEY_GONE = "The API key that sent this batch was revoked, or its user is gone."
HOPELESS = f"{MAX_READERS} readers came to no end with this file; it is not read any more."
AWAY = (DatabaseAwayError, psycopg.Error, UnavailableError)

T = TypeVar("T")

logger = logging.getLogger("relaycore.batches")


class FileReading:
    """One process's share of the files; one at a time, for each of them makes many requests."""

    def __init__(self, url: str, parts: Parts) -> None:
        self.id = make_uuid7()
        self._parts = parts
        self._desk = Desk(url, parts)
        self._keeping = PatientConnection(url, name="relaycore batch files")

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            while True:
                if not await self._read_next():
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._desk.close()
            await self._keeping.close()

    async def _read_next(self) -> bool:
        """Read the file of a batch that nobody reads; False when there is none."""
        claimed = await self._try(lambda c: claim_reading(c, self.id, LEASE_SECONDS))
        if claimed is None:
            return False
        reading = asyncio.create_task(self._read(*claimed))
        try:
            while not (await asyncio.wait({reading}, timeout=KEEP_SECONDS))[0]:
                await self._keep(*claimed, reading)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await self._clear(claimed[0])
        return True

    async def _clear(self, batch_id: UUID) -> None:
        """Take back what was stored of a batch after it was cancelled, once all that was on its way is written."""
        with suppress(UnavailableError):
            await self._desk.change(lambda c: clear_cancelled(c, batch_id))

    async def _keep(self, batch_id: UUID, attempt: int, reading: asyncio.Task[None]) -> None:
        """Keep the claim; a reader whose claim is another's by now stops."""
        if await self._try(lambda c: renew_reading(c, batch_id, attempt, LEASE_SECONDS)) is False:
            reading.cancel()

    async def _read(self, batch_id: UUID, attempt: int) -> None:
        try:
            await self._read_batch(batch_id, attempt)
        except ConflictError:
            pass  # cancelled, or somebody else's
        except AWAY as error:
            logger.warning("The file of batch %s is read later: %s", batch_id, error)
        except Exception:
            logger.exception("The file of batch %s could not be read", batch_id)

    async def _read_batch(self, batch_id: UUID, attempt: int) -> None:
        new = await self._desk.read(lambda c: find_new(c, batch_id))
        if new is None:
            return
        caller = self._parts.directory.find_holder(new.user_id, new.api_key_id)
        if caller is None:
            await self._fail(batch_id, attempt, "key_revoked", KEY_GONE)
            return
        if attempt > MAX_READERS:
            await self._fail(batch_id, attempt, "file_unreadable", HOPELESS)
            return
        intake = self._desk.open_intake(new, caller, strict=False)
        try:
            await FileIntake(self._desk, new, intake, attempt).run()
        except (ConflictError, UnavailableError):
            raise
        except RelayError as error:
            await self._fail(batch_id, attempt, error.kind, error.message)

    async def _fail(self, batch_id: UUID, attempt: int, code: str, message: str) -> None:
        await fail(self._desk, batch_id, attempt, [{"code": code, "message": message, "param": None, "line": None}])

    async def _try(self, work: Callable[[Connection], Awaitable[T]]) -> T | None:
        """Return what `work` returns, None when the database does not answer."""
        try:
            return await self._keeping.run(work, seconds=QUERY_SECONDS)
        except AWAY:
            return None
