"""Grows the verifier's trees from the shipped data and writes the file that the gateway reads.

Needs lightgbm and scikit-learn, which the project does not depend on. Takes about five minutes; seeds are fixed.

    python -m benchmarks.semantic.train
"""

import argparse
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
from sklearn.linear_model import LogisticRegression

from app.likeness.embedder import LocalEmbedder
from app.likeness.features import NAMES, measure
from app.likeness.guard import find_refusal
from app.likeness.never import find_reason
from app.likeness.question import Question, read_question
from app.likeness.verifier import MODEL, Forest, Model, Tree
from benchmarks.semantic.material import SEED, Row, collect

PARAMETERS = {
    "objective": "binary", "learning_rate": 0.06, "num_leaves": 15, "min_data_in_leaf": 60, "lambda_l2": 5,
    "feature_fraction": 0.6, "bagging_fraction": 0.8, "bagging_freq": 1, "num_threads": 1, "seed": SEED, "verbose": -1,
    "deterministic": True,
}  # fmt: skip
TREES = 150
# More of these never makes two questions less the same, or more so.
RISING = ("shared_content", "covered_least", "shared_pairs", "shared_trigrams", "cosine")
FALLING = ("unmatched_least", "unmatched_most", "moved", "soft_scope")


def measure_rows(rows: list[Row], embedder: LocalEmbedder) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of what the guard lets through, the cosine last, and the labels."""
    read: dict[str, tuple[Question, str | None, np.ndarray]] = {}
    features: list[list[float]] = []
    labels: list[int] = []
    for row in rows:
        for text in (row.a, row.b):
            if text not in read:
                read[text] = (read_question(text), find_reason(text, shared=False), embedder.embed([text])[0])
        (a, never_a, vector_a), (b, never_b, vector_b) = read[row.a], read[row.b]
        if never_a is None and never_b is None and find_refusal(a, b) is None:
            features.append([*measure(a, b), float(vector_a @ vector_b)])
            labels.append(row.label)
    return np.array(features), np.array(labels)


def grow(names: list[str], features: np.ndarray, labels: np.ndarray, held: tuple[np.ndarray, np.ndarray]) -> Forest:
    """Grow trees, and fit on held-out pairs what their sum means."""
    directions = [(name in RISING) - (name in FALLING) for name in names]
    data = lightgbm.Dataset(features, labels)
    booster = lightgbm.train({**PARAMETERS, "monotone_constraints": directions}, data, num_boost_round=TREES)
    scores = booster.predict(held[0], raw_score=True)
    line = LogisticRegression(C=1e6).fit(scores.reshape(-1, 1), held[1])
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
    options = parser.parse_args()
    embedder = LocalEmbedder.load()
    features, labels = measure_rows(collect(), embedder)
    held = measure_rows(collect(held_out=True), embedder)
    words = grow(list(NAMES), features[:, :-1], labels, (held[0][:, :-1], held[1]))
    near = grow([*NAMES, "cosine"], features, labels, held)
    options.save.write_bytes(msgspec.json.encode(Model(near=near, words=words)))
    print(f"{len(labels)} pairs, {options.save.stat().st_size} bytes")


if __name__ == "__main__":
    main()
