"""What the verifier sees."""

import math

import pytest

from app.likeness.features import NAMES, measure
from app.likeness.question import read_question

PAIRS = [
    ("How do I reset my password?", "I forgot my password, how do I reset it?"),
    ("", "What is the capital of France?"),
    ("", ""),
    ("東京はどこ", "Where is Tokyo?"),
    ("a " * 200, "b " * 200),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_same_both_ways(one, other):
    """It does not matter which question came first, and every value is a number."""
    a, b = read_question(one), read_question(other)
    values = measure(a, b)
    assert values == measure(b, a)
    assert len(values) == len(NAMES)
    assert all(math.isfinite(value) for value in values)


def test_one_question_with_itself():
    """Nothing is unmatched and nothing moved where both are one."""
    question = read_question("Where can I charge my electric car in town?")
    values = dict(zip(NAMES, measure(question, question), strict=True))
    assert values["shared_content"] == values["shared_trigrams"] == values["longest_run"] == values["asks_same"] == 1
    assert values["unmatched_most"] == values["moved"] == values["substituted"] == 0


@pytest.mark.parametrize(
    ("one", "other", "name", "value"),
    [
        ("cost of a deep clean for a flat", "cost of a deep clean for an office", "substituted", 1),
        ("cats chase dogs", "dogs chase cats", "moved", 1),
        ("find my statement", "find my statment", "unmatched_most", 1),
        ("Who is it", "What is it", "asks_same", 0),
    ],
)
def test_single_values(one, other, name, value):
    """Each value measures what its name says."""
    assert dict(zip(NAMES, measure(read_question(one), read_question(other)), strict=True))[name] == value


def test_a_slip_of_the_pen_is_nearly_the_word():
    """A misspelled word is more like the right one than another word is."""
    slip = measure(read_question("find my statement"), read_question("find my statment"))
    other = measure(read_question("find my statement"), read_question("find my umbrella"))
    at = NAMES.index("unmatched_alike")
    assert slip[at] > 0.5 > other[at]
