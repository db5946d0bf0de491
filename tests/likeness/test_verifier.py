"""The shipped trees, and what is added to them."""

import pytest

from app.likeness import alignment
from app.likeness.features import NAMES
from app.likeness.question import read_question
from app.likeness.verifier import Forest, Tree, estimate, load_model

STUMP = Tree([0], [0.5], [-1], [-2], [-2.0, 2.0])


def test_a_tree_falls_to_the_left_up_to_the_threshold():
    """A value that equals the threshold counts as below it."""
    forest = Forest(["x"], [STUMP], 1.0, 0.0)
    assert (forest.weigh([0.5]), forest.weigh([0.6])) == (-2.0, 2.0)


def test_trees_add_up_and_are_calibrated():
    """The sum of the leaves goes through slope and offset; a tree of one leaf always says the same."""
    forest = Forest(["x"], [STUMP, Tree([], [], [], [], [1.0])], 0.5, -1.5)
    assert forest.weigh([1.0]) == pytest.approx(0.0)


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
    assert same > 0.7
    assert other < same


def test_the_net_has_a_say():
    """The more the net says for two questions, the likelier they are one; the trees see the rest of the numbers."""
    asked, stored = read_question("How do I learn to sing?"), read_question("How does one learn singing?")
    aligned = [0.9] * len(alignment.NAMES)
    found = [estimate(asked, stored, 0.9, lambda *_, read=read: [*aligned, read]) for read in (-4.0, 0.0, 4.0)]
    assert found[0] < found[1] < found[2]
