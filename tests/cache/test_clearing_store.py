"""Clearing in Postgres, and what other processes make of it: memory, the table, and what was on its way there."""

import asyncio
import time
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from app.cache import finder, store
from app.cache.clearing import Cleared, Clearing
from app.cache.clearing_store import clear, delete_cleared, find_entry_owner
from app.cache.exact import ExactCache
from app.cache.store import find_entries, find_or_lease, list_clearings, upsert_entries
from app.db.engine import open_blocking_engine
from tests.cache.samples import USER, make_entry
from tests.semantic.samples import make_likeness
from tests.semantic.samples import store as store_pairs

pytestmark = pytest.mark.anyio

ROOM = 2**26
OTHER = UUID(int=8)
API_KEY = UUID(int=9)
EVERYTHING = Clearing()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Wait for the database however busy the machine is."""
    monkeypatch.setattr(finder, "FIND_SECONDS", 20)


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def control(database_url):
    engine = open_blocking_engine(database_url)
    yield engine
    engine.dispose()


def clear_now(control, what=EVERYTHING):
    with control.begin() as connection:
        return clear(connection, what)


@asynccontextmanager
async def opened(database_url):
    cache = ExactCache(database_url, ROOM)
    cache.start()
    try:
        yield cache
    finally:
        await cache.close()


async def fetch(database, statement, *values):
    return await (await database.execute(statement, values)).fetchall()


def key_of(number):
    return number.to_bytes(32, "big")


def build(number=1, **changes):
    return msgspec.structs.replace(make_entry(key_of(number), body=b"%d" % number, ttl=86_400), **changes)


SAMPLES = [
    build(0),
    build(1, scope="namespace:help", tags=("a", "b")),
    build(2, user_id=OTHER, scope=f"user:{OTHER}", tags=("b",)),
    build(3, api_key_id=API_KEY, provider="anthropic"),
    build(4, model="gpt-4o-mini", endpoint="messages"),
    build(5, model="gpt-4o-mini", tags=("c", "ü")),
    build(6, scope=f"team:{OTHER}/help"),
]
CLEARINGS = [
    (EVERYTHING, {0, 1, 2, 3, 4, 5, 6}),
    (Clearing(key=key_of(3).hex()), {3}),
    (Clearing(key="ff"), set()),
    (Clearing(scope="namespace:help"), {1}),
    (Clearing(namespace="help"), {1, 6}),
    (Clearing(namespace="elp"), set()),
    (Clearing(user_id=OTHER), {2}),
    (Clearing(api_key_id=API_KEY), {3}),
    (Clearing(provider="anthropic"), {3}),
    (Clearing(model="gpt-4o-mini"), {4, 5}),
    (Clearing(model="gpt-4o-mini", endpoint="messages"), {4}),
    (Clearing(tags=("b",)), {1, 2}),
    (Clearing(tags=("ü", "a")), {1, 5}),
    (Clearing(tags=("b",), user_id=USER), {1}),
    (Clearing(tags=()), set()),
    (Clearing(user_id=uuid4()), set()),
    (Clearing(model="'; DROP TABLE cache_entries; --", tags=("{}", "%s", "\\")), set()),
]


@pytest.mark.parametrize(("what", "gone"), CLEARINGS)
async def test_what_is_cleared(database, control, what, gone):
    """All that fits what was said goes, in SQL as in memory, with its question; how many there were is told."""
    await store_pairs(database, [(entry, make_likeness([1, 0])) for entry in SAMPLES])
    assert {int.from_bytes(entry.key) for entry in SAMPLES if what.fits(entry)} == gone
    assert clear_now(control, what) == len(gone)
    left = {key_of(number) for number in range(7)} - {key_of(number) for number in gone}
    for table in ("cache_entries", "semantic_entries"):
        assert {bytes(key) for (key,) in await fetch(database, f"SELECT key FROM {table}")} == left
    [cleared] = await list_clearings(database, 0)
    assert cleared.what == what


async def test_what_comes_after_a_clearing_stays(database):
    """A clearing takes what was there when it was made, and nothing that was stored later, in whatever slot."""
    now = time.time()
    await upsert_entries(database, [build(1, created_at=now - 10), build(2, created_at=now + 10)])
    assert await delete_cleared(database, Cleared(what=EVERYTHING, at=now)) == 1
    assert set(await find_entries(database, [key_of(1), key_of(2)])) == {key_of(2)}


async def test_all_slots_are_cleared(database, control):
    """What lies in a slot that is closed is cleared as what lies in the open ones is."""
    for number, ttl in enumerate((60, 40_000, 900_000)):
        await upsert_entries(database, [make_entry(key_of(number), ttl=ttl)])
        await database.execute("SELECT relaycore_open_cache_slot(%s::smallint)", (number,))
    assert clear_now(control) == 3


async def test_clearings_are_numbered(database, control):
    """Each clearing raises the version that the other processes look at, and those after a version are listed."""
    [(before,)] = await fetch(database, "SELECT version FROM snapshot_versions WHERE name = 'cache'")
    for name in ("one", "two", "three"):
        clear_now(control, Clearing(model=name))
    [(after,)] = await fetch(database, "SELECT version FROM snapshot_versions WHERE name = 'cache'")
    assert after == before + 3
    assert [one.what.model for one in await list_clearings(database, before)] == ["one", "two", "three"]
    assert [one.what.model for one in await list_clearings(database, after - 1)] == ["three"]
    assert await list_clearings(database, after) == []


async def test_a_clearing_that_fails_clears_nothing(database, control):
    """What is cleared and what the others are told of it are one transaction."""
    await upsert_entries(database, [build(1)])
    with control.connect() as connection:
        assert clear(connection, EVERYTHING) == 1
        connection.rollback()
    assert await find_entries(database, [key_of(1)])
    assert await list_clearings(database, 0) == []


async def test_another_process_forgets(database, database_url, control):
    """A process that hears of a clearing has none of it any more, in memory nor waiting; what else it has stays."""
    async with opened(database_url) as cache:
        for entry in SAMPLES:
            cache.put(entry)
        await wait_for(database, len(SAMPLES))
        cache.local.put(build(7, model="gpt-4o-mini"))  # of whatever origin
        version = await begin(database, control)
        assert clear_now(control, Clearing(model="gpt-4o-mini")) == 2
        await cache.load_clearings(database, version)
        found = [(await cache.find(key_of(number))).entry for number in range(8)]
        assert [entry is not None for entry in found] == [True] * 4 + [False] * 2 + [True, False]


async def wait_for(database, entries):
    async with asyncio.timeout(10):
        while await fetch(database, "SELECT count(*) FROM cache_entries") != [(entries,)]:
            await asyncio.sleep(0.01)


async def count_versions(database):
    [(version,)] = await fetch(database, "SELECT version FROM snapshot_versions WHERE name = 'cache'")
    return version


async def begin(database, control):
    """Return a version of an installation in which something was cleared before."""
    clear_now(control, Clearing(model="something else"))
    return await count_versions(database)


async def test_what_was_on_its_way_is_deleted(database, database_url, control):
    """An answer of before the clearing that another process stored after it is deleted when it hears of it."""
    async with opened(database_url) as cache:
        old = build(1, created_at=time.time() - 1)
        version = await begin(database, control)
        assert clear_now(control) == 0
        cache.put(old, make_likeness([1, 0]))
        cache.put(build(2, created_at=time.time() + 5))
        await wait_for(database, 2)
        await cache.load_clearings(database, version)
        assert (await cache.find(old.key)).entry is None
        assert [bytes(key) for (key,) in await fetch(database, "SELECT key FROM cache_entries")] == [key_of(2)]
        assert await fetch(database, "SELECT count(*) FROM semantic_entries") == [(0,)]
        assert (await cache.find(key_of(2))).entry is not None


async def test_what_waits_is_not_stored(database, database_url, control):
    """What still waits to be stored when the process hears of a clearing never comes to the table."""
    cache = ExactCache(database_url, ROOM)
    version = await begin(database, control)
    cache.put(build(1))
    cache.put(build(2, model="other"))
    clear_now(control, Clearing(model="other"))
    await cache.load_clearings(database, version)
    await cache.close()
    assert [bytes(key) for (key,) in await fetch(database, "SELECT key FROM cache_entries")] == [key_of(1)]


async def test_a_process_that_knows_no_version_forgets_everything(database, database_url):
    """Without a version to begin at, all is forgotten that is in memory, and nothing of what others have stored."""
    await upsert_entries(database, [build(1)])
    async with opened(database_url) as cache:
        assert (await cache.find(key_of(1))).entry is not None
        cache.put(build(2))
        await cache.load_clearings(database, 0)
        assert cache.local.find(key_of(1)) is None
        assert cache.local.find(key_of(2)) is None
        assert (await cache.find(key_of(1))).entry is not None
        assert (await cache.find(key_of(2))).entry is None


async def test_clearing_ends_the_lease_of_what_is_gone(database, control, monkeypatch):
    """The lease that lingers after an answer goes with it; that of a call under way stays, and so do others'."""
    owner, other = uuid4(), uuid4()
    keys = [key_of(number) for number in range(3)]
    await find_or_lease(database, keys, keys, owner)
    await upsert_entries(database, [build(0), build(1)])
    await store.end_leases(database, [keys[0]], owner)
    assert clear_now(control) == 2
    found = await find_or_lease(database, keys, keys, other)
    assert [found[key].leads for key in keys] == [True, False, False]


async def test_a_deleted_answer_is_made_anew_at_once(database, database_url, control):
    """After a clearing another process makes the call again without waiting for anything."""
    async with opened(database_url) as first, opened(database_url) as second:
        assert (await first.find(key_of(1), lease=True)).leads
        first.lead(key_of(1))
        first.put(build(1))
        await wait_for(database, 1)
        version = await count_versions(database)
        assert clear_now(control, Clearing(key=key_of(1).hex())) == 1
        for cache in (first, second):
            await cache.load_clearings(database, version)
        found = await second.find(key_of(1), lease=True)
        assert (found.entry, found.leads) == (None, True)


async def test_whose_an_entry_is(database, control):
    """The owner and the scope of a live entry are told, of the newest copy, and of nothing else."""
    await upsert_entries(database, [build(1, user_id=OTHER, scope="namespace:x"), build(2, expires_at=time.time() - 1)])
    with control.begin() as connection:
        assert find_entry_owner(connection, key_of(1)) == (OTHER, "namespace:x")
        assert find_entry_owner(connection, key_of(2)) is None
        assert find_entry_owner(connection, key_of(3)) is None
