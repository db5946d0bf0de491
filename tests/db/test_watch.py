"""Snapshots that follow the database."""

import asyncio
import math
import time

import psycopg
import pytest

from app.db.connection import Connection, DatabaseAwayError
from app.db.watch import SnapshotError, SnapshotWatch
from tests.conftest import prepare

pytestmark = pytest.mark.anyio

BUMP = "SELECT relaycore_bump('access')"
QUIET_BUMP = "UPDATE snapshot_versions SET version = version + 1 WHERE name = 'access'"


class Loads:
    """What a loader was asked for; it fails while `broken`."""

    def __init__(self) -> None:
        self.since: list[int] = []
        self.broken = False

    async def __call__(self, connection: Connection, since: int) -> None:
        if self.broken:
            raise ValueError("does not fit")
        self.since.append(since)


@pytest.fixture
def loads(database_url, tmp_path) -> dict[str, Loads]:
    prepare(database_url, tmp_path)
    return {"access": Loads(), "config": Loads()}


@pytest.fixture
async def watch(database_url, loads):
    watch = SnapshotWatch(database_url, loads)
    yield watch
    await watch.close()


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


async def wait_for(condition, seconds: float = 5) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def test_a_start_loads_everything_once(watch, loads):
    """The first look loads every snapshot from the beginning, later ones only what changed."""
    await watch.start()
    await watch.refresh()
    assert {name: one.since for name, one in loads.items()} == {"access": [0], "config": [0]}
    assert watch.age_seconds < 1


async def test_a_notice_is_followed_at_once(watch, loads, database):
    """A change that is announced is loaded within 250 ms, from the version that was known."""
    await watch.start()
    await asyncio.sleep(0.2)
    await database.execute(BUMP)
    assert await wait_for(lambda: len(loads["access"].since) == 2) < 0.25
    assert loads["access"].since[1] > 0
    assert loads["config"].since == [0]


async def test_a_change_without_a_notice_is_found(watch, loads, database):
    """A change that nobody announced is found by the poll, well within five seconds."""
    await watch.start()
    await database.execute(QUIET_BUMP)
    await wait_for(lambda: len(loads["access"].since) == 2, 2)


async def test_a_version_that_went_back_loads_everything(watch, loads, database):
    """A version older than the known one belongs to another history: what was loaded is replaced whole."""
    await watch.start()
    await database.execute("UPDATE snapshot_versions SET version = 1 WHERE name = 'access'")
    await wait_for(lambda: loads["access"].since == [0, 0], 2)


async def test_callers_share_a_look_that_begins_after_them(watch, loads, database):
    """Any number of callers at a time cost two looks at most, and each sees what was stored before it called."""
    await watch.refresh()
    first = asyncio.create_task(watch.refresh())
    await asyncio.sleep(0)
    await database.execute(QUIET_BUMP)
    await asyncio.gather(first, *(watch.refresh() for _ in range(50)))
    assert len(loads["access"].since) == 2


async def test_one_that_cannot_be_loaded_does_not_hold_up_the_others(watch, loads, database):
    """A snapshot that does not fit stays as it was; the others go on, but the whole no longer counts as the newest."""
    await watch.start()
    verified_at = watch.verified_at
    loads["access"].broken = True
    await database.execute(BUMP)
    await database.execute("SELECT relaycore_bump('config')")
    await wait_for(lambda: len(loads["config"].since) == 2)
    await watch.refresh()
    seen = watch.verified_at
    await watch.refresh()
    assert verified_at <= seen == watch.verified_at
    loads["access"].broken = False
    await wait_for(lambda: len(loads["access"].since) == 2)
    await wait_for(lambda: watch.age_seconds < 1)


async def test_a_start_that_cannot_load_fails(watch, loads):
    """What is stored but unreadable at the start is an error, not an empty snapshot."""
    loads["config"].broken = True
    with pytest.raises(SnapshotError):
        await watch.start()


async def test_a_start_without_a_database_loads_later(loads):
    """Without a database the watch starts all the same, and knows that it knows nothing."""
    watch = SnapshotWatch("postgresql://postgres@127.0.0.1:1/x", loads)
    await watch.start()
    assert watch.age_seconds == math.inf
    with pytest.raises(DatabaseAwayError):
        await watch.refresh()
    await watch.close()
