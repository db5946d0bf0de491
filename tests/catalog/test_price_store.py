"""The `prices` table: each source is replaced by itself, and only what differs is written."""

from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
from sqlalchemy import insert, select

from app.catalog.price_data import CATALOGUE, MOCK, build_catalogue_rows, build_mock_rows
from app.catalog.price_store import list_prices, replace_prices
from app.catalog.prices import PriceRow
from app.db.engine import open_blocking_engine
from app.db.tables import prices, snapshot_versions

pytestmark = pytest.mark.anyio


def price(model, usd="1", *, token_class="input_tokens", source="genai-prices 1"):
    return PriceRow(provider="acme", model=model, token_class=token_class, usd_per_unit=Decimal(usd), source=source)


@pytest.fixture
def engine(database_url):
    found = open_blocking_engine(database_url)
    yield found
    found.dispose()


def replace(engine, rows, source=CATALOGUE):
    with engine.begin() as connection:
        return replace_prices(connection, rows, source)


def version(engine):
    with engine.connect() as connection:
        wanted = select(snapshot_versions.c.version).where(snapshot_versions.c.name == "prices")
        return connection.execute(wanted).scalar_one()


async def stored(database_url):
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        return sorted(await list_prices(connection), key=lambda row: row.model)


async def test_rows_come_back_as_they_were(database_url, engine):
    """What was stored is what is listed, to the last decimal."""
    rows = [price("a", "0.000000000130000"), price("b")]
    assert replace(engine, rows) == 2
    assert await stored(database_url) == rows


def test_the_same_rows_again_change_nothing(engine):
    """A restart with the same data writes nothing and does not make other processes read the prices again."""
    rows = build_catalogue_rows(datetime(2026, 11, 20, tzinfo=UTC))
    assert replace(engine, rows) == len(rows)
    assert replace(engine, build_mock_rows(), MOCK) == len(build_mock_rows())
    before = version(engine)
    assert replace(engine, rows) == 0
    assert version(engine) == before


async def test_only_differences_are_written(database_url, engine):
    """New, changed and vanished rows are written, all in a few statements however many."""
    replace(engine, [price(name) for name in "abcd"])
    before = version(engine)
    wanted = [price("a"), price("b", "2"), price("e"), price("f")]
    assert replace(engine, wanted) == 5
    assert await stored(database_url) == wanted
    assert before < version(engine) <= before + 3


async def test_other_sources_are_left_alone(database_url, engine):
    """An admin's price stays and keeps its place against the catalogue's; a newer version replaces an older one."""
    admin = price("a", "9", source="admin")
    with engine.begin() as connection:
        connection.execute(
            insert(prices).values(
                provider="acme", model="a", token_class="input_tokens", usd_per_unit=Decimal(9), source="admin"
            )
        )
    replace(engine, [price("m", source="mock")], MOCK)
    replace(engine, [price("a"), price("b"), price("c")])
    newer = price("b", source="genai-prices 2")
    replace(engine, [price("a", source="genai-prices 2"), newer])
    assert await stored(database_url) == [admin, newer, price("m", source="mock")]
