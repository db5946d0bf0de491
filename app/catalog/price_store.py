"""The history of prices in Postgres: what the price book reads of it, and how the catalogue's prices get in."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from typing import cast as as_type

from sqlalchemy import ColumnElement, Connection, Double, Executable, cast, extract, func, literal, select, text

from app.catalog.price_diff import Key, PriceDiff, compare_prices, key_of
from app.catalog.prices import EVER, NEVER, Origin, PriceRow
from app.db.connection import Connection as HotConnection
from app.db.tables import price_versions
from app.db.tables.columns import INSTANT

Line = tuple[str, str, str, int, Decimal, str, Origin, float | None, float | None]

# What is to come is read as well, and what is just over: rows of calls are written a little after the call.
CURRENT = """
SELECT provider, model, token_class, from_input_tokens, usd_per_unit, source, origin,
       CAST(extract(epoch FROM lower(valid)) AS float8), CAST(extract(epoch FROM upper(valid)) AS float8)
FROM price_versions
WHERE upper_inf(known) AND (upper_inf(valid) OR upper(valid) > now() - interval '1 hour')
"""
_price = price_versions.c
_LINE = select(
    _price.provider,
    _price.model,
    _price.token_class,
    _price.from_input_tokens,
    _price.usd_per_unit,
    _price.source,
    _price.origin,
    cast(extract("epoch", func.lower(_price.valid, type_=INSTANT)), Double),
    cast(extract("epoch", func.upper(_price.valid, type_=INSTANT)), Double),
)

# Later than everything that is known, whatever the clock does: two changes never share an instant.
NEXT_INSTANT = text("""
SELECT greatest(clock_timestamp(), max(lower(known)) + interval '1 microsecond', max(upper(known)))
FROM price_versions
""")

# A statement however many rows: each raises the version of the price snapshot. What was held true before `start` is
# known again, now with that end.
RETIRE = text("""
WITH gone AS (
    SELECT * FROM unnest(CAST(:providers AS text[]), CAST(:models AS text[]), CAST(:classes AS text[]),
                         CAST(:starts AS bigint[])) AS one (provider, model, token_class, from_input_tokens)
), retired AS (
    UPDATE price_versions AS price SET known = tstzrange(lower(price.known), :instant)
    FROM gone
    WHERE price.provider = gone.provider AND price.model = gone.model AND price.token_class = gone.token_class
      AND price.from_input_tokens = gone.from_input_tokens AND price.origin = 'catalogue' AND upper_inf(price.known)
      AND (upper_inf(price.valid) OR upper(price.valid) > :start)
    RETURNING price.*
)
INSERT INTO price_versions
    (provider, model, token_class, from_input_tokens, origin, usd_per_unit, source, note, valid, known)
SELECT provider, model, token_class, from_input_tokens, origin, usd_per_unit, source, note,
       valid * tstzrange(NULL, :start), tstzrange(:instant, NULL)
FROM retired WHERE valid && tstzrange(NULL, :start)
""")

# The first price of a class counts for all time before it: nobody knows better, and calls that came earlier can then
# be priced. Every other begins at `start`.
INSERT = text("""
INSERT INTO price_versions
    (provider, model, token_class, from_input_tokens, origin, usd_per_unit, source, valid, known)
SELECT new.provider, new.model, new.token_class, new.start, 'catalogue', new.amount, new.source,
       tstzrange(CASE WHEN seen.provider IS NOT NULL THEN CAST(:start AS timestamptz) END, NULL),
       tstzrange(:instant, NULL)
FROM unnest(CAST(:providers AS text[]), CAST(:models AS text[]), CAST(:classes AS text[]), CAST(:starts AS bigint[]),
            CAST(:amounts AS numeric[]), CAST(:sources AS text[]))
    AS new (provider, model, token_class, start, amount, source)
LEFT JOIN (SELECT DISTINCT provider, model, token_class FROM price_versions WHERE origin = 'catalogue') AS seen
    ON (seen.provider, seen.model, seen.token_class) = (new.provider, new.model, new.token_class)
""")


async def list_prices(connection: HotConnection) -> list[PriceRow]:
    """Return every price that is known now and holds now, will hold or held a moment ago."""
    cursor = await connection.execute(CURRENT)
    known: dict[object, Any] = {}
    return [_read_row(as_type(Line, _share(line, known))) async for line in cursor]


def _share(line: tuple[object, ...], known: dict[object, Any]) -> tuple[object, ...]:
    """Return a line whose values are those of earlier lines where they are equal: thousands of prices say the same."""
    return tuple(known.setdefault((type(value), value), value) for value in line)


def list_prices_between(connection: Connection, start: datetime, end: datetime) -> list[PriceRow]:
    """Return every price that is known now to have held at some time from `start` to `end`."""
    times = func.tstzrange(literal(start, INSTANT), literal(end, INSTANT), "[]")
    return _read_rows(connection, _LINE.where(func.upper_inf(_price.known), _price.valid.op("&&")(times)))


def list_prices_at(
    connection: Connection, at: datetime, known_at: datetime, origin: Origin | None = None
) -> list[PriceRow]:
    """Return every price that, as known at one instant, held at another."""
    wanted = _LINE.where(holds(_price.valid, at), holds(_price.known, known_at))
    return _read_rows(connection, wanted if origin is None else wanted.where(_price.origin == origin))


def holds(times: ColumnElement[Any], at: datetime) -> ColumnElement[bool]:
    """Return the condition that an instant lies within a time."""
    return times.op("@>", is_comparison=True)(literal(at, INSTANT))


def lock_prices(connection: Connection) -> datetime:
    """Let one transaction at a time change prices, and return the instant at which it does."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("relaycore_prices"))))
    return connection.execute(NEXT_INSTANT).scalar_one()


def find_price_changes(
    connection: Connection, rows: Sequence[PriceRow], source: str, at: datetime | None = None
) -> PriceDiff:
    """Return what `replace_prices` would change."""
    instant = lock_prices(connection)
    return _compare(connection, rows, source, at or instant, instant)


def replace_prices(
    connection: Connection, rows: Sequence[PriceRow], source: str, at: datetime | None = None
) -> PriceDiff:
    """Make `rows` the prices of `source` (any version of it) from `at` on, default now, and return what changed.

    Prices of other sources and of admins stay as they are. Nothing is written when nothing differs. The caller's
    transaction makes it all or nothing; it waits for others that do the same.
    """
    instant = lock_prices(connection)
    start = at or instant
    diff = _compare(connection, rows, source, start, instant)
    times = {"start": start, "instant": instant}
    come = [*diff.added, *(new for _, new in diff.changed)]
    if diff.count:
        connection.execute(RETIRE, _key_columns([key_of(row) for row in (*come, *diff.removed)]) | times)
    if come:
        amounts = {"amounts": [row.usd_per_unit for row in come], "sources": [row.source for row in come]}
        connection.execute(INSERT, _key_columns([key_of(row) for row in come]) | amounts | times)
    return diff


def _compare(
    connection: Connection, rows: Sequence[PriceRow], source: str, at: datetime, instant: datetime
) -> PriceDiff:
    return compare_prices(list_prices_at(connection, at, instant, "catalogue"), rows, source)


def _read_rows(connection: Connection, statement: Executable) -> list[PriceRow]:
    return [_read_row(as_type(Line, tuple(line))) for line in connection.execute(statement)]


def _read_row(line: Line) -> PriceRow:
    provider, model, token_class, start, price, source, origin, valid_from, valid_until = line
    return PriceRow(
        provider=provider,
        model=model,
        token_class=token_class,
        from_input_tokens=start,
        usd_per_unit=price,
        source=source,
        origin=origin,
        valid_from=EVER if valid_from is None else valid_from,
        valid_until=NEVER if valid_until is None else valid_until,
    )


def _key_columns(keys: Sequence[Key]) -> dict[str, object]:
    providers, models, classes, starts = ([key[part] for key in keys] for part in range(4))
    return {"providers": providers, "models": models, "classes": classes, "starts": starts}
