"""The shipped trees, and what is added to them."""

import math

import msgspec
import pytest

from app.likeness import alignment, verifier
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


ALIGNED = [0.9] * len(alignment.NAMES)


def weigh(text, cosine=0.9, read=0.0, **options):
    """Return the logit of "How do I learn to sing?" and another question, whose tokens stand equally well."""
    probability = estimate(
        read_question("How do I learn to sing?"),
        read_question(text),
        cosine,
        lambda *_: (ALIGNED, lambda: read),
        **options,
    )
    return math.log(probability / (1 - probability))


def test_the_nets_have_a_say():
    """The more the nets say for two questions, the likelier they are one; the trees see the rest of the numbers."""
    found = [weigh("How does one learn singing?", read=read) for read in (-4.0, 0.0, 4.0)]
    assert found[1] - found[0] == pytest.approx(4 * load_model().read)
    assert found[2] - found[1] == pytest.approx(4 * load_model().read)


def test_the_nets_are_not_asked_in_vain():
    """Where they could not make a pair sure enough, the most that they could make of it is the answer."""

    def refuse():
        raise AssertionError

    pair = read_question("How do I learn to sing?"), read_question("How does one learn singing?")
    most = weigh("How does one learn singing?", read=alignment.SUREST)
    enough = 1 / (1 + math.exp(-most))
    assert estimate(*pair, 0.9, lambda *_: (ALIGNED, refuse), enough + 1e-9) == pytest.approx(enough)
    with pytest.raises(AssertionError):
        estimate(*pair, 0.9, lambda *_: (ALIGNED, refuse), enough - 1e-9)


@pytest.mark.parametrize(
    ("text", "above", "below"),
    [("How does one learn singing?", 0.05, -0.05), ("How do I sing to learn?", verifier.REORDERED, -0.05)],
)
def test_the_cosine_has_a_say_of_its_own(monkeypatch, text, above, below):
    """Beside what the trees make of it, it counts by what it has above a level; words in another order only lack."""
    model = load_model()
    assert model.trust > 0
    level = model.level
    with_trust = weigh(text, level + 0.05), weigh(text, level - 0.05)
    monkeypatch.setattr(verifier, "load_model", lambda: msgspec.structs.replace(model, trust=0.0))
    without = weigh(text, level + 0.05), weigh(text, level - 0.05)
    gained = [one - other for one, other in zip(with_trust, without, strict=True)]
    assert gained == pytest.approx([above * model.trust, below * model.trust])
