"""What a request costs, as a table of rules."""

from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.analytics.bills import MAX_COST, Costs, build_bill, build_unsplit_bill
from app.wire.money import SMALLEST_USD, Ceiling, Hold, Line
from app.wire.usage import Usage
from tests.analytics.samples import build_row, find_lines

NONE = Decimal(0)
UNHEARD_OF = {"model": "unheard-of"}
CEILING = Ceiling(input_usd=Decimal("0.1"), output_usd=Decimal("0.2"))
ESTIMATE = Usage(input_tokens=3, output_tokens=4)


def hold(ceiling=None):
    return Hold(reservation_id=uuid4(), kind="call", amount_usd=Decimal(1), booked_at=1.0, ceiling=ceiling)


def tell(row):
    """The costs of a row and its bill in short: the kind, and the amount of each class."""
    costs, bill = build_bill(row, find_lines)
    return *costs, bill and (bill.kind, {line.token_class: line.amount_usd for line in bill.lines})


SPENT = ("usage", {"input_tokens": Decimal("0.10"), "output_tokens": Decimal("0.05")})
AT_CEILING = {"input_tokens": Decimal("1.0"), "output_tokens": Decimal("1.0")}
ESTIMATED = ("estimated", {"input_tokens": Decimal("0.03"), "output_tokens": Decimal("0.04")})
ESTIMATED_AT_CEILING = ("estimated", {"input_tokens": Decimal("0.3"), "output_tokens": Decimal("0.8")})
CASES = {
    "priced": ({}, (Decimal("0.15"), None, SPENT)),
    "priced, with a hold": ({"hold": hold(CEILING)}, (Decimal("0.15"), None, SPENT)),
    "nobody was paid": ({"billed": False}, (NONE, Decimal("0.15"), None)),
    "nobody was paid, no price": ({"billed": False} | UNHEARD_OF, (NONE, None, None)),
    "nobody was paid, no price, ceiling": ({"billed": False, "hold": hold(CEILING)} | UNHEARD_OF, (NONE, None, None)),
    "nobody was paid, no usage": ({"billed": False, "usage": None}, (NONE, None, None)),
    "no price": (UNHEARD_OF, (None, None, None)),
    "no price, with a hold": ({"hold": hold()} | UNHEARD_OF, (None, None, None)),
    "no price, ceiling": ({"hold": hold(CEILING)} | UNHEARD_OF, (Decimal(2), None, ("ceiling", AT_CEILING))),
    "no usage": ({"usage": None}, (None, None, None)),
    "no usage, with a hold": ({"usage": None, "hold": hold()}, (None, None, None)),
    "no usage, estimate without a hold": ({"usage": None, "estimated_usage": ESTIMATE}, (None, None, None)),
    "no usage, estimate": (
        {"usage": None, "estimated_usage": ESTIMATE, "hold": hold()},
        (Decimal("0.07"), None, ESTIMATED),
    ),
    "no usage, estimate, no price": (
        {"usage": None, "estimated_usage": ESTIMATE, "hold": hold()} | UNHEARD_OF,
        (None, None, None),
    ),
    "no usage, estimate, no price, ceiling": (
        {"usage": None, "estimated_usage": ESTIMATE, "hold": hold(CEILING)} | UNHEARD_OF,
        (Decimal("1.1"), None, ESTIMATED_AT_CEILING),
    ),
    "usage beats the estimate": (
        {"estimated_usage": ESTIMATE, "hold": hold()},
        (Decimal("0.15"), None, SPENT),
    ),
    "refused before it went out": (
        {"billed": False, "usage": None, "status_code": 402, "hold": hold(CEILING), "estimated_usage": ESTIMATE},
        (NONE, None, None),
    ),
    "it cost nothing": ({"usage": Usage()}, (NONE, None, None)),
    "no provider was chosen": ({"provider": None, "model": None, "usage": None}, (None, None, None)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_row_costs(name):
    """Each kind of row has the costs, the kind of bill and the lines that the rules say."""
    changes, expected = CASES[name]
    assert tell(build_row(**changes)) == expected


def test_every_token_class_is_charged_at_the_ceiling():
    """The ceiling prices each input and each output class apart; what is no token, such as a search, it leaves out."""
    counts = {name: number for number, name in enumerate(Usage.__struct_fields__, 1) if name != "service_tier"}
    _, bill = build_bill(build_row(usage=Usage(**counts), hold=hold(CEILING), **UNHEARD_OF), find_lines)
    assert bill is not None
    priced = {line.token_class: line.usd_per_unit for line in bill.lines}
    assert set(priced) == set(counts) - {"web_searches"}
    assert {name: price for name, price in priced.items() if price == CEILING.output_usd} == dict.fromkeys(
        ("output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens"), CEILING.output_usd
    )


def test_the_price_is_that_of_the_time_of_the_request():
    """The price book is asked for the prices of the moment the request came."""
    asked = []

    def find(provider, model, usage, *, at=None):
        asked.append(at)
        return ()

    build_bill(build_row(request_time=1700000000.5), find)
    assert asked == [1700000000.5]


@pytest.mark.parametrize("amount", ["1e9", "1e40", "NaN"])
def test_a_cost_that_cannot_be_stored_is_unknown(amount):
    """A price that makes a cost no column could hold makes it unknown, and does not cost the row."""
    line = Line(token_class="input_tokens", quantity=1, usd_per_unit=Decimal(1), amount_usd=Decimal(amount))
    assert build_bill(build_row(), lambda *_, **__: (line,)) == (Costs(None, None), None)


@given(
    counts=st.fixed_dictionaries({name: st.integers(0, 10**12) for name in Usage.__struct_fields__[:9]}),
    prices=st.tuples(*(st.decimals(0, 10, places=18) for _ in range(2))),
)
def test_the_cost_is_the_sum_of_its_lines(counts, prices):
    """Each amount has the scale of the column, so the sum is exact; a cost of zero has no lines."""
    ceiling = Ceiling(input_usd=prices[0], output_usd=prices[1])
    row = build_row(usage=Usage(**counts), hold=hold(ceiling), **UNHEARD_OF)
    costs, bill = build_bill(row, find_lines)
    if costs.estimated_cost is None:
        assert bill is None
        return
    assert costs.estimated_cost < MAX_COST
    lines = () if bill is None else bill.lines
    assert sum((line.amount_usd for line in lines), NONE) == costs.estimated_cost
    assert all(line.amount_usd == line.amount_usd.quantize(SMALLEST_USD) for line in lines)
    assert (bill is None) == (costs.estimated_cost == 0)


def test_a_cost_without_classes_is_one_line():
    """A cost of which only the sum is known makes a bill of one line of that amount."""
    bill = build_unsplit_bill(Decimal("0.15"))
    assert [(line.token_class, line.quantity, line.amount_usd) for line in bill.lines] == [
        ("total", 1, Decimal("0.15"))
    ]
    assert bill.total_usd == Decimal("0.15")


def find_half_lines(provider, model, usage, *, at=None):
    lines = find_lines(provider, model, usage, at=at)
    if lines is None or usage.service_tier != "batch":
        return lines
    return tuple(replace(line, amount_usd=line.amount_usd / 2, factor=Decimal("0.5")) for line in lines)


@pytest.mark.parametrize(
    ("changes", "costs"),
    [
        ({}, Costs(Decimal("0.075"), Decimal("0.075"))),
        ({"hold": hold()}, Costs(Decimal("0.075"), Decimal("0.075"))),
        ({"billed": False}, Costs(NONE, Decimal("0.075"))),
        (UNHEARD_OF, Costs(None, None)),
    ],
)
def test_what_a_batch_at_a_vendor_saves(changes, costs):
    """It is what the same answer would have cost at once, less what was paid; a cache's hit saves what would be due."""
    usage = Usage(input_tokens=10, output_tokens=5, service_tier="batch")
    found, bill = build_bill(build_row(usage=usage, **changes), find_half_lines)
    assert found == costs
    assert bill is None or bill.total_usd == costs.estimated_cost


def test_a_batch_that_costs_as_much_saves_nothing():
    """Zero, for that much is known."""
    usage = Usage(input_tokens=10, output_tokens=5, service_tier="batch")
    assert build_bill(build_row(usage=usage), find_lines)[0] == Costs(Decimal("0.15"), NONE)
