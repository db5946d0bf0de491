"""Users and keys in Postgres, and how their changes become visible."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from app.access import store
from app.access.types import KeyRecord, NewKey, NewUser
from app.db.engine import open_blocking_engine

pytestmark = pytest.mark.anyio


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    engine = open_blocking_engine(database_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def add_key(connection: Connection, public_id: str, email: str = "a@example.com") -> None:
    user_id = store.find_user(connection, email) or store.insert_user(connection, NewUser(email=email))
    store.insert_key(connection, NewKey(user_id=user_id, public_id=public_id, secret_hash=b"h"))
    connection.commit()


async def changed(url: str, since: int) -> list[KeyRecord]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as hot:
        return await store.list_changed_keys(hot, since)


def version(connection: Connection) -> int:
    value = connection.exec_driver_sql("SELECT version FROM snapshot_versions WHERE name = 'access'").scalar_one()
    connection.commit()
    return value


async def test_only_what_changed_is_read_again(connection: Connection, database_url: str) -> None:
    """A process that knows a version reads the keys that changed after it, and no others."""
    add_key(connection, "one")
    before = version(connection)
    add_key(connection, "two")
    assert [record.public_id for record in await changed(database_url, before)] == ["two"]
    assert {record.public_id for record in await changed(database_url, 0)} == {"one", "two"}
    assert await changed(database_url, version(connection)) == []


async def test_a_revoked_key_is_a_change(connection: Connection, database_url: str) -> None:
    """Revocation is seen as a key that is no longer live."""
    add_key(connection, "one")
    before = version(connection)
    connection.exec_driver_sql("UPDATE api_keys SET revoked_at = now()")
    connection.commit()
    assert [record.live for record in await changed(database_url, before)] == [False]


async def test_a_users_change_reaches_all_their_keys(connection: Connection, database_url: str) -> None:
    """Deleting a user, or making one an admin, changes every key of theirs."""
    add_key(connection, "one")
    add_key(connection, "two")
    before = version(connection)
    connection.exec_driver_sql("UPDATE users SET role = 'admin'")
    connection.commit()
    assert [record.caller.admin for record in await changed(database_url, before)] == [True, True]
    connection.exec_driver_sql("UPDATE users SET deleted_at = now()")
    connection.commit()
    assert [record.live for record in await changed(database_url, before)] == [False, False]


async def test_what_is_stored_comes_back(connection: Connection, database_url: str) -> None:
    """Models, expiry and the scope of the owner are in the record."""
    user_id = store.insert_user(connection, NewUser(email="b@example.com", role="admin"))
    expires_at = datetime.now(UTC) + timedelta(days=1)
    store.insert_key(
        connection,
        NewKey(user_id=user_id, public_id="k", secret_hash=b"h", models=("gpt-4o",), expires_at=expires_at),
    )
    connection.commit()
    (record,) = await changed(database_url, 0)
    assert record.expires_at == pytest.approx(expires_at.timestamp())
    assert record.caller.models == frozenset({"gpt-4o"})
    assert (record.caller.user_id, record.caller.scope, record.caller.admin) == (user_id, user_id.bytes, True)


def test_an_address_belongs_to_one_live_user(connection: Connection) -> None:
    """E-mail addresses are unique without regard to case; a deleted user's address is free again."""
    store.insert_user(connection, NewUser(email="c@example.com"))
    with pytest.raises(IntegrityError), connection.begin_nested():
        store.insert_user(connection, NewUser(email="C@Example.com"))
    connection.exec_driver_sql("UPDATE users SET deleted_at = now()")
    assert store.find_user(connection, "c@example.com") is None
    assert store.insert_user(connection, NewUser(email="C@Example.com"))


def test_a_fact_is_kept_once(connection: Connection) -> None:
    """The first of several starts decides; the others take over what it kept."""
    assert store.keep_fact(connection, "x", b"1") == b"1"
    assert store.keep_fact(connection, "x", b"2") == b"1"
    assert store.find_fact(connection, "x") == b"1"
    assert store.find_fact(connection, "y") is None
