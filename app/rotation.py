"""Replacing the secret key of an installation while it serves: first both keys work, then only the new one."""

import msgspec
from sqlalchemy import Connection

from app.batch.webhooks.store import reseal_webhook_secrets
from app.catalog.secrets import Vault
from app.catalog.store import lock_config, reseal_secrets
from app.db.control import Change
from app.db.keyring import Keyring, Wrapper
from app.db.keyring_store import (
    add_vault_key,
    count_processes,
    delete_old_vault_keys,
    delete_wrapped_by,
    insert_wrapped_keys,
    list_wrapped_keys,
    lock_keyring,
    provide_keyring,
)
from app.settings import SettingsError

FINISH_FIRST = "A rotation to this secret key is not finished: run `relaycore secret finish` first."
NOT_THE_NEWEST = (
    "This is the old secret key. Start every process with the new one, then run this command with it as well."
)
IN_USE = (
    "Processes that run with {which} secret key: {count}. Restart them with {other} first; one that was stopped leaves "
    "the list within moments."
)


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What the end of a rotation did: how many old secret keys no longer open anything."""

    forgotten: int


def rotate(change: Change, old_key: str, new_key: str) -> int:
    """Make both secret keys work, with a new vault key for every stored secret; return how many those are.

    Done before with the same keys, it does nothing again. A rotation to a key that nobody uses is begun anew.
    """
    old, new = Wrapper(old_key), Wrapper(new_key)
    if old.key_id == new.key_id:
        raise SettingsError("The new secret key is the old one.")
    connection = change.connection
    _lock(connection)
    others = _list_others(connection, old)
    if new.key_id in others:
        return 0
    _check_may_begin(connection, old, others)
    delete_wrapped_by(connection, others)
    keyring = add_vault_key(connection, old, provide_keyring(connection, old_key))
    insert_wrapped_keys(connection, new, keyring.keys)
    count = _reseal(connection, keyring)
    change.note("secret.rotate", "secret key", new.key_id, before={"key": old.key_id}, after={"secrets": count})
    return count


def finish(change: Change, key: str) -> Finished:
    """Forget what older secret keys open, and the vault keys from before."""
    mine = Wrapper(key)
    connection = change.connection
    _lock(connection)
    others = _list_others(connection, mine)
    if not others:
        return Finished(forgotten=0)
    if _find_newest(connection) != mine.key_id:
        raise SettingsError(NOT_THE_NEWEST)
    users = sum(count_processes(connection, other) for other in others)
    if users:
        raise SettingsError(IN_USE.format(count=users, which="the old", other="the new one"))
    _reseal(connection, provide_keyring(connection, key))
    delete_wrapped_by(connection, others)
    delete_old_vault_keys(connection)
    change.note("secret.finish", "secret key", mine.key_id, before={"keys": others}, after=None)
    return Finished(forgotten=len(others))


def _reseal(connection: Connection, keyring: Keyring) -> int:
    vault = Vault(*keyring.vault_keys)
    return reseal_secrets(connection, vault) + reseal_webhook_secrets(connection, vault)


def _lock(connection: Connection) -> None:
    """Keep out other rotations, and changes of the configuration, which may store a secret."""
    lock_config(connection)
    lock_keyring(connection)


def _check_may_begin(connection: Connection, old: Wrapper, others: list[str]) -> None:
    if others and _find_newest(connection) == old.key_id:
        raise SettingsError(FINISH_FIRST)
    users = sum(count_processes(connection, other) for other in others)
    if users:
        raise SettingsError(IN_USE.format(count=users, which="another new", other="the old one"))


def _list_others(connection: Connection, mine: Wrapper) -> list[str]:
    """Return the ids of the other secret keys that open something."""
    return sorted({one.wrapped_by for one in list_wrapped_keys(connection)} - {mine.key_id})


def _find_newest(connection: Connection) -> str:
    """Return the id of the secret key that came last."""
    first_of = {one.wrapped_by: place for place, one in reversed(list(enumerate(list_wrapped_keys(connection))))}
    return max(first_of, key=lambda key_id: first_of[key_id])
