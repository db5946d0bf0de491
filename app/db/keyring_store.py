"""The keyring in Postgres: filled at the first start, followed by running processes, rewrapped by a rotation."""

import hashlib
import logging
from collections.abc import Iterable
from typing import cast

from sqlalchemy import Connection, delete, func, insert, select, text

from app.db.connection import Connection as HotConnection
from app.db.keyring import (
    PURPOSES,
    VAULT,
    DataKey,
    Keyring,
    KeyringError,
    WrappedKey,
    Wrapper,
    derive,
    derive_data_keys,
    make_data_key,
    open_keys,
)
from app.db.tables import installation, keyring
from app.settings import SettingsError

MADE_WITH = "secret key id"
"""The fact that named the one secret key of an installation before there was a keyring."""

ANOTHER_KEY = (
    "This database was made with another secret key: with this one no stored API key or provider key works. Start with "
    "the newest RELAYCORE_SECRET_KEY again (or the file secret.key of its data folder)."
)
WRAPPED = "SELECT purpose, version, wrapped_by, wrapped FROM keyring WHERE wrapped_by = %(wrapped_by)s"
USERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = :name"

logger = logging.getLogger("relaycore.keyring")


class FollowedKeyring:
    """The keyring as a running process knows it: once it was opened, the process keeps it whatever becomes of it."""

    def __init__(self, secret_key: str) -> None:
        self._wrapper = Wrapper(secret_key)
        self._current: Keyring | None = None

    @property
    def process_name(self) -> str:
        """What the connection of a process is called whose secret key this is."""
        return name_process(self._wrapper.key_id)

    async def load(self, connection: HotConnection) -> Keyring:
        """Return the keyring as it is now; KeyringError when the secret key never opened it."""
        cursor = await connection.execute(WRAPPED, {"wrapped_by": self._wrapper.key_id})
        lines = cast(list[tuple[str, int, str, bytes]], await cursor.fetchall())
        found = open_keys(self._wrapper, [_read(line) for line in lines])
        if found is None and self._current is None:
            raise KeyringError(ANOTHER_KEY)
        if found is None:
            logger.warning("The secret key of this process was replaced: restart it with the new one")
        self._current = found or self._current
        return cast(Keyring, self._current)

    def find_now(self, connection: Connection) -> Keyring | None:
        """Return the keyring as a transaction sees it; None when the secret key was replaced."""
        return open_keys(self._wrapper, list_wrapped_keys(connection))


def name_process(key_id: str) -> str:
    """Return the name of a connection that a process holds open as long as it lives."""
    return f"relaycore watch {key_id}"


def provide_keyring(connection: Connection, secret_key: str) -> Keyring:
    """Return the keyring, which a first start makes; SettingsError when the secret key does not open it."""
    wrapper = Wrapper(secret_key)
    stored = list_wrapped_keys(connection)
    if not stored:
        lock_keyring(connection)
        stored = list_wrapped_keys(connection) or _fill(connection, wrapper, secret_key)
    found = open_keys(wrapper, stored)
    if found is None:
        raise SettingsError(ANOTHER_KEY)
    return found


def lock_keyring(connection: Connection) -> None:
    """Let one transaction at a time change the keyring."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("relaycore keyring"))))


def list_wrapped_keys(connection: Connection) -> list[WrappedKey]:
    """Return every stored key, the longest wrapped first."""
    statement = select(keyring.c.purpose, keyring.c.version, keyring.c.wrapped_by, keyring.c.wrapped)
    return [
        _read((line[0], line[1], line[2], line[3]))
        for line in connection.execute(statement.order_by(keyring.c.created_at))
    ]


def insert_wrapped_keys(connection: Connection, wrapper: Wrapper, keys: Iterable[DataKey]) -> list[WrappedKey]:
    """Store data keys as `wrapper` wraps them."""
    wrapped = [wrapper.wrap(one) for one in keys]
    lines = [
        {"purpose": one.purpose, "version": one.version, "wrapped_by": one.wrapped_by, "wrapped": one.wrapped}
        for one in wrapped
    ]
    connection.execute(insert(keyring).values(created_at=func.clock_timestamp()), lines)
    return wrapped


def delete_wrapped_by(connection: Connection, key_ids: Iterable[str]) -> None:
    """Forget what the secret keys with these ids open."""
    connection.execute(delete(keyring).where(keyring.c.wrapped_by.in_(list(key_ids))))


def delete_old_vault_keys(connection: Connection) -> None:
    """Forget the vault keys but the newest: nothing may be sealed with them any more."""
    vault = keyring.c.purpose == VAULT
    newest = select(func.max(keyring.c.version)).where(vault).scalar_subquery()
    connection.execute(delete(keyring).where(vault, keyring.c.version < newest))
    connection.execute(delete(installation).where(installation.c.name == MADE_WITH))


def count_processes(connection: Connection, key_id: str) -> int:
    """Return how many processes run with a secret key, as far as the database's list of connections tells."""
    connection.execute(select(func.pg_stat_clear_snapshot()))
    return int(connection.execute(text(USERS), {"name": name_process(key_id)}).scalar_one())


def add_vault_key(connection: Connection, wrapper: Wrapper, ring: Keyring) -> Keyring:
    """Return `ring` with a new vault key, which is stored as `wrapper` wraps it."""
    newest = max(one.version for one in ring.keys if one.purpose == VAULT)
    made = make_data_key(VAULT, newest + 1)
    insert_wrapped_keys(connection, wrapper, [made])
    return Keyring((*ring.keys, made))


def _fill(connection: Connection, wrapper: Wrapper, secret_key: str) -> list[WrappedKey]:
    """Make the keys of a new installation; one from before the keyring goes on with those that it has."""
    made_with = connection.execute(select(installation.c.value).where(installation.c.name == MADE_WITH)).scalar()
    if made_with is None:
        return insert_wrapped_keys(connection, wrapper, [make_data_key(purpose, 1) for purpose in PURPOSES])
    if bytes(made_with) != _name_first_key(secret_key):
        raise SettingsError(ANOTHER_KEY)
    return insert_wrapped_keys(connection, wrapper, derive_data_keys(secret_key))


def _name_first_key(secret_key: str) -> bytes:
    return hashlib.sha256(b"relaycore key id" + derive(secret_key, VAULT)).hexdigest()[:16].encode()


def _read(line: tuple[str, int, str, bytes]) -> WrappedKey:
    purpose, version, wrapped_by, wrapped = line
    return WrappedKey(purpose=purpose, version=version, wrapped_by=wrapped_by, wrapped=bytes(wrapped))
