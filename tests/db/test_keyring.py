"""The keys of an installation: wrapped, bound to their place, made once."""

import threading
from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import Connection, insert, update

from app.catalog.secrets import Vault
from app.db.engine import open_blocking_engine
from app.db.keyring import PURPOSES, DataKey, Keyring, KeyringError, Wrapper, derive, make_data_key, open_keys
from app.db.keyring_store import MADE_WITH, list_wrapped_keys, provide_keyring
from app.db.tables import installation, keyring
from app.settings import SettingsError

SECRET, OTHER = "a-secret-key-of-the-test", "another-secret-key-of-the-test"


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    engine = open_blocking_engine(database_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_purposes_have_keys_of_their_own() -> None:
    """What is derived for one purpose or from one secret key is nothing for another."""
    made = {derive(secret, purpose) for secret in (SECRET, OTHER) for purpose in (*PURPOSES, "key wrapping")}
    assert len(made) == 8


def test_a_wrapped_key_opens_only_in_its_place() -> None:
    """A wrapped key opens under its secret key, purpose and version; moved, changed or cut off it does not."""
    wrapper, data = Wrapper(SECRET), make_data_key("key pepper", 1)
    stored = wrapper.wrap(data)
    assert wrapper.unwrap(stored) == data
    assert data.key not in stored.wrapped
    spoiled = [
        {"purpose": "audit log"},
        {"version": 2},
        {"wrapped": stored.wrapped[:-1] + bytes([stored.wrapped[-1] ^ 1])},
        {"wrapped": bytes([stored.wrapped[0] ^ 1]) + stored.wrapped[1:]},
        {"wrapped": stored.wrapped[:20]},
        {"wrapped": b""},
    ]
    for change in spoiled:
        with pytest.raises(KeyringError):
            wrapper.unwrap(msgspec.structs.replace(stored, **change))
    with pytest.raises(KeyringError):
        Wrapper(OTHER).unwrap(stored)
    assert open_keys(Wrapper(OTHER), [stored]) is None
    assert wrapper.wrap(data).wrapped != stored.wrapped


def test_nothing_shows_a_key() -> None:
    """Neither a data key nor a keyring says in its repr what it holds."""
    data = DataKey(purpose="key pepper", version=1, key=b"0123456789")
    assert "0123456789" not in f"{data!r} {data} {Keyring((data,))!r} {Keyring((data,))}"
    with pytest.raises(KeyringError):
        _ = Keyring((data,)).audit_key


def test_a_first_start_makes_random_keys(connection: Connection) -> None:
    """A new installation's keys do not follow from its secret key: once rotated, the old one is good for nothing."""
    ring = provide_keyring(connection, SECRET)
    assert len(ring.keys) == 3
    assert not {one.key for one in ring.keys} & {derive(SECRET, purpose) for purpose in PURPOSES}
    assert provide_keyring(connection, SECRET) == ring


def test_an_installation_from_before_goes_on(connection: Connection) -> None:
    """Where keys were derived so far the ring is filled with those: what is stored stays readable and right."""
    first = Vault(derive(SECRET, "provider keys"))
    connection.execute(insert(installation).values(name=MADE_WITH, value=first.key_id.encode()))
    with pytest.raises(SettingsError, match="another secret key"):
        provide_keyring(connection, OTHER)
    ring = provide_keyring(connection, SECRET)
    assert (ring.pepper, ring.audit_key) == (derive(SECRET, "key pepper"), derive(SECRET, "audit log"))
    assert ring.vault_keys == (derive(SECRET, "provider keys"),)


def test_another_secret_key_is_refused(connection: Connection) -> None:
    """With a secret key that wraps nothing there is no keyring, and none is made beside the other."""
    provide_keyring(connection, SECRET)
    with pytest.raises(SettingsError, match="another secret key"):
        provide_keyring(connection, OTHER)
    assert len(list_wrapped_keys(connection)) == 3


def test_a_key_that_was_exchanged_is_noticed(connection: Connection) -> None:
    """Whoever can write to the database cannot put one wrapped key in the place of another."""
    provide_keyring(connection, SECRET)
    by_purpose = {one.purpose: one.wrapped for one in list_wrapped_keys(connection)}
    connection.execute(update(keyring).where(keyring.c.purpose == "audit log").values(wrapped=by_purpose["key pepper"]))
    with pytest.raises(KeyringError, match="audit log"):
        provide_keyring(connection, SECRET)


def test_first_starts_at_once_make_one_ring(database_url: str) -> None:
    """Several first starts at the same time agree on the keys."""
    engine = open_blocking_engine(database_url)
    engine.dispose()
    found: list[Keyring] = []

    def start() -> None:
        own = open_blocking_engine(database_url)
        with own.begin() as connection:
            found.append(provide_keyring(connection, SECRET))
        own.dispose()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(one == found[0] for one in found)
