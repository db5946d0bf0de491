"""Reading and changing the stored configuration, one change at a time."""

from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import Connection

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
from app.catalog.types import MAPS, MASK, ConfigDocument
from app.db.audit import Actor
from app.db.control import Change, Control

Edit = Callable[[ConfigDocument, int], ConfigDocument]

API = "api"
CONFIG = "config"
REPLACED = f"{MASK} (replaced)"


class ConfigChanges:
    """The stored configuration as administrators see it. A change holds in this process when `apply` returns.

    `open_vault` opens the vault as it is in the transaction of a change, so that a key is never sealed with one that a
    rotation has just put away.
    """

    def __init__(self, control: Control, open_vault: Callable[[Connection], Vault]) -> None:
        self._control = control
        self._open_vault = open_vault

    async def show(self) -> dict[str, Any]:
        """Return the newest document with its keys masked."""
        return await self._control.read(_show)

    async def apply(self, actor: Actor, edit: Edit) -> dict[str, Any]:
        """Store what `edit` makes of the newest document as the next version, and return it as shown.

        Nothing is stored when nothing changed; when `edit` raises nothing has happened.
        """
        return await self._control.change(actor, lambda change: self._apply(change, edit))

    def _apply(self, change: Change, edit: Edit) -> dict[str, Any]:
        lock_config(change.connection)
        vault = self._open_vault(change.connection)
        version, current = get_newest(change.connection)
        document = edit(current, version)
        if without_keys(document) != current or has_new_key(change.connection, vault, document):
            store_document(change, document, vault, origin=API)
        return _show(change.connection)


def store_document(change: Change, document: ConfigDocument, vault: Vault, *, origin: str) -> None:
    """Store `document` as the next version, with a line in the audit log that says what became different."""
    before = _show(change.connection)
    rekeyed = {
        name
        for name, entry in document.providers.items()
        if entry.keys and has_new_key(change.connection, vault, ConfigDocument(providers={name: entry}))
    }
    insert_document(change.connection, document, vault, origin=origin)
    after = _show(change.connection)
    for name in rekeyed:
        after["providers"][name]["api_key"] = REPLACED
    change.note("config.change", CONFIG, after["version"], before=compare(before, after), after=compare(after, before))


def compare(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the sections of `one` that differ from those of `other`; of named entries, only the ones that do."""
    different: dict[str, Any] = {}
    for section, value in one.items():
        there = other.get(section)
        if value == there:
            continue
        named = section in MAPS and isinstance(there, dict)
        different[section] = _differing(value, cast(dict[str, Any], there)) if named else value
    return different


def _differing(entries: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in entries.items() if others.get(name) != entry}


def _show(connection: Connection) -> dict[str, Any]:
    version, document = get_newest(connection)
    return show_document(document, version, list_provider_keys(connection))
