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
    find_rows,
    read_pairs,
    read_requests,
    split_pairs,
    split_requests,
)
from benchmarks.semantic.edits import pair_edits
from benchmarks.semantic.phrasings import pair_phrasings

SEED = 7
NEAREST = 6
LOWEST_COSINE = 0.80


@dataclass(frozen=True)
class Row:
    """One labelled pair and where it comes from."""

    a: str
    b: str
    label: int
    source: str


def collect(folder: Path = SHIPPED, *, held_out: bool = False, scale: float = 1.0) -> list[Row]:
    """Return labelled pairs; `held_out` gives those made from the texts that training never sees."""
    rng = random.Random(SEED + held_out)
    side = int(held_out)
    rows: list[Row] = []
    for name in ("paws_wiki", "fow_pairs"):
        pairs = split_pairs(read_pairs(find_rows(name, [folder]) or []))[side]
        rows += [Row(p.a, p.b, int(p.same), name) for p in pairs]
    banking = split_requests(read_requests(find_rows("banking77", [folder]) or []))[side]
    clinc = split_requests(read_requests(find_rows("clinc150", [folder]) or []))[side]
    fow = sorted({row.a for row in rows if row.source == "fow_pairs"})
    rows += [Row(*pair, "phrasings") for pair in pair_phrasings(rng, round((6 if held_out else 20) * scale))]
    questions = [r.text for r in banking if len(r.text) < 120] + [r.text for r in clinc]
    rng.shuffle(questions)
    texts = questions[: round(12_000 * scale)] + fow * 5
    rows += [Row(*pair, "edits") for pair in pair_edits(texts, rng, 1)]
    rows += mine(banking, "banking77", round(9_000 * scale), rng)
    rows += [row for row in mine(clinc, "clinc150", round(12_000 * scale), rng) if not row.label]
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
    for part in (False, True):
        rows = collect(held_out=part)
        print(part, len(rows), Counter((row.source, row.label) for row in rows))
