"""Learning from providers that count more than was foreseen."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from app.access.foresight import MOST, Foresight

MODEL = "openai/gpt-4o"


def test_without_a_surprise_estimates_stay_as_they_are():
    """Calls that cost no more than was held teach nothing."""
    known = Foresight()
    known.learn(MODEL, Decimal(2), Decimal(1))
    assert known.find_factor(MODEL) == 1


def test_a_surprise_is_held_for_the_next_time():
    """The next estimate covers what the last call cost, of this model only."""
    known = Foresight()
    known.learn(MODEL, Decimal(1), Decimal(3))
    assert known.find_factor(MODEL) == 3
    assert known.find_factor("openai/other") == 1
    known.learn(MODEL, Decimal(3), Decimal(6))
    assert known.find_factor(MODEL) == 6


def test_a_surprise_is_forgotten_in_time():
    """A provider that mended its figures is trusted again."""
    known = Foresight()
    known.learn(MODEL, Decimal(1), Decimal(2))
    for _ in range(10_000):
        known.learn(MODEL, Decimal(2), Decimal(1))
    assert known.find_factor(MODEL) == 1


@given(st.lists(st.tuples(st.decimals(0, 10, places=6), st.decimals(0, 10, places=6)), max_size=50))
def test_the_factor_stays_within_reason(calls):
    """Whatever is reported, estimates neither shrink nor grow without bound."""
    known = Foresight()
    for held, cost in calls:
        known.learn(MODEL, held, cost)
        assert 1 <= known.find_factor(MODEL) <= MOST
