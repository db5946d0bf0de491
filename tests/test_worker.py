"""The job worker: what it does now and then, and that it never stays down."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from app.cache.store import upsert_entries
from app.cache.types import Entry
from app.worker import run_once, run_worker
from tests.conftest import prepare

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


async def fetch(database, statement: str) -> list[tuple[object, ...]]:
    return await (await database.execute(statement)).fetchall()


def build_entry(number: int, expires_at: float) -> Entry:
    return Entry(
        key=number.to_bytes(32),
        scope=b"scope",
        provider="mock",
        model="echo",
        endpoint="chat",
        streamed=False,
        content_type="application/json",
        body=b"{}",
        usage=None,
        created_at=0.0,
        expires_at=expires_at,
    )


PARTITIONS = "SELECT relname FROM pg_class WHERE relname ~ '^requests_p[0-9]{8}$' ORDER BY relname"


async def test_tidying_makes_drops_and_deletes(database, database_url):
    """One round makes the week's partitions, drops the days that are over and deletes expired answers."""
    today = datetime.now(UTC).date()
    old, tomorrow = (f"requests_p{today + timedelta(days=days):%Y%m%d}" for days in (-40, 1))
    days = f"FROM ('{today - timedelta(days=40)}') TO ('{today - timedelta(days=39)}')"
    await database.execute(f"CREATE TABLE {old} PARTITION OF requests FOR VALUES {days}")
    await database.execute(f"DROP TABLE {tomorrow}")
    later = datetime.now(UTC).timestamp() + 3600
    await upsert_entries(database, [build_entry(number, later if number == 0 else 1.0) for number in range(2500)])
    await run_once(database_url, 30)
    names = [name for (name,) in await fetch(database, PARTITIONS)]
    assert old not in names
    assert tomorrow in names
    assert await fetch(database, "SELECT count(*) FROM cache_entries") == [(1,)]


WORKERS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'relaycore worker' AND datname = current_database()"
)
JOBS = "SELECT status::text FROM procrastinate_jobs WHERE task_name = 'relaycore.tidy'"


async def wait_for(condition, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_the_worker_comes_back(database, database_url, tmp_path):
    """When its connections are cut the worker starts again and does its work."""
    settings = prepare(database_url, tmp_path).settings
    task = asyncio.create_task(run_worker(settings))
    try:
        await wait_for(lambda: fetch(database, WORKERS))
        cut = await fetch(database, f"SELECT pid, pg_terminate_backend(pid) FROM ({WORKERS}) AS workers")
        gone = {pid for pid, _ in cut}

        async def is_back() -> bool:
            return bool({pid for (pid,) in await fetch(database, WORKERS)} - gone)

        await wait_for(is_back)
        await database.execute(
            "INSERT INTO procrastinate_jobs (task_name, queue_name, args)"
            " VALUES ('relaycore.tidy', 'default', '{\"timestamp\": 0}')"
        )

        async def is_done() -> bool:
            return not await fetch(database, JOBS)

        await wait_for(is_done)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_worker_waits_for_a_database(database_url, tmp_path):
    """Started while the database is away the worker keeps trying, and ends when it is told to."""
    settings = prepare(database_url, tmp_path).settings
    away = type(settings)(database_url="postgresql://postgres@127.0.0.1:1/x", data_dir=tmp_path)
    task = asyncio.create_task(run_worker(away))
    await asyncio.sleep(0.5)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.done()
