"""Holding money for calls: in bulk, from several processes, out of escrow, and with the database away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest

from app.access.budget_types import Answer
from app.access.budgets import Budgets, Demand, explain
from app.access.escrow import BUSY_RATE
from app.access.processes import ProcessLease
from app.errors import BudgetExceededError, UnavailableError
from app.wire.ids import make_uuid7
from app.wire.money import Hold

pytestmark = pytest.mark.anyio

KEY = ("key", "5b0f7f0e-0000-7000-8000-000000000001")
CENT = Decimal("0.01")


def demand(wanted: Decimal = CENT, minimum: Decimal | None = None, seconds: float = 60) -> Demand:
    return Demand(
        scopes=(KEY,),
        wanted_usd=wanted,
        minimum_usd=wanted if minimum is None else minimum,
        seconds=seconds,
        facts={
            "request_id": str(make_uuid7()),
            "request_time": 1_700_000_000.0,
            "endpoint": "chat",
            "api_key_id": KEY[1],
        },
        shared_facts={"endpoint": "chat", "api_key_id": KEY[1]},
    )


@pytest.fixture
def sql(database_url: str):
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def make_budget(sql: psycopg.Connection) -> Callable[[Decimal], UUID]:
    def make(amount: Decimal) -> UUID:
        budget = uuid4()
        sql.execute(
            "INSERT INTO budgets (id, scope, ref, amount_usd, period) VALUES (%s, %s, %s, %s, 'total')",
            (budget, *KEY, amount),
        )
        return budget

    return make


@asynccontextmanager
async def open_budgets(url: str) -> AsyncIterator[Budgets]:
    process = ProcessLease(url)
    await process.start()
    budgets = Budgets(url, process)
    await budgets.start()
    try:
        yield budgets
    finally:
        await budgets.close()
        await process.close()


async def hold(budgets: Budgets, wanted: Decimal = CENT) -> Hold | None:
    """Return a hold, None when the budget refuses."""
    try:
        held = await budgets.hold(demand(wanted))
    except BudgetExceededError:
        return None
    assert held is not None
    return held


def give_back(budgets: Budgets, held: Hold) -> None:
    """Have a hold go back as that of a call that cost nothing."""
    if held.kind == "escrow":
        budgets.settled(held, Decimal(0))
    else:
        budgets._unwanted.append(held.reservation_id)


def read_counter(sql: psycopg.Connection) -> tuple[Decimal, Decimal, Decimal]:
    row = sql.execute("SELECT spent_usd, reserved_usd, overrun_usd FROM budget_counters").fetchone()
    assert row is not None
    return row


async def test_hundreds_at_once_over_three_processes_get_what_there_is(database_url, make_budget, sql):
    """Of 600 calls for a cent each, made at once by three processes, a budget of one dollar holds exactly 100."""
    make_budget(Decimal(1))
    async with (
        open_budgets(database_url) as one,
        open_budgets(database_url) as two,
        open_budgets(database_url) as three,
    ):
        holds = await asyncio.gather(*(hold(budgets) for _ in range(200) for budgets in (one, two, three)))
        assert sum(held is not None for held in holds) == 100
        assert read_counter(sql) == (0, 1, 0)


async def test_what_a_call_does_not_need_goes_back(database_url, make_budget, sql):
    """A call that is not made after all leaves its money to others, a moment later."""
    make_budget(CENT)
    async with open_budgets(database_url) as budgets:
        held = await hold(budgets)
        assert held is not None
        assert await hold(budgets) is None
        give_back(budgets, held)
        await wait_until_reserved(sql, Decimal(0))
        assert await hold(budgets) is not None


async def wait_until_reserved(sql: psycopg.Connection, wanted: Decimal) -> None:
    for _ in range(60):
        if read_counter(sql)[1] == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(read_counter(sql))


async def test_the_rest_is_granted_to_a_call_that_takes_less(database_url, make_budget):
    """A call without a limit of its own gets what is left when that is of use to it."""
    make_budget(Decimal("0.004"))
    async with open_budgets(database_url) as budgets:
        held = await budgets.hold(demand(CENT, minimum=Decimal("0.001")))
        assert held is not None
        assert held.amount_usd == Decimal("0.004")


async def test_a_client_that_leaves_while_it_waits_holds_nothing(database_url, make_budget, sql):
    """Cancelled between the question and its answer: the money goes back."""
    make_budget(Decimal(1))
    async with open_budgets(database_url) as budgets:
        tasks = [asyncio.create_task(hold(budgets)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.3)
        await wait_until_reserved(sql, Decimal(0))


async def test_without_the_database_nothing_is_held_and_nobody_waits_long(database_url, make_budget, sql):
    """A budget that cannot be asked refuses with 503 at once, and works again when the database is back."""
    make_budget(Decimal(1))
    async with open_budgets(database_url) as budgets:
        budgets._connection._url = "postgresql://postgres@127.0.0.1:1/nowhere"
        budgets._connection._drop()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(UnavailableError):
            await budgets.hold(demand())
        assert loop.time() - began < 3
        budgets._connection._url = database_url
        await asyncio.sleep(0.5)
        assert await hold(budgets) is not None


async def test_a_busy_key_is_served_from_escrow_and_the_sum_stays_right(database_url, make_budget, sql):
    """Many calls a second take from a lease; what is reserved covers every hold, and all of it goes back."""
    make_budget(Decimal(1_000_000))
    async with open_budgets(database_url) as budgets:
        holds: list[Hold] = []
        for _ in range(60):
            found = await asyncio.gather(*(hold(budgets) for _ in range(max(2, int(BUSY_RATE) // 6))))
            holds += [one for one in found if one is not None]
            await asyncio.sleep(0.05)
        leased = [one for one in holds if one.kind == "escrow"]
        assert len(leased) > len(holds) / 3
        assert read_counter(sql)[1] >= sum(one.amount_usd for one in holds)
        for one in holds:
            give_back(budgets, one)
        await wait_until_reserved(sql, Decimal(0))


async def test_near_the_limit_no_money_sleeps_in_escrow(database_url, make_budget):
    """However busy a key is, its last cent can be held: leases are only made far from the limit."""
    make_budget(Decimal(2))
    async with open_budgets(database_url) as one, open_budgets(database_url) as two:
        held = 0
        for _ in range(60):
            found = await asyncio.gather(*(hold(budgets) for budgets in (one, two) for _ in range(4)))
            held += sum(1 for one_hold in found if one_hold is not None)
            await asyncio.sleep(0.02)
        assert held == 200


async def test_a_process_taken_for_dead_drops_what_it_leased(database_url, make_budget, sql):
    """After a freeze past its lease a process hands nothing out of what the others have settled."""
    make_budget(Decimal(1_000_000))
    async with open_budgets(database_url) as budgets:
        for _ in range(40):
            await asyncio.gather(*(hold(budgets) for _ in range(6)))
            await asyncio.sleep(0.04)
        assert budgets._escrow._leases
        sql.execute("UPDATE processes SET lease_until = now() - interval '1 second'")
        sql.execute("SELECT relaycore_reap()")
        await budgets._process.renew()
        assert not budgets._escrow._open


async def lease_some(budgets: Budgets) -> list[Hold]:
    """Return the holds of a busy key, some of them out of leases."""
    holds: list[Hold | None] = []
    for _ in range(40):
        holds += await asyncio.gather(*(hold(budgets) for _ in range(6)))
        await asyncio.sleep(0.04)
    assert budgets._escrow._leases
    return [one for one in holds if one is not None]


async def test_what_is_granted_late_goes_back(database_url, make_budget, sql):
    """A database that grants after nobody waits any more, and after it was told to give back, holds nothing."""
    budget = make_budget(Decimal(1))
    async with open_budgets(database_url) as budgets:
        with psycopg.connect(database_url) as other:
            other.execute("SELECT FROM budget_counters WHERE budget_id = %s FOR UPDATE", (budget,))
            with pytest.raises(UnavailableError):
                await budgets.hold(demand())
            await asyncio.sleep(1.5)
        await wait_until_reserved(sql, Decimal(0))
        await asyncio.sleep(1.5)
        assert read_counter(sql) == (0, 0, 0)
        assert sql.execute("SELECT FROM reservations").fetchall() == []
        assert await hold(budgets) is not None


async def test_a_client_that_leaves_in_the_last_moment_holds_nothing(database_url, make_budget, sql):
    """Whoever is cancelled when the money is granted already, and not yet taken, leaves it to others."""
    make_budget(Decimal(1))
    leaving: list[asyncio.Task[Hold | None]] = []
    async with open_budgets(database_url) as budgets:

        async def go_first() -> None:
            await hold(budgets)
            leaving[0].cancel()

        first = asyncio.create_task(go_first())
        leaving.append(asyncio.create_task(hold(budgets)))
        await first
        with pytest.raises(asyncio.CancelledError):
            await leaving[0]
        await wait_until_reserved(sql, CENT)


async def test_leases_go_back_when_everybody_was_away(database_url, make_budget, sql):
    """A lease that ran out with the database away, and was settled by nobody, is not left to its expiry."""
    make_budget(Decimal(1_000_000))
    async with open_budgets(database_url) as budgets:
        holds = await lease_some(budgets)
        sql.execute("UPDATE processes SET lease_until = now() - interval '1 second'")
        await budgets._process.renew()
        for one in holds:
            give_back(budgets, one)
        await wait_until_reserved(sql, Decimal(0))


async def test_who_was_taken_for_dead_and_lives_pays_nothing_twice(database_url, make_budget, sql):
    """What the others booked of its leases is taken back, once each of their calls is accounted for."""
    make_budget(Decimal(1_000_000))
    async with open_budgets(database_url) as budgets:
        holds = await lease_some(budgets)
        sql.execute("UPDATE processes SET lease_until = now() - interval '1 second'")
        sql.execute("SELECT relaycore_reap()")
        leases = sql.execute(
            "SELECT sum(amount_usd) FROM ledger WHERE request_id = ANY(%s)", (list(budgets._escrow._leases),)
        )
        leased = leases.fetchone()[0]
        spent = read_counter(sql)[0]
        assert leased > 0
        await budgets._process.renew()
        for one in holds:
            give_back(budgets, one)
        for _ in range(60):
            if read_counter(sql)[0] == spent - leased:
                break
            await asyncio.sleep(0.1)
        assert read_counter(sql) == (spent - leased, 0, 0)


async def test_a_lease_that_is_asked_for_when_the_process_stops_goes_back(database_url, make_budget, sql):
    """Nothing that was asked for in the last moment is left for others to settle as spent."""
    make_budget(Decimal(1_000_000))
    async with open_budgets(database_url) as budgets:
        assert await hold(budgets) is not None
        budgets._lease(demand(), Decimal(5))
        await asyncio.sleep(0)
    assert read_counter(sql)[1] == CENT


async def test_the_refusal_says_which_budget_and_when_it_begins_anew():
    """Scope, period, limit, what is spent and held, what the call needs, and the reset."""
    answer = Answer(
        reservation_id=make_uuid7(),
        granted_usd=None,
        reserved_at=0.0,
        budget_id=uuid4(),
        scope="team",
        ref="x",
        period="day",
        limit_usd=Decimal("2.000000000000000"),
        spent_usd=Decimal("1.98"),
        reserved_usd=Decimal("0.02"),
        resets_at=1_764_028_800.0,
    )
    text = explain(answer, Decimal("0.0100"))
    assert text == (
        "The budget of this team (day, 2 USD) is used up: 1.98 USD spent and 0.02 USD held for calls under way; this "
        "call needs 0.01 USD. It resets at 2025-11-25T00:00:00Z."
    )
