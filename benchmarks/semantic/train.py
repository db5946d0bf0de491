"""Trains the verifier's trees and nets on the shipped data and writes the files that the gateway reads.

Needs torch, lightgbm and scikit-learn, which the project does not depend on. Takes forty minutes of one core;
seeds are fixed.

    python -m benchmarks.semantic.train
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
from sklearn.linear_model import LogisticRegression

from app.likeness import alignment
from app.likeness.alignment import WEIGHTS, Tokens
from app.likeness.embedder import LocalEmbedder
from app.likeness.features import NAMES, measure
from app.likeness.guard import find_refusal
from app.likeness.never import find_reason
from app.likeness.question import Question, read_question
from app.likeness.verifier import MODEL, MOVED, Forest, Model, Tree, find_excess
from benchmarks.semantic.material import LOWEST_COSINE, SEED, Row, collect
from benchmarks.semantic.net import Net, fit, list_weights, score, soften

PARAMETERS = {
    "objective": "binary", "learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 40,
    "min_sum_hessian_in_leaf": 3, "lambda_l2": 5, "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1,
    "num_threads": 1, "seed": SEED, "verbose": -1, "deterministic": True,
}  # fmt: skip
TREES = 300
NEAR_NAMES = [*NAMES, "cosine", *alignment.NAMES]
# More of these never makes two questions less the same, or more so.
RISING = {
    "shared_content", "covered_least", "shared_pairs", "shared_trigrams", "led", "neighbours", "kept_order", "cosine",
    "token_worst", "token_second_worst", "token_third_worst", "token_mean_least", "token_mean_most",
    "token_weighted_least", "token_weighted_most", "token_new_worst", "token_shared_worst", "token_shared_mean",
}  # fmt: skip
FALLING = {
    "unmatched_least", "unmatched_most", "unlike_least", "unlike_most", "moved", "soft_scope", "displaced",
    "displaced_names", "swaps", "replaced", "token_lonely_least", "token_lonely_most",
}  # fmt: skip
# Every source has as much to say for "same" as against it, so that how common either is in it does not count. There
# are few of the last two.
SOURCE_WEIGHTS = {
    "paws_wiki": 2.6, "questions": 2.0, "topics": 2.0, "banking77": 1.5, "clinc150": 0.2, "fow_pairs": 0.3,
}  # fmt: skip
# The nets: seed, epochs, and what they are told of other words and of another order. What they say is averaged.
NETS = ((7, 4, 1.5, 2.0), (7, 5, 3.0, 2.0), (11, 6, 2.2, 3.0))
STRANGER_SEED, STRANGER_EPOCHS = 7, 5
# The nets learn what our own questions say from pairs that are farther apart as well.
OURS, OURS_COSINE = {"questions", "topics"}, 0.60
COSINE = NEAR_NAMES.index("cosine")


@dataclass(frozen=True)
class Table:
    """Features and tokens of pairs, the labels, and where each pair comes from."""

    features: np.ndarray
    tokens: list[tuple[Tokens, Tokens]]
    labels: np.ndarray
    sources: np.ndarray

    def weigh(self, **changes: float) -> np.ndarray:
        shares = SOURCE_WEIGHTS | changes
        weights = np.ones(len(self.labels))
        for source in set(self.sources):
            for label in (0, 1):
                chosen = (self.sources == source) & (self.labels == label)
                share = shares.get(source, 1.0)
                weights[chosen] = share * 1000 / chosen.sum() if chosen.sum() >= 20 else share
        return weights

    def take(self, chosen: np.ndarray) -> "Table":
        """Return the pairs for which `chosen` is true."""
        tokens = [pair for pair, wanted in zip(self.tokens, chosen, strict=True) if wanted]
        return Table(self.features[chosen], tokens, self.labels[chosen], self.sources[chosen])

    def take_near(self) -> "Table":
        """Return what is about near enough for the judge to ask."""
        return self.take(self.features[:, COSINE] >= LOWEST_COSINE)

    def list_excess(self, level: float) -> np.ndarray:
        """Return what the cosines have above `level`, as the verifier adds it."""
        pairs = zip(self.features[:, COSINE], self.features[:, MOVED], strict=True)
        return np.array([find_excess(cosine, level, moved=moved) for cosine, moved in pairs])


class Desk:
    """Reads and embeds every text once."""

    def __init__(self) -> None:
        self._embedder = LocalEmbedder.load()
        self._read: dict[str, tuple[Question, bool]] = {}
        self._embedded: dict[str, tuple[Tokens, np.ndarray]] = {}

    def read(self, text: str) -> tuple[Question, bool]:
        if text not in self._read:
            self._read[text] = (read_question(text), find_reason(text, shared=False) is None)
        return self._read[text]

    def embed(self, text: str) -> tuple[Tokens, np.ndarray]:
        """Return tokens and vector, which capitals make no difference to."""
        plain = text.lower()
        if plain not in self._embedded:
            vector = self._embedder.embed([plain])[0]
            tokens = self._embedder.read_tokens(plain)
            self._embedded[plain] = (Tokens(tokens.ids, tokens.vectors.astype(np.float16)), vector)
        return self._embedded[plain]


def tabulate(rows: list[Row], desk: Desk) -> Table:
    """Measure what the guard lets through and is near enough: the verifier is asked about nothing else."""
    kept: list[Row] = []
    features: list[list[float]] = []
    tokens: list[tuple[Tokens, Tokens]] = []
    for row in rows:
        (a, open_a), (b, open_b) = desk.read(row.a), desk.read(row.b)
        if not (open_a and open_b) or find_refusal(a, b) is not None:
            continue
        (tokens_a, vector_a), (tokens_b, vector_b) = desk.embed(row.a), desk.embed(row.b)
        cosine = float(vector_a @ vector_b)
        if cosine >= (OURS_COSINE if row.source in OURS else LOWEST_COSINE):
            kept.append(row)
            tokens.append((tokens_a, tokens_b))
            features.append([*measure(a, b), cosine, *alignment.align(widen(tokens_a), widen(tokens_b))])
    return Table(np.array(features), tokens, np.array([r.label for r in kept]), np.array([r.source for r in kept]))


def widen(tokens: Tokens) -> Tokens:
    return Tokens(tokens.ids, tokens.vectors.astype(np.float32))


def teach(table: Table) -> list[Net]:
    """Train the nets."""
    nets: list[Net] = []
    for seed, epochs, questions, order in NETS:
        weights = table.weigh(questions=questions, paws_wiki=order)
        nets.append(fit(table.tokens, soften(table.labels), weights, epochs, seed))
    return nets


def ask(nets: list[Net], table: Table) -> np.ndarray:
    """Return what the nets say of each pair on average."""
    return np.minimum(np.mean([score(net, table.tokens) for net in nets], axis=0), alignment.SUREST)


def grow(names: list[str], table: Table, tuning: Table, read: np.ndarray | None = None) -> tuple[Forest, float]:
    """Grow trees, and fit on other pairs what their sum means, alone or beside what the net has `read`."""
    directions = [(name in RISING) - (name in FALLING) for name in names]
    width = len(names)
    data = lightgbm.Dataset(table.features[:, :width], table.labels, weight=table.weigh())
    booster = lightgbm.train({**PARAMETERS, "monotone_constraints": directions}, data, num_boost_round=TREES)
    sums = booster.predict(tuning.features[:, :width], raw_score=True)
    found = np.stack([sums] if read is None else [sums, read], axis=1)
    line = LogisticRegression(C=1e6).fit(found, tuning.labels, sample_weight=tuning.weigh())
    trees = [read_tree(info["tree_structure"]) for info in booster.dump_model()["tree_info"]]
    forest = Forest(names, trees, float(line.coef_[0][0]), float(line.intercept_[0]))
    return forest, 0.0 if read is None else float(line.coef_[0][1])


def find_trust(table: Table, tuning: Table, level: float) -> float:
    """Return how much more the cosine has to count beside trees and nets, on questions they were not trained on.

    They are trained on all but our own everyday questions, and asked about those.
    """
    ours = list(OURS)
    strange = table.take(np.isin(table.sources, ours)).take_near()
    table, tuning = (some.take(~np.isin(some.sources, ours)) for some in (table, tuning))
    net = fit(table.tokens, soften(table.labels), table.weigh(), STRANGER_EPOCHS, STRANGER_SEED)
    table, tuning = table.take_near(), tuning.take_near()
    near, read = grow(NEAR_NAMES, table, tuning, ask([net], tuning))
    said = np.array([near.weigh(list(row)) for row in strange.features]) + read * ask([net], strange)
    # How common "same" is in either source says nothing.
    sides = [strange.sources == source for source in sorted(OURS)]
    found = np.stack([said, strange.list_excess(level) * 10, *sides], axis=1)
    line = LogisticRegression(C=1e6, max_iter=2000, fit_intercept=False)
    weights = line.fit(found, strange.labels, sample_weight=strange.weigh()).coef_[0]
    return float(weights[1] / weights[0]) * 10


def find_level(tuning: Table) -> float:
    """Return the mean cosine of pairs whose words keep their order: what it adds to them is nothing on average."""
    kept = tuning.take(tuning.features[:, MOVED] == 0)
    return float(np.average(kept.features[:, COSINE], weights=kept.weigh()))


def read_tree(root: dict) -> Tree:
    """Lay a nested tree out as lists."""
    tree = Tree([], [], [], [], [])

    def place(node: dict) -> int:
        if "leaf_value" in node:
            tree.leaves.append(round(node["leaf_value"], 5))
            return -len(tree.leaves)
        at = len(tree.features)
        tree.features.append(node["split_feature"])
        tree.thresholds.append(round(node["threshold"], 6))
        tree.left.append(0)
        tree.right.append(0)
        tree.left[at], tree.right[at] = place(node["left_child"]), place(node["right_child"])
        return at

    place(root)
    return tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=MODEL.parent, help="the folder to write to")
    options = parser.parse_args()
    desk = Desk()
    table, tuning = (tabulate(collect(side), desk) for side in ("train", "tune"))
    level = find_level(tuning.take_near())
    trust, nets = find_trust(table, tuning, level), teach(table)
    table, tuning = table.take_near(), tuning.take_near()
    near, read = grow(NEAR_NAMES, table, tuning, ask(nets, tuning))
    words = grow(list(NAMES), table, tuning)[0]
    model = Model(near=near, read=read, words=words, trust=round(trust, 1), level=round(level, 4))
    (options.save / MODEL.name).write_bytes(msgspec.json.encode(model))
    weights = [list_weights(net) for net in nets]
    np.savez(options.save / WEIGHTS.name, **{name: np.stack([one[name] for one in weights]) for name in weights[0]})
    print(f"{len(table.labels)} near pairs, {len(tuning.labels)} to tune with")
    print(f"the nets count {model.read:.2f}, the cosine beyond the trees {model.trust} above {model.level}")


if __name__ == "__main__":
    main()
