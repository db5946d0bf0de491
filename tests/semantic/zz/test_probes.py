import asyncio, time, os
from uuid import uuid4
import msgspec, psycopg, pytest
from app.cache.store import *
from app.cache.behind import WriteBehind
from app.db.connection import PatientConnection
from app.semantic.store import *
from app.semantic.index_store import *
from app.worker import run_once
from tests.cache.samples import make_entry
from tests.semantic.samples import *
pytestmark = pytest.mark.anyio
def conn(url, **k): return psycopg.AsyncConnection.connect(url, autocommit=True, **k)

async def test_a_stale_question(database_url):
    "restored with an answer that suits no other question (likeness None): old question must be gone"
    c = PatientConnection(database_url, name="w"); w = WriteBehind(c, uuid4())
    w.put(make_entry(body=b"words"), make_likeness([1, 0])); await w._store_some()
    w.put(make_entry(body=b"refusal")); await w.close(); await c.close()
    assert query(database_url, "SELECT count(*) FROM semantic_entries") == [(0,)]

async def test_b_turn_waits(database_url):
    "advisory lock held by another turn for a second"
    async with await conn(database_url) as o:
        async with o.transaction():
            await o.execute("SELECT pg_advisory_xact_lock(hashtext('relaycore_cache_slots'))")
            await run_once(database_url, 30)

async def test_b2_reader_of_partition_in_tidy(database_url):
    "ANALYZE/VACUUM or CIC lock while a slot is to be opened/dropped"
    async with await conn(database_url) as o:
        await upsert_entries(o, [make_entry(ttl=60)])
        await o.execute("UPDATE cache_slots SET opened_at = opened_at - interval '1 hour' WHERE class = 0")
        async with o.transaction():
            await o.execute("LOCK TABLE semantic_entries IN SHARE UPDATE EXCLUSIVE MODE")
            await run_once(database_url, 30)

@pytest.mark.parametrize("n", [4000, 4001])
async def test_f_long_vectors(database_url, monkeypatch, n):
    import app.semantic.index_store as i
    monkeypatch.setattr(i, "EXACT_UP_TO", 5); monkeypatch.setattr(i, "INDEX_FROM", 2)
    async with await conn(database_url) as o:
        await store(o, [(make_answer(make_key(k)), make_likeness([1.0]*n, embedder="long")) for k in range(10)])
        await store(o, [(make_answer(make_key(100+k)), make_likeness([1.0]*3)) for k in range(10)])
        await tend_questions(o, 30)
        assert await build_indexes(o) == 2

async def test_f2_mixed(database_url):
    async with await conn(database_url) as o:
        await store(o, [(make_answer(make_key(1)), make_likeness([1.0]*3)), (make_answer(make_key(2)), make_likeness([1.0]*4))])
        sc = await find_scope(o, IDENTITY, EMBEDDER)
        found, _ = await find_candidates(o, sc, "[1,1,1,1]", 4, (NAMESPACE, POLICY))
        assert [f.key for f in found] == [make_key(2)]

async def test_h_readers_during_turn(database_url):
    "how long look-ups wait while a turn drops slots one of which somebody builds an index on"
    async with await conn(database_url) as o, await conn(database_url) as r, await conn(database_url) as x:
        for k in range(6):
            await upsert_entries(o, [make_entry(make_key(k), ttl=60)])
            await o.execute("SELECT relaycore_open_cache_slot(0::smallint)")
        await o.execute("UPDATE cache_entries SET expires_at = now()")
        slots = [s for (s,) in query(database_url, "SELECT slot FROM cache_slots WHERE closed_at IS NOT NULL ORDER BY slot")]
        worst = 0
        async with x.transaction():
            for s in slots[1:]:
                await x.execute(f"LOCK TABLE semantic_entries_s{s} IN SHARE UPDATE EXCLUSIVE MODE")
            t = asyncio.create_task(turn_slots(o, 2**40, 86400))
            while not t.done():
                b = time.monotonic(); await find_entries(r, [b"k"*32]); worst = max(worst, time.monotonic()-b)
                await asyncio.sleep(0.001)
            print("dropped", await t)
        print("worst look-up", worst)
        assert worst < 0.3

async def test_e_forget_race(database_url):
    "FORGET_EMPTY while a question is being stored in a scope that was empty for a day"
    async with await conn(database_url) as o, await conn(database_url) as t:
        await store(o, [(make_answer(make_key(1)), make_likeness([1, 0]))])
        await o.execute("DELETE FROM semantic_entries"); await o.execute("UPDATE semantic_scopes SET created_at = now() - interval '2 days'")
        async with o.transaction():
            await insert_likenesses(o, [(make_answer(make_key(2)), make_likeness([1, 0]))])
            task = asyncio.create_task(tend_questions(t, 30))
            await asyncio.sleep(0.2)
        await task
        assert query(database_url, "SELECT count(*) FROM semantic_entries e JOIN semantic_scopes s ON s.id = e.scope_id") == [(1,)]
