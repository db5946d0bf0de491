"""How the tokens of two texts stand to each other."""

import math

import numpy as np
import pytest

from app.likeness.alignment import NAMES, Tokens, align


def tokens(*pairs):
    """Make tokens from ids and the angles of their vectors."""
    vectors = np.array([[math.cos(angle), math.sin(angle)] for _, angle in pairs], dtype=np.float32).reshape(-1, 2)
    return Tokens([number for number, _ in pairs], vectors)


def named(a, b):
    return dict(zip(NAMES, align(a, b), strict=True))


def test_a_text_with_itself_is_matched_throughout():
    """Every token has its like, none is lonely, none is new."""
    text = tokens((2000, 0.0), (3000, 1.0), (4000, 2.0))
    values = named(text, text)
    assert values["token_worst"] == pytest.approx(1)
    assert values["token_shared_worst"] == pytest.approx(1)
    assert values["token_lonely_most"] == values["token_new_count"] == values["token_turned"] == 0


def test_the_token_without_a_partner_shows():
    """One token that is like none of the other text decides the worst and is counted as lonely and new."""
    values = named(tokens((2000, 0.0), (3000, 0.1)), tokens((2000, 0.0), (5000, 3.0)))
    assert values["token_worst"] < 0
    assert values["token_lonely_most"] == 1
    assert values["token_new_count"] == 2


@pytest.mark.parametrize("other", [tokens(), tokens((2000, 0.0)), tokens((9, 1.0), (2000, 0.2), (7, 2.5))])
def test_same_both_ways(other):
    """It does not matter which text came first, and empty texts are no error."""
    text = tokens((2000, 0.0), (3000, 0.5))
    assert align(text, other) == pytest.approx(align(other, text))
    assert all(math.isfinite(value) for value in align(text, other))
