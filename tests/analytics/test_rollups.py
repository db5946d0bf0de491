"""The hourly sums: always what a GROUP BY over the rows would say."""

import asyncio
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.analytics.rollups import DIMENSIONS, sum_by_hour
from app.analytics.rows import build_priced_row
from app.analytics.store import insert_missing_rows, insert_rows
from app.wire.ids import make_uuid7
from app.wire.usage import Usage
from tests.analytics.samples import build_row, find_lines, list_faults, query
from tests.analytics.test_store import connect, price

HOUR = 1_700_002_800  # a full hour
IDS = st.sampled_from([None, UUID(int=1), UUID(int=2)])
USAGES = st.none() | st.builds(
    Usage, **{name: st.integers(0, 10**6) for name in Usage.__struct_fields__[:9]}, service_tier=st.none()
)
ROWS = st.lists(
    st.builds(
        build_row,
        id=st.builds(make_uuid7),
        request_time=st.sampled_from([HOUR - 1e-6, float(HOUR), HOUR + 3599.999999, HOUR + 3600.0, HOUR - 86_400.5]),
        user_id=IDS,
        api_key_id=IDS,
        team_id=IDS,
        organization_id=IDS,
        provider=st.sampled_from([None, "openai"]),
        model=st.sampled_from([None, "gpt-4o", "unheard-of", "ü' \"%"]),
        endpoint=st.sampled_from(["messages", "chat.completions"]),
        status_code=st.sampled_from([200, 500]),
        cache_status=st.sampled_from(["miss", "hit", "semantic-hit"]),
        billed=st.booleans(),
        usage=USAGES,
        latency=st.floats(0, 1e6),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(ROWS, min_size=1, max_size=3))
def test_the_sums_are_those_of_the_rows(database_url, batches):
    """Whatever is stored, by either way: the table is the GROUP BY over all rows, and costs are their lines."""

    async def store():
        await query(database_url, "DELETE FROM requests; DELETE FROM usage_hourly")
        async with await connect(database_url) as connection:
            for number, rows in enumerate(batches):
                await (insert_missing_rows if number % 2 else insert_rows)(connection, price(*rows))
        assert await list_faults(database_url) == []

    asyncio.run(store())


@pytest.mark.parametrize(
    ("at", "hour"), [(HOUR, HOUR), (HOUR - 1e-6, HOUR - 3600), (HOUR + 3599.999999, HOUR), (-0.5, -3600)]
)
def test_an_hour_is_one_of_utc(at, hour):
    """The hour is the full one that the row's time, rounded to microseconds as Postgres does, lies in."""
    (sums,) = sum_by_hour(price(build_row(request_time=at)))
    assert sums.hour == hour


def test_rows_of_the_same_kind_are_one_sum():
    """Rows with all dimensions the same are added up; a difference in any of them keeps them apart."""
    changes = {
        "request_time": HOUR + 3600.0,
        "user_id": UUID(int=1),
        "api_key_id": UUID(int=1),
        "team_id": UUID(int=1),
        "organization_id": UUID(int=1),
        "provider": "other",
        "model": "other",
        "endpoint": "other",
        "cache_status": "hit",
        "status_code": 500,
    }
    assert len(changes) == len(DIMENSIONS)
    base = build_row(request_time=float(HOUR))
    for name, value in changes.items():
        other = build_row(**({"request_time": float(HOUR)} | {name: value}))
        assert [sums.requests for sums in sum_by_hour(price(base, base, other))] == [2, 1]


async def _deadlock(url, rows, rounds):
    async with await connect(url) as connection:
        for _ in range(rounds):
            await insert_rows(connection, [build_priced_row(build_row(**row), find_lines) for row in rows])


@pytest.mark.anyio
async def test_processes_do_not_wait_in_a_circle(database_url):
    """Batches that add to the same sums in whatever order are all stored, none is a deadlock's victim."""
    kinds = [{"model": f"m{number}", "user_id": UUID(int=number)} for number in range(30)]
    orders = [kinds, kinds[::-1], kinds[15:] + kinds[:15], [kind for pair in pairwise(kinds) for kind in pair[::-1]]]
    await asyncio.gather(*(_deadlock(database_url, order, 15) for order in orders))
    assert await list_faults(database_url) == []
    assert await query(database_url, "SELECT sum(requests) FROM usage_hourly") == [(15 * sum(map(len, orders)),)]
