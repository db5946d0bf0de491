"""The configuration in Postgres: numbered documents, and their secrets encrypted beside them."""

from typing import cast

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql

from app.catalog.secrets import Vault
from app.catalog.types import ConfigDocument
from app.db.connection import Connection as HotConnection
from app.db.tables import config_versions, secrets

PROVIDER_KEY = "provider key"
KEY_SEPARATOR = "\n"

NEWEST = "SELECT version, document FROM config_versions ORDER BY version DESC LIMIT 1"
PROVIDER_KEYS = "SELECT name, ciphertext FROM secrets WHERE purpose = %(purpose)s"


class StoredConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the document and the provider keys that are stored now, still encrypted."""

    version: int
    document: ConfigDocument
    sealed_keys: dict[str, bytes]


async def load_config(connection: HotConnection) -> StoredConfig:
    """Return the newest configuration; version 0 and an empty document when none was stored."""
    cursor = await connection.execute(NEWEST)
    line = await cursor.fetchone()
    keys = await connection.execute(PROVIDER_KEYS, {"purpose": PROVIDER_KEY})
    sealed = {str(name): bytes(cast(bytes, value)) for name, value in await keys.fetchall()}
    version, document = (0, ConfigDocument()) if line is None else (int(str(line[0])), _document(line[1]))
    return StoredConfig(version=version, document=document, sealed_keys=sealed)


def lock_config(connection: Connection) -> None:
    """Let one transaction at a time change the configuration."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("relaycore_config"))))


def get_newest(connection: Connection) -> tuple[int, ConfigDocument]:
    """Return the newest version and its document without secrets; version 0 and an empty one when none is stored."""
    newest = select(config_versions.c.version, config_versions.c.document)
    line = connection.execute(newest.order_by(config_versions.c.version.desc()).limit(1)).first()
    return (0, ConfigDocument()) if line is None else (int(line[0]), _document(line[1]))


def list_provider_keys(connection: Connection) -> frozenset[str]:
    """Return the names of the providers that have a stored key."""
    return frozenset(connection.execute(select(secrets.c.name).where(secrets.c.purpose == PROVIDER_KEY)).scalars())


def find_newest_document(connection: Connection) -> tuple[str, ConfigDocument] | None:
    """Return where the newest version came from, and its document without secrets."""
    newest = select(config_versions.c.origin, config_versions.c.document)
    line = connection.execute(newest.order_by(config_versions.c.version.desc()).limit(1)).first()
    return None if line is None else (str(line[0]), _document(line[1]))


def insert_document(connection: Connection, document: ConfigDocument, vault: Vault, *, origin: str) -> int:
    """Store `document` as the next version, its provider keys encrypted apart, and return the version.

    A provider without a key in the document keeps the one that is stored; keys of providers that are gone are deleted.
    The caller's transaction makes it all or nothing.
    """
    for name, provider in document.providers.items():
        if provider.keys:
            _upsert_key(connection, vault, name, KEY_SEPARATOR.join(provider.keys))
    gone = secrets.c.name.not_in(document.providers) if document.providers else secrets.c.name.is_not(None)
    connection.execute(delete(secrets).where(secrets.c.purpose == PROVIDER_KEY, gone))
    version = connection.execute(select(func.coalesce(func.max(config_versions.c.version), 0) + 1)).scalar_one()
    bare = msgspec.to_builtins(without_keys(document))
    connection.execute(insert(config_versions).values(version=version, document=bare, origin=origin))
    return version


def find_file_import(connection: Connection) -> ConfigDocument | None:
    """Return what was last imported from a file, without secrets."""
    newest = select(config_versions.c.document).where(config_versions.c.origin == "file")
    line = connection.execute(newest.order_by(config_versions.c.version.desc()).limit(1)).first()
    return None if line is None else _document(line[0])


def without_keys(document: ConfigDocument) -> ConfigDocument:
    """Return `document` with no provider key in it."""
    bare = {
        name: msgspec.structs.replace(entry, api_key=None, api_keys=None) for name, entry in document.providers.items()
    }
    return msgspec.structs.replace(document, providers=bare)


def find_provider_keys(connection: Connection, vault: Vault, name: str) -> tuple[str, ...]:
    """Return the stored keys of a provider; SecretUnreadableError when they do not open."""
    where = (secrets.c.purpose == PROVIDER_KEY) & (secrets.c.name == name)
    sealed = connection.execute(select(secrets.c.ciphertext).where(where)).scalar()
    return () if sealed is None else tuple(vault.open(PROVIDER_KEY, name, sealed).split(KEY_SEPARATOR))


def has_new_key(connection: Connection, vault: Vault, document: ConfigDocument) -> bool:
    """Return whether `document` brings keys that are not the stored ones."""
    return any(
        entry.keys and entry.keys != find_provider_keys(connection, vault, name)
        for name, entry in document.providers.items()
    )


def reseal_secrets(connection: Connection, vault: Vault) -> int:
    """Encrypt every stored secret with the vault's newest key and return how many were not before."""
    old = select(secrets.c.purpose, secrets.c.name, secrets.c.ciphertext).where(secrets.c.key_id != vault.key_id)
    lines = connection.execute(old.with_for_update()).all()
    for purpose, name, sealed in lines:
        values = {"key_id": vault.key_id, "ciphertext": vault.seal(purpose, name, vault.open(purpose, name, sealed))}
        one = (secrets.c.purpose == purpose) & (secrets.c.name == name)
        connection.execute(update(secrets).where(one).values(**values, updated_at=func.now()))
    return len(lines)


def _upsert_key(connection: Connection, vault: Vault, name: str, key: str) -> None:
    values = {"key_id": vault.key_id, "ciphertext": vault.seal(PROVIDER_KEY, name, key), "updated_at": func.now()}
    statement = postgresql.insert(secrets).values(purpose=PROVIDER_KEY, name=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["purpose", "name"], set_=values))


def _document(value: object) -> ConfigDocument:
    return msgspec.convert(value, ConfigDocument)
