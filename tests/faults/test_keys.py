"""What happens to keys on every process: made, revoked, expired, their user deleted, the listener dead."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import psycopg
import pytest

from app.access.keys import find_public_id, make_key
from app.start import create_key
from tests.conftest import prepare
from tests.faults.serving import chat, note
from tests.gateway_process import Gateway, run_gateway

PROMISED_SECONDS = 5.0
USUAL_SECONDS = 0.25


@pytest.fixture(scope="module")
def gateways(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """Two processes' worth of gateways on one database."""
    with ExitStack() as stack:
        ready = [prepare(module_database_url, tmp_path_factory.mktemp("gateway")) for _ in range(2)]
        yield [stack.enter_context(run_gateway(one)) for one in ready]


@pytest.fixture
def database(module_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def store_key(gateways: list[Gateway]) -> Callable[[], str]:
    """Store keys as another process does, each with a user of its own."""
    settings = gateways[0].settings
    return lambda: create_key(
        settings, lambda _: None, email=f"{uuid4()}@example.org", name="", models=None, expires_days=None
    )


@pytest.fixture
def key(store_key: Callable[[], str]) -> str:
    return store_key()


def ask(gateway: Gateway, key: str) -> int:
    with gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
        return client.post("/v1/chat/completions", json=chat("hello")).status_code


def measure(gateways: list[Gateway], key: str, wanted: int) -> float:
    """Return how long it took until every gateway gave the wanted answer."""
    began = time.monotonic()
    for gateway in gateways:
        while ask(gateway, key) != wanted:
            assert time.monotonic() - began < PROMISED_SECONDS, "too late"
    return time.monotonic() - began


REVOCATIONS = [
    "UPDATE api_keys SET revoked_at = now() WHERE public_id = %s",
    "UPDATE api_keys SET expires_at = now() WHERE public_id = %s",
    "UPDATE users SET deleted_at = now() WHERE id = (SELECT user_id FROM api_keys WHERE public_id = %s)",
]


@pytest.mark.parametrize("statement", REVOCATIONS)
def test_a_revoked_key_is_refused_everywhere(gateways, database, key, statement):
    """Revoked, expired, or its user deleted: the key is refused by every process, by notice within a moment."""
    assert [ask(gateway, key) for gateway in gateways] == [200, 200]
    database.execute(statement, [find_public_id(key)])
    seconds = measure(gateways, key, 401)
    note(f"{statement}: refused on both after {seconds * 1000:.0f} ms")
    assert seconds < 10 * USUAL_SECONDS


EXPIRE_SOON = "UPDATE api_keys SET expires_at = now() + interval '700 ms' WHERE public_id = %s"


def test_a_key_that_expires_is_refused_without_a_change(gateways, database, key):
    """The moment of expiry needs no notice: the process looks at the clock."""
    database.execute(EXPIRE_SOON, [find_public_id(key)])
    time.sleep(0.3)
    assert ask(gateways[0], key) == 200
    time.sleep(0.6)
    assert [ask(gateway, key) for gateway in gateways] == [401, 401]


def test_notices_may_be_lost(gateways, database, key):
    """Without a single notice (behind a transaction pooler) changes arrive by the poll, well within five seconds."""
    (noticing,) = database.execute("SELECT pg_get_functiondef('relaycore_bump'::regproc)").fetchone()
    database.execute("""
        CREATE OR REPLACE FUNCTION relaycore_bump(snapshot text) RETURNS bigint LANGUAGE sql AS $$
            UPDATE snapshot_versions SET version = version + 1 WHERE name = snapshot RETURNING version $$
    """)
    assert [ask(gateway, key) for gateway in gateways] == [200, 200]
    database.execute(REVOCATIONS[0], [find_public_id(key)])
    seconds = measure(gateways, key, 401)
    note(f"revoked without a notice: refused on both after {seconds:.2f} s")
    database.execute("UPDATE api_keys SET revoked_at = NULL WHERE public_id = %s", [find_public_id(key)])
    measure(gateways, key, 200)
    database.execute(noticing)


def test_a_listener_that_was_cut_off_comes_back(gateways, database, key):
    """Terminated listeners are replaced, and notices work again. Each process has one for news and one for batches."""
    mine = "application_name = 'relaycore listener' AND datname = current_database()"
    find = f"SELECT pid FROM pg_stat_activity WHERE {mine}"
    before = database.execute(find).fetchall()
    assert len(before) == 4
    database.execute(f"SELECT pg_terminate_backend(pid) FROM ({find}) AS listeners")
    database.execute(REVOCATIONS[0], [find_public_id(key)])
    measure(gateways, key, 401)
    end = time.monotonic() + 5
    while len(database.execute(find).fetchall()) < 4:
        assert time.monotonic() < end


def test_a_new_key_works_at_once(gateways, store_key):
    """A key that another process has just stored is accepted by the first call, however soon it comes."""
    for _ in range(3):
        key = store_key()
        assert [ask(gateway, key) for gateway in gateways] == [200, 200]


def test_only_what_looks_like_a_key_reaches_the_database(gateways):
    """Malformed keys are refused from memory; a well-formed unknown one costs one look, shared by all that ask."""
    one = gateways[0]
    directory = one.parts.directory
    looks = []
    refresh = directory._refresh

    async def counted() -> None:
        looks.append(1)
        await refresh()

    directory.follow(counted, directory._age)
    unknown = make_key()
    for bad in ("x", "sk-1234", unknown[:-1], unknown[:-1] + "!", "rk-" + "é" * 52, unknown + "0"):
        assert ask_raw(one, bad) == 401
    assert looks == []
    assert ask(one, unknown) == 401
    assert looks == [1]
    directory.follow(refresh, directory._age)


def ask_raw(gateway: Gateway, key: str) -> int:
    with gateway.client(headers={"authorization": f"Bearer {key}".encode()}) as client:
        return client.post("/v1/chat/completions", json=chat("hello")).status_code


def test_a_database_that_went_back_is_followed(gateways, database, key):
    """When the database goes back to an older state, keys that it no longer has are forgotten."""
    assert ask(gateways[0], key) == 200
    database.execute("ALTER TABLE api_keys DISABLE TRIGGER USER")
    database.execute("DELETE FROM api_keys")
    database.execute("UPDATE snapshot_versions SET version = 1 WHERE name = 'access'")
    database.execute("ALTER TABLE api_keys ENABLE TRIGGER USER")
    measure(gateways, key, 401)


def test_a_broken_configuration_leaves_the_old_one(gateways, database, key):
    """A stored configuration that cannot be read takes nothing down: the old one serves, and keys go on being read."""
    database.execute(
        "INSERT INTO config_versions (version, document, origin) VALUES (999, '{\"providers\": 7}', 'test')"
    )
    time.sleep(0.3)
    assert ask(gateways[0], key) == 200
    database.execute(REVOCATIONS[0], [find_public_id(key)])
    measure(gateways, key, 401)
    database.execute("DELETE FROM config_versions WHERE version = 999")
