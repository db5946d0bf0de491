"""Trains the verifier's trees and net on the shipped data and writes the files that the gateway reads.

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
from app.likeness.verifier import MODEL, Forest, Model, Tree
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
# Nets that teach: seed, epochs, and what they are told of other words and of another order. The one that is shipped
# learns from what they say of the pairs together, for the most part, and from the labels.
TEACHERS = ((7, 4, 1.5, 2.0), (7, 5, 3.0, 2.0), (11, 6, 2.2, 3.0))
PUPIL_SEED, PUPIL_EPOCHS, TAUGHT = 5, 8, 0.8
# The net learns what our own questions say from pairs that are farther apart as well.
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

    def take_near(self) -> "Table":
        """Return what is about near enough for the judge to ask."""
        near = self.features[:, COSINE] >= LOWEST_COSINE
        tokens = [pair for pair, chosen in zip(self.tokens, near, strict=True) if chosen]
        return Table(self.features[near], tokens, self.labels[near], self.sources[near])


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


def teach(table: Table) -> Net:
    """Train the nets that teach, and the one that learns from them."""
    labels = soften(table.labels)
    said: list[np.ndarray] = []
    for seed, epochs, questions, order in TEACHERS:
        weights = table.weigh(questions=questions, paws_wiki=order)
        said.append(score(fit(table.tokens, labels, weights, epochs, seed), table.tokens))
    taught = 1 / (1 + np.exp(-np.mean(said, axis=0)))
    return fit(table.tokens, TAUGHT * taught + (1 - TAUGHT) * labels, table.weigh(), PUPIL_EPOCHS, PUPIL_SEED)


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
    net = teach(table)
    table, tuning = table.take_near(), tuning.take_near()
    near, read = grow(NEAR_NAMES, table, tuning, score(net, tuning.tokens))
    model = Model(near=near, read=read, words=grow(list(NAMES), table, tuning)[0])
    (options.save / MODEL.name).write_bytes(msgspec.json.encode(model))
    np.savez(options.save / WEIGHTS.name, **list_weights(net))
    print(f"{len(table.labels)} near pairs, {len(tuning.labels)} to tune with; the net counts {read:.2f}")


if __name__ == "__main__":
    main()
