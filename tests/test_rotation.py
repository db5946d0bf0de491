"""Replacing the secret key: first both work, then the new one, and what was stored stays readable throughout."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection, select, update

from app.catalog.secrets import SecretUnreadableError, Vault
from app.catalog.store import find_provider_keys, insert_document
from app.catalog.types import ConfigDocument, ProviderConfig
from app.db.audit import COMMAND_LINE, Auditor
from app.db.control import Change
from app.db.engine import open_blocking_engine
from app.db.keyring import Keyring, KeyringError, Wrapper
from app.db.keyring_store import FollowedKeyring, name_process, provide_keyring
from app.db.tables import audit_log, secrets
from app.errors import UnavailableError
from app.process_keys import ProcessKeys
from app.rotation import finish, rotate
from app.settings import SettingsError

OLD, NEW, THIRD = "the-old-secret-key-00", "the-new-secret-key-11", "the-third-secret-key-22"


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    engine = open_blocking_engine(database_url)
    with engine.connect() as connection:
        store(connection, OLD, "sk-first")
        yield connection
    engine.dispose()


def store(connection: Connection, secret_key: str, key: str) -> None:
    document = ConfigDocument(providers={"openai": ProviderConfig(type="openai", api_key=key)})
    insert_document(connection, document, open_vault(connection, secret_key), origin="api")


def open_vault(connection: Connection, secret_key: str) -> Vault:
    return Vault(*provide_keyring(connection, secret_key).vault_keys)


def read(connection: Connection, secret_key: str) -> tuple[str, ...]:
    return find_provider_keys(connection, open_vault(connection, secret_key), "openai")


def change(connection: Connection) -> Change:
    return Change(connection, COMMAND_LINE, Auditor(b"a" * 32))


def refuses(connection: Connection, secret_key: str) -> bool:
    try:
        provide_keyring(connection, secret_key)
    except SettingsError:
        return True
    return False


def unchanged(ring: Keyring) -> tuple[bytes, bytes]:
    return ring.pepper, ring.audit_key


def test_after_a_rotation_both_keys_work(connection: Connection) -> None:
    """Stored secrets are sealed with a key that neither secret key makes; pepper and audit key keep their value."""
    before = provide_keyring(connection, OLD)
    sealed = connection.execute(select(secrets.c.ciphertext)).scalar_one()
    assert rotate(change(connection), OLD, NEW) == 1
    old, new = provide_keyring(connection, OLD), provide_keyring(connection, NEW)
    assert unchanged(old) == unchanged(new) == unchanged(before)
    assert old.vault_keys == new.vault_keys
    assert old.vault_keys[1:] == before.vault_keys
    assert connection.execute(select(secrets.c.ciphertext)).scalar_one() != sealed
    assert read(connection, OLD) == read(connection, NEW) == ("sk-first",)
    with pytest.raises(SecretUnreadableError):
        find_provider_keys(connection, Vault(*before.vault_keys), "openai")
    assert refuses(connection, THIRD)


def test_after_the_end_only_the_new_key_works(connection: Connection) -> None:
    """The end takes the old key and the old vault key away; secrets that were sealed late are sealed anew first."""
    first = open_vault(connection, OLD)
    rotate(change(connection), OLD, NEW)
    late = first.seal("provider key", "openai", "sk-late")
    connection.execute(update(secrets).values(ciphertext=late, key_id=first.key_id))
    assert finish(change(connection), NEW).forgotten == 1
    assert refuses(connection, OLD)
    assert len(provide_keyring(connection, NEW).vault_keys) == 1
    assert read(connection, NEW) == ("sk-late",)
    assert finish(change(connection), NEW).forgotten == 0
    actions = connection.execute(select(audit_log.c.action).order_by(audit_log.c.sequence)).scalars().all()
    assert actions == ["secret.rotate", "secret.finish"]


def test_a_rotation_can_be_repeated(connection: Connection) -> None:
    """A second run with the same keys does nothing; one with another new key begins anew when nobody has the first."""
    rotate(change(connection), OLD, NEW)
    assert rotate(change(connection), OLD, NEW) == 0
    assert rotate(change(connection), OLD, THIRD) == 1
    assert refuses(connection, NEW)
    assert read(connection, THIRD) == read(connection, OLD) == ("sk-first",)


def test_what_would_lock_somebody_out_is_refused(connection: Connection, database_url: str) -> None:
    """Neither the same key, nor the old one at the end, nor a key that a process runs with is taken away."""
    with pytest.raises(SettingsError, match="is the old one"):
        rotate(change(connection), OLD, OLD)
    rotate(change(connection), OLD, NEW)
    with pytest.raises(SettingsError, match="This is the old secret key"):
        finish(change(connection), OLD)
    with pytest.raises(SettingsError, match="finish"):
        rotate(change(connection), NEW, THIRD)
    for key, which, attempt in (
        (NEW, "another new", lambda: rotate(change(connection), OLD, THIRD)),
        (OLD, "the old", lambda: finish(change(connection), NEW)),
    ):
        with (
            psycopg.connect(database_url, application_name=name_process(Wrapper(key).key_id)),
            pytest.raises(SettingsError, match=f"run with {which} secret key: 1"),
        ):
            attempt()
    assert read(connection, OLD) == read(connection, NEW) == ("sk-first",)


def test_a_process_that_was_left_behind_seals_nothing(connection: Connection) -> None:
    """A process whose secret key was replaced cannot store a secret that nobody could open: it says why."""
    keys = ProcessKeys(OLD)
    assert keys.open_vault(connection).key_id == open_vault(connection, OLD).key_id
    rotate(change(connection), OLD, NEW)
    assert keys.open_vault(connection).key_id == open_vault(connection, NEW).key_id
    finish(change(connection), NEW)
    with pytest.raises(UnavailableError, match="restarted"):
        keys.open_vault(connection)


@pytest.mark.anyio
async def test_a_process_that_was_left_behind_goes_on(connection: Connection, database_url: str) -> None:
    """What a running process once opened it keeps when its secret key is forgotten; one that never could does not."""
    connection.commit()
    old, stranger = FollowedKeyring(OLD), FollowedKeyring(THIRD)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as hot:
        first = await old.load(hot)
        rotate(change(connection), OLD, NEW)
        connection.commit()
        both = await old.load(hot)
        assert both.vault_keys[1:] == first.vault_keys
        finish(change(connection), NEW)
        connection.commit()
        assert await old.load(hot) == both
        assert old.find_now(connection) is None
        assert (await FollowedKeyring(NEW).load(hot)).vault_keys == both.vault_keys[:1]
        with pytest.raises(KeyringError, match="another secret key"):
            await stranger.load(hot)
