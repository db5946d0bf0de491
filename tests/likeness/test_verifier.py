"""The shipped trees."""

import pytest

from app.likeness import alignment
from app.likeness.features import NAMES
from app.likeness.question import read_question
from app.likeness.verifier import Forest, Tree, estimate, load_model

STUMP = Tree([0], [0.5], [-1], [-2], [-2.0, 2.0])


def test_a_tree_falls_to_the_left_up_to_the_threshold():
    """A value that equals the threshold counts as below it."""
    forest = Forest(["x"], [STUMP], 1.0, 0.0)
    assert forest.estimate([0.5]) == pytest.approx(0.1192, abs=1e-4)
    assert forest.estimate([0.6]) == pytest.approx(0.8808, abs=1e-4)


def test_trees_add_up_and_are_calibrated():
    """The sum of the leaves goes through slope and offset; a tree of one leaf always says the same."""
    forest = Forest(["x"], [STUMP, Tree([], [], [], [], [1.0])], 0.5, -1.5)
    assert forest.estimate([1.0]) == pytest.approx(0.5)


def test_the_shipped_model_sees_what_is_measured():
    """The names in the file are those of the code, in the same order."""
    model = load_model()
    assert model.words.names == list(NAMES)
    assert model.near.names == [*NAMES, "cosine", *alignment.NAMES]
    for forest in (model.near, model.words):
        assert all(max(tree.features, default=0) < len(forest.names) for tree in forest.trees)


def test_a_paraphrase_is_likelier_than_another_question():
    """By its words alone, "how can I" is nearer than another thing to reset."""
    asked = read_question("How do I reset my router to factory settings?")
    same = estimate(asked, read_question("How can I reset my router to the factory settings?"), 0.0, None)
    other = estimate(asked, read_question("How do I sell my router with factory settings?"), 0.0, None)
    assert same.probability > 0.7
    assert other.probability < same.probability
    assert not same.moved


def test_tells_where_words_have_moved():
    """The same words in another order are noticed."""
    assert estimate(read_question("dogs chase cats"), read_question("cats chase dogs"), 0.0, None).moved
