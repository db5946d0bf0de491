import asyncio, os
from uuid import uuid4
import psycopg, pytest
from app.cache.behind import WriteBehind
from app.db.connection import PatientConnection
from app.semantic.log import DecisionLog
from tests.cache.samples import make_entry
from tests.semantic.samples import make_decision, query
pytestmark = pytest.mark.anyio

async def wait_until_blocked(url):
    while not query(url, "SELECT 1 FROM pg_locks WHERE NOT granted"):
        await asyncio.sleep(0.01)

async def test_closing_while_a_batch_is_on_its_way(database_url):
    connection = PatientConnection(database_url, name="w")
    writer = WriteBehind(connection, uuid4())
    writer.start()
    for n in range(2000):
        writer.put(make_entry(n.to_bytes(32), os.urandom(2000)))
    await asyncio.sleep(0.2)
    await writer.close(); await connection.close()
    assert query(database_url, "SELECT count(*) FROM cache_entries") == [(2000,)]

async def test_closing_log(database_url):
    log = DecisionLog(database_url)
    log.start()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as db:
        async with db.transaction():
            await db.execute("LOCK TABLE semantic_decisions IN SHARE MODE")
            log.note(make_decision())
            await wait_until_blocked(database_url)
            log.note(make_decision())
    await log.close()
    assert query(database_url, "SELECT count(*) FROM semantic_decisions") == [(2,)]
