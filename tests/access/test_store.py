"""Users and keys in Postgres, and how their changes become visible."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from app.access import store
from app.access.types import KeyRecord, Limit, NewKey, NewUser
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


CHAIN = """
INSERT INTO organizations (id, name, models, rpm) VALUES (%(o)s, 'o', '{a,b,c}', 10);
INSERT INTO teams (id, name, organization_id, models, tpm) VALUES (%(t)s, 't', %(o)s, '{b,c}', 20);
UPDATE users SET organization_id = %(o)s, routes = '{chat,messages}', max_parallel = 3;
INSERT INTO team_members (team_id, user_id) SELECT %(t)s, id FROM users;
UPDATE api_keys SET team_id = %(t)s, models = '{c,d}', routes = '{chat}', rpm = 40, scopes = '{inference}',
  tags = '{x,y}', priority = 'batch';
"""
IDS = {"o": UUID(int=1), "t": UUID(int=2)}


@pytest.fixture
def chain(connection: Connection, database_url: str) -> str:
    """A key that acts for a team of an organization, each with something to narrow."""
    add_key(connection, "one")
    with psycopg.connect(database_url, cursor_factory=psycopg.ClientCursor) as plain:
        plain.execute(CHAIN, IDS)
    return database_url


async def test_rights_are_what_all_levels_leave(chain: str) -> None:
    """The caller of a key has what organization, team, user and key all allow, and the limits of each."""
    (record,) = await changed(chain, 0)
    caller = record.caller
    assert record.live
    assert (caller.organization_id, caller.team_id) == (IDS["o"], IDS["t"])
    assert (caller.models, caller.routes) == (frozenset("c"), frozenset({"chat"}))
    assert (caller.scopes, caller.tags, caller.priority) == (frozenset({"inference"}), ("x", "y"), "batch")
    assert caller.limits == (
        Limit(scope=f"key:{caller.key_id}", rpm=40),
        Limit(scope=f"organization:{IDS['o']}", rpm=10),
        Limit(scope=f"team:{IDS['t']}", tpm=20),
        Limit(scope=f"user:{caller.user_id}", max_parallel=3),
    )


BREAKS = [
    ("UPDATE organizations SET blocked = true", "UPDATE organizations SET blocked = false"),
    ("UPDATE organizations SET deleted_at = now()", "UPDATE organizations SET deleted_at = NULL"),
    ("UPDATE teams SET blocked = true", "UPDATE teams SET blocked = false"),
    ("UPDATE teams SET deleted_at = now()", "UPDATE teams SET deleted_at = NULL"),
    ("DELETE FROM team_members", "INSERT INTO team_members (team_id, user_id) SELECT t.id, u.id FROM teams t, users u"),
    ("UPDATE users SET blocked = true", "UPDATE users SET blocked = false"),
    ("UPDATE users SET organization_id = NULL", "UPDATE users SET organization_id = (SELECT id FROM organizations)"),
    ("UPDATE users SET deleted_at = now()", "UPDATE users SET deleted_at = NULL"),
    ("UPDATE api_keys SET blocked = true", "UPDATE api_keys SET blocked = false"),
    ("UPDATE api_keys SET revoked_at = now()", "UPDATE api_keys SET revoked_at = NULL"),
]


@pytest.mark.parametrize(("broken", "mended"), BREAKS, ids=lambda one: one)
async def test_a_key_lives_by_its_whole_chain(connection: Connection, chain: str, broken: str, mended: str) -> None:
    """Whatever link breaks, the key is read again and is not live; mended, it is; each is one new version."""
    for statement, live in ((broken, False), (mended, True)):
        before = version(connection)
        connection.exec_driver_sql(statement)
        connection.commit()
        assert version(connection) == before + 1
        assert [record.live for record in await changed(chain, before)] == [live]


async def test_a_membership_that_moves_reaches_both_teams(connection: Connection, chain: str) -> None:
    """When a row of team_members is made another one, keys of the old team and of the new one are read again."""
    add_key(connection, "two")
    other = str(UUID(int=3))
    connection.exec_driver_sql(f"INSERT INTO teams (id, name) VALUES ('{other}', 'u')")
    connection.exec_driver_sql(f"UPDATE api_keys SET team_id = '{other}' WHERE public_id = 'two'")
    connection.commit()
    before = version(connection)
    connection.exec_driver_sql(f"UPDATE team_members SET team_id = '{other}'")
    connection.commit()
    assert {record.public_id: record.live for record in await changed(chain, before)} == {"one": False, "two": True}


async def test_many_rows_are_one_version(connection: Connection, database_url: str) -> None:
    """A statement raises the version once, however many rows it changes, and all of them are read again."""
    for number in range(20):
        add_key(connection, f"k{number}")
    before = version(connection)
    connection.exec_driver_sql("UPDATE api_keys SET revoked_at = now()")
    connection.commit()
    assert version(connection) == before + 1
    assert len(await changed(database_url, before)) == 20


async def test_a_rotated_key_has_two_secrets(connection: Connection, database_url: str) -> None:
    """Both secrets stand for the same caller; the older one ends with its grace, or with the key if that is sooner."""
    add_key(connection, "old")
    now = datetime.now(UTC)
    for hours, expected in ((5, 1), (0.5, 0.5)):
        connection.exec_driver_sql(
            "UPDATE api_keys SET public_id = 'new', secret_hash = 'n', previous_public_id = 'old', "
            "previous_secret_hash = 'h', previous_until = %s, expires_at = %s",
            (now + timedelta(hours=1), now + timedelta(hours=hours)),
        )
        connection.commit()
        new, old = await changed(database_url, 0)
        assert (new.public_id, new.secret_hash, old.public_id, old.secret_hash) == ("new", b"n", "old", b"h")
        assert new.expires_at == pytest.approx((now + timedelta(hours=hours)).timestamp())
        assert old.expires_at == pytest.approx((now + timedelta(hours=expected)).timestamp())
        assert old.caller is new.caller


@pytest.mark.parametrize(
    ("role", "scopes", "admin"),
    [("admin", None, True), ("admin", "{admin}", True), ("admin", "{inference}", False), ("user", "{admin}", False)],
)
async def test_an_administrators_key_may_be_less(
    connection: Connection, database_url: str, role: str, scopes: str | None, admin: bool
) -> None:
    """Administrator is who has the role, by a key that has the scope or names none."""
    add_key(connection, "one")
    connection.exec_driver_sql("UPDATE users SET role = %s", (role,))
    connection.exec_driver_sql("UPDATE api_keys SET scopes = %s", (scopes,))
    connection.commit()
    (record,) = await changed(database_url, 0)
    assert record.caller.admin is admin
