"""Storing a moment behind: everything comes to the table, whatever becomes of the database, and in little room."""

import asyncio
import os
import random
import time
from uuid import uuid4

import msgspec
import psycopg
import pytest

from app.cache import behind
from app.cache.behind import MAX_BATCH, MAX_BATCH_BYTES, MAX_WAITING_BYTES, WriteBehind
from app.cache.store import WRITER_OPTIONS, find_entries, find_or_lease
from app.db.connection import PatientConnection
from tests.cache.samples import make_entry
from tests.semantic.samples import make_likeness

pytestmark = pytest.mark.anyio

KEY = b"k" * 32
OWNER = uuid4()
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
async def connection(database_url):
    opened = PatientConnection(database_url, name="test writer", options=WRITER_OPTIONS)
    yield opened
    await opened.close()


@pytest.fixture
async def writer(connection):
    return WriteBehind(connection, OWNER)


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


async def fetch(database, statement, *values):
    return await (await database.execute(statement, values)).fetchall()


def key_of(number):
    return number.to_bytes(32, "big")


def make_words(size):
    """Return a body that looks like an answer's and is compressed as one is."""
    chance = random.Random(size)
    words = [f"word{number}" for number in range(2000)]
    return " ".join(chance.choices(words, k=size // 7)).encode()[:size]


async def reread(database, entry):
    return (await find_entries(database, [entry.key]))[entry.key]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_large_body_comes_back_to_the_byte(writer, database, streamed):
    """Five megabytes are kept in much less, and come back as they were, streamed or whole."""
    body = b"".join(b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % make_words(4000) for _ in range(1250))
    assert len(body) > 5_000_000
    entry = make_entry(body=body, streamed=streamed)
    assert writer.put(entry)
    await writer.close()
    assert await fetch(database, "SELECT size, encoding FROM cache_entries") == [(len(body), 1)]
    [(kept,)] = await fetch(database, "SELECT octet_length(body) FROM cache_entries")
    assert kept < len(body) / 4
    found = await reread(database, entry)
    assert (found.body, found.streamed) == (body, streamed)


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 100_000])
@pytest.mark.parametrize("make", [os.urandom, make_words])
async def test_bodies_of_all_kinds(writer, database, size, make):
    """Small ones and such as cannot be compressed come back as well, and never take more than they are."""
    entry = make_entry(body=make(size))
    writer.put(entry)
    await writer.close()
    assert (await reread(database, entry)).body == entry.body
    assert await fetch(database, "SELECT octet_length(body) <= size FROM cache_entries") == [(True,)]


@pytest.mark.parametrize(
    "tags",
    [
        (),
        ("one",),
        ("b", "a", "c"),
        ("ünïcode", "日本語", "🙂", "a b", "", '"quoted"', "back\\slash", "{brace}", "comma,", "NULL", "tab\t", "\x01"),
    ],
)
async def test_tags_come_back(writer, database, tags):
    """Tags come back in their order, whatever is in them."""
    entry = msgspec.structs.replace(make_entry(), tags=tags)
    writer.put(entry)
    await writer.close()
    assert (await reread(database, entry)).tags == tags


async def test_a_batch_of_many_kinds(writer, database):
    """Entries of different classes, with and without usage, tags and questions, are stored by one statement."""
    entries = [
        msgspec.structs.replace(
            make_entry(key_of(number), os.urandom(number), ttl=[60, 80_000, 900_000][number % 3]),
            usage=None if number % 2 else make_entry().usage,
            tags=tuple(f"t{one}" for one in range(number % 4)),
            api_key_id=uuid4() if number % 5 else None,
        )
        for number in range(60)
    ]
    for entry in entries:
        writer.put(entry, make_likeness([1, 2, 3], question=entry.key.hex()) if entry.usage else None)
    await writer.close()
    found = await find_entries(database, [entry.key for entry in entries])
    for entry in entries:
        one, times = found[entry.key], {"created_at": 0, "expires_at": 0}
        assert msgspec.structs.replace(one, **times) == msgspec.structs.replace(entry, **times)
    questions = await fetch(database, "SELECT key, question FROM semantic_entries")
    assert {(bytes(key), question) for key, question in questions} == {
        (entry.key, entry.key.hex()) for entry in entries if entry.usage
    }


async def test_what_waits_is_bounded(connection):
    """More than there is room for is refused, and there is room again for what replaces something."""
    writer = WriteBehind(connection, OWNER)
    big = MAX_WAITING_BYTES // 4
    assert [writer.put(make_entry(key_of(number), bytes(big))) for number in range(5)] == [True] * 4 + [False]
    writer.clear(lambda entry: entry.key == key_of(0))
    assert writer.put(make_entry(key_of(5), bytes(big)))
    writer.clear(lambda _: True)
    assert writer._waiting_bytes == 0
    await writer.close()


async def test_the_newest_of_a_key_is_stored(writer, database):
    """What is put in again before it was stored is stored once, as it was put in last, with its own question."""
    writer.put(make_entry(body=b"old"), make_likeness([1, 0], question="old"))
    writer.put(make_entry(body=b"new"), make_likeness([0, 1], question="new"))
    await writer.close()
    assert (await reread(database, make_entry())).body == b"new"
    assert await fetch(database, "SELECT question FROM semantic_entries") == [("new",)]


async def test_what_is_put_in_while_it_is_stored(writer, database):
    """An entry that is replaced while the one before it is on its way to the table is stored after it."""
    writer.start()
    async with database.transaction():
        await database.execute("LOCK TABLE cache_entries IN SHARE MODE")
        writer.put(make_entry(body=b"old"))
        while not await fetch(database, "SELECT 1 FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        writer.put(make_entry(body=b"new"))
    async with asyncio.timeout(10):
        while writer._waiting:
            await asyncio.sleep(0.01)
    assert (await reread(database, make_entry())).body == b"new"
    await writer.close()


async def test_batches_are_small(connection):
    """A batch is bounded in number and in bytes, so that the loop is never held up for long."""
    writer = WriteBehind(connection, OWNER)
    for number in range(MAX_BATCH + 50):
        writer.put(make_entry(key_of(number), b""))
    assert len(writer._take_batch()) == MAX_BATCH
    writer.clear(lambda _: True)
    for number in range(8):
        writer.put(make_entry(key_of(number), bytes(MAX_BATCH_BYTES // 3)))
    assert len(writer._take_batch()) == 4
    writer.clear(lambda _: True)
    writer.put(make_entry(KEY, bytes(2 * MAX_BATCH_BYTES)))
    assert len(writer._take_batch()) == 1
    writer.clear(lambda _: True)


async def test_entries_are_there_soon(writer, database):
    """What is put in is in the table a moment later, without anything else that has to happen."""
    writer.start()
    for number in range(3):
        writer.put(make_entry(key_of(number)))
        async with asyncio.timeout(5):
            while not await find_entries(database, [key_of(number)]):
                await asyncio.sleep(0.01)
    await writer.close()


async def test_a_database_that_comes_back_gets_everything(writer, database, database_url, monkeypatch):
    """While the database is away nothing is lost, and all is stored once it is back."""
    monkeypatch.setattr(behind, "AGAIN_SECONDS", 0.05)
    url, writer._connection._url = database_url, NOWHERE
    writer.start()
    for number in range(MAX_BATCH + 5):
        writer.put(make_entry(key_of(number)))
    await asyncio.sleep(0.4)
    assert len(writer._waiting) == MAX_BATCH + 5
    writer._connection._url = url
    async with asyncio.timeout(10):
        while await fetch(database, "SELECT count(*) FROM cache_entries") != [(MAX_BATCH + 5,)]:
            await asyncio.sleep(0.02)
    await writer.close()


async def test_closing_without_a_database_ends():
    """When the database is away a process ends nevertheless, and soon."""
    connection = PatientConnection(NOWHERE, name="test nowhere")
    writer = WriteBehind(connection, OWNER)
    writer.start()
    writer.put(make_entry())
    writer.give_up(KEY)
    began = time.monotonic()
    await writer.close()
    await connection.close()
    assert time.monotonic() - began < 2


async def test_leases_end_with_the_answer(writer, database):
    """The lease of an entry that is stored ends in the same transaction, and one that is given up is gone."""
    for number in range(3):
        await find_or_lease(database, [key_of(number)], [key_of(number)], OWNER)
    await find_or_lease(database, [key_of(3)], [key_of(3)], uuid4())
    writer.put(make_entry(key_of(0)))
    writer.give_up(key_of(1))
    writer.put(make_entry(key_of(3)))
    writer.give_up(key_of(3))
    await writer.close()
    left = await fetch(database, "SELECT key, until <= now() + interval '1 second' FROM cache_leases ORDER BY key")
    assert [(bytes(key), soon) for key, soon in left] == [(key_of(0), True), (key_of(2), False), (key_of(3), False)]


async def test_who_writes_at_once_loses_nothing(database, database_url):
    """Several processes that store the same keys at once, in different classes, end with all of them there."""
    connections = [PatientConnection(database_url, name="test many") for _ in range(4)]
    writers = [WriteBehind(one, uuid4()) for one in connections]
    for turn, one in enumerate(writers):
        for number in range(150):
            one.put(make_entry(key_of(number), b"%d" % turn, ttl=60 if turn % 2 else 10_000), make_likeness([1, turn]))
    await asyncio.gather(*(one.close() for one in writers))
    for one in connections:
        await one.close()
    assert [one._waiting for one in writers] == [{}] * 4
    found = await find_entries(database, [key_of(number) for number in range(150)])
    assert len(found) == 150
    assert await fetch(database, "SELECT count(DISTINCT key) FROM semantic_entries") == [(150,)]


@pytest.mark.parametrize("changes", [{"tags": ("a\0b",)}, {"model": "gpt\0"}, {"created_at": 1e300}])
async def test_what_postgres_refuses_holds_nothing_up(writer, database, changes):
    """An entry that cannot be stored is not tried for ever: what is put in later is stored."""
    writer.start()
    writer.put(msgspec.structs.replace(make_entry(), **changes))
    await asyncio.sleep(0.4)
    writer.put(make_entry(key_of(9)))
    async with asyncio.timeout(5):
        while not await find_entries(database, [key_of(9)]):
            await asyncio.sleep(0.02)
    await writer.close()
    assert await find_entries(database, [KEY]) == {}


REFUSED = {
    "a tag with NUL": {"tags": ("a\0b",)},
    "a model with NUL": {"model": "gpt\0"},
    "a tag that is no Unicode": {"tags": ("\ud800",)},
    "a time that is none": {"created_at": 1e300},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED.keys())
async def test_what_postgres_refuses_is_lost_alone(writer, database, changes):
    """An entry that cannot be stored is not stored; those that came with it and after it are."""
    writer.start()
    for number in range(5):
        entry = make_entry(key_of(number))
        writer.put(entry if number != 2 else msgspec.structs.replace(entry, **changes))
    await asyncio.sleep(0.5)
    writer.put(make_entry(key_of(9)))
    async with asyncio.timeout(5):
        while not await find_entries(database, [key_of(9)]):
            await asyncio.sleep(0.02)
    await writer.close()
    found = await find_entries(database, [key_of(number) for number in range(10)])
    assert set(found) == {key_of(number) for number in (0, 1, 3, 4, 9)}


@pytest.mark.parametrize(
    "changes",
    [{"question": "a\0b"}, {"vector": "[]"}, {"vector": "nonsense"}, {"echoes": ("a\0b",)}, {"namespace": "n\0"}],
    ids=["question", "no vector", "nonsense", "echo", "namespace"],
)
async def test_a_question_that_postgres_refuses(writer, database, changes):
    """A question that cannot be stored costs no answer, neither its own nor others'."""
    for number in range(3):
        writer.put(
            make_entry(key_of(number)),
            msgspec.structs.replace(make_likeness([1, 0]), **(changes if number == 1 else {})),
        )
    await writer.close()
    assert await fetch(database, "SELECT count(*) FROM cache_entries") == [(3,)]
    assert await fetch(database, "SELECT count(*) FROM semantic_entries") == [(2,)]


async def test_closing_while_a_batch_is_on_its_way(connection, database):
    """Closing lets a write that is under way come to its end: nothing that waits is lost."""
    writer = WriteBehind(connection, OWNER)
    writer.start()
    for number in range(2000):
        writer.put(make_entry(key_of(number), os.urandom(2000)))
    await asyncio.sleep(0.2)
    await writer.close()
    assert await fetch(database, "SELECT count(*) FROM cache_entries") == [(2000,)]


async def test_a_question_goes_with_the_answer_it_was_kept_with(writer, database):
    """An answer that is stored anew without a question leaves none behind, which would point to another answer."""
    writer.put(make_entry(KEY), make_likeness([1, 0]))
    await writer.flush()
    assert await fetch(database, "SELECT count(*) FROM semantic_entries") == [(1,)]
    writer.put(make_entry(KEY, b"a refusal"))
    await writer.close()
    assert await fetch(database, "SELECT count(*) FROM semantic_entries") == [(0,)]
