"""Budgets in Postgres: what is held, what is booked, and what nobody can do to the books."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from app.access.budget_edit_store import (
    check_ledger,
    delete_budget,
    find_budget,
    insert_budget,
    list_simple_budgets,
    set_simple_budget,
    update_budget,
)
from app.access.budget_store import end_process, list_budgeted, release, release_spare, renew_lease, reserve
from app.access.budget_store import reap as reap_all
from app.analytics.tasks import ensure_partitions, roll_budgets
from app.db.engine import open_blocking_engine
from app.wire.ids import make_uuid7
from tests.access.budget_books import Books, build_ask

KEY = uuid4()
ALICE = {"api_key_id": KEY, "user_id": uuid4(), "tags": ["blue"]}


@pytest.fixture
def books(database_url):
    books = Books(database_url)
    yield books
    books.connection.close()


@pytest.fixture
def connection(database_url):
    engine = open_blocking_engine(database_url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def balance(books, budget_id):
    line = books.counter(budget_id)
    return tuple(line[name].normalize() for name in ("spent_usd", "reserved_usd", "overrun_usd"))


def test_money_is_held_until_it_is_spent(books):
    """A hold takes from the budget; the settlement turns it into what the call cost and gives back the rest."""
    budget = books.budget("key", KEY, 1)
    ask, answer = books.hold(ALICE, "0.3")
    assert (answer["granted"], answer["remaining_usd"], answer["budget_id"]) == (Decimal("0.3"), Decimal("0.7"), budget)
    assert balance(books, budget) == (0, Decimal("0.3"), 0)
    books.book(ALICE, "0.1", ask=ask, booked_at=answer["at"])
    assert balance(books, budget) == (Decimal("0.1"), 0, 0)
    assert books.problems() == []


def test_what_is_left_is_granted_down_to_the_minimum_and_no_further(books):
    """The grant is what is left when that is enough, else nothing; the refusal names the budget and what is left."""
    budget = books.budget("key", KEY, 1, "month")
    books.hold(ALICE, "0.8")
    _, refused = books.hold(ALICE, "0.5", "0.3")
    assert (refused["granted"], refused["budget_id"], refused["remaining_usd"]) == (None, budget, Decimal("0.2"))
    assert (refused["reserved_usd"], refused["limit_usd"]) == (Decimal("0.8"), 1)
    assert refused["resets_at"] > datetime.now(UTC)
    _, partly = books.hold(ALICE, "0.5", "0.1")
    assert (partly["granted"], partly["remaining_usd"]) == (Decimal("0.2"), 0)
    _, nothing = books.hold(ALICE, "0.5", 0)
    assert nothing["granted"] == 0


def test_asks_are_served_in_order(books):
    """Of several asks at once the first is served first, and each gets its own answer."""
    books.budget("key", KEY, 1)
    asks = [build_ask(ALICE, "0.4") for _ in range(4)]
    answers = books.reserve(*asks)
    assert [answer["ask"] for answer in answers] == [0, 1, 2, 3]
    assert [answer["granted"] is not None for answer in answers] == [True, True, False, False]


def test_every_budget_must_have_room(books):
    """A call is held against all budgets that apply, and the tightest decides, for all of them."""
    wide = books.budget("user", ALICE["user_id"], 100)
    tight = books.budget("tag", "blue", "0.5")
    model = books.budget("model", "mock/echo", 2, "day", rolling=True)
    books.budget("tag", "red", 0)
    _, answer = books.hold(ALICE, 1, "0.1")
    assert (answer["granted"], answer["budget_id"]) == (Decimal("0.5"), tight)
    assert [balance(books, one)[1] for one in (wide, tight, model)] == [Decimal("0.5")] * 3
    _, refused = books.hold(ALICE, 1, "0.1")
    assert refused["granted"] is None
    assert [balance(books, one)[1] for one in (wide, tight, model)] == [Decimal("0.5")] * 3


def test_without_a_budget_nothing_is_held(books):
    """When none applies all is granted, and nothing is written."""
    books.budget("key", uuid4(), 0)
    _, answer = books.hold(ALICE, 5)
    assert (answer["granted"], answer["budget_id"]) == (5, None)
    assert books.query("SELECT FROM reservations") == []


def test_an_ask_is_answered_once(books):
    """Asking again under the same id, because the answer was lost, holds nothing more."""
    budget = books.budget("key", KEY, 1)
    ask, first = books.hold(ALICE, "0.4")
    again = books.reserve(ask)[0]
    assert (again["granted"], again["at"]) == (first["granted"], first["at"])
    assert balance(books, budget)[1] == Decimal("0.4")


@pytest.mark.parametrize("wanted", ["0", "-1", "NaN", "Infinity"])
def test_amounts_that_are_none_are_refused(books, wanted):
    """Zero, less than zero and what is no number cannot be held, and nothing of the batch is."""
    books.budget("key", KEY, 1)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="ask 1"):
        books.reserve(build_ask(ALICE, 1), build_ask(ALICE, wanted, "0"))
    assert books.query("SELECT FROM reservations") == []


def test_whatever_clients_say_is_a_name(books):
    """Names are compared, never run or matched; NUL, lone surrogates and thousands of tags do no harm."""
    odd = ["'; DROP TABLE budgets; --", "%", "\\u0000", "a\0b", "\udcff", "{}", "null", "💶" * 200, ""]
    budget = books.budget("tag", "ab", 1)
    names = {**ALICE, "tags": [*odd, *(f"tag {number}" for number in range(3000))]}
    _, answer = books.hold(names, "0.1", **{"x\0": ["\0", {"\udcff": 1}]})
    assert answer["budget_id"] == budget
    assert books.query("SELECT FROM budgets WHERE ref = '%%'") == []


def test_a_lowered_limit_refuses_and_is_on_record(books):
    """A limit below what is spent shows as overrun; nothing more is granted until it is raised again."""
    budget = books.budget("key", KEY, 1)
    books.book(ALICE, "0.8")
    books.query("UPDATE budgets SET amount_usd = 0.5 WHERE id = %s", budget)
    assert books.counter(budget)["overrun_usd"] == Decimal("0.3")
    assert books.hold(ALICE, "0.01")[1]["granted"] is None
    books.query("UPDATE budgets SET amount_usd = 2 WHERE id = %s", budget)
    assert books.hold(ALICE, "0.01")[1]["granted"] is not None
    assert books.counter(budget)["overrun_usd"] == 0


def test_an_override_counts_while_it_lasts(books):
    """The override is the limit until its end, and then no more, without anybody doing anything."""
    soon = datetime.now(UTC) + timedelta(seconds=0.4)
    books.budget("key", KEY, 1, override_usd=5, override_until=soon)
    assert books.hold(ALICE, 3)[1]["granted"] == 3
    time.sleep(0.5)
    assert books.hold(ALICE, "0.1")[1]["granted"] is None
    assert books.value("SELECT overrun_usd FROM budget_status") == 2


def test_a_cost_above_the_hold_is_booked_in_full(books):
    """What a call costs more than was held is known only afterwards: it is booked, as overrun."""
    budget = books.budget("key", KEY, 1)
    ask, answer = books.hold(ALICE, 1)
    books.book(ALICE, "1.5", ask=ask, booked_at=answer["at"])
    assert balance(books, budget) == (Decimal("1.5"), 0, Decimal("0.5"))


def test_an_escrow_shrinks_by_what_its_calls_cost(books):
    """Money leased for many calls is turned into spent money call by call; the rest can be given back in part."""
    budget = books.budget("key", KEY, 10)
    ask, answer = books.hold(ALICE, 5, kind="escrow")
    books.book(ALICE, 2, ask=ask, booked_at=answer["at"])
    assert balance(books, budget) == (2, 3, 0)
    for kept in (2, 2, 3):
        books.query("SELECT relaycore_release(%s, %s, %s::numeric[])", books.process, [ask.id], [Decimal(kept)])
        assert balance(books, budget) == (2, 2, 0)
    books.book(ALICE, 4, ask=ask, booked_at=answer["at"])
    assert balance(books, budget) == (6, 0, 0)
    books.query("SELECT relaycore_release(%s, %s)", books.process, [ask.id])
    assert books.query("SELECT FROM reservations") == []
    assert books.problems() == []


def test_only_the_owner_gives_back(books):
    """A process cannot give back what another holds, and giving back twice is no error."""
    budget = books.budget("key", KEY, 1)
    ask, _ = books.hold(ALICE, 1)
    assert books.value("SELECT relaycore_release(%s, %s)", make_uuid7(), [ask.id]) == 0
    assert balance(books, budget)[1] == 1
    assert books.value("SELECT relaycore_release(%s, %s)", books.process, [ask.id, make_uuid7()]) == 1
    assert books.value("SELECT relaycore_release(%s, %s)", books.process, [ask.id]) == 0
    assert balance(books, budget) == (0, 0, 0)


def test_what_the_dead_held_is_settled_as_estimated(books):
    """A dead process's holds become spent: a line, a request and an hour that say so, and nothing is left of it."""
    budget = books.budget("key", KEY, 1)
    ask, answer = books.hold(ALICE, "0.3", public_request_id="req_1", streamed=True)
    books.query("INSERT INTO parallel_calls VALUES ('key:x', %s, 1)", books.process)
    assert books.reap() == 0
    books.live(-1)
    assert books.reap() == 1
    assert balance(books, budget) == (Decimal("0.3"), 0, 0)
    (line,) = books.query("SELECT * FROM ledger")
    assert (line["kind"], line["token_class"], line["entry"], line["api_key_id"]) == ("estimated", "reserved", 0, KEY)
    assert line["booked_at"].timestamp() == pytest.approx(answer["at"], abs=1e-5)
    (request,) = books.query("SELECT * FROM requests")
    assert request["id"] == ask.facts["request_id"]
    assert (request["request_id"], request["status_code"], request["streamed"]) == ("req_1", 500, True)
    assert (request["error_type"], request["estimated_cost"]) == ("gateway_aborted", Decimal("0.3"))
    (hour,) = books.query("SELECT requests, estimated_cost, unknown_usage FROM usage_hourly")
    assert tuple(hour.values()) == (1, Decimal("0.3"), 1)
    assert books.query("SELECT FROM processes") == books.query("SELECT FROM parallel_calls") == []
    assert books.problems() == []


def test_a_hold_that_is_too_old_is_settled_though_its_process_lives(books):
    """Nobody holds money for ever; an escrow without calls is settled as what is left of it."""
    budget = books.budget("key", KEY, 1)
    books.hold(ALICE, "0.2", kind="escrow", seconds=0.05)
    time.sleep(0.1)
    assert books.reap() == 1
    assert balance(books, budget) == (Decimal("0.2"), 0, 0)
    assert books.query("SELECT FROM requests") == []
    assert books.problems() == []


def test_garbage_in_facts_does_not_stop_the_reaper(books):
    """Whatever a process wrote down, its money is freed."""
    books.budget("key", KEY, 1)
    ask = build_ask(ALICE, 1)
    for value in ("garbage", 10**30, None, [1], {"a": 1}):
        ask.facts.update(request_id=value, request_time=value, user_id=value, tags=value, streamed=value, model=value)
        books.reserve(ask)
        books.query("UPDATE reservations SET expires_at = now() - interval '1 s'")
        books.reap()
        assert books.query("SELECT FROM reservations") == []
        ask = build_ask(ALICE, "0.1")


def test_a_request_that_is_recorded_already_is_not_booked_again(books):
    """Where the request has its row, the reaper only frees the hold that was left."""
    budget = books.budget("key", KEY, 1)
    ask, _ = books.hold(ALICE, "0.5")
    books.book(ALICE, "0.1", request_id=ask.facts["request_id"], booked_at=ask.facts["request_time"])
    books.live(-1)
    assert books.reap() == 1
    assert balance(books, budget) == (Decimal("0.1"), 0, 0)
    assert books.problems() == []


def test_the_late_truth_replaces_an_estimate(books):
    """A correction is a further entry; the request then costs the sum, in its hour and in the budgets as well."""
    budget = books.budget("key", KEY, 1)
    ask, _ = books.hold(ALICE, "0.5")
    books.live(-1)
    books.reap()
    books.adjust(ask.facts["request_id"], "-0.4")
    assert balance(books, budget) == (Decimal("0.1"), 0, 0)
    assert [line["entry"] for line in books.query("SELECT entry FROM ledger ORDER BY entry")] == [0, 1]
    assert books.value("SELECT estimated_cost FROM requests") == Decimal("0.1")
    assert books.value("SELECT estimated_cost FROM usage_hourly") == Decimal("0.1")
    assert books.problems() == []


def test_a_price_that_came_late_makes_an_unknown_cost_known(books):
    """A request without lines can be corrected too; one that nobody knows cannot."""
    request = books.book(ALICE, 0)
    books.query("UPDATE requests SET estimated_cost = NULL")
    budget = books.budget("key", KEY, 1)
    books.adjust(request, "0.25")
    assert balance(books, budget)[0] == Decimal("0.25")
    assert books.value("SELECT estimated_cost FROM requests") == Decimal("0.25")
    assert books.problems() == []
    lines = f'[{{"request_id": "{uuid4()}", "request_time": 1, "token_class": "x", "quantity": 1, "amount_usd": 1}}]'
    with pytest.raises(psycopg.errors.NoDataFound):
        books.query("SELECT relaycore_adjust(%s)", lines)


def test_a_new_budget_knows_what_was_spent(books):
    """Calendar, rolling and endless budgets begin with what the ledger has for them, and only with that."""
    books.book(ALICE, "0.5")
    books.book({"tags": ["blue"]}, 1)
    books.book(ALICE, 4, booked_at=time.time() - 100 * 86400)
    made = [
        books.budget("key", KEY, 1, "day"),
        books.budget("key", KEY, 1, "quarter", rolling=True),
        books.budget("user", ALICE["user_id"], 1, "total"),
        books.budget("tag", "blue", 1, "day", rolling=True),
        books.budget("model", "echo", 1, "total"),
    ]
    assert [balance(books, one)[0] for one in made] == [Decimal(one) for one in ("0.5", "0.5", "4.5", "1.5", "5.5")]
    assert books.problems() == []


def test_a_cost_of_a_period_before_the_budget_counts_in_none(books):
    """A line that is booked late in a period that was over when the budget was made leaves it as it is."""
    budget = books.budget("key", KEY, 1, "day")
    books.book(ALICE, "0.5", booked_at=time.time() - 2 * 86400)
    assert balance(books, budget)[0] == 0
    assert books.problems() == []


def test_rolling_budgets_free_up(books):
    """What lies wholly before the window counts no more, with no call and after one; the check follows."""
    budget = books.budget("key", KEY, 1, "day", rolling=True)
    books.book(ALICE, 1)
    refused = books.hold(ALICE, "0.1")[1]
    assert refused["granted"] is None
    assert timedelta(hours=23) < refused["resets_at"] - datetime.now(UTC) < timedelta(hours=26)
    books.pass_days(1)
    assert books.hold(ALICE, "0.1")[1]["granted"] is None
    books.pass_days(1)
    assert books.value("SELECT remaining_usd FROM budget_status") == 1
    assert books.hold(ALICE, "0.1")[1]["granted"] == Decimal("0.1")
    assert balance(books, budget) == (0, Decimal("0.1"), 0)
    assert books.problems() == []


def test_calendar_periods_begin_anew(books):
    """The next day has a counter of its own, and what was held yesterday is settled yesterday."""
    budget = books.budget("key", KEY, 1, "day")
    ask, answer = books.hold(ALICE, 1)
    books.pass_days(1)
    assert books.hold(ALICE, 1)[1]["granted"] == 1
    books.book(ALICE, "0.5", ask=ask, booked_at=answer["at"] - 86400)
    spent = books.query("SELECT spent_usd, reserved_usd FROM budget_counters ORDER BY period_start")
    assert [tuple(line.values()) for line in spent] == [(Decimal("0.5"), 0), (0, 1)]
    assert books.value("SELECT spent_usd FROM budget_status WHERE id = %s", budget) == 0
    assert books.problems() == []


@pytest.mark.parametrize(
    ("period", "at", "start", "end"),
    [
        ("day", "2026-03-29T01:30:00+01:00", "2026-03-29", "2026-03-30"),
        ("week", "2027-01-01T12:00:00Z", "2026-12-28", "2027-01-04"),
        ("month", "2028-02-29T23:59:59.999999Z", "2028-02-01", "2028-03-01"),
        ("quarter", "2026-12-31T23:00:00-05:00", "2027-01-01", "2027-04-01"),
    ],
)
def test_periods_are_those_of_utc(books, period, at, start, end):
    """Days, ISO weeks, months and quarters begin at midnight UTC, wherever the session thinks it is."""
    books.query("SET timezone = 'America/New_York'")
    (found,) = books.query(
        "SELECT relaycore_period_start(%s, %s) AS s, relaycore_period_end(%s, relaycore_period_start(%s, %s)) AS e",
        *(period, at, period, period, at),
    )
    assert [one.astimezone(UTC) for one in found.values()] == [
        datetime.fromisoformat(one).replace(tzinfo=UTC) for one in (start, end)
    ]


def test_a_soft_limit_is_told_once(books):
    """The alert comes when the soft limit is reached, not again in the period, but again for another soft limit."""
    budget = books.budget("key", KEY, 10, "month", soft_limit_usd=1)
    books.query("LISTEN relaycore_alerts")
    for amount in ("0.9", "0.2", "0.3"):
        books.book(ALICE, amount)
    (alert,) = books.query("SELECT * FROM budget_alerts")
    assert (alert["budget_id"], alert["spent_usd"]) == (budget, Decimal("1.1"))
    assert len(list(books.connection.notifies(timeout=0.2))) == 1
    books.query("UPDATE budgets SET soft_limit_usd = 1.5 WHERE id = %s", budget)
    assert not books.counter(budget)["alerted"]
    books.book(ALICE, "0.3")
    assert len(books.query("SELECT FROM budget_alerts")) == 2


def test_the_books_cannot_be_changed(books):
    """Lines of the ledger and of the audit log cannot be changed, deleted or truncated, in no partition either."""
    books.book(ALICE, 1)
    books.query(
        "INSERT INTO audit_log (sequence, at, actor, action, object_kind, object_id, previous_hash, hash) "
        "VALUES (1, now(), '', '', '', '', '', '')"
    )
    (partition,) = books.query("SELECT tableoid::regclass::text AS name FROM ledger")
    for table in ("ledger", partition["name"], "audit_log"):
        for change in ("UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"):
            statement = change.format(table, *["hash" if table == "audit_log" else "amount_usd"] * 2)
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="never changed"):
                books.query(statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        books.query("TRUNCATE ledger_pdefault")


def test_old_partitions_can_go(books):
    """Dropping a month is possible, and the check then compares only what is there."""
    books.budget("key", KEY, 100)
    last_month = (datetime.now(UTC).replace(day=1) - timedelta(days=10)).timestamp()
    books.book(ALICE, 1, booked_at=last_month)
    assert books.problems() == []
    name = datetime.fromtimestamp(last_month, UTC).strftime("ledger_p%Y%m")
    books.query(f"DROP TABLE {name}")
    assert books.problems() == []
    books.query("UPDATE budget_counters SET period_start = now()")
    assert [one["problem"] for one in books.problems()] == ["a counter differs from the ledger"]


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        ("UPDATE budget_counters SET spent_usd = 0.4", "a counter differs from the ledger"),
        ("UPDATE budget_slices SET spent_usd = 0.4", "a slice differs from the ledger"),
        ("UPDATE budget_counters SET reserved_usd = 0", "a counter differs from its reservations"),
        ("DELETE FROM reservations", "a counter differs from its reservations"),
        ("UPDATE requests SET estimated_cost = 0.4", "a request differs from its lines"),
        ("DELETE FROM ledger", "a request differs from its lines"),
    ],
)
def test_the_check_finds_what_does_not_fit(books, tamper, problem):
    """Whatever of the sums is changed behind the back of the functions is found."""
    books.budget("key", KEY, 10)
    books.budget("tag", "blue", 10, "week", rolling=True)
    books.book(ALICE, 1)
    books.hold(ALICE, 1)
    assert books.problems() == []
    books.query("SET session_replication_role = replica")
    books.query(tamper)
    assert problem in {one["problem"] for one in books.problems()}


def test_what_a_budget_counts_cannot_change(books):
    """Scope, ref and period stay, and a deleted budget stays deleted: the sums would no longer be those it shows."""
    budget = books.budget("key", KEY, 1)
    for change in ("scope = 'tag'", "ref = 'x'", "period = 'day'", "rolling = true, period = 'day'"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            books.query(f"UPDATE budgets SET {change} WHERE id = %s", budget)
    books.query("UPDATE budgets SET deleted_at = now()")
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        books.query("UPDATE budgets SET deleted_at = NULL")


def test_a_temporary_table_does_not_stand_in_for_ours(books):
    """The functions use the tables of the schema, whatever a session puts in their place."""
    books.budget("key", KEY, 1)
    books.query("CREATE TEMP TABLE budgets (LIKE budgets)")
    assert books.hold(ALICE, 2)[1]["granted"] is None


def test_the_migration_books_what_was_paid_before(books):
    """The opening lines of the migration are those of requests that cost something."""
    text = "INSERT INTO ledger"
    from app.db.schema import migrations_folder

    script = (migrations_folder() / "sql" / "0004_ledger.sql").read_text()
    opening = script[script.index(text) : script.index(";", script.index(text))]
    books.query("SET session_replication_role = replica")
    for amount in (1, "0.5", 0):
        books.book(ALICE, amount)
    books.query("DELETE FROM ledger")
    books.query(opening)
    lines = books.query("SELECT token_class, kind, entry, amount_usd FROM ledger ORDER BY amount_usd")
    assert [tuple(line.values()) for line in lines] == [
        ("total", "usage", 0, Decimal("0.5")),
        ("total", "usage", 0, Decimal(1)),
    ]
    assert books.problems() == []


def test_a_budget_made_while_lines_are_posted_misses_none(books, database_url):
    """Who makes a budget waits for those who post, and begins with what they posted."""
    with psycopg.connect(database_url) as poster, ThreadPoolExecutor(1) as pool:
        poster.execute("SELECT relaycore_begin_posting()")
        made = pool.submit(books.budget, "key", KEY, 10)
        time.sleep(0.2)
        assert not made.done()
        other = Books(database_url)
        other.connection.close()
        poster.execute("SELECT relaycore_settle('[]')")
        poster.commit()
        assert balance(books, made.result(5))[0] == 0


def test_set_simple_budget(connection, books):
    """A key has one budget of the simple kind: set, changed, made anew for another period, taken away."""
    ref = str(KEY)

    def simple():
        return {
            name: (one.amount_usd, one.period) for name, one in list_simple_budgets(connection, "key", [ref]).items()
        }

    set_simple_budget(connection, "key", ref, Decimal(2))
    assert simple() == {ref: (2, "total")}
    set_simple_budget(connection, "key", ref, Decimal("0.50"), "total")
    assert str(simple()[ref][0]) == "0.5"
    set_simple_budget(connection, "key", ref, Decimal(3), "month")
    assert simple() == {ref: (3, "month")}
    set_simple_budget(connection, "key", ref, None)
    set_simple_budget(connection, "key", ref, None)
    assert simple() == {}


def test_crud(connection, books):
    """A budget is shown with its counter, changed at once, and gone when deleted; what is infinite is shown as None."""
    values = {"scope": "key", "ref": str(KEY), "amount_usd": Decimal(1), "period": "total"}
    budget = insert_budget(connection, values)
    found = find_budget(connection, budget)
    assert found is not None
    assert (found.limit_usd, found.remaining_usd, found.resets_at, found.period_start) == (1, 1, None, None)
    update_budget(connection, budget, {"amount_usd": Decimal(5), "soft_limit_usd": Decimal(4)})
    assert find_budget(connection, budget).remaining_usd == 5
    delete_budget(connection, budget)
    assert find_budget(connection, budget) is None
    assert check_ledger(connection).problems == ()


@pytest.mark.anyio
async def test_the_hot_path(database_url, books):
    """The wrappers hold, give back whole and in part, tell who has a budget, and end a process."""
    budget = books.budget("key", KEY, 10, "month")
    mine = make_uuid7()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        assert await renew_lease(connection, mine, 60) is False
        assert await renew_lease(connection, mine, 60) is True
        assert await list_budgeted(connection) == {("key", str(KEY))}
        asks = [build_ask(ALICE, 4), build_ask(ALICE, 5, kind="escrow"), build_ask(ALICE, 2), build_ask({}, 7)]
        answers = await reserve(connection, mine, asks)
        assert [answer.granted_usd for answer in answers] == [4, 5, None, 7]
        assert [answer.budget_id for answer in answers] == [budget, budget, budget, None]
        assert [answer.reservation_id for answer in answers] == [ask.id for ask in asks]
        assert abs(answers[0].reserved_at - time.time()) < 5
        assert answers[0].resets_at is not None
        await release(connection, mine, [asks[0].id])
        await release_spare(connection, mine, [(asks[1].id, Decimal(3))])
        assert balance(books, budget)[1] == 3
        await end_process(connection, mine)
        assert await reap_all(connection) == 1
        assert balance(books, budget) == (3, 0, 0)
        await connection.execute("DROP TABLE ledger_p" + (datetime.now(UTC) + timedelta(days=62)).strftime("%Y%m"))
        assert await ensure_partitions(connection) == 1
        assert await roll_budgets(connection) == 0
    assert books.problems() == []
