"""One transaction a batch: rows, ledger lines, hourly sums and budgets are there together, once, or not at all."""

from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from app.analytics.rows import build_priced_row
from app.analytics.store import SESSION_OPTIONS, insert_missing_rows, insert_rows
from app.wire.money import Ceiling, Hold
from app.wire.usage import Usage
from tests.analytics.samples import (
    build_row,
    count_rows,
    find_counter,
    find_lines,
    insert_budget,
    list_faults,
    query,
    reserve,
)

pytestmark = pytest.mark.anyio

STATEMENTS = 5  # the posting's begin, rows, lines, hours, budgets
STAGED_STATEMENTS = 8  # by way of a table for the rows, and a look at those that are there already


def price(*rows):
    return [build_priced_row(row, find_lines) for row in rows]


def connect(url, **options):
    return psycopg.AsyncConnection.connect(url, autocommit=True, options=SESSION_OPTIONS, **options)


async def build_rows(url, user_id):
    """Rows of all kinds of one user, with money held for two of them."""
    called, spoken = build_row(user_id=user_id), build_row(user_id=user_id, usage=None)
    called.hold = await reserve(url, called)
    spoken.hold, spoken.estimated_usage = await reserve(url, spoken), Usage(input_tokens=7)
    ceiling = Ceiling(input_usd=Decimal("1e-16"), output_usd=Decimal("3e-15"))
    unpriced = build_row(user_id=user_id, model="unheard-of")
    unpriced.hold = Hold(reservation_id=uuid4(), kind="call", amount_usd=Decimal(1), booked_at=1e9, ceiling=ceiling)
    return price(
        called,
        spoken,
        unpriced,
        build_row(user_id=user_id),
        build_row(user_id=user_id, billed=False, cache_status="hit"),
        build_row(user_id=user_id, billed=False, usage=None, cache_status="hit", model="unheard-of"),
        build_row(user_id=user_id, model="unheard-of"),
        build_row(usage=None, status_code=500, provider=None, model=None),
        build_row(usage=Usage(**dict.fromkeys(Usage.__struct_fields__[:9], 3))),
    )


async def expect_all_once(url, rows, budget_id):
    spent = sum(row.costs.estimated_cost or 0 for row in rows if row.row.user_id is not None)
    assert await count_rows(url) == len(rows)
    assert await list_faults(url) == []
    assert await find_counter(url, budget_id) == (spent, 0)
    assert await query(url, "SELECT 1 FROM reservations") == []


@pytest.fixture
async def books(database_url):
    user_id = uuid4()
    budget_id = await insert_budget(database_url, user_id)
    return await build_rows(database_url, user_id), budget_id


@pytest.mark.parametrize("insert", [insert_rows, insert_missing_rows])
async def test_a_batch_of_all_kinds_adds_up(database_url, books, insert):
    """The cost of each row is the sum of its lines, the budget's counter and the hours are the sums of the rows."""
    rows, budget_id = books
    async with await connect(database_url) as connection:
        await insert(connection, rows)
    await expect_all_once(database_url, rows, budget_id)
    kinds = await query(database_url, "SELECT kind, count(DISTINCT request_id) FROM ledger GROUP BY 1 ORDER BY 1")
    assert kinds == [("ceiling", 1), ("estimated", 1), ("usage", 3)]
    assert (
        await query(
            database_url, "SELECT 1 FROM requests WHERE estimated_cost = 0 AND id IN (SELECT request_id FROM ledger)"
        )
        == []
    )


async def test_a_line_says_all_of_what_it_is_for(database_url):
    """A ledger line carries who called what with which tags, at what price; it is booked when the money was held."""
    ids = {name: uuid4() for name in ("user_id", "api_key_id", "team_id", "organization_id")}
    names = {"provider": "openai", "model": "gpt-4o", "requested_model": "fast", "tags": ("a", "b")}
    hold = Hold(reservation_id=uuid4(), kind="call", amount_usd=Decimal(1), booked_at=1700000300.25)
    row = build_row(**ids, **names, hold=hold, usage=Usage(input_tokens=10), request_time=1700000000.123456)
    async with await connect(database_url) as connection:
        await insert_rows(connection, price(row))
        cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
        line = await (await cursor.execute("SELECT * FROM ledger")).fetchone()
    assert {name: line[name] for name in ids} == ids
    assert {name: line[name] for name in names} == names | {"tags": ["a", "b"]}
    assert (line["request_id"], line["entry"], line["kind"], line["token_class"]) == (
        row.id,
        0,
        "usage",
        "input_tokens",
    )
    assert (line["quantity"], line["usd_per_unit"], line["factor"]) == (10, Decimal("0.01"), 1)
    assert line["amount_usd"] == Decimal("0.1")
    assert (line["request_time"].timestamp(), line["booked_at"].timestamp()) == (1700000000.123456, 1700000300.25)


async def test_only_money_waits_for_the_disk(database_url, tmp_path):
    """A batch that posts something is on disk when it is confirmed; one that does not, does not wait."""
    await query(
        database_url,
        "CREATE TABLE seen (value text);"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;"
        "CREATE TRIGGER see AFTER INSERT ON requests FOR EACH STATEMENT EXECUTE FUNCTION see()",
    )
    held = build_row(model="unheard-of")
    held.hold = Hold(reservation_id=uuid4(), kind="call", amount_usd=Decimal(1), booked_at=1e9)
    async with await connect(database_url) as connection:
        for row in (build_row(), build_row(model="unheard-of"), held):
            await insert_rows(connection, price(row))
    assert await query(database_url, "SELECT value FROM seen") == [("on",), ("off",), ("on",)]


class Killer:
    """Has Postgres end a connection before its statement of that number; counts from 0."""

    def __init__(self, url, number):
        self._url, self._left = url, number

    async def step(self, connection):
        self._left -= 1
        if self._left == -1:
            await query(self._url, "SELECT pg_terminate_backend(%s, 2000)", connection.info.backend_pid)

    @property
    def missed(self):
        """Whether the statements ended just before that one."""
        return self._left == 0


def build_cursor(killer):
    class Cursor(psycopg.AsyncCursor):
        async def execute(self, *args, **options):
            await killer.step(self.connection)
            return await super().execute(*args, **options)

        def copy(self, statement, *args, **options):
            return Copy(self, super().copy(statement, *args, **options))

    class Copy:
        def __init__(self, cursor, copy):
            self._cursor, self._copy = cursor, copy

        async def __aenter__(self):
            await killer.step(self._cursor.connection)
            return await self._copy.__aenter__()

        async def __aexit__(self, *error):
            return await self._copy.__aexit__(*error)

    return Cursor


async def insert_and_die(url, insert, rows, number):
    killer = Killer(url, number)
    connection = await connect(url, cursor_factory=build_cursor(killer))
    with pytest.raises(psycopg.OperationalError):
        await insert(connection, rows)
    connection.pgconn.finish()


@pytest.mark.parametrize("number", range(STATEMENTS))
async def test_a_death_between_the_statements_leaves_nothing(database_url, books, number):
    """Whichever statement the connection dies before: nothing is there, and the next try stores all of it, once."""
    rows, budget_id = books
    await insert_and_die(database_url, insert_rows, rows, number)
    assert await query(database_url, "SELECT 1 FROM requests, ledger, usage_hourly") == []
    async with await connect(database_url) as connection:
        await insert_missing_rows(connection, rows)
        await expect_all_once(database_url, rows, budget_id)
        await insert_missing_rows(connection, rows)
    await expect_all_once(database_url, rows, budget_id)


@pytest.mark.parametrize("number", range(STAGED_STATEMENTS))
async def test_a_death_of_the_second_try_leaves_what_was_there(database_url, books, number):
    """The same holds for a try that finds some of its rows stored already, and for a third one."""
    rows, budget_id = books
    async with await connect(database_url) as connection:
        await insert_rows(connection, rows[::2])
    await insert_and_die(database_url, insert_missing_rows, rows, number)
    assert await list_faults(database_url) == []
    assert await count_rows(database_url) == len(rows[::2])
    async with await connect(database_url) as connection:
        await insert_missing_rows(connection, rows)
    await expect_all_once(database_url, rows, budget_id)


async def test_there_is_no_statement_the_deaths_leave_out(database_url, books):
    """The numbers above are those of all statements."""
    rows, _ = books
    for insert, count, batch in (
        (insert_rows, STATEMENTS, rows[::2]),
        (insert_missing_rows, STAGED_STATEMENTS, rows),
    ):
        killer = Killer(database_url, count)
        async with await connect(database_url, cursor_factory=build_cursor(killer)) as connection:
            await insert(connection, batch)
        assert killer.missed


DIES_AT_COMMIT = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER die AFTER INSERT ON usage_hourly DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION die();
"""


@pytest.mark.parametrize("insert", [insert_rows, insert_missing_rows])
async def test_a_death_at_the_commit_leaves_nothing(database_url, books, insert):
    """A commit that did not come to its end did not happen."""
    rows, budget_id = books
    await query(database_url, DIES_AT_COMMIT)
    connection = await connect(database_url)
    with pytest.raises(psycopg.OperationalError):
        await insert(connection, rows)
    await query(database_url, "DROP TRIGGER die ON usage_hourly")
    assert await query(database_url, "SELECT 1 FROM requests, ledger, usage_hourly") == []
    async with await connect(database_url) as again:
        await insert_missing_rows(again, rows)
    await expect_all_once(database_url, rows, budget_id)


async def test_twins_are_posted_once(database_url):
    """The same row twice in a batch of unknown outcome is one row, with its lines once."""
    row = build_row()
    async with await connect(database_url) as connection:
        await insert_missing_rows(connection, price(row, build_row(), row))
    assert await count_rows(database_url) == 2
    assert await list_faults(database_url) == []
    assert await query(database_url, "SELECT sum(amount_usd) FROM ledger") == [(Decimal("0.30"),)]


async def test_without_budgets_and_holds_nobody_is_told(database_url):
    """Where there is no budget the settling is left out; lines and roll-up are there all the same."""
    async with await connect(database_url) as connection:
        await insert_rows(connection, price(build_row()))
        assert await query(database_url, "SELECT count(*) FROM ledger") != [(0,)]
        assert await query(database_url, "SELECT count(*) FROM budget_counters") == [(0,)]
    assert await list_faults(database_url) == []


async def test_a_new_budget_begins_with_what_was_posted_before_it(database_url):
    """Lines that told no budget, because there was none, count in one that is made later: nothing falls between."""
    user_id = uuid4()
    async with await connect(database_url) as connection:
        await insert_rows(connection, price(build_row(user_id=user_id)))
        budget_id = await insert_budget(database_url, user_id)
        await insert_rows(connection, price(build_row(user_id=user_id)))
    assert await list_faults(database_url) == []
    spent, reserved = await find_counter(database_url, budget_id)
    assert (spent > 0, reserved) == (True, 0)
