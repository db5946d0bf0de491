"""Partitions of the tables `requests` and `ledger`."""

import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from app.analytics.tasks import drop_old_partitions, ensure_partitions
from tests.analytics.samples import build_row, query, recording

pytestmark = pytest.mark.anyio


async def _days(connection):
    cursor = await connection.execute("SELECT relname FROM pg_class WHERE relname ~ '^requests_p[0-9]{8}$'")
    return {line[0][-8:] for line in await cursor.fetchall()}


def _day(offset):
    return (datetime.now(UTC) + timedelta(days=offset)).strftime("%Y%m%d")


async def test_missing_days_are_made_once(database_url):
    """After the task there is a partition for every day from yesterday to a week ahead; a second run makes none."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(f"DROP TABLE requests_p{_day(3)}")
        assert await ensure_partitions(connection) == 1
        assert await ensure_partitions(connection) == 0
        assert {_day(offset) for offset in range(-1, 8)} <= await _days(connection)


async def test_missing_months_are_made_once(database_url):
    """After the task there is a ledger partition for each month to come; a second run makes none."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        ahead = (datetime.now(UTC).replace(day=1) + timedelta(days=32)).strftime("%Y%m")
        await connection.execute(f"DROP TABLE ledger_p{ahead}")
        assert await ensure_partitions(connection) == 1
        assert await ensure_partitions(connection) == 0


async def test_old_days_are_dropped_whole(database_url, tmp_path):
    """Days before the retention go with their rows, also rows that no day's partition holds; the others stay."""
    async with recording(database_url, tmp_path) as recorder:
        for days in (0, 1, 40):
            recorder.record(build_row(request_time=time.time() - days * 86_400))
        await recorder.flush()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        assert await drop_old_partitions(connection, 30) == 0
        assert len(await query(database_url, "SELECT 1 FROM requests")) == 2
        assert await drop_old_partitions(connection, 0) == 1
        assert _day(-1) not in await _days(connection)
        assert _day(0) in await _days(connection)
