"""How the control plane reads and changes the database: one transaction a change, with its line in the audit log."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.audit import Actor, Auditor

T = TypeVar("T")


class Change:
    """A change under way: the connection it is made on, and who makes it."""

    def __init__(self, connection: Connection, actor: Actor, auditor: Auditor) -> None:
        self.connection = connection
        self.actor = actor
        self._auditor = auditor

    def note(self, action: str, kind: str, object_id: object, *, before: object = None, after: object = None) -> None:
        """Write to the audit log what is done; nothing of it remains when the change does not come about."""
        self._auditor.record(self.connection, self.actor, action, (kind, str(object_id)), before, after)


class Control:
    """The database as the routes of the control plane use it."""

    def __init__(self, engine: AsyncEngine, auditor: Auditor, refresh: Callable[[], Awaitable[None]]) -> None:
        self._engine = engine
        self._auditor = auditor
        self._refresh = refresh

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` reads, at one moment."""
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    async def change(self, actor: Actor, work: Callable[[Change], T]) -> T:
        """Return what `work` returns, all of it done or nothing; in this process the change holds on return."""
        async with self._engine.begin() as connection:
            done = await connection.run_sync(lambda c: work(Change(c, actor, self._auditor)))
        await self._refresh()
        return done
