"""The price book: what a reply cost, worked out from an immutable copy of the `prices` table."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec

from app.catalog.price_match import find_catalogue_model
from app.wire.usage import Usage

INPUT_CLASSES = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
)
USAGE_CLASSES = (*INPUT_CLASSES, "output_tokens", "reasoning_tokens", "output_audio_tokens", "web_searches")
PER_REQUEST = "requests"
"""The class of a fixed price that some models ask for each reply beside its tokens."""

ANY_MODEL = "*"
TIER_MARK = "@"
BUILT_IN_SOURCES = frozenset({"genai-prices", "mock"})
RESOLUTIONS_KEPT = 4096


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the `prices` table.

    It prices the units of `token_class` (a field of Usage, or `requests`) of replies with at least `from_input_tokens`
    input tokens of all classes; the highest row that applies holds for all the reply's units. `class@tier` is the
    price of a service tier that has one of its own.
    """

    provider: str
    model: str
    token_class: str
    usd_per_unit: Decimal
    source: str
    from_input_tokens: int = 0


Steps = tuple[tuple[int, Decimal], ...]
"""Prices with the input tokens they apply from, the highest first."""

Tariff = dict[str, dict[str, Steps]]
"""What one model costs: service tier ("" is the standard one) to class to its steps."""


def source_family(source: str) -> str:
    """Return the name of a source without its version."""
    return source.partition(" ")[0]


class PriceBook:
    """All prices at one moment; a change of the table makes a new book."""

    def __init__(self, tariffs: dict[tuple[str, str], Tariff]) -> None:
        self._tariffs = tariffs
        self._find_tariff = lru_cache(RESOLUTIONS_KEPT)(self._resolve)

    @classmethod
    def build(cls, rows: Iterable[PriceRow]) -> "PriceBook":
        """Return the book of `rows`. Where an admin priced a class of a model, its other rows do not count."""
        classes: dict[tuple[str, str], dict[str, list[PriceRow]]] = {}
        for row in rows:
            classes.setdefault((row.provider, row.model), {}).setdefault(row.token_class, []).append(row)
        return cls({key: _build_tariff(found) for key, found in classes.items()})

    def find_cost(self, provider: str, model: str, usage: Usage) -> Decimal | None:
        """Return what the reply cost in US dollars; None when the model or a class it used has no price."""
        tariff = self._find_tariff(provider, model)
        if tariff is None:
            return None
        return _sum_cost(tariff.get(usage.service_tier or "", tariff[""]), usage)

    def list_models(self, provider: str) -> list[str]:
        """Return the names of the models of `provider` that have a price of their own, in order."""
        return sorted(model for vendor, model in self._tariffs if vendor == provider and model != ANY_MODEL)

    def _resolve(self, provider: str, model: str) -> Tariff | None:
        exact = self._tariffs.get((provider, model))
        if exact is not None:
            return exact
        known = find_catalogue_model(provider, model)
        if known is not None:
            own = self._tariffs.get((provider, known.model))
            return own or self._tariffs.get((known.provider, known.model))
        return self._tariffs.get((provider, ANY_MODEL))


def _build_tariff(classes: dict[str, list[PriceRow]]) -> Tariff:
    standard: dict[str, Steps] = {}
    special: Tariff = {}
    for label, rows in classes.items():
        name, _, tier = label.partition(TIER_MARK)
        prices = special.setdefault(tier, {}) if tier else standard
        prices[name] = _build_steps(rows)
    return {"": standard, **{tier: standard | prices for tier, prices in special.items()}}


def _build_steps(rows: Sequence[PriceRow]) -> Steps:
    edited = [row for row in rows if source_family(row.source) not in BUILT_IN_SOURCES]
    steps = ((row.from_input_tokens, row.usd_per_unit) for row in edited or rows)
    return tuple(sorted(steps, reverse=True))


def _sum_cost(prices: dict[str, Steps], usage: Usage) -> Decimal | None:
    total_input = sum(getattr(usage, name) for name in INPUT_CLASSES)
    cost = _find_price(prices, PER_REQUEST, total_input) or Decimal(0)
    for name in USAGE_CLASSES:
        count = getattr(usage, name)
        if count:
            price = _find_price(prices, name, total_input)
            if price is None:
                return None
            cost += price * count
    return cost


def _find_price(prices: dict[str, Steps], name: str, total_input: int) -> Decimal | None:
    for start, price in prices.get(name, ()):
        if total_input >= start:
            return price
    return None
