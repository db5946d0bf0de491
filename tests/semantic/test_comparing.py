"""Whether two answers say the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.semantic.comparing import MIN_OVERLAP, MIN_SIMILARITY, SHORT_WORDS, compare_answers

NEAR, FAR = 0.95, 0.2
LONG = (
    "The Treaty of Westphalia ended the Thirty Years' War and shaped how European states dealt with each other, "
    "because from then on each ruler chose the faith of the land."
)
RETOLD = (
    "The long war over faith and power in Central Europe came to its end in Westphalia, where envoys agreed that "
    "every prince decides on religion at home; diplomacy has followed that idea ever since."
)
BREAD = (
    "Knead flour, water, salt and yeast, let the dough rest until it has doubled, shape it, let it rise once more and "
    "bake it in a very hot oven until the crust is brown."
)
YEARS = "It began in {} and ended in {}, and many towns of the region needed decades to find back to their old size."


@pytest.mark.parametrize(
    ("one", "other", "similarity", "verdict"),
    [
        ("Paris.", "Paris.", None, "same"),
        ("Paris.", "paris", None, "same"),
        ("Paris.", "**Paris!**", FAR, "same"),
        ("Paris", "The capital of France is Paris.", None, "same"),
        ("It is Paris.", "The capital of France is Paris.", FAR, "same"),
        ("Paris", "London", NEAR, "different"),
        ("It is Paris.", "It is London.", NEAR, "different"),
        ("\uff46\uff55\uff4c\uff4c width", "full width", None, "same"),
        ("STRASSE", "straße", None, "same"),
        ("Yes.", "Yes, it does.", None, "same"),
        ("Yes, it does.", "No, it doesn't.", NEAR, "different"),
        ("Yes", "No", NEAR, "different"),
        ("Yes, " + LONG, "No, " + LONG, NEAR, "different"),
        ("True.", "False.", NEAR, "different"),
        ("Correct, it does.", "Incorrect, it does not.", NEAR, "different"),
        ("Absolutely, use it.", "Never use it.", NEAR, "different"),
        ("Not at all.", "Yes, all of it.", NEAR, "different"),
        ("42", "The answer is 42.", None, "same"),
        ("42", "43", NEAR, "different"),
        ("It costs 10 euros.", "It costs 20 euros.", NEAR, "different"),
        ("Version 3.11", "Version 3.12", NEAR, "different"),
        ("At 10:30", "At 11:30", NEAR, "different"),
        (YEARS.format(1618, 1648), YEARS.format(1618, 1648), None, "same"),
        (YEARS.format(1618, 1648), YEARS.format(1756, 1763), NEAR, "different"),
        (YEARS.format(1618, 1648), YEARS.format(1618, 1763), NEAR, "different"),
        (LONG, "In 1648: " + LONG, NEAR, "same"),
        (LONG, RETOLD, NEAR, "same"),
        (LONG, RETOLD, MIN_SIMILARITY, "same"),
        (LONG, RETOLD, MIN_SIMILARITY - 0.001, "different"),
        (LONG, RETOLD, None, "different"),
        (LONG, LONG.replace("ended", "finished"), None, "same"),
        (LONG, BREAD, FAR, "different"),
        (LONG, BREAD, None, "different"),
        ("", "", None, "same"),
        ("", "Paris", NEAR, "different"),
        ("...", "!", FAR, "same"),
        ("...", LONG, NEAR, "different"),
        ("是", "是。", None, "same"),
        ("是", "不是", NEAR, "different"),
    ],
)
def test_answers(one, other, similarity, verdict):
    """Other numbers, a no for a yes and words that have nothing to do with each other are other answers."""
    assert compare_answers(one, other, similarity) == verdict
    assert compare_answers(other, one, similarity) == verdict


@pytest.mark.parametrize("similarity", [None, FAR, NEAR])
def test_short_answers_are_judged_by_their_words(similarity):
    """However near a model finds a short answer to another, its words have to be in the other one."""
    words = ["amber", "basil", "cedar", "dill", "elm", "fern", "grape", "hazel", "iris", "juniper", "kale", "lotus"]
    assert len(words) == SHORT_WORDS
    half = int(SHORT_WORDS * MIN_OVERLAP)
    strangers = [word[::-1] for word in words]
    enough, little = " ".join(words[:half] + strangers[half:]), " ".join(words[: half - 1] + strangers[half - 1 :])
    assert compare_answers(" ".join(words), enough, similarity) == "same"
    assert compare_answers(" ".join(words), little, similarity) == "different"


@pytest.mark.parametrize(("count", "verdict"), [(SHORT_WORDS, "different"), (SHORT_WORDS + 1, "same")])
def test_texts_full_of_numbers(count, verdict):
    """Of texts with very many numbers, such as tables, not every number is looked for: their likeness decides."""
    one, other = (" ".join(f"row {number}" for number in range(start, start + count)) for start in (100, 500))
    assert compare_answers(one, other, NEAR) == verdict
    assert compare_answers(one, other, FAR) == "different"


TEXTS = st.text() | st.lists(
    st.sampled_from(["yes", "no", "not", "the", "Paris", "7", "1,5", "is", "\n", "Ende"]), max_size=20
).map(" ".join)
SIMILARITIES = st.none() | st.floats(-1, 1)


@given(TEXTS, TEXTS, SIMILARITIES)
def test_both_ways(one, other, similarity):
    """It does not matter which of the two answers was stored."""
    verdict = compare_answers(one, other, similarity)
    assert verdict == compare_answers(other, one, similarity)
    assert verdict in {"same", "different"}


@given(TEXTS, SIMILARITIES)
def test_an_answer_says_what_it_says(text, similarity):
    """An answer says the same as itself, whatever its letters' case and the white space around it."""
    assert compare_answers(text, text, similarity) == "same"
    assert compare_answers(text, f"\n {text} ", similarity) == "same"


@given(TEXTS, TEXTS, st.floats(-1, 1), st.floats(-1, 1))
def test_nearer_is_never_worse(one, other, less, more):
    """Two answers that are the same at one similarity are the same at every greater one."""
    less, more = sorted((less, more))
    if compare_answers(one, other, less) == "same":
        assert compare_answers(one, other, more) == "same"
