"""The catalogue's prices as rows: the same costs as the catalogue's own arithmetic, to the last digit."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as CatalogueUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice, TieredPrices

from app.catalog.price_data import build_catalogue_rows, build_mock_rows
from app.catalog.prices import PriceBook
from app.wire.usage import Usage

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CATALOGUE_ID = {"xai": "x-ai"}

USAGES = {
    "plain": Usage(input_tokens=1234, output_tokens=567),
    "one": Usage(input_tokens=1),
    "cached": Usage(input_tokens=100, cache_read_tokens=90_001, output_tokens=7),
    "written": Usage(input_tokens=3, cache_write_5m_tokens=1001, cache_write_1h_tokens=2003, output_tokens=1),
    "reasoning": Usage(input_tokens=10, output_tokens=20, reasoning_tokens=3333),
    "audio": Usage(input_tokens=10, input_audio_tokens=77, output_tokens=20, output_audio_tokens=88),
    "long": Usage(input_tokens=150_000, cache_read_tokens=50_001, output_tokens=999),
    "at the edge": Usage(input_tokens=200_000, output_tokens=1),
    "very long": Usage(input_tokens=1_000_001, cache_read_tokens=5, output_tokens=12_345),
}
MODELS = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-5.2"),
    ("openai", "gpt-5.2-20251211"),
    ("openai", "o3"),
    ("openai", "gpt-4o-audio-preview"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-opus-4-6"),
    ("anthropic", "claude-3-5-haiku-latest"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("google", "claude-sonnet-4-5"),
    ("azure", "gpt-4o"),
    ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("mistral", "mistral-large-latest"),
    ("groq", "llama-3.3-70b-versatile"),
    ("deepseek", "deepseek-chat"),
    ("xai", "grok-4.3"),
    ("openrouter", "anthropic/claude-sonnet-4.5"),
    ("perplexity", "sonar-pro"),
]


@pytest.fixture(scope="module")
def book():
    return PriceBook.build(build_catalogue_rows(NOW))


def convert(usage):
    """Our disjoint classes in the catalogue's form, where the wider classes include the narrower ones."""
    writes = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    return CatalogueUsage(
        input_tokens=usage.input_tokens + usage.cache_read_tokens + writes + usage.input_audio_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=writes,
        cache_write_5m_tokens=usage.cache_write_5m_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        input_audio_tokens=usage.input_audio_tokens,
        cache_audio_read_tokens=0,
        output_tokens=usage.output_tokens + usage.reasoning_tokens + usage.output_audio_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        output_audio_tokens=usage.output_audio_tokens,
        web_searches=usage.web_searches,
    )


@pytest.mark.parametrize("usage", USAGES.values(), ids=USAGES)
@pytest.mark.parametrize(("provider", "model"), MODELS)
def test_costs_equal_the_catalogues_own(book, provider, model, usage):
    """A model is found by the same names and costs exactly what the catalogue works out for it."""
    reference = calc_price(
        convert(usage), model, provider_id=CATALOGUE_ID.get(provider, provider), genai_request_timestamp=NOW
    )
    assert book.find_cost(provider, model, usage) == reference.total_price


def test_every_model_costs_what_the_catalogue_says(book):
    """All models of the catalogue with prices that our table holds exactly cost the same in both."""
    compared = 0
    for provider in get_snapshot().providers:
        name = {"x-ai": "xai"}.get(provider.id, provider.id)
        for model in provider.models:
            if not _is_exact(model.get_prices(NOW)) or [m.id for m in provider.models].count(model.id) > 1:
                continue
            for label in ("plain", "cached", "very long"):
                cost = book.find_cost(name, model.id, USAGES[label])
                if cost is not None:
                    reference = model.calc_price(convert(USAGES[label]), provider, genai_request_timestamp=NOW)
                    assert cost == reference.total_price, (name, model.id, label)
                    compared += 1
    assert compared > 5000


def _is_exact(prices: ModelPrice) -> bool:
    found: list[Decimal] = []
    for price in prices.__dict__.values():
        found += [price.base, *(tier.price for tier in price.tiers)] if isinstance(price, TieredPrices) else [price]
    return all(price == round(price, 9) for price in found if price is not None)


@pytest.mark.parametrize("tier", ["flex", "priority", "default"])
def test_service_tiers_cost_what_the_catalogue_says(book, tier):
    """A reply of a special service tier is priced as the catalogue prices it in that context."""
    usage = Usage(input_tokens=1000, cache_read_tokens=10, output_tokens=100, service_tier=tier)
    reference = calc_price(
        convert(usage),
        "gpt-5.2",
        provider_id="openai",
        genai_request_timestamp=NOW,
        price_context={"service_tier": tier},
    )
    assert book.find_cost("openai", "gpt-5.2", usage) == reference.total_price


def test_batches_are_cheaper(book):
    """A reply that reports the batch tier costs the batch price."""
    usage = Usage(input_tokens=1000, output_tokens=100)
    batch = Usage(input_tokens=1000, output_tokens=100, service_tier="batch")
    whole = book.find_cost("openai", "gpt-4o", usage)
    assert book.find_cost("openai", "gpt-4o", batch) == whole / 2


def test_prices_that_change_with_the_hour_are_those_of_the_moment():
    """The rows hold the prices of the moment they were built for."""
    usage = Usage(input_tokens=1000, output_tokens=1000)
    for hour in (2, 12):
        at = NOW.replace(hour=hour)
        reference = calc_price(convert(usage), "deepseek-reasoner", provider_id="deepseek", genai_request_timestamp=at)
        cost = PriceBook.build(build_catalogue_rows(at)).find_cost("deepseek", "deepseek-reasoner", usage)
        assert cost == reference.total_price


def test_what_has_no_token_price_gets_none(book):
    """Models priced by the hour or the page have no token price, nor have searches where none is published."""
    assert book.find_cost("groq", "whisper-large-v3", Usage(input_tokens=10)) is None
    assert book.find_cost("groq", "llama-3.3-70b-versatile", Usage(input_tokens=1, web_searches=1)) is None


def test_a_free_model_costs_nothing(book):
    """Only a model whose name says that it is free costs zero."""
    assert book.find_cost("openrouter", "deepseek/deepseek-chat-v3-0324:free", USAGES["plain"]) == 0


def test_rows_fit_the_table():
    """No two rows have the same key, and no price has more decimals than the column."""
    rows = build_catalogue_rows(NOW) + build_mock_rows()
    assert len({(row.provider, row.model, row.token_class, row.from_input_tokens) for row in rows}) == len(rows)
    assert all(row.usd_per_unit == round(row.usd_per_unit, 15) for row in rows)
