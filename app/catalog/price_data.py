"""The prices RelayCore comes with: the genai-prices catalogue as rows of our table, and those of the mock provider."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version

from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from app.catalog.price_match import list_catalogue_providers, to_vendor_name
from app.catalog.prices import ANY_MODEL, MILLION, PER_REQUEST, TIER_MARK, USAGE_CLASSES, PriceRow

CATALOGUE = "genai-prices"
MOCK = "mock"

KILO = Decimal(1_000)
SMALLEST = Decimal(1).scaleb(-15)  # the scale of prices.usd_per_unit; a few resellers publish binary fractions

# Per class, the catalogue's prices in the order it falls back itself: to the next wider kind of unit that has one.
_PRICE_KEYS: dict[str, tuple[str, ...]] = {
    "input_tokens": ("input_mtok",),
    "cache_read_tokens": ("cache_read_mtok", "input_mtok"),
    "cache_write_5m_tokens": ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
    "cache_write_1h_tokens": ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    "input_audio_tokens": ("input_audio_mtok", "input_mtok"),
    "input_image_tokens": ("input_image_mtok", "input_mtok"),
    "output_tokens": ("output_mtok",),
    "reasoning_tokens": ("output_reasoning_mtok", "output_mtok"),
    "output_audio_tokens": ("output_audio_mtok", "output_mtok"),
    "output_image_tokens": ("output_image_mtok", "output_mtok"),
    "web_searches": ("web_searches_kcount",),
    PER_REQUEST: ("requests_kcount",),
}
_FREE_SUFFIX = ":free"

# What the catalogue calls a service tier, and how a reply reports it (Usage.service_tier).
_TIER_CONTEXTS = {("service_tier", tier): tier for tier in ("flex", "priority", "fast")} | {
    ("processing", "batch"): "batch",
    ("speed", "fast"): "fast",
}

Steps = dict[int, Decimal]
ClassSteps = dict[str, Steps]

_MOCK_USD_PER_MILLION = {
    "input_tokens": Decimal("1.00"),
    "cache_read_tokens": Decimal("0.10"),
    "cache_write_5m_tokens": Decimal("1.25"),
    "cache_write_1h_tokens": Decimal("2.00"),
    "input_audio_tokens": Decimal("4.00"),
    "input_image_tokens": Decimal("1.00"),
    "output_tokens": Decimal("2.00"),
    "reasoning_tokens": Decimal("2.00"),
    "output_audio_tokens": Decimal("8.00"),
    "output_image_tokens": Decimal("8.00"),
    "web_searches": Decimal(10_000),
}


def build_catalogue_rows(now: datetime) -> list[PriceRow]:
    """Return a row for every price of the catalogue that holds at `now`, fallbacks written out.

    Some vendors change their prices with the hour of the day, so calling this again later may give other rows.
    """
    source = f"{CATALOGUE} {version('genai-prices')}"
    rows: dict[tuple[str, str, str, int], PriceRow] = {}
    for provider in list_catalogue_providers():
        name = to_vendor_name(provider.id)
        for model in provider.models:
            for label, start, price in _list_model_prices(model, now):
                rows[name, model.id, label, start] = PriceRow(
                    provider=name,
                    model=model.id,
                    token_class=label,
                    from_input_tokens=start,
                    usd_per_unit=price,
                    source=source,
                )
    return list(rows.values())


def build_mock_rows() -> list[PriceRow]:
    """Return invented prices for the mock provider, so that a first try without any vendor shows costs."""
    embedding = {"input_tokens": Decimal("0.10")}
    models = {"echo": _MOCK_USD_PER_MILLION, "embed": embedding, ANY_MODEL: _MOCK_USD_PER_MILLION}
    return [
        PriceRow(provider=MOCK, model=model, token_class=name, usd_per_unit=price / MILLION, source=MOCK)
        for model, prices in models.items()
        for name, price in prices.items()
    ]


def _list_model_prices(model: ModelInfo, now: datetime) -> Iterator[tuple[str, int, Decimal]]:
    standard = _price_classes(model, model.get_prices(now))
    yield from _flatten(standard, "")
    for context, tier in _list_tiers(model):
        special = _price_classes(model, model.get_prices(now, context))
        changed = {name: steps for name, steps in special.items() if steps != standard.get(name)}
        yield from _flatten(changed, TIER_MARK + tier)


def _list_tiers(model: ModelInfo) -> list[tuple[dict[str, str], str]]:
    found = {item for variant in model.price_variants or () for item in variant.when.items() if len(variant.when) == 1}
    return [
        ({key: value}, _TIER_CONTEXTS[key, value]) for key, value in sorted(found) if (key, value) in _TIER_CONTEXTS
    ]


def _flatten(classes: ClassSteps, mark: str) -> Iterator[tuple[str, int, Decimal]]:
    for name, steps in classes.items():
        for start, price in steps.items():
            yield name + mark, start, price


def _price_classes(model: ModelInfo, prices: ModelPrice) -> ClassSteps:
    """Return the steps of every class that has a price, its own or the one it falls back to."""
    found: ClassSteps = {}
    for name, keys in _PRICE_KEYS.items():
        for key in keys:
            price = getattr(prices, key)
            if price is not None:
                found[name] = _read_steps(price, MILLION if key.endswith("_mtok") else KILO)
                break
    if not found and model.id.endswith(_FREE_SUFFIX):
        # Only the id tells a model that costs nothing from one whose price is not known.
        return {name: {0: Decimal(0)} for name in USAGE_CLASSES if name != "web_searches"}
    return found


def _read_steps(price: Decimal | TieredPrices, units: Decimal) -> Steps:
    """Return prices of one unit by the input tokens they apply from; a tier begins above its threshold."""
    if isinstance(price, Decimal):
        return {0: _per_unit(price, units)}
    tiers = {tier.start + 1: _per_unit(tier.price, units) for tier in price.tiers}
    return {0: _per_unit(price.base, units), **tiers}


def _per_unit(price: Decimal, units: Decimal) -> Decimal:
    exact = price / units
    return exact if exact == exact.quantize(SMALLEST) else exact.quantize(SMALLEST)
