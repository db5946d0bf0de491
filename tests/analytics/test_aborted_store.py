"""A process that was taken for dead and was not: what others wrote for it gives way to the truth."""

from decimal import Decimal
from uuid import uuid4

import pytest

from app.analytics.store import insert_missing_rows, insert_rows
from app.wire.usage import Usage
from tests.analytics.samples import (
    build_row,
    count_rows,
    find_counter,
    insert_budget,
    list_faults,
    query,
    recording,
    reserve,
)
from tests.analytics.test_store import Killer, build_cursor, connect, insert_and_die, price

pytestmark = pytest.mark.anyio

STATEMENTS = 20  # nine for what is missing, eleven for what is there and not true


@pytest.fixture
async def reaped(database_url):
    """A row of a user with a budget, held for and then settled by the reaper as if its process had died."""
    user_id = uuid4()
    budget_id = await insert_budget(database_url, user_id)
    row = build_row(user_id=user_id, request_time=1700000000.123457, team_id=uuid4(), tags=("a",))
    row.hold = await reserve(database_url, row, "1.5")
    await query(database_url, "DELETE FROM processes")
    assert await query(database_url, "SELECT relaycore_reap()") == [(1,)]
    assert await query(database_url, "SELECT id, error_type, estimated_cost FROM requests") == [
        (row.id, "gateway_aborted", Decimal("1.5"))
    ]
    assert await find_counter(database_url, budget_id) == (Decimal("1.5"), 0)
    return row, budget_id


@pytest.mark.parametrize(
    ("changes", "cost"),
    [
        ({}, "0.15"),
        ({"usage": Usage(input_tokens=1000)}, "10"),
        ({"usage": None, "estimated_usage": Usage(output_tokens=2)}, "0.02"),
        ({"billed": False, "usage": None, "status_code": 502}, "0"),
    ],
)
async def test_the_true_row_takes_the_place_of_the_aborted_one(database_url, reaped, changes, cost):
    """The row, its lines, the hours and the budget are in the end as if nobody had written for it."""
    row, budget_id = reaped
    for name, value in changes.items():
        setattr(row, name, value)
    async with await connect(database_url) as connection:
        for _ in range(3):
            await insert_missing_rows(connection, price(build_row(), row))
    assert await list_faults(database_url) == []
    found = await query(database_url, "SELECT error_type, model, estimated_cost FROM requests WHERE id = %s", row.id)
    assert found == [(None, "gpt-4o", Decimal(cost))]
    assert await find_counter(database_url, budget_id) == (Decimal(cost), 0)
    lines = await query(
        database_url,
        "SELECT entry, kind, sum(amount_usd) FROM ledger WHERE request_id = %s GROUP BY 1, 2 ORDER BY 1",
        row.id,
    )
    assert lines == [(0, "estimated", Decimal("1.5")), (1, "adjustment", Decimal(cost) - Decimal("1.5"))]


async def test_a_correction_takes_back_from_whom_it_was_booked_to(database_url, reaped):
    """The model that was asked first is paid back what was held in its name; the one that answered is charged."""
    row, _ = reaped
    async with await connect(database_url) as connection:
        await insert_missing_rows(connection, price(row))
    sums = await query(database_url, "SELECT model, tags, sum(amount_usd) FROM ledger GROUP BY 1, 2 ORDER BY 1")
    assert sums == [("asked-first", None, 0), ("gpt-4o", ["a"], Decimal("0.15"))]


async def test_an_unknown_cost_keeps_the_estimate(database_url, reaped):
    """When the truth about the row is known but not its cost, what was estimated for it stays."""
    row, budget_id = reaped
    row.usage = None
    async with await connect(database_url) as connection:
        await insert_missing_rows(connection, price(row))
    assert await list_faults(database_url) == []
    found = await query(database_url, "SELECT status_code, error_type, estimated_cost FROM requests")
    assert found == [(200, None, Decimal("1.5"))]
    assert await find_counter(database_url, budget_id) == (Decimal("1.5"), 0)


async def test_the_recorder_corrects_what_it_finds(database_url, tmp_path, reaped):
    """A recorder whose row is there as an aborted one stores the true one, beside all others of the batch."""
    row, budget_id = reaped
    async with recording(database_url, tmp_path) as recorder:
        for one in (build_row(), row, build_row()):
            recorder.record(one)
        await recorder.flush()
    assert (recorder.stats.written, recorder.stats.rejected) == (3, 0)
    assert await count_rows(database_url) == 3
    assert await list_faults(database_url) == []
    assert await find_counter(database_url, budget_id) == (Decimal("0.15"), 0)


async def test_the_reaper_leaves_a_recorded_call_alone(database_url):
    """Of a call whose row is stored the reaper finds nothing, whenever its process dies."""
    user_id = uuid4()
    budget_id = await insert_budget(database_url, user_id)
    row = build_row(user_id=user_id)
    row.hold = await reserve(database_url, row)
    async with await connect(database_url) as connection:
        await insert_rows(connection, price(row))
    await query(database_url, "DELETE FROM processes")
    assert await query(database_url, "SELECT relaycore_reap()") == [(0,)]
    assert await find_counter(database_url, budget_id) == (Decimal("0.15"), 0)


@pytest.mark.parametrize("number", range(STATEMENTS))
async def test_a_death_between_the_statements_corrects_once(database_url, reaped, number):
    """Whichever statement the connection dies before, the books are right, and the next try corrects once."""
    row, budget_id = reaped
    other = build_row()
    await insert_and_die(database_url, insert_missing_rows, price(row, other), number)
    assert await list_faults(database_url) == []
    async with await connect(database_url) as connection:
        for _ in range(2):
            await insert_missing_rows(connection, price(row, other))
    assert await list_faults(database_url) == []
    assert await count_rows(database_url) == 2
    assert await find_counter(database_url, budget_id) == (Decimal("0.15"), 0)


async def test_there_is_no_statement_the_deaths_leave_out(database_url, reaped):
    """The numbers above are those of all statements."""
    killer = Killer(database_url, STATEMENTS)
    async with await connect(database_url, cursor_factory=build_cursor(killer)) as connection:
        await insert_missing_rows(connection, price(reaped[0], build_row()))
    assert killer.missed
