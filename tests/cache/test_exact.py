"""The exact cache over a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import psycopg
import pytest

from app.cache import behind, finder
from app.cache.exact import ExactCache
from tests.cache.samples import make_entry

pytestmark = pytest.mark.anyio
ROOM = 2**20


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Wait for the database however busy the machine is."""
    monkeypatch.setattr(finder, "FIND_SECONDS", 20)


@pytest.fixture
async def cache(database_url) -> AsyncIterator[ExactCache]:
    opened = ExactCache(database_url, ROOM)
    opened.start()
    yield opened
    await opened.close()


async def reopen(database_url, keys):
    """Return what a process that starts anew finds under `keys`."""
    fresh = ExactCache(database_url, ROOM)
    try:
        return [found.entry for found in await asyncio.gather(*(fresh.find(key) for key in keys))]
    finally:
        await fresh.close()


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_stored_comes_back(database_url, streamed):
    """An entry comes back from Postgres as it was put in, its times to the microsecond."""
    cache = ExactCache(database_url, ROOM)
    cache.start()
    entry = make_entry(body=b"\x00\xff bytes", streamed=streamed)
    bare = msgspec.structs.replace(entry, key=b"n" * 32, usage=None)
    cache.put(entry)
    cache.put(bare)
    await cache.close()
    for found, put in zip(await reopen(database_url, [entry.key, bare.key]), (entry, bare), strict=True):
        assert found.created_at == pytest.approx(put.created_at, abs=1e-5)
        assert found.expires_at == pytest.approx(put.expires_at, abs=1e-5)
        times = {"created_at": 0, "expires_at": 0}
        assert msgspec.structs.replace(found, **times) == msgspec.structs.replace(put, **times)


async def test_closing_stores_everything(database_url):
    """What waits when the process ends is stored, more than one batch of it."""
    cache = ExactCache(database_url, 64 * ROOM)
    keys = [number.to_bytes(32, "big") for number in range(450)]
    for key in keys:
        cache.put(make_entry(key))
    await cache.close()
    assert None not in await reopen(database_url, keys)


async def test_the_newest_counts(database_url, cache):
    """An entry replaces the one before it, in memory and in Postgres."""
    cache.put(make_entry(body=b"old"))
    cache.put(make_entry(body=b"new"))
    assert (await cache.find(b"k" * 32)).entry.body == b"new"
    await cache.close()
    assert (await reopen(database_url, [b"k" * 32]))[0].body == b"new"


async def test_expired_entries_are_not_found(database_url):
    """An entry whose time is over is not returned by either tier."""
    cache = ExactCache(database_url, ROOM)
    cache.put(make_entry(ttl=-1))
    assert (await cache.find(b"k" * 32)).entry is None
    await cache.close()
    assert await reopen(database_url, [b"k" * 32]) == [None]


async def test_look_ups_at_once_share_a_statement(database_url, cache):
    """Many look-ups at the same moment are answered together, each with its own entry."""
    keys = [bytes([number]) * 32 for number in range(50)]
    writer = ExactCache(database_url, ROOM)
    for key in keys[::2]:
        writer.put(make_entry(key, body=key))
    await writer.close()
    found = await asyncio.gather(*(cache.find(key) for key in keys * 2))
    assert [one.entry and one.entry.body for one in found] == [
        key if i % 2 == 0 else None for i, key in enumerate(keys)
    ] * 2


async def test_an_answer_put_in_while_postgres_is_asked(cache):
    """A look-up that began before the answer was there finds it nevertheless."""
    looking = asyncio.create_task(cache.find(b"k" * 32))
    await asyncio.sleep(0)
    cache.put(make_entry(body=b"just now"))
    assert (await looking).entry.body == b"just now"


async def test_a_caller_that_leaves_does_not_spoil_it_for_others(cache):
    """A look-up that is given up leaves those who ask for the same alone."""
    tasks = [asyncio.create_task(cache.find(b"k" * 32)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [found.entry for found in results[1:]] == [None, None]


async def test_without_a_database(monkeypatch):
    """A database that is away makes it a cache of this process alone, quickly."""
    monkeypatch.setattr(finder, "FIND_SECONDS", 0.05)
    cache = ExactCache("postgresql://nobody@127.0.0.1:1/none", ROOM)
    cache.start()
    started = asyncio.get_running_loop().time()
    assert (await cache.find(b"k" * 32)).entry is None
    cache.put(make_entry())
    assert (await cache.find(b"k" * 32)).entry.body == b"{}"
    assert asyncio.get_running_loop().time() - started < 1
    await cache.close()


async def test_what_another_process_stored_is_kept_in_memory(database_url, cache):
    """What was found in Postgres is asked for once: after that it is in memory, until its own time is over."""
    other = ExactCache(database_url, ROOM)
    other.put(make_entry(body=b"of another"))
    await other.close()
    assert (await cache.find(b"k" * 32)).entry.body == b"of another"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM cache_entries")
    assert (await cache.find(b"k" * 32)).entry.body == b"of another"


async def test_tags_and_owners_come_back(database_url):
    """Who shares an entry, whose it is and how it is tagged is the same in Postgres as in memory."""
    entry = msgspec.structs.replace(
        make_entry(), scope="namespace:help", api_key_id=UUID(int=3), tags=("a", "ü", "b c"), model="m", provider="p"
    )
    cache = ExactCache(database_url, ROOM)
    cache.put(entry)
    await cache.close()
    [found] = await reopen(database_url, [entry.key])
    names = ("scope", "user_id", "api_key_id", "tags", "model", "provider", "endpoint", "usage")
    assert [getattr(found, name) for name in names] == [getattr(entry, name) for name in names]


async def test_a_large_body_comes_back(database_url):
    """Five megabytes are found by another process to the byte, and take little of the table."""
    body = b"".join(
        b'data: {"n": %d, "text": "some words that are said again and again"}\n\n' % n for n in range(80_000)
    )
    assert len(body) > 5_000_000
    cache = ExactCache(database_url, ROOM)
    cache.put(make_entry(body=body, streamed=True))
    await cache.close()
    [found] = await reopen(database_url, [b"k" * 32])
    assert found.body == body
    with psycopg.connect(database_url) as connection:
        [[kept]] = connection.execute("SELECT octet_length(body) FROM cache_entries").fetchall()
    assert kept < len(body) / 4


async def test_what_cannot_be_stored_lets_others_lead(database_url, cache, monkeypatch):
    """When there is no room for an answer, its call does not stay led by this process: others make their own."""
    monkeypatch.setattr(behind, "MAX_WAITING_BYTES", 10)
    other = ExactCache(database_url, ROOM)
    try:
        assert (await cache.find(b"k" * 32, lease=True)).leads
        cache.lead(b"k" * 32)
        assert not (await other.find(b"k" * 32, lease=True)).leads
        cache.put(make_entry(body=b"more than ten bytes"))
        found = await other.await_other(b"k" * 32)
        assert (found.entry, found.leads) == (None, True)
    finally:
        await other.close()


async def test_a_broken_line_is_no_answer(database_url, cache):
    """A body that is not what was stored counts as not there, and look-ups of others go on."""
    other = ExactCache(database_url, ROOM)
    other.put(make_entry(body=bytes(10_000)))
    await other.close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE cache_entries SET body = 'broken'")
    assert (await cache.find(b"k" * 32)).entry is None
    cache.put(make_entry(b"n" * 32))
    assert (await cache.find(b"n" * 32)).entry is not None


async def test_flushing_stores_what_waits(database_url, cache):
    """After a flush another process finds all that was put in before it."""
    for number in range(30):
        cache.put(make_entry(number.to_bytes(32, "big")))
    await cache.flush()
    assert None not in await reopen(database_url, [number.to_bytes(32, "big") for number in range(30)])
