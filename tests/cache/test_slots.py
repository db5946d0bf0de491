"""Slots: what is kept together leaves together, by size and by age, and nobody who reads is disturbed by it."""

import asyncio
import os
from contextlib import asynccontextmanager

import msgspec
import psycopg
import pytest

from app.cache.store import find_entries, turn_slots, upsert_entries
from app.semantic.store import FIND_EXACTLY
from app.worker import run_once
from tests.cache.samples import make_entry
from tests.semantic.samples import NAMESPACE, POLICY, make_likeness, store

pytestmark = pytest.mark.anyio

SHORT, DAY, LONG = 0, 1, 2
TTLS = {SHORT: 60, DAY: 43_200, LONG: 10 * 86_400}
ROOM = 2**40
AGE = 30 * 86_400
SLOT = "SELECT slot FROM cache_slots WHERE class = %s AND closed_at IS NULL"
SLOT_OF = "SELECT slot, (SELECT class FROM cache_slots s WHERE s.slot = e.slot) FROM cache_entries e WHERE key = %s"
PARTS = """
SELECT substring(c.relname FROM '_s(\\d+)$')::bigint, count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('cache_entries'::regclass, 'semantic_entries'::regclass) GROUP BY 1
"""


@pytest.fixture
async def database(database_url):
    async with await open_database(database_url) as connection:
        await connection.execute("UPDATE cache_slots SET opened_at = now()")  # the template is as old as the run
        yield connection


def open_database(database_url):
    return psycopg.AsyncConnection.connect(database_url, autocommit=True)


async def fetch(database, statement, *values):
    return await (await database.execute(statement, values)).fetchall()


async def find_open(database, of_class):
    [(slot,)] = await fetch(database, SLOT, of_class)
    return slot


async def list_slots(database):
    """Return the slots there are; each has a partition of both tables, and no partition is left without its slot."""
    slots = {slot for (slot,) in await fetch(database, "SELECT slot FROM cache_slots")}
    assert dict(await fetch(database, PARTS)) == dict.fromkeys(slots, 2)
    return slots


async def age(database, slot, interval):
    await database.execute(
        "UPDATE cache_slots SET opened_at = opened_at - %s::interval WHERE slot = %s", (interval, slot)
    )


def key_of(number):
    return number.to_bytes(32, "big")


def build(number, of_class=LONG, body=b"{}", **changes):
    return msgspec.structs.replace(make_entry(key_of(number), body, ttl=TTLS[of_class]), **changes)


async def fill_slot(database, numbers, of_class=LONG, size=2):
    await upsert_entries(database, [build(number, of_class, os.urandom(size)) for number in numbers])


async def close_slot(database, of_class):
    """Have the open slot closed, as after its time, and return it."""
    slot = await find_open(database, of_class)
    await age(database, slot, "5 days")
    await turn_slots(database, ROOM, AGE)
    assert await find_open(database, of_class) != slot
    return slot


async def found(database, numbers):
    return {int.from_bytes(key) for key in await find_entries(database, [key_of(number) for number in numbers])}


async def expire(database, slot):
    for table in ("cache_entries", "semantic_entries"):
        await database.execute(f"UPDATE {table} SET expires_at = now() - interval '1 second' WHERE slot = {slot}")


@pytest.mark.parametrize(
    ("ttl", "of_class"), [(1, 0), (7199, 0), (7300, 1), (86_000, 1), (87_000, 2), (30 * 86_400, 2)]
)
async def test_an_entry_goes_to_the_slot_of_its_class(database, ttl, of_class):
    """Up to two hours, up to a day and longer are kept apart, the answer and its question in the same slot."""
    entry = make_entry(ttl=ttl)
    await store(database, [(entry, make_likeness([1, 0]))])
    slot = await find_open(database, of_class)
    assert await fetch(database, SLOT_OF, entry.key) == [(slot, of_class)]
    assert await fetch(database, "SELECT slot FROM semantic_entries") == [(slot,)]


@pytest.mark.parametrize(
    ("of_class", "nearly", "over"),
    [(SHORT, "29 minutes", "2 minutes"), (DAY, "5 hours", "2 hours"), (LONG, "95 hours", "2 hours")],
)
async def test_a_slot_is_open_for_its_time(database, of_class, nearly, over):
    """A slot with live entries is closed after its period, not before, and a new one takes what comes next."""
    first = await find_open(database, of_class)
    await fill_slot(database, [1], of_class)
    await age(database, first, nearly)
    assert await turn_slots(database, ROOM, AGE) == 0
    assert await find_open(database, of_class) == first
    await age(database, first, over)
    assert await turn_slots(database, ROOM, AGE) == 0
    second = await find_open(database, of_class)
    assert second > first
    await fill_slot(database, [2], of_class)
    assert await fetch(database, SLOT_OF, key_of(2)) == [(second, of_class)]
    assert await found(database, [1, 2]) == {1, 2}
    assert first in await list_slots(database)


async def test_a_slot_in_which_nothing_lives_stays_open(database):
    """Nothing is opened for nothing: an empty slot, or one whose entries have expired, goes on."""
    before = await list_slots(database)
    await fill_slot(database, [1], SHORT)
    for slot in before:
        await age(database, slot, "20 days")
        await expire(database, slot)
    assert await turn_slots(database, ROOM, AGE) == 0
    assert await list_slots(database) == before


async def test_a_closed_slot_goes_when_nothing_in_it_lives(database):
    """A closed slot stays while one of its entries counts, and goes with both its partitions afterwards."""
    await store(database, [(build(1, SHORT), make_likeness([1, 0])), (build(2, SHORT), None)])
    await fill_slot(database, [3], LONG)
    slot = await close_slot(database, SHORT)
    await database.execute("UPDATE cache_entries SET expires_at = now() WHERE key = %s", (key_of(2),))
    assert await turn_slots(database, ROOM, AGE) == 0
    assert slot in await list_slots(database)
    await expire(database, slot)
    assert await turn_slots(database, ROOM, AGE) == 1
    assert slot not in await list_slots(database)
    assert await fetch(database, "SELECT count(*) FROM semantic_entries") == [(0,)]
    assert await found(database, [1, 2, 3]) == {3}


async def test_a_closed_slot_goes_when_it_is_too_old(database):
    """What is older than the longest time to live goes, the time for which its slot was open allowed for."""
    await fill_slot(database, [1])
    slot = await close_slot(database, LONG)
    await age(database, slot, "28 days")
    assert await turn_slots(database, ROOM, AGE) == 0
    await age(database, slot, "2 days")
    assert await turn_slots(database, ROOM, AGE) == 1
    assert slot not in await list_slots(database)
    assert await found(database, [1]) == set()


async def test_the_oldest_go_first_over_the_size(database):
    """While all slots together are over the size, closed ones go from the oldest on; what is left is still found."""
    closed = []
    for number in range(3):
        await fill_slot(database, range(10 * number, 10 * number + 4), size=300_000)
        closed.append(await close_slot(database, LONG))
    await fill_slot(database, [90], SHORT)
    total = await measure(database)
    assert total > 3_600_000
    assert await turn_slots(database, total, AGE) == 0
    assert await turn_slots(database, total - 1_000_000, AGE) == 1
    assert closed[0] not in await list_slots(database)
    assert await found(database, range(100)) == {*range(10, 14), *range(20, 24), 90}
    assert await measure(database) <= total - 1_000_000
    assert await turn_slots(database, 2_000_000, AGE) == 1
    assert await found(database, range(100)) == {*range(20, 24), 90}


async def measure(database):
    [(total,)] = await fetch(database, "SELECT sum(relaycore_cache_slot_bytes(slot))::bigint FROM cache_slots")
    return total


async def test_the_size_holds_whatever_comes(database):
    """A slot that grows is closed at a sixteenth of the size, so that a cache of little room keeps what is newest."""
    most = 8 * 2**20
    for number in range(40):
        await fill_slot(database, [number], size=400_000)
        await turn_slots(database, most, AGE)
        assert await measure(database) <= most + 2**20
    here = await found(database, range(40))
    assert here == set(range(40 - len(here), 40))
    assert len(here) >= 8


async def test_an_answer_stored_anew_leaves_no_older_copy(database):
    """Stored again in another class of times to live, or in a later slot, an answer and its question are there once."""
    for of_class in (LONG, SHORT, DAY, LONG):
        entry = build(1, of_class, f"{of_class}".encode())
        await store(database, [(entry, make_likeness([1, of_class]))])
        slot = await find_open(database, of_class)
        assert await fetch(database, SLOT_OF, entry.key) == [(slot, of_class)]
        assert await fetch(database, "SELECT slot FROM semantic_entries") == [(slot,)]
        assert (await find_entries(database, [entry.key]))[entry.key].body == entry.body
    old = await close_slot(database, LONG)
    await store(database, [(build(1, LONG, b"newest"), make_likeness([1, 1]))])
    assert await fetch(database, f"SELECT count(*) FROM cache_entries WHERE slot = {old}") == [(0,)]
    assert await fetch(database, f"SELECT count(*) FROM semantic_entries WHERE slot = {old}") == [(0,)]


@asynccontextmanager
async def holding(database_url, statement):
    """Have another session in the middle of a transaction with `statement`."""
    async with await open_database(database_url) as other:
        transaction = other.transaction()
        await transaction.__aenter__()
        await other.execute(statement)
        yield other
        await transaction.__aexit__(None, None, None)


@pytest.mark.parametrize("table", ["cache_entries", "semantic_entries"])
async def test_a_reader_only_postpones(database, database_url, table):
    """A slot that somebody reads is not dropped and not waited for; the turn ends well and the next one drops it."""
    await store(database, [(build(1, SHORT), make_likeness([1, 0]))])
    slot = await close_slot(database, SHORT)
    await expire(database, slot)
    async with holding(database_url, f"SELECT * FROM {table}"):
        async with asyncio.timeout(5):
            assert await turn_slots(database, ROOM, AGE) == 0
        assert slot in await list_slots(database)
        await fill_slot(database, [2], SHORT)  # and the other tables are free again
        assert await found(database, [2]) == {2}
    assert await turn_slots(database, ROOM, AGE) == 1
    assert slot not in await list_slots(database)


async def test_opening_a_slot_does_not_wait_for_readers(database, database_url):
    """A slot is closed and a new one opened while others read and write both tables."""
    await fill_slot(database, [1], SHORT)
    first = await find_open(database, SHORT)
    await age(database, first, "1 hour")
    async with holding(database_url, "SELECT * FROM cache_entries, semantic_entries") as other:
        await upsert_entries(other, [build(2, SHORT)])
        async with asyncio.timeout(5):
            await turn_slots(database, ROOM, AGE)
        assert await find_open(database, SHORT) != first
    assert await found(database, [1, 2]) == {1, 2}


async def test_two_turns_at_once(database, database_url):
    """Turns that come together close a slot once, open one in its place and drop each slot once."""
    for number in range(3):
        await fill_slot(database, [number], SHORT)
        await expire(database, await close_slot(database, SHORT))
    await turn_slots(database, ROOM, AGE)
    for number in range(3):
        await fill_slot(database, [number], SHORT)
        await close_slot(database, SHORT)
    await database.execute("UPDATE cache_entries SET expires_at = now()")
    await fill_slot(database, [9], SHORT)
    current = await find_open(database, SHORT)
    await age(database, current, "1 hour")
    connections = [await open_database(database_url) for _ in range(4)]
    try:
        dropped = await asyncio.gather(*(turn_slots(one, ROOM, AGE) for one in connections))
    finally:
        for one in connections:
            await one.close()
    assert sum(dropped) == 3
    slots = await list_slots(database)
    assert len(slots) == 4  # three that are open, and the one that was closed now
    assert current in slots
    assert await found(database, [9]) == {9}


async def test_writing_goes_on_between_turns(database, database_url):
    """A writer that prepared its statements long ago goes on writing to slots that were opened since."""
    async with await open_database(database_url) as writer:
        writer.prepare_threshold = 1
        for number in range(20):
            await store(writer, [(build(number, SHORT), make_likeness([1, number]))])
            await age(database, await find_open(database, SHORT), "1 hour")
            await turn_slots(database, ROOM, AGE)
    assert await found(database, range(20)) == set(range(20))
    assert await fetch(database, "SELECT count(*), count(DISTINCT slot) FROM semantic_entries") == [(20, 20)]


async def test_searches_go_on_over_all_slots(database):
    """What lies in closed slots is found by searches as what lies in the open one is, the newest copy once."""
    for number in range(3):
        await store(database, [(build(number, SHORT), make_likeness([1, number], question=f"q{number}"))])
        await close_slot(database, SHORT)
    [(scope,)] = await fetch(database, "SELECT id FROM semantic_scopes")
    values = {"vector": "[1,0]", "namespace": NAMESPACE, "policy": POLICY, "limit": 5, "scope_id": scope}
    lines = await (await database.execute(FIND_EXACTLY, values)).fetchall()
    assert [line[1] for line in lines] == ["q0", "q1", "q2"]


async def test_leases_and_clearings_are_swept(database):
    """Leases that nobody renewed for a minute and clearings of days ago go; what may still be needed stays."""
    await database.execute(
        "INSERT INTO cache_leases SELECT decode(md5(n::text), 'hex'), gen_random_uuid(), "
        "now() + make_interval(secs => n) FROM unnest(ARRAY[-120, -61, -30, 5]) AS n"
    )
    await database.execute(
        "INSERT INTO cache_clearings SELECT n, '{}', now() - make_interval(hours => n) FROM unnest(ARRAY[1, 23, 25]) n"
    )
    await turn_slots(database, ROOM, AGE)
    assert await fetch(database, "SELECT count(*) FROM cache_leases") == [(2,)]
    assert await fetch(database, "SELECT version FROM cache_clearings ORDER BY 1") == [(1,), (23,)]


async def test_the_worker_keeps_the_configured_size(database, database_url):
    """A round of the worker takes `cache.max_bytes` from the configuration, and the default without one."""
    await fill_slot(database, range(5), size=400_000)
    await run_once(database_url, 30)
    assert await found(database, range(5)) == set(range(5))
    await database.execute(
        "INSERT INTO config_versions (version, document, origin) "
        "VALUES (1, '{\"cache\": {\"max_bytes\": 1048576}}', 'api')"
    )
    await run_once(database_url, 30)
    assert await found(database, range(5)) == set()
    await fill_slot(database, [9])
    await run_once(database_url, 30)
    assert await found(database, [9]) == {9}
