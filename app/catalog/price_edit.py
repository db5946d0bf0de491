"""A price as a client sends it, checked. No I/O."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from app.catalog.price_edit_store import NewPrice
from app.catalog.prices import MILLION, PER_REQUEST, TIER_MARK, TIERS, USAGE_CLASSES
from app.catalog.types import ModelName, Name
from app.errors import BadRequestError
from app.wire.money import SMALLEST_USD

DEAREST = Decimal(1_000_000)
"""What no unit costs, in US dollars."""

FIRST_YEAR, LAST_YEAR = 1970, 9000

InputTokens = Annotated[int, Meta(ge=0, le=10**12)]


class PriceChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price to set: of a unit, or of a million of them. `token_class` may name a service tier behind an `@`.

    Where calls with many input tokens cost more, the dearer price has its own `from_input_tokens`.
    """

    provider: Name
    model: ModelName
    token_class: Annotated[str, Meta(max_length=64)]
    usd_per_unit: Decimal | None = None
    usd_per_million: Decimal | None = None
    from_input_tokens: InputTokens = 0
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    note: Annotated[str, Meta(max_length=500)] | None = None


def build_new_price(change: PriceChange) -> NewPrice:
    """Return the price that is meant; BadRequestError names the field that does not fit."""
    name, mark, tier = change.token_class.partition(TIER_MARK)
    if name not in (*USAGE_CLASSES, PER_REQUEST) or (mark and tier not in TIERS):
        known = ", ".join((*USAGE_CLASSES, PER_REQUEST))
        raise BadRequestError(
            f"'token_class' must be one of {known}, alone or with @{', @'.join(TIERS)}.", param="token_class"
        )
    for field, text in (("provider", change.provider), ("model", change.model), ("note", change.note or "")):
        if not text.isprintable():
            raise BadRequestError(f"'{field}' cannot have control characters in it.", param=field)
    return NewPrice(
        provider=change.provider,
        model=change.model,
        token_class=change.token_class,
        usd_per_unit=_read_amount(change),
        from_input_tokens=change.from_input_tokens,
        valid_from=check_instant("valid_from", change.valid_from),
        valid_until=check_instant("valid_until", change.valid_until),
        note=change.note,
    )


def _read_amount(change: PriceChange) -> Decimal:
    if (change.usd_per_unit is None) == (change.usd_per_million is None):
        raise BadRequestError("Give one of 'usd_per_unit' and 'usd_per_million'.", param="usd_per_unit")
    if change.usd_per_unit is not None:
        field, given, units = "usd_per_unit", change.usd_per_unit, Decimal(1)
    else:
        field, given, units = "usd_per_million", change.usd_per_million or Decimal(0), MILLION
    if not given.is_finite() or not 0 <= given < DEAREST * units:
        raise BadRequestError(f"'{field}' must be an amount of US dollars, at least 0.", param=field)
    amount = given / units
    if amount != amount.quantize(SMALLEST_USD):
        raise BadRequestError(f"'{field}' has more decimals than are kept (15 of a unit).", param=field)
    return amount


def check_instant(name: str, value: datetime | None) -> datetime | None:
    """Return an instant; without an offset it is UTC. BadRequestError for one outside of every calendar in use."""
    if value is None:
        return None
    found = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise BadRequestError(f"'{name}' must lie in the years {FIRST_YEAR} to {LAST_YEAR}.", param=name)
    return found


def parse_instant(name: str, value: str | None) -> datetime | None:
    """Return an instant out of a query, where a plus sign may have come as a blank."""
    if value is None:
        return None
    try:
        found = msgspec.convert(value.strip().replace(" ", "+"), datetime)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"'{name}' must be an instant like 2026-01-31T12:00:00Z.", param=name) from error
    return check_instant(name, found)
