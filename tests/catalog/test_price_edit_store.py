"""Prices that people set: bitemporal truth whatever is written in which order, and what is refused."""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from app.catalog.price_edit_store import (
    NewPrice,
    PriceFilter,
    count_prices,
    end_price,
    list_price_page,
    set_price,
)
from app.catalog.price_store import list_prices_between, replace_prices
from app.catalog.prices import PriceBook, PriceRow
from app.db.engine import open_blocking_engine
from app.errors import BadRequestError, ConflictError, NotFoundError
from app.wire.usage import Usage

START = datetime(2030, 1, 1, tzinfo=UTC)
GRID = [START + timedelta(days=day) for day in range(6)]
numbers = itertools.count()


@pytest.fixture(scope="module")
def engine(bare_module_database_url):
    found = open_blocking_engine(bare_module_database_url)
    yield found
    found.dispose()


@pytest.fixture
def model():
    return f"m{next(numbers)}"


def new(model, usd="1", **changes):
    values = {"provider": "acme", "model": model, "token_class": "input_tokens", "usd_per_unit": Decimal(usd)}
    return NewPrice(**values | changes)


def put(engine, price):
    with engine.begin() as connection:
        return set_price(connection, price)


def end(engine, price_id, until=None):
    with engine.begin() as connection:
        return end_price(connection, price_id, until)


def load(engine, model, usd, at=None):
    """Make the catalogue of this model ask `usd` from `at` on; None: nothing."""
    row = PriceRow(
        provider="acme", model=model, token_class="input_tokens", usd_per_unit=Decimal(usd or 0), source=f"{model} 1"
    )
    with engine.begin() as connection:
        replace_prices(connection, [] if usd is None else [row], row.source, at)


def clock(engine):
    with engine.connect() as connection:
        return connection.execute(select(func.clock_timestamp())).scalar_one()


def look(engine, model, at=None, known_at=None):
    """Return the prices that apply."""
    with engine.connect() as connection:
        wanted = PriceFilter(model=model, at=at, known_at=known_at)
        return [(row.origin, row.usd_per_unit) for row in list_price_page(connection, wanted, limit=9)]


def count_lines(engine, model):
    with engine.connect() as connection:
        return count_prices(connection, PriceFilter(model=model, history=True))


usd = st.integers(1, 4).map(str)
spans = st.tuples(st.integers(0, 5), st.integers(0, 6)).filter(lambda span: span[0] < span[1])
writes = st.one_of(
    st.tuples(st.just("set"), usd, spans),
    st.tuples(st.just("end"), st.integers(0, 9), st.integers(0, 6)),
    st.tuples(st.just("load"), st.none() | usd, st.integers(0, 5)),
)


class Truth:
    """What ought to hold at each instant of the grid, by the plainest means."""

    def __init__(self):
        self.admin, self.catalogue, self.seen = [None] * 6, [None] * 6, False

    def snapshot(self):
        both = zip(self.admin, self.catalogue, strict=True)
        return [[("admin", own)] if own else [("catalogue", other)] if other else [] for own, other in both]

    def load(self, usd, at):
        begin = at if self.seen else 0
        old, asked = self.catalogue[at], usd and Decimal(usd)
        if old == asked:
            return
        self.catalogue[at:] = [asked] * (6 - at)
        if not self.seen:
            self.catalogue[begin:] = [asked] * (6 - begin)
        self.seen = True

    def set(self, usd, start, stop):
        self.admin[start:stop] = [Decimal(usd)] * (stop - start)


def write(engine, model, truth, operation):
    kind, what, when = operation
    if kind == "load":
        truth.load(what, when)
        load(engine, model, what, GRID[when])
    elif kind == "set":
        stop = when[1]
        truth.set(what, *when)
        put(engine, new(model, what, valid_from=GRID[when[0]], valid_until=GRID[stop] if stop < 6 else None))
    else:
        end_one(engine, model, truth, what, when)


def end_one(engine, model, truth, which, until):
    with engine.connect() as connection:
        wanted = PriceFilter(model=model, history=True, known_at=clock(engine))
        held = [row for row in list_price_page(connection, wanted, limit=99) if row.origin == "admin"]
    if not held:
        return
    price = held[which % len(held)]
    days = [
        day for day, at in enumerate(GRID) if price.valid_from <= at < (price.valid_until or at + GRID[1].resolution)
    ]
    stop = GRID[until] if until < 6 and (price.valid_until is None or GRID[until] < price.valid_until) else None
    for day in days:
        if stop is None or GRID[day] >= stop:
            truth.admin[day] = None
    end(engine, price.id, stop)


@settings(max_examples=40, deadline=None)
@given(st.lists(writes, min_size=1, max_size=7))
def test_at_most_one_price_holds_and_the_past_stays_known(engine, operations):
    """After any writes, each instant has the price it ought to have, as known now and as known after every write."""
    model, truth, remembered = f"m{next(numbers)}", Truth(), []
    for operation in operations:
        write(engine, model, truth, operation)
        remembered.append((clock(engine), truth.snapshot()))
    for known_at, expected in remembered:
        assert [look(engine, model, at, known_at) for at in GRID] == expected
    with engine.connect() as connection:
        rows = [row for row in list_prices_between(connection, GRID[0], GRID[-1]) if row.model == model]
    book = PriceBook.build(rows)
    costs = [book.find_cost("acme", model, Usage(input_tokens=1), at=at.timestamp()) for at in GRID]
    assert costs == [found[0][1] if found else None for found in truth.snapshot()]


def test_without_a_time_it_holds_from_now_on(engine, model):
    """A price that is set without a time holds from that moment, and calls before it keep theirs."""
    load(engine, model, "1")
    before = clock(engine)
    price, changed = put(engine, new(model, "2"))
    assert changed
    assert price.valid_until is None
    assert look(engine, model) == [("admin", 2)]
    assert look(engine, model, at=before) == [("catalogue", 1)]


def test_setting_the_same_again_changes_nothing(engine, model):
    """The same price for a time in which it holds already is not written again."""
    first, _ = put(engine, new(model, "2", note="by contract"))
    again, changed = put(engine, new(model, "2", note="by contract"))
    assert (again, changed) == (first, False)
    assert put(engine, new(model, "2"))[1]


def test_a_late_correction_reaches_into_the_past(engine, model):
    """A price may be set for a time that is over; what was known before of that time stays known."""
    load(engine, model, "1")
    known = clock(engine)
    past = known - timedelta(days=30)
    put(engine, new(model, "3", valid_from=past, valid_until=known - timedelta(days=10)))
    at = past + timedelta(days=1)
    assert look(engine, model, at=at) == [("admin", 3)]
    assert look(engine, model, at=at, known_at=known) == [("catalogue", 1)]
    assert look(engine, model) == [("catalogue", 1)]


def test_ending_a_price_gives_the_catalogue_its_say_again(engine, model):
    """An ended price holds no more, not even in its past; with an instant it holds until then."""
    load(engine, model, "1")
    price, _ = put(engine, new(model, "2", valid_from=GRID[1]))
    end(engine, price.id, GRID[3])
    assert look(engine, model, at=GRID[2]) == [("admin", 2)]
    assert look(engine, model, at=GRID[3]) == [("catalogue", 1)]
    with engine.connect() as connection:
        (held,) = [
            row
            for row in list_price_page(
                connection, PriceFilter(model=model, history=True, known_at=clock(engine)), limit=9
            )
            if row.origin == "admin"
        ]
    end(engine, held.id)
    assert look(engine, model, at=GRID[2]) == [("catalogue", 1)]


def test_the_whole_class_is_the_admins(engine, model):
    """Where an admin priced a class, no step of the catalogue for it applies, and the view says so too."""
    with engine.begin() as connection:
        rows = [
            PriceRow(
                provider="acme",
                model=model,
                token_class="input_tokens",
                usd_per_unit=Decimal(1),
                source=f"{model} 1",
                from_input_tokens=start,
            )
            for start in (0, 1000)
        ]
        replace_prices(connection, rows, f"{model} 1")
    put(engine, new(model, "5"))
    assert look(engine, model) == [("admin", 5)]
    view = text("SELECT usd_per_unit, source FROM prices WHERE model = :model")
    with engine.connect() as connection:
        assert [tuple(line) for line in connection.execute(view, {"model": model})] == [(5, "admin")]


def test_a_step_needs_a_price_below_it(engine, model):
    """A price from some tokens on is refused where smaller calls would have none, and so is taking theirs away."""
    with pytest.raises(ConflictError):
        put(engine, new(model, "2", from_input_tokens=1000))
    base, _ = put(engine, new(model, "1", valid_from=GRID[1]))
    with pytest.raises(ConflictError):
        put(engine, new(model, "2", from_input_tokens=1000, valid_from=GRID[0]))
    step, _ = put(engine, new(model, "2", from_input_tokens=1000, valid_from=GRID[2]))
    with pytest.raises(ConflictError):
        end(engine, base.id)
    end(engine, step.id)
    end(engine, base.id)
    assert look(engine, model, at=GRID[3]) == []


def test_what_is_refused(engine, model):
    """An empty time, an unknown id, a price that was ended before and one of the catalogue."""
    with pytest.raises(BadRequestError):
        put(engine, new(model, valid_from=GRID[1], valid_until=GRID[1]))
    with pytest.raises(NotFoundError):
        end(engine, 10**12)
    price, _ = put(engine, new(model, valid_from=GRID[1], valid_until=GRID[2]))
    with pytest.raises(ConflictError):
        end(engine, price.id, GRID[2])
    end(engine, price.id)
    with pytest.raises(ConflictError):
        end(engine, price.id)
    load(engine, model, "1")
    with engine.connect() as connection:
        (catalogue,) = list_price_page(connection, PriceFilter(model=model), limit=9)
    with pytest.raises(ConflictError):
        end(engine, catalogue.id)


def test_pages(engine, model):
    """Prices come in order, a page after the other, each once; with `history` also what holds no more."""
    for number in range(5):
        put(engine, new(f"{model}-{number}"))
    put(engine, new(f"{model}-0", "7"))
    seen, last = [], None
    with engine.connect() as connection:
        wanted = PriceFilter(provider="acme", history=True)
        total = count_prices(connection, wanted)
        while page := list_price_page(connection, wanted, limit=2, after=last):
            seen += page
            last = page[-1]
    assert len(seen) == len({row.id for row in seen}) == total
    assert [row.model for row in seen] == sorted(row.model for row in seen)
    assert count_lines(engine, f"{model}-0") == 3
