"""What holds of every cost whatever the prices and the usage are, and that the catalogue's own arithmetic agrees."""

from datetime import UTC, datetime

import pytest
from genai_prices import Usage as CatalogueUsage
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog.price_data import build_catalogue_rows
from app.catalog.prices import USAGE_CLASSES, PriceBook, PriceRow, sum_lines
from app.wire.money import SMALLEST_USD
from app.wire.usage import Usage

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BOOK = PriceBook.build(build_catalogue_rows(NOW))
STEPS = (0, 1000, 200_001)

counts = st.integers(0, 400_000)
amounts = st.decimals(0, 1, places=12)
factors = st.decimals(0, 3, places=6)
usages = st.builds(Usage, **dict.fromkeys(USAGE_CLASSES, counts))
flat = st.fixed_dictionaries(dict.fromkeys((*USAGE_CLASSES, "requests"), amounts))
rising = st.fixed_dictionaries({name: st.lists(amounts, min_size=3, max_size=3).map(sorted) for name in USAGE_CLASSES})


def build_flat(prices):
    return PriceBook.build(
        PriceRow(provider="acme", model="m", token_class=name, usd_per_unit=usd, source="test")
        for name, usd in prices.items()
    )


def build_rising(prices):
    return PriceBook.build(
        PriceRow(provider="acme", model="m", token_class=name, usd_per_unit=usd, source="test", from_input_tokens=start)
        for name, steps in prices.items()
        for start, usd in zip(STEPS, steps, strict=True)
    )


def cost(book, usage, **options):
    return book.find_cost("acme", "m", usage, **options)


def add(one, other):
    return Usage(**{name: getattr(one, name) + getattr(other, name) for name in USAGE_CLASSES})


@given(rising, usages, st.sampled_from(USAGE_CLASSES), st.integers(1, 300_000), factors)
def test_more_of_a_class_never_costs_less(prices, usage, name, more, factor):
    """The cost is monotone in each class, also where more input reaches a dearer step."""
    book = build_rising(prices)
    grown = add(usage, Usage(**{name: more}))
    assert cost(book, grown, factor=factor) >= cost(book, usage, factor=factor)


@given(rising, usages, factors)
def test_the_lines_add_up(prices, usage, factor):
    """The cost is exactly the sum of its lines; each is a class that was used, with as many decimals as are stored."""
    lines = build_rising(prices).find_lines("acme", "m", usage, factor=factor)
    assert sum_lines(lines) == cost(build_rising(prices), usage, factor=factor)
    assert {line.token_class: line.quantity for line in lines} == {
        name: count for name in USAGE_CLASSES if (count := getattr(usage, name))
    }
    for line in lines:
        assert line.amount_usd == line.amount_usd.quantize(SMALLEST_USD)
        exact = line.quantity * line.usd_per_unit * factor
        assert abs(exact - line.amount_usd) <= SMALLEST_USD / 2


@given(flat, usages, usages)
def test_two_calls_cost_what_both_use_and_one_fixed_price_more(prices, one, other):
    """Without steps, the cost of two usages together is that of each, less the fixed price that is paid once."""
    book = build_flat(prices)
    assert cost(book, add(one, other)) + prices["requests"] == cost(book, one) + cost(book, other)


@given(rising, usages, usages)
def test_one_call_is_no_cheaper_than_two(prices, one, other):
    """Where prices rise with the input, putting two calls into one never costs less than the two."""
    book = build_rising(prices)
    assert cost(book, add(one, other)) >= cost(book, one) + cost(book, other)


@given(flat, usages, factors)
def test_a_factor_is_linear(prices, usage, factor):
    """Discount and margin change the cost in proportion, but for the rounding of each line."""
    book = build_flat(prices)
    lines = book.find_lines("acme", "m", usage, factor=factor)
    assert abs(cost(book, usage) * factor - sum_lines(lines)) <= SMALLEST_USD * len(lines)


SAMPLE = [
    ("openai", "gpt-4o", ("", "batch")),
    ("openai", "gpt-5.2", ("", "flex", "priority")),
    ("openai", "gpt-4.1", ("", "flex", "priority", "fast")),
    ("openai", "gpt-4o-audio-preview", ("",)),
    ("openai", "gpt-image-1", ("",)),
    ("google", "gemini-2.5-flash-image", ("",)),
    ("anthropic", "claude-sonnet-4-5", ("", "batch")),
    ("anthropic", "claude-opus-4-8", ("", "fast")),
    ("google", "gemini-2.5-pro", ("", "batch")),
    ("google", "gemini-2.5-flash", ("", "batch")),
    ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", ("",)),
    ("perplexity", "sonar-deep-research", ("",)),
    ("perplexity", "sonar-pro", ("",)),
]
CASES = [(provider, model, tier) for provider, model, tiers in SAMPLE for tier in tiers]


def convert(usage):
    """Our disjoint classes in the catalogue's form, where the wider classes include the narrower ones."""
    counts = {name: getattr(usage, name) for name in USAGE_CLASSES}
    writes = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    return CatalogueUsage(
        **counts
        | {
            "input_tokens": usage.total_input_tokens,
            "output_tokens": usage.total_output_tokens,
            "cache_write_tokens": writes,
            "output_reasoning_tokens": counts.pop("reasoning_tokens"),
            "cache_audio_read_tokens": 0,
            "cache_image_read_tokens": 0,
        }
    )


def find_context(provider, tier):
    if not tier:
        return {}
    if tier == "batch":
        return {"processing": "batch"}
    return {"speed": tier} if provider == "anthropic" else {"service_tier": tier}


@pytest.mark.parametrize(("provider", "model", "tier"), CASES)
@settings(max_examples=60, deadline=None)
@given(usages)
def test_the_classes_add_up_to_the_catalogues_total(provider, model, tier, usage):
    """The sum of our classes is the total that the catalogue works out for the same call, in every service tier."""
    ours = Usage(**{name: getattr(usage, name) for name in USAGE_CLASSES}, service_tier=tier or None)
    found = BOOK.find_cost(provider, model, ours)
    if found is None:
        assert usage.web_searches, "only searches may be without a price"
        ours = Usage(
            **{name: getattr(usage, name) for name in USAGE_CLASSES if name != "web_searches"}, service_tier=tier
        )
        found = BOOK.find_cost(provider, model, ours)
    reference = calc_price(
        convert(ours),
        model,
        provider_id=provider,
        genai_request_timestamp=NOW,
        price_context=find_context(provider, tier),
    )
    assert found == reference.total_price
