"""Reads the labelled questions and says which of them training may see."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SHIPPED = Path(__file__).parent / "data"
# One component of four is kept away from training. One of eight of the whole is in training, but nothing is fitted to
# it except how far each part of the verifier is believed, and where its verdict is sure enough.
HELD_OUT_BELOW, TUNING_BELOW = 64, 96
Side = Literal["train", "tune", "held_out"]


@dataclass(frozen=True)
class Pair:
    """Two texts and whether one answer serves both."""

    a: str
    b: str
    same: bool
    category: str = ""


@dataclass(frozen=True)
class Request:
    """A text and what it is after."""

    text: str
    intent: str


def find_rows(name: str, folders: Iterable[Path]) -> list[dict] | None:
    """Return the rows of a data set from the first folder that has it."""
    for folder in folders:
        for path, open_file in ((folder / f"{name}.jsonl", open), (folder / f"{name}.jsonl.gz", gzip.open)):
            if path.exists():
                with open_file(path, "rt", encoding="utf-8") as lines:
                    return [json.loads(line) for line in lines]
    return None


def read_pairs(rows: list[dict]) -> list[Pair]:
    """Read rows of two texts and a label."""
    return [Pair(row["a"], row["b"], bool(row["label"]), row.get("cat", "")) for row in rows]


def read_requests(rows: list[dict]) -> list[Request]:
    """Read rows of a text and an intent."""
    return [Request(row["text"], row["intent"]) for row in rows]


def find_side(key: str) -> Side:
    """Tell what may see what hangs together under `key`: always the same for the same text."""
    place = hashlib.sha256(key.encode()).digest()[0]
    return "held_out" if place < HELD_OUT_BELOW else "tune" if place < TUNING_BELOW else "train"


def is_held_out(key: str) -> bool:
    """Tell whether training must not see what hangs together under `key`."""
    return find_side(key) == "held_out"


def choose_pairs(pairs: list[Pair], side: Side) -> list[Pair]:
    """Return the pairs of one side; no text is on two sides."""
    roots = _find_roots(pairs)
    return [pair for pair in pairs if find_side(roots[pair.a]) == side]


def choose_requests(requests: list[Request], side: Side) -> list[Request]:
    """Return the requests of one side, by their text."""
    return [request for request in requests if find_side(request.text) == side]


def _find_roots(pairs: list[Pair]) -> dict[str, str]:
    """Return for each text the first text in the alphabet among all that it hangs together with."""
    parents: dict[str, str] = {}

    def find(text: str) -> str:
        parents.setdefault(text, text)
        while parents[text] != text:
            parents[text] = parents[parents[text]]
            text = parents[text]
        return text

    for pair in pairs:
        first, second = sorted((find(pair.a), find(pair.b)))
        parents[second] = first
    return {text: find(text) for text in parents}


def list_texts(pairs: Iterable[Pair]) -> Iterator[str]:
    """Yield both texts of every pair."""
    for pair in pairs:
        yield pair.a
        yield pair.b
