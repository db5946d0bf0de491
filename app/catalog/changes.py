"""Reading and changing the stored configuration, one change at a time."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog.edit import show_document
from app.catalog.secrets import Vault
from app.catalog.store import (
    get_newest,
    has_new_key,
    insert_document,
    list_provider_keys,
    lock_config,
    without_keys,
)
from app.catalog.types import ConfigDocument

Change = Callable[[ConfigDocument, int], ConfigDocument]

API = "api"


class ConfigChanges:
    """The stored configuration as administrators see it. A change holds in this process when `apply` returns."""

    def __init__(self, engine: AsyncEngine, vault: Vault, refresh: Callable[[], Awaitable[None]]) -> None:
        self._engine = engine
        self._vault = vault
        self._refresh = refresh

    async def show(self) -> dict[str, Any]:
        """Return the newest document with its keys masked."""
        async with self._engine.connect() as connection:
            return await connection.run_sync(_show)

    async def apply(self, change: Change) -> dict[str, Any]:
        """Store what `change` makes of the newest document as the next version, and return it as shown.

        Nothing is stored when nothing changed; when `change` raises nothing has happened.
        """
        async with self._engine.begin() as connection:
            await connection.run_sync(self._apply, change)
            shown = await connection.run_sync(_show)
        await self._refresh()
        return shown

    def _apply(self, connection: Connection, change: Change) -> None:
        lock_config(connection)
        version, current = get_newest(connection)
        document = change(current, version)
        if without_keys(document) != current or has_new_key(connection, self._vault, document):
            insert_document(connection, document, self._vault, origin=API)


def _show(connection: Connection) -> dict[str, Any]:
    version, document = get_newest(connection)
    return show_document(document, version, list_provider_keys(connection))
