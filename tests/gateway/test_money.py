"""Where a call may go on what is held for it already."""

from decimal import Decimal
from uuid import UUID

import pytest

from app.catalog.estimate import Estimate
from app.catalog.output_limits import OutputLimit
from app.catalog.tokens import InputCount
from app.errors import Dialect
from app.gateway.money import Need, Quote, keep_affordable
from app.gateway.plan import Target
from app.wire.money import Hold
from app.wire.usage import Usage
from tests.gateway.builders import ANTHROPIC, LOCAL, OPENAI


def quote(provider, amount):
    """Return what a call costs at one provider, whatever it says."""
    usd, output = Decimal(amount), OutputLimit(tokens=500, source="call")
    estimate = Estimate(
        wanted_usd=usd, minimum_usd=usd, usage=Usage(), fixed_usd=usd, unit_usd=Decimal(0), output=output
    )
    target = Target(provider=provider, dialect=Dialect.OPENAI, base_url="", model="m")
    return Quote(target=target, count=InputCount(tokens=9), output=output, estimate=estimate)


@pytest.mark.parametrize(
    ("prices", "held", "factor", "left", "dearest"),
    [
        (("1", "2", "3"), "3", 1, ["openai", "anthropic", "local"], "3"),
        (("1", "2", "3"), "2", 1, ["openai", "anthropic"], "2"),
        (("3", "1", "2"), "2", 1, ["anthropic", "local"], "2"),
        (("1", "2", "3"), "3", 2, ["openai"], "1"),
        (("1", "2", "3"), "0.5", 1, ["openai", "anthropic", "local"], "3"),
    ],
)
def test_only_what_is_paid_for(prices, held, factor, left, dearest):
    """Targets that are dearer than what is held fall away, unless all are: what was accepted is answered."""
    quotes = [quote(*pair) for pair in zip((OPENAI, ANTHROPIC, LOCAL), prices, strict=True)]
    need = Need(
        scopes=(("key", "k"),), quotes=quotes, dearest=quotes[-1], ceiling=None, deployment="d", factor=Decimal(factor)
    )
    kept = keep_affordable(
        need, Hold(reservation_id=UUID(int=1), kind="batch", amount_usd=Decimal(held), booked_at=0.0)
    )
    assert [one.target.provider.name for one in kept.quotes] == left
    assert kept.dearest.estimate.wanted_usd == Decimal(dearest)
