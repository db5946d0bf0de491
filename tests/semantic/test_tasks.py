"""What is done to stored questions now and then: marking what has grown, building its indexes, forgetting the rest."""

import asyncio
import random
import threading
import time

import psycopg
import pytest

from app.semantic import index_store
from app.semantic.index_store import BUILD_OPTIONS, TAKE_TURN, build_indexes, tend_questions
from app.semantic.store import (
    EXACT_UP_TO,
    MAX_CANDIDATES,
    READER_OPTIONS,
    build_indexed_search,
    find_candidates,
    find_scope,
)
from app.worker import run_index, run_once
from tests.semantic.samples import (
    EMBEDDER,
    IDENTITY,
    NAMESPACE,
    POLICY,
    make_answer,
    make_clusters,
    make_key,
    make_likeness,
    normalize,
    query,
    store,
)

pytestmark = pytest.mark.anyio

OF = (NAMESPACE, POLICY)
DIMENSIONS = 64
NEAR = """
SELECT relname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE relname ~ '_near_' AND indisvalid
"""


@pytest.fixture
def small(monkeypatch):
    """Have scopes count as large that are small, for what does not depend on their size."""
    monkeypatch.setattr(index_store, "EXACT_UP_TO", 20)
    monkeypatch.setattr(index_store, "INDEX_FROM", 8)


async def connect(database_url, options):
    return await psycopg.AsyncConnection.connect(database_url, autocommit=True, options=options)


@pytest.fixture
async def builder(database_url):
    async with await connect(database_url, BUILD_OPTIONS) as opened:
        yield opened


@pytest.fixture
async def reader(database_url):
    async with await connect(database_url, READER_OPTIONS) as opened:
        opened.prepare_threshold = 1
        yield opened


async def fill(connection, vectors, first=0, **changes):
    for start in range(0, len(vectors), 1000):
        await store(
            connection,
            [
                (make_answer(make_key(first + n)), make_likeness(vectors[n], f"q{first + n}", **changes))
                for n in range(start, min(start + 1000, len(vectors)))
            ],
        )


async def open_new_slot(connection):
    await connection.execute("SELECT relaycore_open_cache_slot(0::smallint)")


async def search(connection, vector, scope=None):
    scope = scope or await find_scope(connection, IDENTITY, EMBEDDER)
    found, _ = await find_candidates(connection, scope, make_likeness(vector).vector, len(vector), OF)
    return [one.question for one in found]


async def explain(connection, scope_id, vector):
    values = {"vector": make_likeness(vector).vector, "namespace": OF[0], "policy": OF[1], "limit": MAX_CANDIDATES}
    statement = b"EXPLAIN " + build_indexed_search(scope_id, len(vector))
    return "\n".join(line for (line,) in await (await connection.execute(statement, values)).fetchall())


def list_indexes(database_url):
    return sorted(name for (name,) in query(database_url, NEAR))


async def test_a_large_scope_is_searched_by_index(database_url, builder, reader):
    """A scope that has grown beyond what is compared one by one gets its index, which is used and finds the same.

    Of the nearest five at least 95 % are found, over fifty questions near stored ones and far from them, with the
    planner's own settings; what is stored after the index was built is found too.
    """
    vectors = make_clusters(1, clusters=200, each=20, dimensions=DIMENSIONS)
    await fill(builder, vectors)
    await fill(builder, vectors[:50], first=10_000, identity=b"other" * 6)
    scope_id, indexed = await find_scope(builder, IDENTITY, EMBEDDER)
    assert not indexed
    assert await build_indexes(builder) == 0
    await tend_questions(builder, 30)
    assert await find_scope(builder, IDENTITY, EMBEDDER) == (scope_id, True)
    assert (await find_scope(builder, b"other" * 6, EMBEDDER))[1] is False
    assert await build_indexes(builder) == 1
    assert await build_indexes(builder) == 0
    await builder.execute("ANALYZE semantic_entries")
    [name] = list_indexes(database_url)
    assert name.endswith(f"_near_{scope_id}")

    chance = random.Random(2)
    asked = [
        normalize([number + chance.gauss(0, 0.05) for number in chance.choice(vectors)])
        if turn % 5
        else normalize([chance.gauss(0, 1) for _ in range(DIMENSIONS)])
        for turn in range(50)
    ]
    assert f"Index Scan using {name}" in await explain(reader, scope_id, asked[0])
    hits = 0
    for vector in asked:
        exact = await search(reader, vector, (scope_id, False))
        near = await search(reader, vector, (scope_id, True))
        assert len(near) == MAX_CANDIDATES
        hits += len(set(exact) & set(near))
    assert hits >= 0.95 * 50 * MAX_CANDIDATES

    new = normalize([chance.gauss(0, 1) for _ in range(DIMENSIONS)])
    await fill(builder, [new], first=20_000)
    assert (await search(reader, new, (scope_id, True)))[0] == "q20000"
    await builder.execute("UPDATE semantic_entries SET expires_at = now() WHERE key = %s", (make_key(20_000),))
    assert "q20000" not in await search(reader, new, (scope_id, True))


async def test_most_of_an_index_may_have_expired(builder, reader, small):
    """When the nearest by far are those whose time is over, the ones that live are found by index all the same."""
    expired, live = (make_clusters(seed, 1, each, DIMENSIONS) for seed, each in ((5, 600), (6, 6)))
    await fill(builder, expired)
    await fill(builder, live, first=1000)
    await tend_questions(builder, 30)
    assert await build_indexes(builder) == 1
    await builder.execute("UPDATE semantic_entries SET expires_at = now() WHERE key < %s", (make_key(1000),))
    await reader.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
    scope_id, _ = await find_scope(reader, IDENTITY, EMBEDDER)
    assert "_near_" in await explain(reader, scope_id, expired[0])
    exact = await search(reader, expired[0], (scope_id, False))
    assert set(exact) < {f"q{n}" for n in range(1000, 1006)}
    assert await search(reader, expired[0], (scope_id, True)) == exact


@pytest.mark.parametrize(("questions", "large"), [(EXACT_UP_TO, False), (EXACT_UP_TO + 1, True)])
async def test_from_which_size_on(builder, questions, large):
    """A scope is large with one question more than are all compared."""
    await fill(builder, [(1.0,)] * questions)
    await tend_questions(builder, 30)
    assert (await find_scope(builder, IDENTITY, EMBEDDER))[1] is large


async def test_a_scope_that_shrinks(database_url, builder, small):
    """What has shrunk is compared one by one again, and by index again once it has grown."""
    await fill(builder, [(1, n) for n in range(25)])
    await tend_questions(builder, 30)
    assert await build_indexes(builder) == 1
    await builder.execute("DELETE FROM semantic_entries WHERE key >= %s", (make_key(10),))
    await tend_questions(builder, 30)
    assert (await find_scope(builder, IDENTITY, EMBEDDER))[1] is False
    await fill(builder, [(1, n) for n in range(10, 25)], first=10)
    await tend_questions(builder, 30)
    assert (await find_scope(builder, IDENTITY, EMBEDDER))[1] is True
    assert await build_indexes(builder) == 0
    assert len(list_indexes(database_url)) == 1


async def test_all_slots_are_searched(database_url, builder, reader, small):
    """Questions in later slots are found beside those of earlier ones, before and after they have an index."""
    await fill(builder, [normalize((1, 2 * n)) for n in range(25)])
    await tend_questions(builder, 30)
    assert await build_indexes(builder) == 1
    await open_new_slot(builder)
    await fill(builder, [normalize((1, 2 * n + 1)) for n in range(25)], first=100)
    nearest = ["q0", "q100", "q1", "q101", "q2"]
    assert await search(reader, (1, 0)) == nearest
    assert await build_indexes(builder) == 1
    assert len(list_indexes(database_url)) == 2
    assert await search(reader, (1, 0)) == nearest
    await open_new_slot(builder)
    await fill(builder, [normalize((1, 0.5))], first=200)
    assert await build_indexes(builder) == 0, "a slot with few questions of the scope needs none"
    assert await search(reader, (1, 0)) == ["q0", "q200", "q100", "q1", "q101"]


async def test_a_slot_that_is_dropped_takes_its_indexes_along(database_url, builder, reader, small):
    """Indexes go with their slot, and searches find what is left."""
    await fill(builder, [normalize((1, n)) for n in range(25)])
    await open_new_slot(builder)
    await fill(builder, [normalize((1, n)) for n in range(25)], first=100)
    await tend_questions(builder, 30)
    assert await build_indexes(builder) == 2
    [(slot,)] = query(database_url, "SELECT min(slot) FROM cache_slots WHERE closed_at IS NOT NULL")
    assert (await search(reader, (1, 0)))[:2] in (["q0", "q100"], ["q100", "q0"])
    await builder.execute("SELECT relaycore_drop_cache_slot(%s)", (slot,))
    assert len(list_indexes(database_url)) == 1
    assert await search(reader, (1, 0)) == ["q100", "q101", "q102", "q103", "q104"]


async def test_several_scopes_have_an_index_each(database_url, builder, reader, small):
    """Each large scope has an index of its own, of the length of its vectors, and is searched by no other."""
    await fill(builder, [normalize((1, n)) for n in range(25)])
    await fill(builder, [normalize((1, n, 0)) for n in range(25)], first=100, embedder="three")
    await tend_questions(builder, 30)
    assert await build_indexes(builder) == 2
    assert len(list_indexes(database_url)) == 2
    assert await search(reader, (1, 0)) == [f"q{n}" for n in range(5)]
    scope = await find_scope(reader, IDENTITY, "three")
    assert await search(reader, (1, 0, 0), scope) == [f"q{n}" for n in range(100, 105)]


async def test_a_broken_index_is_built_anew(database_url, builder, reader, small):
    """An index whose building broke off is dropped and built again."""
    await fill(builder, [normalize((1, n)) for n in range(25)])
    await tend_questions(builder, 30)
    assert await build_indexes(builder) == 1
    [name] = list_indexes(database_url)
    query(database_url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", name)
    assert list_indexes(database_url) == []
    assert await search(reader, (1, 0)) == [f"q{n}" for n in range(5)]
    assert await build_indexes(builder) == 1
    assert list_indexes(database_url) == [name]


async def test_building_that_broke_off_is_taken_up(database_url, builder, small):
    """A build that waits for somebody too long gives up; another one finishes the work."""
    await fill(builder, [normalize((1, n)) for n in range(25)])
    await tend_questions(builder, 30)
    with psycopg.connect(database_url) as other:
        other.execute("DELETE FROM semantic_entries WHERE key = %s", (make_key(0),))
        await builder.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await build_indexes(builder)
    assert list_indexes(database_url) == []
    await builder.execute("SET lock_timeout = '2s'")
    assert await build_indexes(builder) == 1
    assert len(list_indexes(database_url)) == 1


async def test_others_read_and_write_meanwhile(database_url, builder, reader):
    """While an index is built, questions are found and stored, none of them lost to the index."""
    vectors = make_clusters(3, clusters=150, each=20, dimensions=32)
    await fill(builder, vectors)
    await tend_questions(builder, 30)
    over, written = threading.Event(), []

    def write():
        with psycopg.connect(database_url, autocommit=True) as other:
            while not over.is_set() or len(written) < 5:
                number = 50_000 + len(written)
                other.execute(
                    "INSERT INTO semantic_entries (key, slot, scope_id, user_id, question, embedding, expires_at) "
                    "SELECT %s, slot, scope_id, user_id, %s, embedding, expires_at FROM semantic_entries LIMIT 1",
                    (make_key(number), f"q{number}"),
                )
                written.append(number)
                time.sleep(0.01)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert await build_indexes(builder) == 1
    finally:
        over.set()
        thread.join()
    await builder.execute("ANALYZE semantic_entries")
    scope_id, _ = await find_scope(reader, IDENTITY, EMBEDDER)
    [(vector,)] = query(
        database_url, "SELECT embedding::text FROM semantic_entries WHERE key = %s", make_key(written[0])
    )
    copied = [float(one) for one in vector.strip("[]").split(",")]
    assert "_near_" in await explain(reader, scope_id, copied)
    assert query(database_url, "SELECT count(*) FROM semantic_entries") == [(len(vectors) + len(written),)]
    found = await search(reader, copied, (scope_id, True))
    assert {name for name in found if int(name[1:]) >= 50_000}


async def test_one_builds_at_a_time(database_url, builder, reader, small):
    """While another connection builds, nothing is built twice; when it is gone, however it ended, the next one does."""
    await fill(builder, [normalize((1, n)) for n in range(25)])
    await tend_questions(builder, 30)
    await reader.execute(TAKE_TURN)
    assert await build_indexes(builder) == 0
    reader.pgconn.finish()
    async with asyncio.timeout(10):
        while not await build_indexes(builder):
            await asyncio.sleep(0.05)
    assert len(list_indexes(database_url)) == 1


async def test_empty_scopes_are_forgotten(database_url, builder):
    """A scope without questions goes after a day; one that is new or has any stays."""
    await fill(builder, [(1, 0)])
    await fill(builder, [(1, 0)], first=1, identity=b"old" * 10)
    await fill(builder, [(1, 0)], first=2, identity=b"new" * 10)
    await builder.execute("DELETE FROM semantic_entries WHERE key <> %s", (make_key(0),))
    await builder.execute(
        "UPDATE semantic_scopes SET used_at = now() - interval '2 days' WHERE identity <> %s", (b"new" * 10,)
    )
    await tend_questions(builder, 30)
    identities = {bytes(one) for (one,) in query(database_url, "SELECT identity FROM semantic_scopes")}
    assert identities == {IDENTITY, b"new" * 10}


async def test_the_worker_does_all_of_it(database_url, builder, reader, small):
    """A round of the worker marks and forgets, and its other task builds: after both a large scope has its index."""
    await fill(builder, [normalize((1, n)) for n in range(25)])
    async with builder.transaction():
        for number in range(1100):
            await builder.execute(
                "INSERT INTO semantic_decisions (id, namespace, policy, tier, user_id, request_id, entry_key, "
                "similarity, served, decided_at) VALUES (gen_random_uuid(), 'n', 'p', 0, gen_random_uuid(), %s, "
                "'k', 1, true, now() - interval '40 days')",
                (f"r{number}",),
            )
    await run_once(database_url, 30)
    await run_index(database_url)
    assert query(database_url, "SELECT count(*) FROM semantic_decisions") == [(0,)]
    assert len(list_indexes(database_url)) == 1
