"""Grows the verifier's trees from the shipped data and writes the file that the gateway reads.

Needs lightgbm and scikit-learn, which the project does not depend on. Takes about six minutes; seeds are fixed.

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
from app.likeness.embedder import LocalEmbedder
from app.likeness.features import NAMES, measure
from app.likeness.guard import find_refusal
from app.likeness.never import find_reason
from app.likeness.question import read_question
from app.likeness.verifier import MODEL, Forest, Model, Tree
from benchmarks.semantic.material import LOWEST_COSINE, SEED, Row, collect

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
# Every source has as much to say for "same" as against it, so that how common either is in it does not count. What two
# requests of one intent have in common is looser than one question, and there are few of the last two.
SOURCE_WEIGHTS = {"paws_wiki": 2.0, "banking77": 0.7, "clinc150": 0.2, "fow_pairs": 0.3}


@dataclass(frozen=True)
class Table:
    """Features of pairs, the labels, and where each pair comes from."""

    features: np.ndarray
    labels: np.ndarray
    sources: np.ndarray

    def weigh(self) -> np.ndarray:
        weights = np.ones(len(self.labels))
        for source in set(self.sources):
            for label in (0, 1):
                chosen = (self.sources == source) & (self.labels == label)
                share = SOURCE_WEIGHTS.get(source, 1.0)
                weights[chosen] = share * 1000 / chosen.sum() if chosen.sum() >= 20 else share
        return weights


def tabulate(rows: list[Row], embedder: LocalEmbedder) -> Table:
    """Measure what the guard lets through and is near enough: the verifier is asked about nothing else."""
    read = {text: (read_question(text), find_reason(text, shared=False)) for row in rows for text in (row.a, row.b)}
    kept = [
        row
        for row in rows
        if not read[row.a][1] and not read[row.b][1] and find_refusal(read[row.a][0], read[row.b][0]) is None
    ]
    texts = sorted({text for row in kept for text in (row.a, row.b)})
    vectors = dict(zip(texts, embedder.embed(texts), strict=True))
    near = [row for row in kept if float(vectors[row.a] @ vectors[row.b]) >= LOWEST_COSINE + 0.04]
    tokens = {text: embedder.read_tokens(text) for text in sorted({text for row in near for text in (row.a, row.b)})}
    features = [
        [
            *measure(read[row.a][0], read[row.b][0]),
            float(vectors[row.a] @ vectors[row.b]),
            *alignment.align(tokens[row.a], tokens[row.b]),
        ]
        for row in near
    ]
    return Table(np.array(features), np.array([r.label for r in near]), np.array([r.source for r in near]))


def grow(names: list[str], table: Table, held: Table) -> Forest:
    """Grow trees, and fit on held-out pairs what their sum means."""
    directions = [(name in RISING) - (name in FALLING) for name in names]
    width = len(names)
    data = lightgbm.Dataset(table.features[:, :width], table.labels, weight=table.weigh())
    booster = lightgbm.train({**PARAMETERS, "monotone_constraints": directions}, data, num_boost_round=TREES)
    scores = booster.predict(held.features[:, :width], raw_score=True).reshape(-1, 1)
    line = LogisticRegression(C=1e6).fit(scores, held.labels, sample_weight=held.weigh())
    trees = [read_tree(info["tree_structure"]) for info in booster.dump_model()["tree_info"]]
    return Forest(names, trees, float(line.coef_[0][0]), float(line.intercept_[0]))


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
    parser.add_argument("--save", type=Path, default=MODEL)
    parser.add_argument("--tables", type=Path, help="also write the tables, to try other parameters with")
    options = parser.parse_args()
    embedder = LocalEmbedder.load()
    table, held = (tabulate(collect(held_out=held_out), embedder) for held_out in (False, True))
    if options.tables:
        parts = {
            f"{side}_{part}": getattr(t, part) for side, t in (("train", table), ("held", held)) for part in vars(t)
        }
        np.savez(options.tables, **parts)
    model = Model(near=grow(NEAR_NAMES, table, held), words=grow(list(NAMES), table, held))
    options.save.write_bytes(msgspec.json.encode(model))
    print(f"{len(table.labels)} pairs, {len(held.labels)} held out, {options.save.stat().st_size} bytes")


if __name__ == "__main__":
    main()
