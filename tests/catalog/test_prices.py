"""The price book: what a reply costs, and when that cannot be known."""

from decimal import Decimal

import pytest

from app.catalog.price_data import build_mock_rows
from app.catalog.prices import PriceBook, PriceRow, price_quantity, sum_lines
from app.wire.usage import Usage


def price(token_class, usd, *, provider="acme", model="m", start=0, source="genai-prices 1", **when):
    return PriceRow(
        provider=provider,
        model=model,
        token_class=token_class,
        from_input_tokens=start,
        usd_per_unit=Decimal(usd),
        source=source,
        origin="admin" if source == "admin" else "catalogue",
        **when,
    )


def test_every_class_has_its_own_price():
    """The cost is the sum over the classes of units times price."""
    rows = [price("input_tokens", "0.1"), price("cache_read_tokens", "0.01"), price("output_tokens", "0.5")]
    usage = Usage(input_tokens=3, cache_read_tokens=4, output_tokens=2)
    assert PriceBook.build(rows).find_cost("acme", "m", usage) == Decimal("1.34")


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("acme", "other", Usage(input_tokens=1)),
        ("elsewhere", "m", Usage(input_tokens=1)),
        ("my-openai", "gpt-4o", Usage(input_tokens=1)),
        ("acme", "m", Usage(input_tokens=1, output_tokens=1)),
        ("acme", "m", Usage(web_searches=1)),
    ],
)
def test_an_unknown_cost_is_none(provider, model, usage):
    """Without a price for the model and for every class the reply used there is no cost, not even zero."""
    assert PriceBook.build([price("input_tokens", "0.1")]).find_cost(provider, model, usage) is None


def test_a_class_that_was_not_used_needs_no_price():
    """Zero units of a class without a price cost nothing."""
    book = PriceBook.build([price("input_tokens", "0.1")])
    assert book.find_cost("acme", "m", Usage(input_tokens=1)) == Decimal("0.1")
    assert book.find_cost("acme", "m", Usage()) == 0


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(input_tokens=99), "99"),
        (Usage(input_tokens=100), "200"),
        (Usage(input_tokens=50, cache_read_tokens=50), "150"),
        (Usage(input_tokens=1000, output_tokens=1), "3010"),
    ],
)
def test_the_tier_follows_from_all_input_and_holds_for_all_units(usage, cost):
    """The highest row that the reply's input tokens of all classes reach prices every unit, not only those above it."""
    rows = [
        price("input_tokens", "1"),
        price("input_tokens", "2", start=100),
        price("input_tokens", "3", start=1000),
        price("cache_read_tokens", "1"),
        price("output_tokens", "10"),
    ]
    assert PriceBook.build(rows).find_cost("acme", "m", usage) == Decimal(cost)


def test_an_admins_price_of_a_class_replaces_all_of_its_tiers():
    """Where an admin priced a class, no tier of the catalogue comes back above it; other classes stay."""
    rows = [
        price("input_tokens", "9", start=100),
        price("input_tokens", "1", source="admin"),
        price("output_tokens", "5"),
    ]
    usage = Usage(input_tokens=200, output_tokens=1)
    assert PriceBook.build(rows).find_cost("acme", "m", usage) == Decimal(205)


def test_a_service_tier_may_have_its_own_prices():
    """A reply of a dearer or cheaper service tier is priced by it where it differs, else as usual."""
    rows = [price("input_tokens", "1"), price("output_tokens", "2"), price("input_tokens@priority", "3")]
    book = PriceBook.build(rows)
    for tier, cost in (("priority", 5), ("default", 3), (None, 3)):
        assert book.find_cost("acme", "m", Usage(input_tokens=1, output_tokens=1, service_tier=tier)) == cost


def test_a_fixed_price_per_request_is_added():
    """A model that asks for something per request costs that beside its tokens."""
    book = PriceBook.build([price("input_tokens", "1"), price("requests", "7")])
    assert book.find_cost("acme", "m", Usage(input_tokens=2)) == Decimal(9)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-2024-08-06"),
        ("azure", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("xai", "grok-4.3-latest"),
    ],
)
def test_other_names_of_a_model_find_its_rows(provider, model):
    """Dated ids, regional ids and models that one provider resells are priced by the rows of the model they mean."""
    owner, known = {
        "openai": ("openai", "gpt-4o"),
        "azure": ("openai", "gpt-4o"),
        "anthropic": ("anthropic", "claude-sonnet-4-5"),
        "aws": ("aws", "regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        "xai": ("xai", "grok-4.3"),
    }[provider]
    book = PriceBook.build([price("input_tokens", "0.25", provider=owner, model=known)])
    assert book.find_cost(provider, model, Usage(input_tokens=4)) == Decimal(1)


def test_the_exact_id_wins():
    """A row for the very name that was called counts before the model that the name would be matched to."""
    rows = [
        price("input_tokens", "1", provider="openai", model="gpt-4o"),
        price("input_tokens", "2", provider="openai", model="gpt-4o-2024-08-06", source="admin"),
        price("input_tokens", "3", provider="azure", model="gpt-4o", source="admin"),
    ]
    book = PriceBook.build(rows)
    assert book.find_cost("openai", "gpt-4o-2024-08-06", Usage(input_tokens=1)) == 2
    assert book.find_cost("openai", "gpt-4o-2024-05-13", Usage(input_tokens=1)) != 2
    assert book.find_cost("azure", "gpt-4o-2024-08-06", Usage(input_tokens=1)) == 3


def test_an_admins_price_of_one_class_leaves_the_others():
    """Where an admin priced one class of a name, its other classes are those of the model that the name means."""
    rows = [
        price("input_tokens", "1", provider="openai", model="gpt-4o"),
        price("output_tokens", "2", provider="openai", model="gpt-4o"),
        price("output_tokens@batch", "1", provider="openai", model="gpt-4o"),
        price("input_tokens", "5", provider="openai", model="gpt-4o-2024-08-06", source="admin"),
        price("input_tokens", "7", provider="openai", model="never-heard-of", source="admin"),
        price("output_tokens", "8", provider="openai", model="*"),
    ]
    book, usage = PriceBook.build(rows), Usage(input_tokens=1, output_tokens=1)
    assert book.find_cost("openai", "gpt-4o-2024-08-06", usage) == 7
    assert book.find_cost("openai", "gpt-4o-2024-08-06", Usage(output_tokens=1, service_tier="batch")) == 1
    assert book.find_cost("openai", "never-heard-of", usage) == 15


def test_a_providers_own_name_comes_first():
    """What admins set for a provider by its name in the configuration comes before what holds for its vendor."""
    rows = [
        price("input_tokens", "1", provider="openai-compatible", model="*", source="admin"),
        price("input_tokens", "2", provider="mine", model="m", source="admin"),
        price("input_tokens", "3", provider="mine", model="*", source="admin"),
        price("input_tokens", "4", provider="groq", model="m"),
        price("input_tokens", "5", provider="openai-compatible", model="n"),
    ]
    book, one = PriceBook.build(rows), Usage(input_tokens=1)
    expected = {("mine", "m"): 2, ("mine", "x"): 3, ("mine", "n"): 5, ("other", "m"): 1, ("groq", "m"): 1}
    for (name, model), usd in expected.items():
        assert book.find_cost("openai-compatible", model, one, name=name) == usd, (name, model)


def test_prices_hold_in_their_time():
    """A call is priced by what held when it came; before and after that, by what held then, or not at all."""
    rows = [
        price("input_tokens", "1", valid_until=100.0),
        price("input_tokens", "2", valid_from=100.0, valid_until=200.0),
        price("input_tokens", "3", valid_from=300.0),
        price("input_tokens", "9", valid_from=120.0, valid_until=130.0, source="admin"),
    ]
    book = PriceBook.build(rows)
    asked = {-1e12: 1, 99.999: 1, 100.0: 2, 120.0: 9, 130.0: 2, 200.0: None, 299.9: None, 300.0: 3, 1e12: 3}
    for at, usd in asked.items():
        assert book.find_cost("acme", "m", Usage(input_tokens=1), at=at) == usd, at
    assert book.find_cost("acme", "m", Usage(input_tokens=1)) == 3
    assert book.list_models("acme") == ["m"]
    assert PriceBook.build(rows[:2]).list_models("acme") == []


def test_lines_say_how_the_cost_comes_about():
    """Each class that was used has a line with its quantity, price, factor and amount; the cost is their sum."""
    rows = [price("input_tokens", "0.1"), price("output_tokens", "0.2"), price("requests", "3")]
    lines = PriceBook.build(rows).find_lines(
        "acme", "m", Usage(input_tokens=7, output_tokens=2), factor=Decimal("0.935")
    )
    assert [(line.token_class, line.quantity, line.usd_per_unit, line.factor, line.amount_usd) for line in lines] == [
        ("requests", 1, 3, Decimal("0.935"), Decimal("2.805")),
        ("input_tokens", 7, Decimal("0.1"), Decimal("0.935"), Decimal("0.6545")),
        ("output_tokens", 2, Decimal("0.2"), Decimal("0.935"), Decimal("0.374")),
    ]
    assert sum_lines(lines) == Decimal("3.8335")


def test_amounts_are_rounded_to_what_is_stored():
    """Every line is rounded to fifteen decimals, half to even, and no size of a number makes it fail."""
    assert price_quantity(1, Decimal("0.000000000000005"), Decimal("0.5")) == Decimal("0.000000000000002")
    assert price_quantity(3, Decimal("0.000000000000005"), Decimal("0.5")) == Decimal("0.000000000000008")
    huge = price_quantity(10**12, Decimal("999999.999999999999999"), Decimal(101))
    assert huge == Decimal("100999999.999999999999899") * 10**12


def test_rows_that_charge_a_call_can_be_listed():
    """The rows by which a model is charged are those that find_lines takes."""
    rows = [
        price("input_tokens", "1"),
        price("input_tokens", "9", source="admin"),
        price("output_tokens", "2"),
        price("output_tokens", "3", start=100),
        price("output_tokens@flex", "1"),
    ]
    found = PriceBook.build(rows).list_rows("acme", "m")
    assert found == [rows[1], rows[2], rows[3], rows[4]]
    assert PriceBook.build(rows).list_rows("acme", "other") == []


def test_a_providers_price_for_any_model():
    """`*` prices whatever model of its provider has no price of its own."""
    rows = [price("input_tokens", "1", model="*"), price("input_tokens", "2", model="m")]
    book = PriceBook.build(rows)
    assert book.find_cost("acme", "anything", Usage(input_tokens=1)) == 1
    assert book.find_cost("acme", "m", Usage(input_tokens=1)) == 2


def test_the_mock_provider_has_invented_prices():
    """Every model of the mock provider costs something, labelled as invented."""
    book = PriceBook.build(build_mock_rows())
    for model in ("echo", "embed", "gpt-4o"):
        cost = book.find_cost("mock", model, Usage(input_tokens=1000))
        assert cost is not None
        assert 0 < cost < 1
    assert {row.source for row in build_mock_rows()} == {"mock"}


HALVED = Usage(input_tokens=3, output_tokens=2, web_searches=1, service_tier="batch")


def build_batch_book(provider, *more):
    classes = {"input_tokens": "1", "output_tokens": "10", "web_searches": "100"}
    return PriceBook.build([price(name, usd, provider=provider) for name, usd in classes.items()] + list(more))


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_batch_of_a_vendor_costs_half_where_no_price_says_otherwise(provider):
    """The tokens do, by a price that the lines show; what is no token costs what it costs."""
    lines = build_batch_book(provider).find_lines(provider, "m", HALVED, factor=Decimal("0.8"))
    assert lines is not None
    assert {line.token_class: (line.usd_per_unit, line.factor, line.amount_usd) for line in lines} == {
        "input_tokens": (Decimal("0.5"), Decimal("0.8"), Decimal("1.2")),
        "output_tokens": (Decimal(5), Decimal("0.8"), Decimal(8)),
        "web_searches": (Decimal(100), Decimal("0.8"), Decimal(80)),
    }


def test_a_price_of_the_tier_comes_before_the_half():
    """Where the table has prices of batches they hold as they are, for every class."""
    book = build_batch_book("openai", price("input_tokens@batch", "0.9", provider="openai"))
    assert book.find_cost("openai", "m", HALVED) == Decimal("2.7") + 20 + 100


def test_nobody_elses_batches_cost_half():
    """A server that only says that it is a batch takes its price."""
    assert build_batch_book("acme").find_cost("acme", "m", HALVED) == 123


def test_half_a_price_has_as_many_decimals_as_the_ledger_keeps():
    """Else the lines that are stored would not come to their own amounts."""
    book = PriceBook.build([price("input_tokens", "0.000000000000003", provider="openai")])
    lines = book.find_lines("openai", "m", Usage(input_tokens=1000, service_tier="batch"))
    assert lines is not None
    assert (lines[0].usd_per_unit, lines[0].amount_usd) == (Decimal("2E-15"), Decimal("2E-12"))
