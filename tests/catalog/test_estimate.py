"""Estimates: never below what a call can cost, and never silly."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog.asked import Asked
from app.catalog.estimate import affordable_output, estimate, estimate_interrupted
from app.catalog.output_limits import OutputLimit
from app.catalog.prices import PriceBook, PriceRow
from app.catalog.tokens import InputCount
from app.wire.usage import Usage

PRICES = {
    "input_tokens": "0.00001",
    "cache_read_tokens": "0.000001",
    "cache_write_5m_tokens": "0.0000125",
    "cache_write_1h_tokens": "0.00002",
    "input_audio_tokens": "0.00004",
    "output_tokens": "0.00003",
    "reasoning_tokens": "0.000031",
    "output_audio_tokens": "0.00008",
    "input_image_tokens": "0.000015",
    "output_image_tokens": "0.0001",
    "web_searches": "0.01",
    "requests": "0.005",
    "input_tokens@priority": "0.00002",
    "output_tokens@priority": "0.00006",
}


def book(prices=PRICES, *, model="claude-9", **more):
    rows = [
        PriceRow(provider="acme", model=model, token_class=name, usd_per_unit=Decimal(usd), source="test 1")
        for name, usd in {**prices, **more}.items()
    ]
    return PriceBook.build(rows).find_lines


def guess(count=100, output=1_000, *, source="call", answers=1, find_lines=None, audio=0, model="claude-9", **asked):
    images = asked.pop("has_images", False)
    found = InputCount(tokens=count, audio_tokens=audio, has_images=images, asked=Asked(**asked))
    limit = OutputLimit(tokens=output, answers=answers, source=source)
    return estimate(find_lines or book(model=model), "acme", model, found, limit)


def usd(text):
    return Decimal(text)


def test_the_worst_case_is_input_and_the_longest_output():
    """Input at its price, output at the dearest of its classes, and the fixed price of a request."""
    found = guess()
    assert found.wanted_usd == found.minimum_usd == usd("0.005") + 100 * usd("0.00001") + 1_000 * usd("0.000031")
    assert found.usage == Usage(input_tokens=100, reasoning_tokens=1_000)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"caches": True}, 100 * usd("0.0000025")),
        ({"caches": True, "caches_long": True}, 100 * usd("0.00001")),
        ({"audio": 40}, 40 * usd("0.00003")),
        ({"audio_output": True}, 1_000 * usd("0.000049")),
        ({"has_images": True}, 100 * usd("0.000005")),
        ({"image_output": True}, 1_000 * usd("0.000069")),
        ({"web_searches": 3}, usd("0.03")),
        ({"answers": 2}, 1_000 * usd("0.000031")),
        ({"service_tier": "auto"}, 100 * usd("0.00001") + 1_000 * usd("0.000029")),
        ({"service_tier": "priority"}, 100 * usd("0.00001") + 1_000 * usd("0.000029")),
        ({"service_tier": "flex"}, 0),
    ],
    ids=str,
)
def test_whatever_may_be_dearer_is_taken_at_its_price(changes, more):
    """Cache marks, audio, searches, several answers and a better tier are held for when the body asks for them."""
    assert guess(**changes).wanted_usd == guess().wanted_usd + more


def test_other_vendors_may_write_to_their_cache_unasked():
    """Only Claude's cache is written on request; another model's price for it counts where it has one."""
    assert guess(model="gpt-9").wanted_usd == guess().wanted_usd + 100 * usd("0.0000025")


def test_an_unpriced_model_has_no_estimate():
    """Without a price for what the call will use there is nothing to hold."""
    assert guess(find_lines=book(model="another")) is None
    assert guess(find_lines=book({"input_tokens": "1"})) is None
    assert guess(find_lines=book({"input_tokens": "1", "output_tokens": "2"})).wanted_usd == 100 + 2 * 1_000
    assert guess(find_lines=book({"input_tokens": "1"}), output=0).wanted_usd == 100


def test_a_call_without_a_limit_can_do_with_little():
    """The minimum is a short answer, unless the call itself says how long it is to be."""
    for source in ("model", "assumed"):
        found = guess(source=source, answers=2)
        assert found.minimum_usd == found.fixed_usd + 32 * found.unit_usd < found.wanted_usd
    assert guess(output=5, source="model").minimum_usd == guess(output=5).wanted_usd


def test_a_free_model_wants_nothing():
    """A price of zero is a price."""
    found = guess(find_lines=book({"input_tokens": "0", "output_tokens": "0"}))
    assert (found.wanted_usd, affordable_output(Decimal(0), found)) == (0, 1_000)


def test_steps_of_prices_count_by_the_whole_input():
    """A long prompt's higher price holds for its output as well."""
    rows = [
        PriceRow(provider="acme", model="m", token_class=name, usd_per_unit=price, from_input_tokens=start, source="t")
        for name in ("input_tokens", "output_tokens")
        for start, price in ((0, Decimal(1)), (100, Decimal(2)))
    ]
    find_lines = PriceBook.build(rows).find_lines
    costs = [guess(count, 10, find_lines=find_lines, model="m").wanted_usd for count in (99, 100)]
    assert costs == [99 + 10, 2 * 110]


COUNTS = st.integers(0, 5_000_000)
ASKED = st.builds(
    Asked,
    caches=st.booleans(),
    caches_long=st.booleans(),
    audio_output=st.booleans(),
    web_searches=st.integers(0, 10),
    service_tier=st.sampled_from([None, "auto", "default", "priority", "flex"]),
)
AMOUNTS = st.decimals(0, 1, places=15)
TARIFFS = st.fixed_dictionaries({name: AMOUNTS.map(str) for name in PRICES})


def weigh(find_lines, tokens, audio, asked, output, answers):
    count = InputCount(tokens=tokens, audio_tokens=min(audio, tokens), asked=asked)
    limit = OutputLimit(tokens=output, answers=answers, source="model")
    found = estimate(find_lines, "acme", "claude-9", count, limit)
    assert found is not None
    return found


@given(TARIFFS, COUNTS, COUNTS, ASKED, COUNTS, st.integers(1, 8), COUNTS)
@settings(max_examples=150, deadline=None)
def test_more_never_costs_less(tariff, tokens, audio, asked, output, answers, more):
    """The estimate grows with the input, the output, the answers and the searches, whatever the prices."""
    find_lines = book(tariff)
    base = weigh(find_lines, tokens, audio, asked, output, answers)
    searching = msgspec.structs.replace(asked, web_searches=asked.web_searches + 1)
    for other in (
        weigh(find_lines, tokens + more, min(audio, tokens), asked, output, answers),
        weigh(find_lines, tokens, audio, asked, output + more, answers),
        weigh(find_lines, tokens, audio, asked, output, answers + 1),
        weigh(find_lines, tokens, audio, searching, output, answers),
    ):
        assert other.wanted_usd >= base.wanted_usd
        assert other.minimum_usd >= base.minimum_usd
    assert base.minimum_usd <= base.wanted_usd


@given(TARIFFS, COUNTS, ASKED, COUNTS, st.data(), st.decimals("0.5", 2, places=6))
@settings(max_examples=150, deadline=None)
def test_no_usage_within_the_bounds_costs_more(tariff, tokens, asked, output, data, factor):
    """Whichever way the counted tokens fall into the classes they may be in, the estimate covers the cost."""
    priced = book(tariff)

    def find_lines(provider, model, usage):
        return priced(provider, model, usage, factor=factor)

    found = weigh(find_lines, tokens, 0, asked, output, 1)
    written = data.draw(st.integers(0, tokens)) if asked.caches or asked.caches_long else 0
    thought = data.draw(st.integers(0, output))
    usage = Usage(
        input_tokens=tokens - written,
        cache_write_1h_tokens=written if asked.caches_long else 0,
        cache_write_5m_tokens=0 if asked.caches_long else written,
        output_tokens=output - thought,
        reasoning_tokens=thought,
        web_searches=asked.web_searches,
        service_tier="priority" if asked.service_tier in {"auto", "priority"} else None,
    )
    assert sum(line.amount_usd for line in find_lines("acme", "claude-9", usage)) <= found.wanted_usd


@given(TARIFFS, COUNTS, COUNTS, st.integers(1, 8), st.decimals(0, 1, places=6))
@settings(max_examples=150, deadline=None)
def test_a_grant_pays_for_what_it_affords(tariff, tokens, output, answers, share):
    """The answers that a grant affords cost no more than it, and more than the minimum affords a useful answer."""
    found = weigh(book(tariff), tokens, 0, Asked(), output, answers)
    granted = found.minimum_usd + (found.wanted_usd - found.minimum_usd) * share
    each = affordable_output(granted, found)
    assert each <= output
    assert found.fixed_usd + found.unit_usd * each * answers <= granted or each == 0
    assert each >= min(16, output)
    assert affordable_output(found.wanted_usd, found) == output
    assert affordable_output(found.fixed_usd - 1, found) == 0


def test_a_broken_stream_is_charged_by_what_went_out():
    """The input as counted and a token for 32 bytes that were sent, never more than the limit."""
    count = InputCount(tokens=100, audio_tokens=30)
    assert estimate_interrupted(count, 0, 50) == Usage(input_tokens=70, input_audio_tokens=30)
    assert estimate_interrupted(count, 320, 50).output_tokens == 10
    assert estimate_interrupted(count, 10**9, 50).output_tokens == 50
