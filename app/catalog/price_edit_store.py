"""Prices that people set, in Postgres: set, ended and looked up with their history."""

from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, exists, func, literal, or_, select, text, tuple_

from app.catalog.price_store import holds, lock_prices
from app.catalog.prices import MILLION, Origin
from app.db.tables import price_versions
from app.db.tables.columns import INSTANT
from app.errors import BadRequestError, ConflictError, NotFoundError

SOURCE = "admin"
NAMES = ("provider", "model", "token_class")

# What was set for other times stays: it is known again, without the time that is taken from it.
CUT = text("""
WITH retired AS (
    UPDATE price_versions SET known = tstzrange(lower(known), :instant)
    WHERE provider = :provider AND model = :model AND token_class = :token_class
      AND from_input_tokens = :from_input_tokens AND origin = 'admin' AND upper_inf(known)
      AND valid && tstzrange(CAST(:start AS timestamptz), CAST(:end AS timestamptz))
    RETURNING *
)
INSERT INTO price_versions
    (provider, model, token_class, from_input_tokens, origin, usd_per_unit, source, note, valid, known)
SELECT provider, model, token_class, from_input_tokens, origin, usd_per_unit, source, note, rest,
       tstzrange(:instant, NULL)
FROM retired, unnest(
    tstzmultirange(valid) - tstzmultirange(tstzrange(CAST(:start AS timestamptz), CAST(:end AS timestamptz)))) AS rest
""")
SET = text("""
INSERT INTO price_versions
    (provider, model, token_class, from_input_tokens, origin, usd_per_unit, source, note, valid, known)
VALUES (:provider, :model, :token_class, :from_input_tokens, 'admin', :usd_per_unit, :source, :note,
        tstzrange(CAST(:start AS timestamptz), CAST(:end AS timestamptz)), tstzrange(:instant, NULL))
RETURNING id
""")
UNCOVERED = text("""
WITH held AS (
    SELECT from_input_tokens, valid FROM price_versions
    WHERE provider = :provider AND model = :model AND token_class = :token_class
      AND origin = 'admin' AND upper_inf(known)
)
SELECT min(from_input_tokens) FROM held AS step
WHERE from_input_tokens > 0
  AND NOT coalesce((SELECT range_agg(valid) FROM held WHERE from_input_tokens = 0) @> step.valid, false)
""")
_price = price_versions.c
_own = price_versions.alias("own").c
_LINE = select(
    *(column for column in price_versions.columns if column.name not in {"valid", "known"}),
    func.lower(_price.valid).label("valid_from"),
    func.upper(_price.valid).label("valid_until"),
    func.lower(_price.known).label("known_from"),
    func.upper(_price.known).label("known_until"),
)
_ORDER = (_price.provider, _price.model, _price.token_class, _price.from_input_tokens, _price.id)


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price with its two times: when it holds (`valid_*`), and when it was held true (`known_*`).

    None is no bound. `usd_per_million` is the same price, of a million units.
    """

    id: int
    provider: str
    model: str
    token_class: str
    from_input_tokens: int
    usd_per_unit: Decimal
    usd_per_million: Decimal
    origin: Origin
    source: str
    note: str | None
    valid_from: datetime | None
    valid_until: datetime | None
    known_from: datetime
    known_until: datetime | None


class NewPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A price as somebody sets it; without `valid_from` it holds from now on."""

    provider: str
    model: str
    token_class: str
    usd_per_unit: Decimal
    from_input_tokens: int = 0
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    note: str | None = None


class PriceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which prices are wanted; None is no condition.

    With `history` prices of all times are wanted, else those that apply at `at` as known at `known_at` (default now).
    """

    provider: str | None = None
    model: str | None = None
    token_class: str | None = None
    at: datetime | None = None
    known_at: datetime | None = None
    history: bool = False


def set_price(connection: Connection, price: NewPrice) -> tuple[Price, bool]:
    """Have `price` hold in its time instead of what people set before, and return it; False when it did already.

    Raises BadRequestError when its time is empty, ConflictError when calls with fewer input tokens had no price.
    """
    instant = lock_prices(connection)
    start, end = price.valid_from or instant, price.valid_until
    if end is not None and end <= start:
        raise BadRequestError("'valid_until' must be later than 'valid_from'.", param="valid_until")
    same = _find_same(connection, price, start)
    if same is not None:
        return same, False
    times = {"start": start, "end": end, "instant": instant}
    values = {**msgspec.structs.asdict(price), **times, "source": SOURCE}
    connection.execute(CUT, values)
    found = get_price(connection, connection.execute(SET, values).scalar_one())
    _check_steps(connection, found)
    return found, True


def get_price(connection: Connection, price_id: int) -> Price:
    """Return one price of the history; NotFoundError when there is none of that id."""
    line = connection.execute(_LINE.where(_price.id == price_id)).mappings().first()
    if line is None:
        raise NotFoundError(f"There is no price {price_id}.", code="price_not_found")
    return _read_price(line)


def end_price(connection: Connection, price_id: int, until: datetime | None = None) -> Price:
    """Have the price not hold any more, nor ever, or with `until` not from then on; return it as it was.

    Raises NotFoundError for an unknown price, ConflictError for one that is not an admin's or was ended before.
    """
    instant = lock_prices(connection)
    price = get_price(connection, price_id)
    if price.origin != "admin":
        raise ConflictError("This is a price of the catalogue: set another in its place.", param="id")
    if price.known_until is not None:
        raise ConflictError("This price was ended or replaced before.", param="id")
    if until is not None and price.valid_until is not None and until >= price.valid_until:
        raise ConflictError("The price ends before that.", param="valid_until")
    start = max((at for at in (price.valid_from, until) if at is not None), default=None)
    times = {"start": start, "end": price.valid_until, "instant": instant}
    connection.execute(CUT, {**msgspec.structs.asdict(price), **times})
    _check_steps(connection, price)
    return price


def list_price_page(
    connection: Connection, wanted: PriceFilter, *, limit: int, after: Price | None = None
) -> list[Price]:
    """Return at most `limit` prices in order of their names, those behind `after`."""
    where = _build_conditions(connection, wanted)
    if after is not None:
        last = (after.provider, after.model, after.token_class, after.from_input_tokens, after.id)
        where.append(tuple_(*_ORDER) > tuple_(*last))
    lines = connection.execute(_LINE.where(*where).order_by(*_ORDER).limit(limit))
    return [_read_price(line) for line in lines.mappings()]


def count_prices(connection: Connection, wanted: PriceFilter) -> int:
    """Return how many prices are wanted."""
    where = _build_conditions(connection, wanted)
    return connection.execute(select(func.count()).select_from(price_versions).where(*where)).scalar_one()


def _build_conditions(connection: Connection, wanted: PriceFilter) -> list[ColumnElement[bool]]:
    given = {name: value for name in NAMES if (value := getattr(wanted, name)) is not None}
    where = [_price[name] == value for name, value in given.items()]
    if wanted.history:
        where += [holds(_price.valid, wanted.at)] if wanted.at is not None else []
        return where + ([holds(_price.known, wanted.known_at)] if wanted.known_at is not None else [])
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    at, known_at = wanted.at or now, wanted.known_at or now
    same = (_own[name] == _price[name] for name in NAMES)
    own = exists().where(_own.origin == "admin", *same, holds(_own.valid, at), holds(_own.known, known_at))
    return [*where, holds(_price.valid, at), holds(_price.known, known_at), or_(_price.origin == "admin", ~own)]


def _find_same(connection: Connection, price: NewPrice, start: datetime) -> Price | None:
    times = func.tstzrange(literal(start, INSTANT), literal(price.valid_until, INSTANT))
    equal = {name: getattr(price, name) for name in (*NAMES, "from_input_tokens", "usd_per_unit")}
    same = _LINE.where(
        *(_price[name] == value for name, value in equal.items()),
        _price.note.is_not_distinct_from(price.note),
        _price.origin == "admin",
        func.upper_inf(_price.known),
        _price.valid.op("@>")(times),
    )
    line = connection.execute(same).mappings().first()
    return _read_price(line) if line is not None else None


def _check_steps(connection: Connection, price: Price) -> None:
    start = connection.execute(UNCOVERED, {name: getattr(price, name) for name in NAMES}).scalar()
    if start is not None:
        raise ConflictError(
            f"The price from {start} input tokens needs one from 0 beside it at all of its time: calls with fewer "
            "would have none.",
            param="from_input_tokens",
        )


def _read_price(line: RowMapping) -> Price:
    return Price(**line, usd_per_million=line["usd_per_unit"] * MILLION)
