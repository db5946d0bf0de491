"""The recorder: every row once in Postgres, whatever happens to it meanwhile."""

import asyncio
import json
import time
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from app.analytics.recorder import ROW_BYTES, Recorder, RecorderBounds
from app.wire.money import Hold
from app.wire.usage import Usage
from tests.analytics.samples import (
    Door,
    build_row,
    count_rows,
    eventually,
    find_counter,
    find_lines,
    insert_budget,
    list_faults,
    query,
    recording,
    reserve,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def door(database_url):
    found = Door(database_url)
    await found.open()
    yield found
    await found.shut()


async def test_a_row_is_visible_within_two_seconds(database_url, tmp_path):
    """A row can be queried less than two seconds after it was recorded, without anybody asking for a flush."""
    async with recording(database_url, tmp_path, flush_seconds=0.1) as recorder:
        recorder.record(build_row())
        await eventually(lambda: _has(database_url, 1), seconds=2)


async def _has(url, count):
    return await count_rows(url) == count


async def test_every_column_arrives(database_url, tmp_path):
    """What was recorded is what is stored, each value in the column of its name."""
    values = {
        "id": uuid4(),
        "request_id": "req_42",
        "user_id": uuid4(),
        "api_key_id": uuid4(),
        "team_id": uuid4(),
        "organization_id": uuid4(),
        "provider": "openai",
        "model": "gpt-4o",
        "requested_model": "fast",
        "endpoint": "messages",
        "streamed": True,
        "status_code": 429,
        "error_type": "rate_limit",
        "cache_status": "bypass",
        "cache_key": b"\x00\x01key",
        "latency": 12.5,
        "overhead_ms": 0.25,
        "first_byte_ms": 3.5,
        "upstream_ms": 11.75,
        "attempts": 2,
        "upstream_request_id": "up_1",
        "session_id": "s-1",
        "retry_count": 3,
        "request_bytes": 1000,
        "response_bytes": 2**40,
    }
    counts = {name: number for number, name in enumerate(Usage.__struct_fields__, 1) if name != "service_tier"}
    extra = {"optimizations_applied": ("trim", 'q"uote'), "tags": ("a", "b\\,{}"), "metadata": '{"team": "ü\\t1"}'}
    async with recording(database_url, tmp_path) as recorder:
        usage = Usage(**counts, service_tier="flex")
        recorder.record(build_row(**values, **extra, usage=usage, request_time=1700000000.123456))
        await recorder.flush()
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
        found = await (await cursor.execute("SELECT * FROM requests")).fetchone()
    assert {name: found[name] for name in values} == values
    assert {name: found[name] for name in counts} == counts
    assert found["service_tier"] == "flex"
    assert found["optimizations_applied"] == ["trim", 'q"uote']
    assert found["tags"] == ["a", "b\\,{}"]
    assert found["metadata"] == {"team": "ü\t1"}
    assert found["request_time"].timestamp() == 1700000000.123456


@pytest.mark.parametrize(
    ("changes", "costs"),
    [
        ({}, (Decimal("0.15"), None)),
        ({"billed": False}, (Decimal(0), Decimal("0.15"))),
        ({"model": "unheard-of"}, (None, None)),
        ({"model": "unheard-of", "billed": False}, (Decimal(0), None)),
        ({"usage": None}, (None, None)),
        ({"usage": None, "billed": False}, (Decimal(0), None)),
    ],
)
async def test_costs_are_known_or_null(database_url, tmp_path, changes, costs):
    """An unknown cost is NULL and never zero; what nobody was paid for costs zero and its price counts as saved."""
    async with recording(database_url, tmp_path) as recorder:
        recorder.record(build_row(**changes))
        await recorder.flush()
    assert await query(database_url, "SELECT estimated_cost, saved_cost FROM requests") == [costs]


async def test_a_failing_price_does_not_lose_the_row(database_url, tmp_path):
    """A cost that cannot be worked out is NULL; the row is stored."""

    def fail(provider, model, usage, *, at=None):
        raise RuntimeError

    recorder = Recorder(database_url, tmp_path, fail)
    await recorder.start()
    recorder.record(build_row())
    await recorder.close()
    assert await query(database_url, "SELECT estimated_cost FROM requests") == [(None,)]


async def test_closing_writes_what_waits(database_url, tmp_path):
    """Rows recorded the moment before a shutdown are in Postgres after it; later ones are counted as dropped."""
    recorder = Recorder(database_url, tmp_path, find_lines, bounds=RecorderBounds(flush_seconds=30))
    await recorder.start()
    for _ in range(5000):
        recorder.record(build_row())
    await recorder.close()
    recorder.record(build_row())
    assert await count_rows(database_url) == 5000
    assert (recorder.stats.written, recorder.stats.pending, recorder.stats.dropped) == (5000, 0, 1)


async def test_memory_is_bounded(database_url, tmp_path):
    """Over the bound the newest rows are dropped and counted; recording neither blocks nor raises."""
    recorder = Recorder(database_url, tmp_path, find_lines, bounds=RecorderBounds(pending_bytes=10 * ROW_BYTES))
    for number in range(15):
        recorder.record(build_row(request_id=str(number)))
    assert (recorder.stats.pending, recorder.stats.dropped) == (10, 5)
    await recorder.start()
    await recorder.flush()
    recorder.record(build_row(request_id="later"))
    await recorder.close()
    kept = await query(database_url, "SELECT request_id FROM requests ORDER BY request_time")
    assert [line[0] for line in kept] == [*map(str, range(10)), "later"]


async def test_rows_survive_the_death_of_the_connection(database_url, tmp_path):
    """Rows recorded while Postgres keeps ending the recorder's connection are all there in the end, each once."""
    async with recording(database_url, tmp_path) as recorder:
        for _ in range(20):
            for _ in range(25):
                recorder.record(build_row())
            await asyncio.sleep(0.03)
            await query(
                database_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'relaycore recorder'",
            )
        await eventually(lambda: _has(database_url, 500))
    assert recorder.stats.dropped == 0
    assert await list_faults(database_url) == []


async def test_rows_wait_in_the_spool_while_postgres_is_away(database_url, tmp_path, door):
    """Rows recorded while nothing listens are stored within two seconds after Postgres is back, without a restart."""
    await door.shut()
    async with recording(door.url, tmp_path / "spool") as recorder:
        for _ in range(300):
            recorder.record(build_row())
            await asyncio.sleep(0.001)
        await recorder.flush()
        assert (recorder.stats.spooled, recorder.stats.written, recorder.stats.pending) == (300, 0, 0)
        assert recorder.stats.last_error_at is not None
        await door.open()
        await eventually(lambda: recorder.stats.replayed == 300, seconds=2)
        recorder.record(build_row())
        await recorder.flush()
    assert await count_rows(database_url) == 301
    assert list((tmp_path / "spool").iterdir()) == []


async def test_the_spool_outlives_the_process(database_url, tmp_path, door):
    """What one process left in the spool is stored by the next one, oldest first and priced as it was."""
    await door.shut()
    started = time.monotonic()
    async with recording(door.url, tmp_path) as recorder:
        for number in range(50):
            recorder.record(build_row(request_id=str(number)))
    assert time.monotonic() - started < 4
    assert recorder.stats.spooled == 50
    async with recording(database_url, tmp_path) as second:
        await eventually(lambda: second.stats.replayed == 50)
    assert await query(database_url, "SELECT DISTINCT estimated_cost FROM requests") == [(Decimal("0.15"),)]
    assert await count_rows(database_url) == 50
    assert await list_faults(database_url) == []


async def test_a_full_spool_keeps_rows_in_memory(database_url, tmp_path, door):
    """When the spool takes no more, rows wait in memory up to its bound, and are stored when Postgres is back."""
    await door.shut()
    async with recording(door.url, tmp_path, spool_bytes=0, pending_bytes=100 * ROW_BYTES) as recorder:
        for _ in range(40):
            recorder.record(build_row())
        await recorder.flush()
        for _ in range(80):
            recorder.record(build_row())
        assert (recorder.stats.pending, recorder.stats.dropped, recorder.stats.spooled) == (100, 20, 0)
        await door.open()
        await eventually(lambda: recorder.stats.written == 100)
    assert await count_rows(database_url) == 100


async def test_rows_wait_for_a_table_that_is_not_there(database_url, tmp_path):
    """An error that no row is to blame for parks none: the rows wait in the spool until it is over."""
    await query(database_url, "ALTER TABLE requests RENAME TO away")
    async with recording(database_url, tmp_path) as recorder:
        for _ in range(10):
            recorder.record(build_row())
        await recorder.flush()
        assert (recorder.stats.spooled, recorder.stats.rejected) == (10, 0)
        await query(database_url, "ALTER TABLE away RENAME TO requests")
        await eventually(lambda: recorder.stats.replayed == 10)
    assert await count_rows(database_url) == 10


async def test_a_batch_with_an_unknown_outcome_is_stored_once(database_url, tmp_path):
    """A write that took too long and then did happen is not repeated by the replay."""
    rows = [build_row() for _ in range(3)]
    blocker = await psycopg.AsyncConnection.connect(database_url)
    insert = (
        "INSERT INTO requests (id, request_time, response_time, request_id, endpoint, status_code, cache_status,"
        " latency) VALUES (%s, to_timestamp(%s), now(), 'blocker', '', 200, '', 0)"
    )
    await blocker.execute(insert, (rows[1].id, rows[1].request_time))
    async with recording(database_url, tmp_path, write_seconds=0.3) as recorder:
        for row in rows:
            recorder.record(row)
        await recorder.flush()
        assert recorder.stats.spooled == 3
        await blocker.rollback()
        await blocker.close()
        await eventually(lambda: recorder.stats.replayed == 3)
        await asyncio.sleep(0.3)
    found = await query(database_url, "SELECT id FROM requests")
    assert sorted(line[0] for line in found) == sorted(row.id for row in rows)


async def test_closing_is_quick_when_a_write_hangs(database_url, tmp_path):
    """A shutdown does not wait for a Postgres that has stopped answering; the rows go to the spool."""
    blocker = await psycopg.AsyncConnection.connect(database_url)
    await blocker.execute("LOCK TABLE requests")
    recorder = Recorder(database_url, tmp_path, find_lines, bounds=RecorderBounds(write_seconds=60))
    await recorder.start()
    recorder.record(build_row())
    await asyncio.sleep(0.3)
    started = time.monotonic()
    await recorder.close()
    assert time.monotonic() - started < 5
    assert recorder.stats.spooled == 1
    await blocker.close()


async def test_a_row_recorded_twice_is_stored_once(database_url, tmp_path):
    """The same id and time twice in a batch, or in a later one, does not hold up other rows."""
    twice = build_row()
    async with recording(database_url, tmp_path) as recorder:
        for row in (twice, build_row(), twice):
            recorder.record(row)
        await recorder.flush()
        for row in (twice, build_row()):
            recorder.record(row)
        await recorder.flush()
    assert await count_rows(database_url) == 3
    assert recorder.stats.rejected == 0


async def test_a_poison_row_is_parked_and_the_rest_stored(database_url, tmp_path):
    """A row that Postgres or Python refuses ends in the `rejected` file; every other row of its batch is stored."""
    beyond_postgres = 9_224_318_384_800.0
    bad = [
        build_row(request_id="bad 1", request_time=beyond_postgres),
        build_row(request_id="bad 2", request_time=float("inf")),
        build_row(request_id="bad 3", model=object()),
    ]
    async with recording(database_url, tmp_path) as recorder:
        for row in [*(build_row() for _ in range(100)), *bad, *(build_row() for _ in range(50))]:
            recorder.record(row)
        await recorder.flush()
        assert (recorder.stats.rejected, recorder.stats.written, recorder.stats.spooled) == (3, 150, 0)
    assert await count_rows(database_url) == 150
    parked = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert sorted(line["row"]["request_id"] for line in parked if isinstance(line["row"], dict)) == ["bad 1", "bad 2"]
    assert sum("bad 3" in line["row"] for line in parked if isinstance(line["row"], str)) == 1


async def test_hostile_text_is_stored_cleaned(database_url, tmp_path):
    """NUL, lone surrogates, overlong text, numbers out of range and broken metadata never cost a row."""
    hostile = build_row(
        request_id="a\0b" + "x" * 10_000,
        model="lone \ud800 surrogate",
        hold=Hold(reservation_id=uuid4(), kind="call", amount_usd=Decimal(1), booked_at=1e9),
        estimated_usage=Usage(output_tokens=-1),
        tags=("t\0", "\udfff") * 100,
        metadata='{"a": "\\u0000"}',
        status_code=2**40,
        retry_count=2**40,
        usage=Usage(input_tokens=2**70),
    )
    async with recording(database_url, tmp_path) as recorder:
        recorder.record(hostile)
        recorder.record(build_row(metadata="[1]"))
        recorder.record(build_row(metadata="{" * 5000))
        recorder.record(build_row(metadata='{"n": 1e999999}'))
        recorder.record(build_row(model="".join(map(chr, range(0x10000, 0x10400)))))
        await recorder.flush()
        assert (recorder.stats.written, recorder.stats.rejected, recorder.stats.spooled) == (5, 0, 0)
    assert await list_faults(database_url) == []
    lines = await query(database_url, "SELECT request_id, model, status_code, input_tokens FROM requests ORDER BY 1")
    assert lines[0] == ("ab" + "x" * 509, "lone ? surrogate", 2**31 - 1, None)
    assert (await query(database_url, "SELECT count(metadata) FROM requests"))[0][0] <= 1


async def test_recorders_share_a_spool(database_url, tmp_path, door):
    """Several processes with one spool folder store every row once."""
    await door.shut()
    async with recording(door.url, tmp_path) as first, recording(door.url, tmp_path) as second:
        for recorder in (first, second):
            for _ in range(100):
                recorder.record(build_row())
            await recorder.flush()
        await door.open()
        await eventually(lambda: _has(database_url, 200))
    assert first.stats.replayed + second.stats.replayed == 200
    assert await list_faults(database_url) == []


class Ear:
    """What a recorder said of holds."""

    def __init__(self):
        self.heard = []

    def __call__(self, hold, cost):
        self.heard.append((hold.reservation_id, cost))


async def _build_held(url, user_id, **changes):
    row = build_row(user_id=user_id, **changes)
    row.hold = await reserve(url, row)
    return row


async def test_holds_are_settled_and_told_of(database_url, tmp_path):
    """Each row with a hold is told of with its cost, once that is in Postgres, and its money is free again."""
    user_id, ear = uuid4(), Ear()
    budget_id = await insert_budget(database_url, user_id)
    rows = [
        await _build_held(database_url, user_id),
        await _build_held(database_url, user_id, billed=False, usage=None, status_code=502),
        await _build_held(database_url, user_id, model="unheard-of"),
    ]
    async with recording(database_url, tmp_path, on_settled=ear) as recorder:
        for row in (*rows, build_row(user_id=user_id)):
            recorder.record(row)
        await recorder.flush()
    costs = [Decimal("0.15"), Decimal(0), Decimal(0)]
    assert ear.heard == [(row.hold.reservation_id, cost) for row, cost in zip(rows, costs, strict=True)]
    assert await find_counter(database_url, budget_id) == (Decimal("0.30"), 0)
    assert await list_faults(database_url) == []


async def test_an_escrow_shrinks_by_what_its_calls_cost(database_url, tmp_path):
    """Of money held for many calls each takes what it cost; the rest stays held."""
    user_id = uuid4()
    budget_id = await insert_budget(database_url, user_id)
    row = build_row(user_id=user_id)
    row.hold = await reserve(database_url, row, "5", "escrow")
    async with recording(database_url, tmp_path) as recorder:
        for _ in range(3):
            recorder.record(build_row(user_id=user_id, hold=row.hold))
        await recorder.flush()
    assert await find_counter(database_url, budget_id) == (Decimal("0.45"), Decimal("4.55"))
    assert await list_faults(database_url) == []


async def test_spooled_holds_are_settled_and_told_of_then(database_url, tmp_path, door):
    """A row that went through the spool is settled when Postgres is back, and only then its hold is over."""
    user_id, ear = uuid4(), Ear()
    budget_id = await insert_budget(database_url, user_id)
    spoken = await _build_held(database_url, user_id, usage=None)
    spoken.estimated_usage = Usage(output_tokens=9)
    await door.shut()
    async with recording(door.url, tmp_path, on_settled=ear) as recorder:
        recorder.record(await _build_held(database_url, user_id))
        recorder.record(spoken)
        await recorder.flush()
        assert recorder.stats.spooled == 2
        await door.open()
        await eventually(lambda: recorder.stats.replayed == 2)
    assert len(ear.heard) == 2
    assert await find_counter(database_url, budget_id) == (Decimal("0.24"), 0)
    assert await list_faults(database_url) == []


async def test_a_parked_row_is_not_told_of(database_url, tmp_path):
    """A hold whose row was refused stays: what becomes of it is the reaper's to say. The others of its batch settle."""
    user_id, ear = uuid4(), Ear()
    budget_id = await insert_budget(database_url, user_id)
    good = await _build_held(database_url, user_id)
    bad = await _build_held(database_url, user_id)
    bad.latency = float("nan")
    async with recording(database_url, tmp_path, on_settled=ear) as recorder:
        for row in (bad, good):
            recorder.record(row)
        await recorder.flush()
        assert (recorder.stats.rejected, recorder.stats.written) == (1, 1)
    assert ear.heard == [(good.hold.reservation_id, Decimal("0.15"))]
    assert await find_counter(database_url, budget_id) == (Decimal("0.15"), 1)
    assert await list_faults(database_url) == []


async def test_a_listener_that_fails_does_no_harm(database_url, tmp_path, caplog):
    """Rows are written, and others told of, whatever the one who is told does."""
    heard = []

    def listen(hold, cost):
        heard.append(cost)
        raise RuntimeError

    held = Hold(reservation_id=uuid4(), kind="call", amount_usd=Decimal(1), booked_at=1.0)
    async with recording(database_url, tmp_path, on_settled=listen) as recorder:
        for _ in range(2):
            recorder.record(build_row(hold=held))
        await recorder.flush()
    assert (len(heard), recorder.stats.written, await count_rows(database_url)) == (2, 2, 2)


async def test_deaths_of_the_connection_cost_no_budget_anything(database_url, tmp_path):
    """While Postgres keeps ending the recorder's connection, every call is counted once in its budget."""
    user_id = uuid4()
    budget_id = await insert_budget(database_url, user_id)
    async with recording(database_url, tmp_path) as recorder:
        for _ in range(10):
            recorder.record(await _build_held(database_url, user_id))
            for _ in range(20):
                recorder.record(build_row(user_id=user_id))
            await asyncio.sleep(0.02)
            await query(
                database_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'relaycore recorder'",
            )
        await eventually(lambda: _has(database_url, 210))
    assert await find_counter(database_url, budget_id) == (Decimal("31.50"), 0)
    assert await list_faults(database_url) == []
