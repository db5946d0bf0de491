"""Puts together what the judge is trained on: data whose licences allow that, and edits of our own."""

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.likeness.embedder import LocalEmbedder
from benchmarks.semantic.datasets import (
    SHIPPED,
    Request,
    Side,
    choose_pairs,
    choose_requests,
    find_rows,
    read_pairs,
    read_requests,
)
from benchmarks.semantic.edits import pair_edits
from benchmarks.semantic.everyday import list_questions, pair_questions, pair_topics
from benchmarks.semantic.phrasings import pair_phrasings

SEED = 7
NEAREST = 6
LOWEST_COSINE = 0.80
EDITED = 14_000
TOPIC_TIMES: dict[Side, int] = {"train": 2, "tune": 1, "held_out": 1}


@dataclass(frozen=True)
class Row:
    """One labelled pair and where it comes from."""

    a: str
    b: str
    label: int
    source: str


def collect(side: Side, folder: Path = SHIPPED) -> list[Row]:
    """Return labelled pairs, all made from texts of one side."""
    rng = random.Random(SEED)
    rows: list[Row] = []
    for name in ("paws_wiki", "fow_pairs"):
        pairs = choose_pairs(read_pairs(find_rows(name, [folder]) or []), side)
        rows += [Row(p.a, p.b, int(p.same), name) for p in pairs]
    banking = choose_requests(read_requests(find_rows("banking77", [folder]) or []), side)
    clinc = choose_requests(read_requests(find_rows("clinc150", [folder]) or []), side)
    fow = sorted({row.a for row in rows if row.source == "fow_pairs"})
    if side == "train":
        rows += [Row(*pair, "phrasings") for pair in pair_phrasings(rng, 20)]
    rows += [Row(*pair, "questions") for pair in pair_questions(side, rng)]
    rows += [Row(*pair, "topics") for pair in pair_topics(side, rng, TOPIC_TIMES[side])]
    texts = [r.text for r in banking if len(r.text) < 120] + [r.text for r in clinc]
    texts += [text for _ in range(2) for text in list_questions(side, rng)]
    rng.shuffle(texts)
    rows += [Row(*pair, "edits") for pair in pair_edits(texts[:EDITED] + fow * 5, rng, 1)]
    rows += mine(banking, "banking77", 9_000, rng)
    rows += [row for row in mine(clinc, "clinc150", 12_000, rng) if not row.label]
    return rows


def mine(requests: list[Request], source: str, count: int, rng: random.Random) -> list[Row]:
    """Return pairs of near neighbours; those of one intent are taken for the same question."""
    embedder = LocalEmbedder.load()
    vectors = np.array(embedder.embed(r.text for r in requests))
    found: list[Row] = []
    for start in range(0, len(requests), 500):
        near = vectors[start : start + 500] @ vectors.T
        for i, row in enumerate(near, start):
            order = np.argpartition(-row, NEAREST + 1)[: NEAREST + 1]
            for j in order:
                if i < j and row[j] >= LOWEST_COSINE:
                    label = int(requests[i].intent == requests[j].intent)
                    found.append(Row(requests[i].text, requests[int(j)].text, label, source))
    wrong = [row for row in found if not row.label]
    right = [row for row in found if row.label]
    rng.shuffle(right)
    return wrong + right[: max(count - len(wrong), 0)]


if __name__ == "__main__":
    for part in ("train", "tune"):
        rows = collect(part)
        print(part, len(rows), Counter((row.source, row.label) for row in rows))
