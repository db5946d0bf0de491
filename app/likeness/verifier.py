"""Says how likely one answer serves two questions, by trees and nets that were trained on pairs of questions."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import msgspec

from app.likeness.alignment import SUREST
from app.likeness.features import NAMES, measure
from app.likeness.question import Question

MODEL = Path(__file__).parent / "data" / "verifier.json"
MOVED = NAMES.index("moved")
# What a cosine lacks at least where words stand in another order; chosen by PAWS, which is about that.
REORDERED = -0.018
# Two texts to what `alignment.align` says of their tokens, and a way to ask the nets as well, which takes longer.
Align = Callable[[str, str], tuple[Sequence[float], Callable[[], float]]]


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

    To the first are added what the nets say of the tokens, `read` times, and what the cosine has above `level`, `trust`
    times: trees and nets know best what they were trained on, and for all other matters the embedder, which has read
    far more, is to be believed further than they found.
    """

    near: Forest
    read: float
    words: Forest
    trust: float
    level: float


def estimate(asked: Question, stored: Question, cosine: float, align: Align | None, enough: float = 0.0) -> float:
    """Return the probability for one pair; without `align`, which is the local embedder's, the cosine says nothing.

    Where it cannot become `enough`, whatever the nets say, they are not asked, and it is the most that it could be.
    """
    values, model = measure(asked, stored), load_model()
    if align is None:
        return _squash(model.words.weigh(values))
    aligned, compare = align(asked.text, stored.text)
    logit = model.near.weigh([*values, cosine, *aligned])
    logit += model.trust * find_excess(cosine, model.level, moved=values[MOVED])
    most = _squash(logit + model.read * SUREST)
    return most if most < enough else _squash(logit + model.read * compare())


def find_excess(cosine: float, level: float, *, moved: float) -> float:
    """Return what a cosine has above `level`; where words have `moved` it hardly sees that, so it can only lack."""
    return min(cosine - level, REORDERED) if moved else cosine - level


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
