"""Look-ups and leases: who makes a call that several processes are asked for at the same time."""

import asyncio
import time
from contextlib import asynccontextmanager
from uuid import uuid4

import psycopg
import pytest

from app.cache import exact, finder, store
from app.cache.exact import ExactCache
from app.cache.finder import ALONE, Finder
from app.cache.store import LEASE_SECONDS
from app.db.connection import RETRY_SECONDS, PatientConnection
from tests.cache.samples import make_entry

pytestmark = pytest.mark.anyio

ROOM = 2**26
KEY = b"k" * 32
USUAL_SECONDS = finder.FIND_SECONDS
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def key_of(number):
    return number.to_bytes(32, "big")


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Wait for the database however busy the machine is, except where the waiting is the subject."""
    monkeypatch.setattr(finder, "FIND_SECONDS", 20)


@asynccontextmanager
async def opened(database_url, count=2):
    """Yield caches that know nothing of each other, as those of processes do."""
    caches = [ExactCache(database_url, ROOM) for _ in range(count)]
    for cache in caches:
        cache.start()
    try:
        yield caches
    finally:
        for cache in caches:
            await cache.close()


@pytest.fixture
async def two(database_url):
    async with opened(database_url) as caches:
        yield caches


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


async def fetch(database, statement, *values):
    return await (await database.execute(statement, values)).fetchall()


async def ask(cache, key=KEY):
    return await cache.find(key, lease=True)


async def test_one_of_two_processes_leads(two):
    """Who asks first makes the call, whoever asks meanwhile does not, and the same process may ask again."""
    first, second = two
    assert (await ask(first)).leads
    for _ in range(3):
        assert not (await ask(second)).leads
        assert (await ask(first)).leads
    assert (await ask(second, b"o" * 32)).leads


async def test_without_a_lease_nobody_waits(two, database):
    """Who only looks takes no lease and may make the call whoever else does."""
    first, second = two
    assert (await first.find(KEY)).leads
    assert await fetch(database, "SELECT count(*) FROM cache_leases") == [(0,)]
    assert (await ask(second)).leads
    assert (await first.find(KEY)).leads


async def test_an_entry_that_is_there_is_never_leased(two, database):
    """What is found needs no call: no lease is taken for it, nor for what others want of it."""
    first, second = two
    first.put(make_entry(KEY, b"there"))
    await wait_until_stored(database)
    found = await second.find(KEY, lease=True)
    assert found.entry.body == b"there"
    assert await fetch(database, "SELECT count(*) FROM cache_leases") == [(0,)]


async def wait_until_stored(database, key=KEY):
    async with asyncio.timeout(10):
        while not await fetch(database, "SELECT 1 FROM cache_entries WHERE key = %s", key):
            await asyncio.sleep(0.01)


async def test_an_expired_entry_is_leased(two, database):
    """An entry whose time is over is as good as none."""
    first, second = two
    first.put(make_entry(KEY, ttl=-1))
    await wait_until_stored(database)
    assert (await ask(second)).leads
    assert not (await ask(first)).leads


async def test_who_waits_gets_the_answer(two):
    """The other process's answer is there soon after it was put in, and with it the right one."""
    first, second = two
    assert (await ask(first)).leads
    first.lead(KEY)
    assert not (await ask(second)).leads
    waiting = asyncio.create_task(second.await_other(KEY))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    first.put(make_entry(KEY, b"made once"))
    began = time.monotonic()
    found = await waiting
    assert found.entry is not None
    assert found.entry.body == b"made once"
    assert time.monotonic() - began < 2


async def test_a_slow_look_is_no_reason_to_make_what_another_makes(two, database, monkeypatch):
    """Who waits goes on waiting when the database is too slow for a look, and gets the answer that is made."""
    first, second = two
    assert (await ask(first)).leads
    first.lead(KEY)
    assert not (await ask(second)).leads
    monkeypatch.setattr(finder, "FIND_SECONDS", USUAL_SECONDS)
    monkeypatch.setattr(exact, "SILENT_SECONDS", 20)
    waiting = asyncio.create_task(second.await_other(KEY))
    async with database.transaction():
        await database.execute("LOCK TABLE cache_leases, cache_entries IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(1)
    assert not waiting.done()
    first.put(make_entry(KEY, b"made once"))
    found = await waiting
    assert (found.entry and found.entry.body, found.away) == (b"made once", False)


async def test_who_gives_up_lets_the_other_lead(two):
    """A call that came to nothing is made by one of those who wait, long before its lease is over."""
    first, second = two
    assert (await ask(first)).leads
    first.lead(KEY)
    assert not (await ask(second)).leads
    waiting = asyncio.create_task(second.await_other(KEY))
    await asyncio.sleep(0.1)
    first.give_up(KEY)
    began = time.monotonic()
    found = await waiting
    assert (found.entry, found.leads) == (None, True)
    assert time.monotonic() - began < 2
    assert not (await ask(first)).leads


async def test_giving_up_what_is_not_led_changes_nothing(two):
    """Who does not make the call cannot end the lease of who does."""
    first, second = two
    assert (await ask(first)).leads
    first.lead(KEY)
    second.give_up(KEY)
    await asyncio.sleep(0.3)
    assert not (await ask(second)).leads


async def test_a_lease_that_nobody_renews_is_taken_over(two, database, monkeypatch):
    """When its process is gone, the call goes to the next who asks, once its lease is over."""
    monkeypatch.setattr(store, "LEASE_SECONDS", 0.5)
    first, second = two
    assert (await ask(first)).leads
    monkeypatch.setattr(store, "LEASE_SECONDS", 60)
    began = time.monotonic()
    found = await second.await_other(KEY)
    assert (found.entry, found.leads) == (None, True)
    assert time.monotonic() - began < 3
    assert not (await ask(first)).leads


async def test_a_call_that_takes_long_keeps_its_lease(two, monkeypatch):
    """While its process lives, a call is its own for longer than a lease lasts; afterwards nothing is renewed."""
    monkeypatch.setattr(store, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr("app.cache.exact.RENEW_SECONDS", 0.2)
    first, second = two
    assert (await ask(first)).leads
    first.lead(KEY)
    for _ in range(8):
        await asyncio.sleep(0.2)
        assert not (await ask(second)).leads
    first.give_up(KEY)
    await asyncio.sleep(0.5)
    assert first._renewing is None
    assert (await ask(second)).leads


async def test_a_lease_lasts_as_long_as_it_says(two, database):
    """A new lease ends after its time; one that is renewed after that time from then on."""
    first, _ = two
    assert (await ask(first)).leads
    left = "SELECT extract(epoch FROM until - now())::float8 FROM cache_leases"
    [(seconds,)] = await fetch(database, left)
    assert LEASE_SECONDS - 3 < seconds <= LEASE_SECONDS
    await database.execute("UPDATE cache_leases SET until = now() + interval '1 second'")
    await first._renew_once([KEY])
    [(seconds,)] = await fetch(database, left)
    assert seconds > LEASE_SECONDS - 3


async def test_what_was_taken_over_is_not_renewed(two, database):
    """A process that was away for too long does not get its lease back while another one makes the call."""
    first, second = two
    assert (await ask(first)).leads
    first.lead(KEY)
    await database.execute("UPDATE cache_leases SET until = now()")
    assert (await ask(second)).leads
    await first._renew_once([KEY])
    assert not (await ask(first)).leads
    first.give_up(KEY)
    await asyncio.sleep(0.3)
    assert not (await ask(first)).leads


async def test_nobody_leads_who_does_not_see_the_answer(database_url, database):
    """From the moment that a call begins until its answer is found by all, it has one leader; with 200 calls at once.

    Two processes ask for each key over and over while answers are put in: who is told to lead makes the call.
    """
    async with opened(database_url) as caches:
        leaders = {key_of(number): [] for number in range(200)}

        async def work(cache, key):
            found = await ask(cache, key)
            while found.entry is None and not found.leads:
                await asyncio.sleep(0.001)
                found = await ask(cache, key)
            if found.entry is None:
                cache.lead(key)
                leaders[key].append(cache)
                await asyncio.sleep(0.02)
                cache.put(make_entry(key, b"answer"))
            assert (await ask(cache, key)).entry.body == b"answer"

        await asyncio.gather(*(work(cache, key) for key in leaders for cache in caches))
        assert {len(who) for who in leaders.values()} == {1}
        for cache in caches:  # and by nobody who comes later, with nothing in memory
            cache.local.clear(lambda _: True)
        late = await asyncio.gather(*(ask(caches[0], key) for key in leaders))
        assert all(found.entry is not None for found in late)


async def test_an_answer_outlives_its_lease_for_a_moment(two, database, monkeypatch):
    """The lease of an answered call lingers, so that who looked too early does not make it again; then it is free."""
    monkeypatch.setattr(store, "LEASE_SECONDS", 300)
    monkeypatch.setattr(store, "LINGER_SECONDS", 60)
    first, second = two
    assert (await ask(first)).leads
    first.lead(KEY)
    first.put(make_entry(KEY))
    await wait_until_stored(database)
    [(seconds,)] = await fetch(database, "SELECT extract(epoch FROM until - now())::float8 FROM cache_leases")
    assert 30 < seconds <= 60
    assert first._led == set()
    await database.execute("DELETE FROM cache_entries")
    assert not (await ask(second)).leads
    await database.execute("UPDATE cache_leases SET until = now()")
    assert (await ask(second)).leads


async def test_many_keys_and_askers_at_once(two):
    """Look-ups that share a statement each get their own, whether they lease or only look."""
    first, second = two
    taken = [key_of(number) for number in range(30)]
    await asyncio.gather(*(ask(first, key) for key in taken))
    looks = await asyncio.gather(*(second.find(key_of(number), lease=number % 2 == 0) for number in range(60)))
    assert [found.leads for found in looks] == [number >= 30 or number % 2 == 1 for number in range(60)]


@pytest.mark.parametrize("lease", [False, True])
async def test_a_database_that_is_away_costs_little(lease, monkeypatch):
    """Without a database every look-up is back at once, and each process makes its own calls."""
    monkeypatch.setattr(finder, "FIND_SECONDS", USUAL_SECONDS)
    cache = ExactCache(NOWHERE, ROOM)
    try:
        for _ in range(3):
            began = time.monotonic()
            found = await cache.find(KEY, lease=lease)
            assert (found.entry, found.leads) == (None, True)
            assert time.monotonic() - began < 0.5
        began = time.monotonic()
        assert (await cache.await_other(KEY)).leads
        assert time.monotonic() - began < 1
    finally:
        await cache.close()


async def test_a_statement_that_does_not_come_back_is_not_waited_for(two, database, monkeypatch):
    """A look-up that is held up is given up after its time: who asks makes the call; afterwards all is as before."""
    first, _ = two
    assert (await first.find(KEY)).leads
    monkeypatch.setattr(finder, "FIND_SECONDS", USUAL_SECONDS)
    async with database.transaction():
        await database.execute("LOCK TABLE cache_entries IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        assert await first.find(KEY, lease=True) == ALONE
        assert time.monotonic() - began < 10 * USUAL_SECONDS
        began = time.monotonic()
        found = await asyncio.gather(*(first.find(key_of(number), lease=True) for number in range(100)))
        assert set(found) == {ALONE}
        assert time.monotonic() - began < 10 * USUAL_SECONDS
    monkeypatch.setattr(finder, "FIND_SECONDS", 20)
    await asyncio.sleep(RETRY_SECONDS + 0.05)
    assert (await ask(first)).leads
    assert await fetch(database, "SELECT owner FROM cache_leases WHERE key = %s", KEY) == [(first._owner,)]


async def test_a_server_that_never_answers_is_not_waited_for(monkeypatch):
    """A database that takes connections and says nothing costs a look-up its time, and those after it nothing."""
    monkeypatch.setattr(finder, "FIND_SECONDS", USUAL_SECONDS)
    over = asyncio.Event()

    async def keep_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        cache = ExactCache(f"postgresql://postgres@{host}:{port}/x", ROOM)
        for _ in range(5):
            began = time.monotonic()
            assert await cache.find(KEY, lease=True) == ALONE
            assert time.monotonic() - began < 10 * USUAL_SECONDS
        over.set()
        await cache.close()


async def test_who_still_waits_is_answered_at_the_end(database_url):
    """A finder that closes answers those who have asked."""
    connection = PatientConnection(database_url, name="test finder")
    closing = Finder(connection, uuid4())
    asked = [asyncio.create_task(closing.find(key_of(number), lease=True)) for number in range(3)]
    await asyncio.sleep(0)
    await closing.close()
    async with asyncio.timeout(5):
        assert [found.entry for found in await asyncio.gather(*asked)] == [None] * 3
    await connection.close()
