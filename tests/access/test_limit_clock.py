"""Jumps of the database's clock, told from slow answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.limit_clock import Reading, SteadyClock

FIRST = Reading(at=1000.0, sent=10.0, received=10.1)


@pytest.mark.parametrize(
    ("at", "sent", "received", "jump"),
    [
        (1005.0, 15.0, 15.1, 0.0),
        (1005.2, 15.0, 15.1, 0.0),
        (1004.8, 15.0, 15.1, 0.0),
        (1008.0, 15.0, 18.1, 0.0),
        (8205.0, 15.0, 15.1, 7200.1),
        (8205.0, 15.0, 18.1, 7200.1),
        (-6195.0, 15.0, 15.1, -7199.9),
        (1007.0, 15.0, 15.1, 2.1),
    ],
    ids=[
        "steady",
        "a little ahead",
        "a little behind",
        "answered late",
        "forward",
        "forward and late",
        "back",
        "small",
    ],
)
def test_a_jump_is_what_no_delay_explains(at, sent, received, jump) -> None:
    """A reading that fits some moment between question and answer is none; a jump is told at its latest."""
    clock = SteadyClock()
    clock.note(FIRST)
    assert clock.find_jump(Reading(at, sent, received)) == pytest.approx(jump, abs=0.11)


def test_the_first_reading_is_believed() -> None:
    """Without an earlier reading nothing is a jump and no time is too late."""
    clock = SteadyClock()
    assert clock.find_jump(FIRST) == 0.0
    assert clock.find_latest(99.0) is None


@given(
    gaps=st.lists(st.tuples(*[st.floats(0, 600)] * 3), min_size=1, max_size=20),
    drift=st.floats(0.985, 1.015),
)
def test_delays_and_drift_are_never_a_jump(gaps, drift) -> None:
    """However long questions and answers take, and with a clock that is 1.5 % off, no jump is found."""
    clock, now = SteadyClock(), 0.0
    for pause, there, back in gaps:
        sent = now + pause
        now = sent + there + back
        reading = Reading(5000 + (sent + there) * drift, sent, now)
        assert clock.find_jump(reading) == 0.0
        clock.note(reading)


@given(st.floats(0.0, 1e6))
def test_the_latest_is_later_than_the_clock_can_be(passed) -> None:
    """A question that arrives without delay is never too late."""
    clock = SteadyClock()
    clock.note(FIRST)
    latest = clock.find_latest(FIRST.received + passed)
    assert latest is not None
    assert latest > FIRST.at + passed + (FIRST.received - FIRST.sent)
