"""Says how likely one answer serves two questions, by trees that were grown on pairs of questions."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import msgspec

from app.likeness.features import measure
from app.likeness.question import Question

MODEL = Path(__file__).parent / "data" / "verifier.json"
# Two texts to what `alignment.align` says of their tokens, and after it what `Reader.compare` does.
Align = Callable[[str, str], Sequence[float]]


class Tree(msgspec.Struct, frozen=True):
    """One tree as parallel lists; a negative child is a leaf, counted from -1."""

    features: list[int]
    thresholds: list[float]
    left: list[int]
    right: list[int]
    leaves: list[float]


class Forest(msgspec.Struct, frozen=True):
    """Trees whose leaves add up, and the line that turns the sum into a logit."""

    names: list[str]
    trees: list[Tree]
    slope: float
    offset: float

    def weigh(self, values: list[float]) -> float:
        """Return the logit for one row of `names`."""
        return self.slope * sum(_fall(tree, values) for tree in self.trees) + self.offset


class Model(msgspec.Struct, frozen=True):
    """What is shipped: a forest that knows our embedder's cosine and tokens, and one that looks at the words alone.

    What the net says of the tokens is added to the first, `read` times.
    """

    near: Forest
    read: float
    words: Forest


def estimate(asked: Question, stored: Question, cosine: float, align: Align | None) -> float:
    """Return the probability for one pair; without `align`, which is the local embedder's, the cosine says nothing."""
    values, model = measure(asked, stored), load_model()
    if align is None:
        return _squash(model.words.weigh(values))
    *aligned, read = align(asked.text, stored.text)
    return _squash(model.near.weigh([*values, cosine, *aligned]) + model.read * read)


@cache
def load_model() -> Model:
    """Read the shipped model once."""
    return msgspec.json.decode(MODEL.read_bytes(), type=Model)


def _squash(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _fall(tree: Tree, values: list[float]) -> float:
    if not tree.features:
        return tree.leaves[0]
    node = 0
    while node >= 0:
        below = values[tree.features[node]] <= tree.thresholds[node]
        node = tree.left[node] if below else tree.right[node]
    return tree.leaves[-node - 1]
