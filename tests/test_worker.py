"""The job worker: what it does now and then, and that it never stays down."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from app.batch.waking import defer_waking
from app.cache.store import upsert_entries
from app.db.connection import DatabaseAwayError, open_connection
from app.worker import run_again, run_index, run_jobs, run_once
from tests.cache.samples import make_entry
from tests.conftest import prepare

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


async def fetch(database, statement: str) -> list[tuple[object, ...]]:
    return await (await database.execute(statement)).fetchall()


PARTITIONS = "SELECT relname FROM pg_class WHERE relname ~ '^requests_p[0-9]{8}$' ORDER BY relname"


async def test_tidying_makes_drops_and_deletes(database, database_url):
    """One round makes the week's partitions, drops the days that are over and the slots in which nothing lives."""
    today = datetime.now(UTC).date()
    old, tomorrow = (f"requests_p{today + timedelta(days=days):%Y%m%d}" for days in (-40, 1))
    days = f"FROM ('{today - timedelta(days=40)}') TO ('{today - timedelta(days=39)}')"
    await database.execute(f"CREATE TABLE {old} PARTITION OF requests FOR VALUES {days}")
    await database.execute(f"DROP TABLE {tomorrow}")
    await upsert_entries(database, [make_entry(number.to_bytes(32, "big"), ttl=-1) for number in range(2500)])
    await database.execute("SELECT relaycore_open_cache_slot(0::smallint)")
    await upsert_entries(database, [make_entry(b"l" * 32)])
    await run_once(database_url, 30)
    names = [name for (name,) in await fetch(database, PARTITIONS)]
    assert old not in names
    assert tomorrow in names
    assert await fetch(database, "SELECT key FROM cache_entries") == [(b"l" * 32,)]


async def test_tidying_sweeps_what_is_over(database, database_url):
    """One round deletes repetitions whose time is over, leases that nobody renews and clearings of long ago."""
    await database.execute(
        "INSERT INTO idempotent_calls (scope, key_hash, body_hash, state, process_id, token, request_id, expires_at) "
        "SELECT 's', decode(md5(n::text), 'hex'), 'b', 'done', gen_random_uuid(), gen_random_uuid(), 'r', "
        "now() + make_interval(hours => CASE n WHEN 0 THEN 1 ELSE -1 END) FROM generate_series(0, 1500) AS n"
    )
    await database.execute("INSERT INTO cache_leases VALUES ('k', gen_random_uuid(), now() - interval '1 hour')")
    await database.execute("INSERT INTO cache_clearings VALUES (1, '{}', now() - interval '2 days')")
    await run_once(database_url, 30)
    assert await fetch(database, "SELECT count(*) FROM idempotent_calls") == [(1,)]
    assert await fetch(database, "SELECT count(*) FROM cache_leases") == [(0,)]
    assert await fetch(database, "SELECT count(*) FROM cache_clearings") == [(0,)]


HANDED = """
WITH workers AS (
    INSERT INTO procrastinate_workers (last_heartbeat)
    SELECT now() - make_interval(secs => silent) FROM unnest(ARRAY[0, 300]) AS silent RETURNING id, last_heartbeat
), jobs AS (
    INSERT INTO procrastinate_jobs (task_name, queue_name, status, worker_id, lock)
    SELECT name, 'default', status::procrastinate_job_status, w.id, name
    FROM (VALUES ('orphaned', 'doing', NULL), ('silent', 'doing', true), ('under way', 'doing', false),
        ('endless', 'doing', false), ('failed', 'failed', false), ('failed long ago', 'failed', false),
        ('to do', 'todo', NULL)) AS given (name, status, silent)
    LEFT JOIN workers w ON (w.last_heartbeat < now() - interval '1 minute') = given.silent
    RETURNING id, task_name
)
INSERT INTO procrastinate_events (job_id, type, at)
SELECT id, 'started', now() - make_interval(hours =>
    CASE task_name WHEN 'endless' THEN 2 WHEN 'failed long ago' THEN 200 ELSE 0 END) FROM jobs
"""


async def test_tidying_sweeps_jobs_that_nobody_ends(database, database_url):
    """A job whose worker was killed, or whose end was not written, does not stay under way for ever."""
    await database.execute(HANDED)
    await run_once(database_url, 30)
    left = await fetch(database, "SELECT task_name FROM procrastinate_jobs ORDER BY task_name")
    assert left == [("failed",), ("to do",), ("under way",)]


async def test_tidying_twice_changes_nothing(database, database_url):
    """A second round right after the first finds nothing to do."""
    look = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') ORDER BY relname"
    await upsert_entries(database, [make_entry()])
    await run_once(database_url, 30)
    before = await fetch(database, look)
    await run_once(database_url, 30)
    assert await fetch(database, look) == before
    assert await fetch(database, "SELECT count(*) FROM cache_entries") == [(1,)]


@pytest.mark.parametrize("work", [lambda url: run_once(url, 30), run_index])
async def test_work_without_a_database(work):
    """Without its database a task fails at once, so that it is tried at its next time."""
    with pytest.raises(DatabaseAwayError):
        await work("postgresql://postgres@127.0.0.1:1/x")


WORKERS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'relaycore worker' AND datname = current_database()"
)
JOBS = "SELECT id FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
CUT = f"SELECT pid, pg_terminate_backend(pid) FROM ({WORKERS}) AS workers WHERE NOT EXISTS ({JOBS})"


async def wait_for(condition, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_the_worker_comes_back(database, database_url, tmp_path):
    """When its connections are cut the worker starts again and does its work."""
    settings = prepare(database_url, tmp_path).settings
    task = asyncio.create_task(run_jobs(settings, lambda: None))
    try:
        await wait_for(lambda: fetch(database, "SELECT FROM procrastinate_periodic_defers"))
        gone: set[object] = set()

        async def is_cut() -> bool:
            """Cut them between two jobs: one that is under way then has an end that nobody can write."""
            gone.update(pid for pid, _ in await fetch(database, CUT))
            return bool(gone)

        async def is_back() -> bool:
            return bool({pid for (pid,) in await fetch(database, WORKERS)} - gone)

        await wait_for(is_cut)
        await wait_for(is_back)
        given = await fetch(
            database,
            "INSERT INTO procrastinate_jobs (task_name, queue_name, args)"
            " SELECT name, 'default', '{\"timestamp\": 0}'"
            " FROM unnest(ARRAY['relaycore.tidy', 'relaycore.index']) AS name RETURNING id",
        )

        async def is_done() -> bool:
            return not {*given} & {*await fetch(database, "SELECT id FROM procrastinate_jobs")}

        await wait_for(is_done)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_worker_waits_for_a_database(database_url, tmp_path):
    """Started while the database is away the worker keeps trying, and ends when it is told to."""
    settings = prepare(database_url, tmp_path).settings
    away = type(settings)(database_url="postgresql://postgres@127.0.0.1:1/x", data_dir=tmp_path)
    task = asyncio.create_task(run_jobs(away, lambda: None))
    await asyncio.sleep(0.5)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.done()


async def test_a_waking_job_wakes(database, database_url, tmp_path):
    """The job that a batch is accepted with has its requests looked at, at once."""
    woken = asyncio.Event()
    settings = prepare(database_url, tmp_path).settings
    task = asyncio.create_task(run_jobs(settings, woken.set))
    async with await open_connection(database_url, connect_timeout=5, application_name="test") as connection:
        await defer_waking(connection)
    async with asyncio.timeout(10):
        await woken.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_work_goes_on_whatever_it_ends_with(monkeypatch):
    """What fails, and what ends without a failure, is begun again until it is told to stop."""
    monkeypatch.setattr("app.worker.RESTART_SECONDS", 0.0)
    ends, done = iter([ValueError("broken"), None, OSError()]), asyncio.Event()

    async def work() -> None:
        end = next(ends, done)
        if end is done:
            done.set()
            await asyncio.Event().wait()
        if isinstance(end, Exception):
            raise end

    task = asyncio.create_task(run_again(work, "The work"))
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
