"""Pricing calls again: what is posted, that it is posted once, and that money is right everywhere afterwards."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, text

from app.catalog.price_edit_store import NewPrice, set_price
from app.catalog.price_store import replace_prices
from app.catalog.prices import USAGE_CLASSES, PriceBook, PriceRow
from app.catalog.rerate import Correction, RatedRequest, Rates, Tally, list_corrections
from app.catalog.rerate_run import load_rates, rerate_all, rerate_batch
from app.catalog.rerate_store import RateRange
from app.db.audit import COMMAND_LINE, Auditor
from app.db.engine import open_blocking_engine
from app.db.tables import ledger, requests
from app.wire.money import Line
from app.wire.usage import Usage

NOW = datetime.now(UTC)
BEGIN = NOW - timedelta(hours=2)
RANGE = RateRange(start=BEGIN, end=NOW + timedelta(hours=1))
AUDITOR = Auditor(b"a key for tests")
PRICES = {"input_tokens": "0.25", "output_tokens": "2"}


@pytest.fixture
def database_url(bare_database_url):
    """Have no prices but those of the test."""
    return bare_database_url


@pytest.fixture
def engine(database_url):
    found = open_blocking_engine(database_url)
    load(found, PRICES)
    yield found
    found.dispose()


def load(engine, prices):
    rows = [
        PriceRow(provider="mock", model="m", token_class=name, usd_per_unit=Decimal(usd), source="genai-prices 1")
        for name, usd in prices.items()
    ]
    with engine.begin() as connection:
        replace_prices(connection, rows, "genai-prices")


def correct(engine, name, usd, **changes):
    """Set a price that held since the beginning of the range."""
    new = NewPrice(
        provider="mock",
        model="m",
        token_class=name,
        usd_per_unit=Decimal(usd),
        **{"valid_from": BEGIN - timedelta(days=1)} | changes,
    )
    with engine.begin() as connection:
        set_price(connection, new)


def record(engine, *, cost, lines=None, kind="usage", factor=1, at=NOW, booked_at=None, **changes):
    """Insert a request as the recorder does, with the sums of its hour."""
    counts = dict.fromkeys(USAGE_CLASSES, 0) | {"input_tokens": 4, "output_tokens": 3}
    row = {
        "id": uuid4(),
        "request_time": at,
        "response_time": at,
        "request_id": "r",
        "provider": "mock",
        "model": "m",
        "endpoint": "chat",
        "status_code": 200,
        "cache_status": "disabled",
        "latency": 1.0,
        "attempts": 1,
        "estimated_cost": cost,
    }
    posted = [
        {
            "request_id": row["id"],
            "request_time": at,
            "entry": 0,
            "token_class": name,
            "kind": kind,
            "booked_at": booked_at or at,
            "provider": "mock",
            "model": "m",
            "quantity": 1,
            "factor": factor,
            "amount_usd": amount,
        }
        for name, amount in (lines or {}).items()
    ]
    with engine.begin() as connection:
        connection.execute(insert(requests).values(**row | counts | changes))
        if posted:
            connection.execute(insert(ledger), posted)
        connection.execute(
            text("""
            INSERT INTO usage_hourly (hour, provider, model, endpoint, cache_status, status_code, requests,
                                      estimated_cost, unknown_cost)
            VALUES (date_trunc('hour', CAST(:at AS timestamptz), 'UTC'), 'mock', 'm', 'chat', 'disabled', 200, 1,
                    coalesce(:cost, 0), CASE WHEN CAST(:cost AS numeric) IS NULL THEN 1 ELSE 0 END)
            ON CONFLICT (hour, user_id, api_key_id, team_id, organization_id, provider, model, endpoint, cache_status,
                         status_code)
            DO UPDATE SET requests = usage_hourly.requests + 1,
                          estimated_cost = usage_hourly.estimated_cost + excluded.estimated_cost,
                          unknown_cost = usage_hourly.unknown_cost + excluded.unknown_cost
            """),
            {"at": at, "cost": cost},
        )
    return row["id"]


def rerate(engine, wanted=RANGE, *, dry_run=False):
    return rerate_all(engine, wanted, None if dry_run else AUDITOR, COMMAND_LINE).total


def read(engine, statement, **values):
    with engine.connect() as connection:
        return [tuple(line) for line in connection.execute(text(statement), values)]


def cost_of(engine, request_id):
    return read(engine, "SELECT estimated_cost FROM requests WHERE id = :id", id=request_id)[0][0]


def lines_of(engine, request_id):
    found = read(
        engine,
        "SELECT entry, token_class, amount_usd FROM ledger WHERE request_id = :id ORDER BY entry, token_class",
        id=request_id,
    )
    return [(entry, name, amount.normalize()) for entry, name, amount in found]


def usual(engine, **changes):
    return record(engine, cost=Decimal(7), lines={"input_tokens": Decimal(1), "output_tokens": Decimal(6)}, **changes)


def test_only_the_difference_is_posted_and_only_once(engine):
    """A corrected price posts a line for each class that it changes; running again or at a trial posts nothing."""
    request_id = usual(engine)
    assert rerate(engine).corrected == 0
    correct(engine, "output_tokens", "1.5")
    trial = rerate(engine, dry_run=True)
    assert (trial.corrected, trial.difference_usd) == (1, Decimal("-1.5"))
    assert cost_of(engine, request_id) == 7
    assert rerate(engine).difference_usd == Decimal("-1.5")
    assert rerate(engine).corrected == 0
    assert cost_of(engine, request_id) == Decimal("5.5")
    assert lines_of(engine, request_id) == [
        (0, "input_tokens", 1),
        (0, "output_tokens", 6),
        (1, "output_tokens", Decimal("-1.5")),
    ]
    assert read(engine, "SELECT estimated_cost, unknown_cost FROM usage_hourly") == [(Decimal("5.5"), 0)]


def test_what_was_not_priced_gets_its_lines(engine):
    """A call without a cost gets full lines, also when the price is zero, and counts as known from then on."""
    load(engine, {})
    request_id = record(engine, cost=None, at=datetime.now(UTC))
    assert rerate(engine).unpriced == 1
    correct(engine, "input_tokens", "0")
    correct(engine, "output_tokens", "0")
    assert rerate(engine).corrected == 1
    assert cost_of(engine, request_id) == 0
    assert rerate(engine).corrected == 0
    assert read(engine, "SELECT estimated_cost, unknown_cost FROM usage_hourly") == [(0, 0)]


def test_a_free_call_may_turn_out_not_to_be(engine):
    """A call that cost nothing, so that it has no lines, gets them when a price turns up."""
    request_id = record(engine, cost=Decimal(0))
    assert rerate(engine).difference_usd == 7
    assert lines_of(engine, request_id) == [(1, "input_tokens", 1), (1, "output_tokens", 6)]
    assert rerate(engine).corrected == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"cache_status": "hit"},
        {"cache_status": "semantic-hit"},
        {"attempts": 0},
        dict.fromkeys(USAGE_CLASSES),
        {"provider": None},
    ],
)
def test_who_paid_nobody_is_left_alone(engine, changes):
    """Hits of the cache, calls that never went out and calls of unknown use are not priced again."""
    record(engine, cost=Decimal(0), **changes)
    correct(engine, "output_tokens", "9")
    assert rerate(engine).requests == 0


def test_the_factor_of_the_lines_stays(engine):
    """Discount and margin are those of the time, not those of today; a ceiling's lines say nothing of them."""
    usual(engine, factor=Decimal("0.5"))
    assert rerate(engine).difference_usd == Decimal("-3.5")
    ceiling = record(engine, cost=Decimal(70), lines={"input_tokens": Decimal(70)}, kind="ceiling")
    assert rerate(engine).difference_usd == -63
    assert cost_of(engine, ceiling) == 7


def test_prices_are_those_of_when_the_call_was_booked(engine):
    """The price that holds when the money was held counts; what changed after that does not."""
    correct(engine, "output_tokens", "5", valid_from=NOW - timedelta(minutes=30))
    before = usual(engine, at=NOW - timedelta(minutes=29), booked_at=NOW - timedelta(minutes=31))
    after = usual(engine, at=NOW - timedelta(minutes=29))
    assert rerate(engine).corrected == 1
    assert (cost_of(engine, before), cost_of(engine, after)) == (7, 16)


def test_a_cost_in_one_sum_is_split_only_when_it_changes(engine):
    """Calls of before there was a ledger have one line, which gives way to the classes when it is not right."""
    request_id = record(engine, cost=Decimal(7), lines={"total": Decimal(7)})
    assert rerate(engine).corrected == 0
    correct(engine, "output_tokens", "3")
    assert rerate(engine).difference_usd == 3
    assert lines_of(engine, request_id) == [
        (0, "total", 7),
        (1, "input_tokens", 1),
        (1, "output_tokens", 9),
        (1, "total", -7),
    ]
    assert rerate(engine).corrected == 0


def test_only_the_wanted_range(engine):
    """Provider, model and time narrow down what is priced again."""
    usual(engine)
    correct(engine, "output_tokens", "3")
    for changes in ({"provider": "other"}, {"model": "other"}, {"end": NOW}, {"start": NOW + timedelta(seconds=1)}):
        given_range = {"start": RANGE.start, "end": RANGE.end, **changes}
        assert rerate(engine, RateRange(**given_range), dry_run=True).requests == 0
    assert rerate(engine, RateRange(start=NOW, end=RANGE.end, provider="mock", model="m"), dry_run=True).requests == 1


def test_batches_go_through_everything_once(engine):
    """A range is done batch by batch, also where many calls share an instant."""
    for number in range(7):
        usual(engine, at=NOW - timedelta(minutes=number // 3))
    correct(engine, "output_tokens", "3")
    with engine.begin() as connection:
        rates = load_rates(connection, RANGE)
    tally, place, batches = Tally(), None, 0
    while place is not None or not batches:
        with engine.begin() as connection:
            batch = rerate_batch(connection, RANGE, rates, after=place, limit=3)
        tally.merge(batch.tally)
        place, batches = batch.place, batches + 1
    assert (batches, tally.total.requests, tally.total.corrected, tally.total.difference_usd) == (3, 7, 7, 21)
    assert rerate(engine).corrected == 0


def test_two_runs_at_once_post_once(engine, database_url):
    """Runs at the same time post each difference once between them."""
    ids = [usual(engine) for _ in range(30)]
    correct(engine, "output_tokens", "3")
    start = threading.Barrier(3)

    def run():
        own = open_blocking_engine(database_url)
        start.wait()
        rerate(own)
        own.dispose()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {cost_of(engine, request_id) for request_id in ids} == {10}
    assert read(engine, "SELECT count(*) FROM ledger WHERE kind = 'adjustment'") == [(30,)]


def test_budgets_follow(engine):
    """The counters of the period in which a call was booked take part in its correction."""
    read(engine, "SELECT 1")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO budgets (id, scope, ref, amount_usd, period) VALUES (:id, 'model', 'm', 100, 'total')"),
            {"id": uuid4()},
        )
    usual(engine)
    before = read(engine, "SELECT spent_usd FROM budget_counters")
    correct(engine, "output_tokens", "3")
    rerate(engine)
    assert read(engine, "SELECT spent_usd FROM budget_counters")[0][0] - before[0][0] == 3


def test_corrections_are_in_the_audit_log(engine):
    """Each batch that corrects something leaves a line with what it came to."""
    usual(engine)
    rerate(engine)
    assert read(engine, "SELECT count(*) FROM audit_log") == [(0,)]
    correct(engine, "output_tokens", "3")
    rerate(engine)
    found = read(engine, "SELECT action, after -> 'corrected' -> 0 ->> 'difference_usd' FROM audit_log")
    assert found == [("prices.rerate", "3.000000000000000")]


classes = st.sampled_from(("input_tokens", "output_tokens", "cache_read_tokens", "total"))
amounts = st.decimals(-5, 5, places=15)


@given(st.dictionaries(classes, amounts), st.dictionaries(classes, st.decimals(0, 5, places=15)), st.booleans())
def test_after_the_corrections_the_sum_is_right(posted, wanted, known):
    """Whatever is on the ledger, with the corrections it comes to what the call costs; and then there are none."""
    cost = sum(posted.values(), Decimal(0)) if known or posted else None
    lines = [Line(token_class=name, quantity=1, usd_per_unit=usd, amount_usd=usd) for name, usd in wanted.items()]
    request = build_request(cost, posted)
    after = dict(posted)
    for line in list_corrections(request, lines):
        after[line.token_class] = after.get(line.token_class, Decimal(0)) + line.amount_usd
    total = sum(after.values(), Decimal(0))
    assert total == sum(wanted.values(), Decimal(0))
    if cost is not None or wanted:
        assert list_corrections(build_request(total, after), lines) == []


def build_request(cost, posted):
    return RatedRequest(
        id=UUID(int=1),
        request_time=NOW,
        booked_at=NOW,
        provider="mock",
        model="m",
        usage=Usage(),
        cost=cost,
        posted=posted,
        factor=None,
    )


def test_a_class_that_is_not_used_any_more_is_taken_back():
    """What was booked for a class that the call does not cost any more is posted with the opposite sign."""
    found = list_corrections(build_request(Decimal(3), {"reserved": Decimal(3)}), [])
    assert [(line.token_class, line.amount_usd, line.quantity) for line in found] == [("reserved", -3, 0)]
    assert isinstance(found[0], Correction)


def test_what_cost_half_in_a_batch_is_priced_by_what_is_known_now():
    """Half of the list's price where there is none of the tier; that price, and no half of it, once there is one."""
    rows = [
        PriceRow(provider="openai", model="m", token_class=name, usd_per_unit=Decimal(1), source="genai-prices 1")
        for name in ("input_tokens", "web_searches")
    ]
    request = RatedRequest(
        id=uuid4(),
        request_time=NOW,
        booked_at=NOW,
        provider="openai",
        model="m",
        usage=Usage(input_tokens=1, web_searches=1, service_tier="batch"),
        cost=Decimal("1.2"),
        posted={},
        factor=Decimal("0.8"),
    )
    half = Rates(PriceBook.build(rows), {}).find_lines(request)
    assert half is not None
    assert [line.amount_usd for line in half] == [Decimal("0.4"), Decimal("0.8")]
    tier = PriceRow(
        provider="openai", model="m", token_class="input_tokens@batch", usd_per_unit=Decimal("0.6"), source="admin"
    )
    named = Rates(PriceBook.build([*rows, tier]), {}).find_lines(request)
    assert named is not None
    assert [line.amount_usd for line in named] == [Decimal("0.48"), Decimal("0.8")]
