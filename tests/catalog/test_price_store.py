"""The history of prices: only what differs is written, and what was known once stays known."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.catalog.price_data import CATALOGUE, MOCK, build_catalogue_rows, build_mock_rows
from app.catalog.price_edit_store import NewPrice, set_price
from app.catalog.price_store import find_price_changes, list_prices, list_prices_at, replace_prices
from app.catalog.prices import PriceBook, PriceRow
from app.db.engine import open_blocking_engine
from app.db.tables import snapshot_versions
from app.wire.usage import Usage

pytestmark = pytest.mark.anyio

SPANS = text("""
SELECT model, usd_per_unit, lower(valid), upper(valid), lower(known), upper(known) FROM price_versions
ORDER BY lower(known), model, lower(valid) NULLS FIRST
""")
VIEW = text("SELECT model, usd_per_unit, source FROM prices ORDER BY model, from_input_tokens")


def price(model, usd="1", *, token_class="input_tokens", source="genai-prices 1", start=0):
    return PriceRow(
        provider="acme",
        model=model,
        token_class=token_class,
        usd_per_unit=Decimal(usd),
        source=source,
        from_input_tokens=start,
    )


@pytest.fixture
def database_url(bare_database_url):
    """Have no prices but those of the test."""
    return bare_database_url


@pytest.fixture
def engine(database_url):
    found = open_blocking_engine(database_url)
    yield found
    found.dispose()


def replace(engine, rows, source=CATALOGUE, at=None):
    with engine.begin() as connection:
        return replace_prices(connection, rows, source, at)


def version(engine):
    with engine.connect() as connection:
        wanted = select(snapshot_versions.c.version).where(snapshot_versions.c.name == "prices")
        return connection.execute(wanted).scalar_one()


def read(engine, statement):
    with engine.connect() as connection:
        return [tuple(line) for line in connection.execute(statement)]


def clock(engine):
    with engine.connect() as connection:
        return connection.execute(select(func.clock_timestamp())).scalar_one()


def amounts(engine, at, known_at):
    with engine.connect() as connection:
        return {row.model: row.usd_per_unit for row in list_prices_at(connection, at, known_at)}


async def stored(database_url):
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        return sorted(await list_prices(connection), key=lambda row: (row.model, row.valid_from))


async def test_rows_come_back_as_they_were(database_url, engine):
    """What was stored first holds since ever and is listed to the last decimal."""
    rows = [price("a", "0.000000000130000"), price("b"), price("b", "2", start=200_000)]
    assert str(replace(engine, rows)) == "3 added, 0 removed, 0 changed"
    assert await stored(database_url) == rows


def test_the_same_rows_again_change_nothing(engine):
    """A restart with the same data writes nothing and does not make other processes read the prices again."""
    rows = build_catalogue_rows(datetime(2026, 11, 20, tzinfo=UTC))
    assert replace(engine, rows).count == len(rows)
    assert replace(engine, build_mock_rows(), MOCK).count == len(build_mock_rows())
    before = version(engine)
    assert replace(engine, rows).count == 0
    assert version(engine) == before


def test_a_newer_catalogue_with_the_same_price_changes_nothing(engine):
    """Another version of the catalogue is not written where it asks what the one before asked."""
    replace(engine, [price("a"), price("b")])
    diff = replace(engine, [price("a", source="genai-prices 2"), price("b", "2", source="genai-prices 2")])
    assert str(diff) == "0 added, 0 removed, 1 changed"
    assert [source for _, _, source in read(engine, VIEW)] == ["genai-prices 1", "genai-prices 2"]


def test_only_differences_are_written(engine):
    """New, changed and vanished rows are written, all in a few statements however many."""
    replace(engine, [price(name) for name in "abcd"])
    before = version(engine)
    diff = replace(engine, [price("a"), price("b", "2"), price("e"), price("f")])
    assert ({row.model for row in diff.added}, {row.model for row in diff.removed}) == ({"e", "f"}, {"c", "d"})
    assert [(old.usd_per_unit, new.usd_per_unit) for old, new in diff.changed] == [(1, 2)]
    assert [model for model, _, _ in read(engine, VIEW)] == ["a", "b", "e", "f"]
    assert before < version(engine) <= before + 3


def test_looking_changes_nothing(engine):
    """What an update would do can be asked without doing it."""
    replace(engine, [price("a")])
    before = version(engine)
    with engine.begin() as connection:
        assert find_price_changes(connection, [price("a", "2"), price("b")], CATALOGUE).count == 2
    assert version(engine) == before
    assert [usd for _, usd, _ in read(engine, VIEW)] == [1]


def test_a_change_is_known_beside_what_was_known_before(engine):
    """After a change the old price is known to have held until then, and it stays known what was thought before."""
    replace(engine, [price("a", "1")])
    between = clock(engine)
    replace(engine, [price("a", "2")])
    first, past, present = read(engine, SPANS)
    changed = first[5]
    assert first == ("a", 1, None, None, first[4], changed)
    assert past == ("a", 1, None, changed, changed, None)
    assert present == ("a", 2, changed, None, changed, None)
    later = changed + timedelta(days=1)
    assert amounts(engine, later, between) == {"a": 1}
    assert amounts(engine, later, clock(engine)) == {"a": 2}
    assert amounts(engine, between, clock(engine)) == {"a": 1}


def test_what_vanishes_and_comes_back_leaves_a_gap(engine):
    """A price that the catalogue dropped for a while did not hold meanwhile, and holds again from its return."""
    replace(engine, [price("a")])
    replace(engine, [])
    gone = clock(engine)
    replace(engine, [price("a", "3")])
    now = clock(engine)
    assert amounts(engine, gone, now) == {}
    assert amounts(engine, now, now) == {"a": 3}
    assert amounts(engine, gone - timedelta(days=1), now) == {"a": 1}


def test_a_class_that_is_new_holds_since_ever_and_a_new_step_from_now(engine):
    """What was never priced may price calls of the past; a step that a known class gets may not."""
    replace(engine, [price("a")])
    replace(engine, [price("a"), price("a", "5", start=100), price("a", "7", token_class="output_tokens")])
    with engine.connect() as connection:
        past, now = datetime(2020, 1, 1, tzinfo=UTC), clock(engine)
        rows = [(row.token_class, row.from_input_tokens) for row in list_prices_at(connection, past, now)]
    assert sorted(rows) == [("input_tokens", 0), ("output_tokens", 0)]


def test_two_changes_within_one_transaction(engine):
    """A transaction may change a price twice: both steps are on record, each with its instant."""
    with engine.begin() as connection:
        for usd in ("1", "2", "1", "3"):
            assert replace_prices(connection, [price("a", usd)], CATALOGUE).count == 1
    assert read(engine, VIEW) == [("a", 3, "genai-prices 1")]
    assert len(read(engine, SPANS)) == 7


def test_two_processes_at_once(database_url):
    """Processes that load at the same time do it one after the other, and only the first one writes."""
    rows = [price(str(number)) for number in range(200)]
    start, counts = threading.Barrier(4), []

    def load():
        own = open_blocking_engine(database_url)
        start.wait()
        counts.append(replace(own, rows).count)
        own.dispose()

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, 0, 0, 200]


async def test_a_price_loaded_ahead_takes_effect_by_itself(database_url, engine):
    """A price of a later instant is listed at once; the book uses it from that instant on, to the second."""
    replace(engine, [price("a", "1")])
    at = clock(engine).replace(microsecond=0) + timedelta(minutes=5)
    assert replace(engine, [price("a", "2")], at=at).count == 1
    assert replace(engine, [price("a", "1")]).count == 0
    assert replace(engine, [price("a", "2")], at=at).count == 0
    book = PriceBook.build(await stored(database_url))
    for seconds, usd in ((-0.001, 1), (0, 2), (3600, 2)):
        assert book.find_cost("acme", "a", Usage(input_tokens=1), at=at.timestamp() + seconds) == usd
    assert book.find_cost("acme", "a", Usage(input_tokens=1)) == 1


def test_what_was_loaded_ahead_gives_way_to_what_is_loaded_later(engine):
    """A load replaces what an earlier one had foreseen for the time after it, also where nothing holds yet."""
    replace(engine, [price("a")])
    at = clock(engine) + timedelta(minutes=5)
    replace(engine, [price("a", "2"), price("b", "2")], at=at)
    replace(engine, [price("a", "3"), price("b", "3")])
    now = clock(engine)
    assert amounts(engine, now, now) == {"a": 3, "b": 3}
    assert amounts(engine, at + timedelta(days=1), now) == {"a": 3, "b": 3}


async def test_other_sources_are_left_alone(database_url, engine):
    """Each source is replaced by itself, and an admin's price is none of the catalogue's business."""
    replace(engine, [price("m", source="mock")], MOCK)
    with engine.begin() as connection:
        new = NewPrice(provider="acme", model="a", token_class="input_tokens", usd_per_unit=Decimal(9))
        set_price(connection, new)
    replace(engine, [price("a"), price("b"), price("m", "5")])
    replace(engine, [price("b")])
    assert read(engine, VIEW) == [("a", 9, "admin"), ("b", 1, "genai-prices 1"), ("m", 1, "mock")]
    assert [row.origin for row in await stored(database_url) if row.valid_until > 1e11] == [
        "admin",
        "catalogue",
        "catalogue",
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE price_versions SET usd_per_unit = 2",
        "UPDATE price_versions SET valid = tstzrange(NULL, now())",
        "UPDATE price_versions SET known = tstzrange('2020-01-01', now())",
        "DELETE FROM price_versions",
        "TRUNCATE price_versions",
    ],
)
def test_history_is_not_rewritten(engine, statement):
    """The database refuses every change of a row but that it is not held true any more."""
    replace(engine, [price("a")])
    with pytest.raises(DBAPIError, match="history"), engine.begin() as connection:
        connection.execute(text(statement))
    with engine.begin() as connection:
        connection.execute(text("UPDATE price_versions SET known = tstzrange(lower(known), clock_timestamp())"))
    with pytest.raises(DBAPIError, match="history"), engine.begin() as connection:
        connection.execute(text("UPDATE price_versions SET known = tstzrange(lower(known), NULL)"))


def test_one_truth_at_a_time(engine):
    """The database refuses a second price for the same units, valid and known at the same time."""
    replace(engine, [price("a")])
    with pytest.raises(DBAPIError, match="one_truth"), engine.begin() as connection:
        connection.execute(
            text("""
            INSERT INTO price_versions (provider, model, token_class, origin, usd_per_unit, source, valid, known)
            SELECT provider, model, token_class, origin, 5, source, valid, known FROM price_versions
            """)
        )
