"""Requests are claimed by one worker at a time, and only what it holds has an effect."""

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from app.access.budget_types import Ask
from app.analytics.tasks import ensure_partitions
from app.batch.ending_store import finish
from app.batch.judging import build_again
from app.batch.stopping_store import cancel_batch, end_late
from app.batch.types import Again, NewBatch
from app.batch.view_store import find_batch, list_results
from app.batch.work_store import Room, claim, find_hopeless, give_back, has_suspects, renew, rescue
from app.db.connection import Connection, open_connection
from app.wire.ids import make_uuid7
from tests.batch.samples import USER, build_done, store_batch

pytestmark = pytest.mark.anyio
ME, OTHER = uuid4(), uuid4()
LONG, OVER = 60.0, -1.0


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    """A connection to a database of the test's own, with room for the rows of the tests."""
    async with await open_connection(database_url, connect_timeout=5, application_name="test") as opened:
        await ensure_partitions(opened)
        yield opened


async def test_a_request_is_claimed_once(connection: Connection, database_url: str):
    """Workers that look at the same time share the requests, and none is claimed twice."""
    await store_batch(connection, 200)
    others = [await open_connection(database_url, connect_timeout=5, application_name="test") for _ in range(4)]

    async def work(one: Connection) -> list[tuple[object, int]]:
        found = []
        worker = uuid4()
        for _ in range(60):
            found += [work.key for work in await claim(one, worker, Room(count=10), seconds=LONG)]
        return found

    claimed = [key for keys in await asyncio.gather(*map(work, others)) for key in keys]
    for one in others:
        await one.close()
    assert len(claimed) == len(set(claimed)) == 200


async def test_a_large_batch_does_not_hold_up_a_small_one(connection: Connection):
    """Requests are taken from all batches in turn; a higher priority comes first."""
    large = await store_batch(connection, 100)
    small = await store_batch(connection, 5)
    urgent = NewBatch(id=make_uuid7(), shape="relay", user_id=USER, api_key_id=None, priority=5)
    await store_batch(connection, 1, batch=urgent)
    first = await claim(connection, ME, Room(count=1), seconds=LONG)
    assert [work.batch_id for work in first] == [urgent.id]
    found = await claim(connection, ME, Room(count=10), seconds=LONG)
    assert {work.batch_id for work in found} == {large, small}


async def test_who_rests_gets_nothing(connection: Connection):
    """A provider that has enough is left out."""
    await store_batch(connection, 3)
    assert await claim(connection, ME, Room(count=10, lanes={"mock": 0}), seconds=LONG) == []
    assert len(await claim(connection, ME, Room(count=10, lanes={"other": 0}), seconds=LONG)) == 3


async def test_a_result_is_written_once(connection: Connection):
    """The same outcome twice, or another one under the same attempt, changes nothing the second time."""
    batch_id = await store_batch(connection, 1)
    [work] = await claim(connection, ME, Room(count=1), seconds=LONG)
    assert len(await finish(connection, [build_done(work)])) == 1
    assert await finish(connection, [build_done(work)]) == []
    assert await finish(connection, [build_done(work, "errored")]) == []
    booked = await (await connection.execute("SELECT count(*), sum(amount_usd) FROM ledger")).fetchone()
    assert booked == (1, Decimal("0.5"))
    batch = await find_batch(connection, batch_id)
    assert (batch.state, batch.counts.succeeded) == ("completed", 1)
    [result] = await list_results(connection, batch_id, -1, ["succeeded", "errored"], 10)
    assert (result.custom_id, result.body, result.cost_usd) == ("r0", b'{"answer":1}', Decimal("0.5"))


async def test_a_zombie_writes_nothing(connection: Connection):
    """Whose lease ran out and whose request another has claimed can neither finish it nor give it back."""
    batch_id = await store_batch(connection, 1)
    [mine] = await claim(connection, ME, Room(count=1), seconds=OVER)
    assert await rescue(connection, 3) == 1
    [theirs] = await claim(connection, OTHER, Room(count=1), seconds=LONG)
    assert (theirs.attempt, theirs.rescues) == (mine.attempt + 1, 1)
    assert await finish(connection, [build_done(mine)]) == []
    again = Again(batch_id=batch_id, position=0, attempt=mine.attempt, wait_seconds=0, counts=True)
    assert await give_back(connection, [again]) == 0
    assert await renew(connection, ME, [mine], LONG, spare=2) == {}
    assert len(await finish(connection, [build_done(theirs)])) == 1
    assert await (await connection.execute("SELECT count(*) FROM requests")).fetchone() == (1,)


async def test_a_result_and_its_cost_are_one(connection: Connection):
    """When one part of what is written is refused, nothing of it is there."""
    await store_batch(connection, 2)
    first, second = await claim(connection, ME, Room(count=2), seconds=LONG)
    good, bad = build_done(first), build_done(second)
    bad.priced.row.id, bad.priced.row.request_time = good.priced.row.id, good.priced.row.request_time
    with pytest.raises(psycopg.Error):
        await finish(connection, [good, bad])
    for table in ("batch_results", "requests", "ledger"):
        assert await (await connection.execute(f"SELECT count(*) FROM {table}")).fetchone() == (0,)
    assert len(await renew(connection, ME, [first, second], LONG, spare=2)) == 2


async def test_what_is_given_back_waits(connection: Connection):
    """A request that is to be tried again is not claimed before its time, and counts what failed."""
    batch_id = await store_batch(connection, 1)
    [work] = await claim(connection, ME, Room(count=1), seconds=LONG)
    again = Again(batch_id=batch_id, position=0, attempt=work.attempt, wait_seconds=0.3, counts=True)
    assert await give_back(connection, [again]) == 1
    assert await claim(connection, ME, Room(count=1), seconds=LONG) == []
    await asyncio.sleep(0.35)
    [work] = await claim(connection, ME, Room(count=1), seconds=LONG)
    assert (work.tries, work.rescues, work.attempt) == (1, 0, 2)


async def test_suspects_are_claimed_apart(connection: Connection):
    """What two workers died over is not claimed with others; one death says nothing."""
    await store_batch(connection, 2)
    for _ in range(2):
        assert not await has_suspects(connection)
        await claim(connection, ME, Room(count=1), seconds=OVER)
        await rescue(connection, 3)
        await connection.execute("UPDATE batch_requests SET not_before = now() - interval '1 hour' WHERE rescues > 0")
    assert await has_suspects(connection)
    assert [work.position for work in await claim(connection, ME, Room(count=5), seconds=LONG)] == [1]
    assert [work.position for work in await claim(connection, ME, Room(count=5), seconds=LONG, suspects=True)] == [0]


async def test_a_claim_that_nobody_heard_of_goes_back(connection: Connection):
    """What this worker holds and does not know is free again soon; what it knows stays, and so does a new claim."""
    await store_batch(connection, 3)
    [known, _] = await claim(connection, ME, Room(count=2), seconds=1.0)
    assert set(await renew(connection, ME, [known], LONG, spare=0)) == {known.key}
    assert await claim(connection, OTHER, Room(count=5), seconds=LONG) != []
    assert set(await renew(connection, ME, [known], LONG, spare=2)) == {known.key}
    [back] = await claim(connection, OTHER, Room(count=5), seconds=LONG)
    assert (back.position, back.rescues) == (1, 0)


async def test_a_row_that_cannot_be_read_stops_nobody(connection: Connection):
    """A body or options that make no sense are claimed as nothing, and come to an error of their own."""
    await store_batch(connection, 2)
    await connection.execute("UPDATE batch_requests SET body = NULL WHERE position = 0")
    await connection.execute("""UPDATE batches SET options = '{"ttl": "x"}'""")
    works = await claim(connection, ME, Room(count=5), seconds=LONG)
    assert [work.body for work in works] == [b"", b""]


async def test_providers_have_room_of_their_own(connection: Connection):
    """As many requests of a provider are claimed as it has room for, whatever the others have."""
    await store_batch(connection, 20)
    room = Room(count=16, lanes={"mock": 3, "other": 0}, most=16)
    assert len(await claim(connection, ME, room, seconds=LONG)) == 3


async def test_users_take_turns(connection: Connection):
    """A user's priorities order that user's batches; others do not wait for them."""
    for _ in range(20):
        new = NewBatch(id=make_uuid7(), shape="relay", user_id=USER, api_key_id=None, priority=1000)
        await store_batch(connection, 3, batch=new)
    other = NewBatch(id=make_uuid7(), shape="relay", user_id=uuid4(), api_key_id=None)
    await store_batch(connection, 3, batch=other)
    found = await claim(connection, ME, Room(count=4), seconds=LONG)
    assert other.id in {work.batch_id for work in found}


async def test_what_comes_back_to_a_cancelled_batch_is_over(connection: Connection):
    """A request that is given back after the cancellation is cancelled, and the batch comes to its end."""
    batch_id = await store_batch(connection, 1)
    [work] = await claim(connection, ME, Room(count=1), seconds=LONG)
    await cancel_batch(connection, batch_id)
    await give_back(connection, [build_again(work, 0.0, counts=True)])
    assert await end_late(connection) == 1
    batch = await find_batch(connection, batch_id)
    assert (batch.state, batch.counts.cancelled) == ("cancelled", 1)


async def test_a_clock_that_was_set_back_holds_nothing_up(connection: Connection):
    """Times that lie far ahead count as over."""
    await store_batch(connection, 2)
    await claim(connection, ME, Room(count=1), seconds=7200.0)
    assert await rescue(connection, 3) == 1
    await connection.execute("UPDATE batch_requests SET not_before = now() + interval '2 hours'")
    assert len(await claim(connection, ME, Room(count=2), seconds=LONG)) == 2


@pytest.mark.parametrize(("others", "rounds"), [(0, 3), (2, 3), (3, 4), (9, 10), (50, 12)])
async def test_who_is_to_blame(connection: Connection, others: int, rounds: int):
    """A request is hopeless after three deaths when fewer workers died over others; after twelve in any case."""
    await store_batch(connection, 1)
    for _ in range(others):
        await connection.execute("INSERT INTO worker_deaths (worker_id) VALUES (gen_random_uuid())")
    for turn in range(1, 20):
        suspects = turn > 2
        assert len(await claim(connection, uuid4(), Room(count=1), seconds=OVER, suspects=suspects)) == 1
        await rescue(connection, 3)
        if await find_hopeless(connection, 3):
            break
    assert turn == rounds


async def test_cancelling(connection: Connection):
    """What waits is cancelled at once, what runs is told so; the batch is cancelled once that is over."""
    batch_id = await store_batch(connection, 3)
    [work] = await claim(connection, ME, Room(count=1), seconds=LONG)
    assert await cancel_batch(connection, batch_id)
    batch = await find_batch(connection, batch_id)
    assert (batch.state, batch.counts.cancelled) == ("cancelling", 2)
    assert await claim(connection, OTHER, Room(count=5), seconds=LONG) == []
    assert await renew(connection, ME, [work], LONG, spare=2) == {work.key: "cancelled"}
    await finish(connection, [build_done(work, "cancelled")])
    batch = await find_batch(connection, batch_id)
    assert (batch.state, batch.counts.cancelled, batch.finished_at is not None) == ("cancelled", 3, True)
    assert not await cancel_batch(connection, batch_id)


async def test_the_time_is_over(connection: Connection):
    """What waits when the time of its batch is over expires; answers until then stay."""
    new = NewBatch(id=make_uuid7(), shape="relay", user_id=USER, api_key_id=None, span_seconds=0.4, deadline=True)
    await store_batch(connection, 3, batch=new)
    [work] = await claim(connection, ME, Room(count=1), seconds=LONG)
    await finish(connection, [build_done(work)])
    assert await end_late(connection) == 0
    await asyncio.sleep(0.45)
    assert await end_late(connection) == 1
    batch = await find_batch(connection, new.id)
    assert (batch.state, batch.counts.succeeded, batch.counts.expired) == ("expired", 1, 2)


async def test_money_is_held_settled_and_freed(connection: Connection):
    """A batch holds the money of all its requests; each frees its share, and in the end nothing is left."""
    await connection.execute(
        "INSERT INTO budgets (id, scope, ref, amount_usd, period) VALUES (%s, 'user', %s, 10, 'total')",
        (uuid4(), str(USER)),
    )
    hold_id = uuid4()
    ask = Ask(
        id=hold_id,
        kind="escrow",
        scopes=(("user", str(USER)),),
        wanted_usd=Decimal(6),
        minimum_usd=Decimal(6),
        seconds=1e6,
        facts={},
    )
    batch_id = await store_batch(connection, 3, asks=(ask,), hold_id=hold_id, held_usd=Decimal(2))
    assert await _read_counter(connection) == (0, 6)
    works = await claim(connection, ME, Room(count=2), seconds=LONG)
    assert [work.hold.amount_usd for work in works] == [2, 2]
    assert abs(works[0].hold.booked_at - time.time()) < 60
    await finish(connection, [build_done(works[0], usd="0.5")])
    assert await _read_counter(connection) == (Decimal("0.5"), 4)
    await cancel_batch(connection, batch_id)
    assert await _read_counter(connection) == (Decimal("0.5"), 2)
    await finish(connection, [build_done(works[1], "cancelled", usd="0.1")])
    assert await _read_counter(connection) == (Decimal("0.6"), 0)
    left = await (await connection.execute("SELECT count(*) FROM reservations")).fetchone()
    assert left == (0,)


async def _read_counter(connection: Connection) -> tuple[object, ...]:
    cursor = await connection.execute("SELECT spent_usd, reserved_usd FROM budget_counters")
    line = await cursor.fetchone()
    assert line is not None
    return line
