"""The price book: what a reply cost at its time, class by class, worked out from an immutable copy of the prices."""

import math
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import chain
from typing import Literal

import msgspec

from app.catalog.price_match import find_catalogue_model
from app.providers.batches import BATCH_PROTOCOLS
from app.wire.money import SMALLEST_USD, Line
from app.wire.usage import Usage

INPUT_CLASSES = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "input_image_tokens",
)
_INPUT = frozenset(INPUT_CLASSES)
OUTPUT_CLASSES = ("output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens")
_TOKENS = frozenset({*INPUT_CLASSES, *OUTPUT_CLASSES})
USAGE_CLASSES = (*INPUT_CLASSES, *OUTPUT_CLASSES, "web_searches")
PER_REQUEST = "requests"
"""The class of a fixed price that some models ask for each reply beside its tokens."""

ANY_MODEL = "*"
TIER_MARK = "@"
TIERS = ("batch", "flex", "priority", "fast")
BATCH = "batch"
BATCH_SHARE = Decimal("0.5")
"""What vendors take of the price of each token of their own batches, where the table has no price of that tier."""


RESOLUTIONS_KEPT = 4096

ONE = Decimal(1)
MILLION = Decimal(1_000_000)
_ARITHMETIC = Context(prec=80, rounding=ROUND_HALF_EVEN)  # wide enough that only quantize rounds

Origin = Literal["catalogue", "admin"]


EVER, NEVER = -math.inf, math.inf
"""Since always, and without an end."""


class PriceRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One price and when it holds, in seconds since the epoch.

    It prices the units of `token_class` (a field of Usage, or `requests`) of replies with at least `from_input_tokens`
    input tokens of all classes; the highest row that applies holds for all the reply's units. `class@tier` is the
    price of a service tier that has one of its own. Rows of the catalogue do not count where an admin priced the class.
    """

    provider: str
    model: str
    token_class: str
    usd_per_unit: Decimal
    source: str
    from_input_tokens: int = 0
    origin: Origin = "catalogue"
    valid_from: float = EVER
    valid_until: float = NEVER


Steps = tuple[tuple[int, Decimal], ...]
"""Prices with the input tokens they apply from, the highest first."""

Tariff = dict[str, dict[str, Steps]]
"""What one model costs: service tier ("" is the standard one) to class to its steps."""

Rows = Sequence[Sequence[PriceRow]]

Timeline = tuple[tuple[float, ...], tuple[Tariff | None, ...]]
"""The tariffs of one model and since when each holds, the oldest first; the first holds since ever."""


def source_family(source: str) -> str:
    """Return the name of a source without its version."""
    return source.partition(" ")[0]


class PriceBook:
    """All prices as one moment knew them, with those to come; a change of the table makes a new book."""

    def __init__(self, rows: dict[tuple[str, str], list[PriceRow]]) -> None:
        self._rows = rows
        self._timelines: dict[tuple[str, str, str], Timeline] = {}

    @classmethod
    def build(cls, rows: Iterable[PriceRow]) -> "PriceBook":
        """Return the book of `rows`."""
        models: dict[tuple[str, str], list[PriceRow]] = {}
        for row in rows:
            models.setdefault((row.provider, row.model), []).append(row)
        return cls(models)

    def find_lines(
        self,
        provider: str,
        model: str,
        usage: Usage,
        *,
        name: str = "",
        factor: Decimal = ONE,
        at: float | None = None,
    ) -> tuple[Line, ...] | None:
        """Return what the reply cost, a line for each class it used; None when the model or a class has no price.

        `name` is what the provider is called in the configuration: prices that admins set for it come before those of
        its vendor. `factor` is what prices are multiplied with; `at` (seconds since the epoch, default now) chooses
        the prices.
        """
        tariff = self._find_tariff(provider, model, name, at)
        if tariff is None:
            return None
        share = _find_share(tariff, provider, usage)
        return _list_lines(tariff.get(usage.service_tier or "", tariff[""]), usage, factor, share)

    def _find_tariff(self, provider: str, model: str, name: str, at: float | None) -> Tariff | None:
        starts, tariffs = self._find_timeline(provider, model, name or provider)
        if len(tariffs) == 1:
            return tariffs[0]
        return tariffs[bisect_right(starts, time.time() if at is None else at) - 1]

    def find_cost(
        self,
        provider: str,
        model: str,
        usage: Usage,
        *,
        name: str = "",
        factor: Decimal = ONE,
        at: float | None = None,
    ) -> Decimal | None:
        """Return what the reply cost in US dollars: the sum of its lines."""
        lines = self.find_lines(provider, model, usage, name=name, factor=factor, at=at)
        return sum_lines(lines) if lines is not None else None

    def list_models(self, provider: str) -> list[str]:
        """Return the names of the models of `provider` that have a price of their own now, in order."""
        now = time.time()
        return sorted(
            model
            for (vendor, model), rows in self._rows.items()
            if vendor == provider
            and model != ANY_MODEL
            and any(row.valid_from <= now < row.valid_until for row in rows)
        )

    def list_rows(self, provider: str, model: str, *, name: str = "", at: float | None = None) -> list[PriceRow]:
        """Return the prices by which a call of the model is charged, in order of class and tier."""
        classes = _merge(self._list_candidates(provider, model, name or provider), time.time() if at is None else at)
        return [row for label in sorted(classes) for row in sorted(classes[label], key=_start_of)]

    def _find_timeline(self, provider: str, model: str, name: str) -> Timeline:
        """Return the tariffs of a model; kept in a dictionary, so that an old book needs no collector."""
        found = self._timelines.get((provider, model, name))
        if found is None:
            if len(self._timelines) >= RESOLUTIONS_KEPT:
                self._timelines.clear()
            found = self._timelines[provider, model, name] = self._build_timeline(provider, model, name)
        return found

    def _build_timeline(self, provider: str, model: str, name: str) -> Timeline:
        names = self._list_candidates(provider, model, name)
        bounds = {bound for row in chain.from_iterable(names) for bound in (row.valid_from, row.valid_until)}
        starts = sorted((bounds | {-math.inf}) - {math.inf})
        return tuple(starts), tuple(_build_tariff(_merge(names, start)) for start in starts)

    def _list_candidates(self, provider: str, model: str, name: str) -> Rows:
        """Return the rows of every name that the model may be priced by, the nearest first.

        What admins set for a provider by its own name comes before what is set for its vendor; the catalogue's rows
        of that name would be those of another vendor.
        """
        models = [self._rows.get(one, []) for one in _list_names(provider, model)]
        anything = [self._rows.get((provider, ANY_MODEL), [])]
        if name == provider:
            return [*models, *anything]
        return [self._list_own(name, model), *models, self._list_own(name, ANY_MODEL), *anything]

    def _list_own(self, name: str, model: str) -> list[PriceRow]:
        return [row for row in self._rows.get((name, model), []) if row.origin == "admin"]


def sum_lines(lines: Iterable[Line]) -> Decimal:
    """Return what the lines come to."""
    total = Decimal(0)
    for line in lines:
        total += line.amount_usd
    return total


def price_quantity(quantity: int, usd_per_unit: Decimal, factor: Decimal) -> Decimal:
    """Return the amount of a line."""
    amount = _ARITHMETIC.multiply(usd_per_unit, quantity)
    if factor != ONE:
        amount = _ARITHMETIC.multiply(amount, factor)
    return amount.quantize(SMALLEST_USD, context=_ARITHMETIC)


def _list_names(provider: str, model: str) -> list[tuple[str, str]]:
    """Return the rows that a name may mean: its own, those of the model it is matched to, those of who made that."""
    names = [(provider, model)]
    known = find_catalogue_model(provider, model)
    if known is not None:
        names += [(provider, known.model), (known.provider, known.model)]
    return list(dict.fromkeys(names))


def _merge(names: Rows, at: float) -> dict[str, list[PriceRow]]:
    """Return the rows that hold at `at` by class: those of the nearest name that the catalogue knows.

    What admins set for a nearer one comes before, class by class.
    """
    classes: dict[str, list[PriceRow]] = {}
    for rows in names:
        valid = [row for row in rows if row.valid_from <= at < row.valid_until]
        classes = _group(valid) | classes
        if any(row.origin == "catalogue" for row in valid):
            break
    return classes


def _group(rows: Sequence[PriceRow]) -> dict[str, list[PriceRow]]:
    edited = {row.token_class for row in rows if row.origin == "admin"}
    classes: dict[str, list[PriceRow]] = {}
    for row in rows:
        if row.origin == "admin" or row.token_class not in edited:
            classes.setdefault(row.token_class, []).append(row)
    return classes


def _build_tariff(classes: dict[str, list[PriceRow]]) -> Tariff | None:
    if not classes:
        return None
    standard: dict[str, Steps] = {}
    special: Tariff = {}
    for label, rows in classes.items():
        name, mark, tier = label.partition(TIER_MARK)
        prices = special.setdefault(tier, {}) if mark else standard
        prices[name] = tuple((row.from_input_tokens, row.usd_per_unit) for row in sorted(rows, key=_start_of)[::-1])
    return {**{tier: standard | prices for tier, prices in special.items()}, "": standard}


def _start_of(row: PriceRow) -> int:
    return row.from_input_tokens


def _find_share(tariff: Tariff, provider: str, usage: Usage) -> Decimal:
    halved = usage.service_tier == BATCH and BATCH not in tariff and provider in BATCH_PROTOCOLS
    return BATCH_SHARE if halved else ONE


def _list_lines(prices: dict[str, Steps], usage: Usage, factor: Decimal, share: Decimal) -> tuple[Line, ...] | None:
    """Return the lines of a reply; tokens are charged at `share` of their price, what is no token at all of it."""
    total_input = 0
    counts: list[tuple[str, int]] = [(PER_REQUEST, 1)] if PER_REQUEST in prices else []
    for name in USAGE_CLASSES:
        count = getattr(usage, name)
        if count:
            counts.append((name, count))
            if name in _INPUT:
                total_input += count
    lines: list[Line] = []
    for name, count in counts:
        price = _find_price(prices, name, total_input)
        if price is None:
            return None
        if share != ONE and name in _TOKENS:
            price = (price * share).quantize(SMALLEST_USD)
        amount = price_quantity(count, price, factor)
        lines.append(Line(token_class=name, quantity=count, usd_per_unit=price, factor=factor, amount_usd=amount))
    return tuple(lines)


def _find_price(prices: dict[str, Steps], name: str, total_input: int) -> Decimal | None:
    for start, price in prices.get(name, ()):
        if total_input >= start:
            return price
    return None
