"""Finds words that can take each other's place in given texts."""

import random
import re

from app.likeness.alike import are_alike
from app.likeness.question import stem
from app.likeness.words import FILLERS, QUESTION_WORDS


class Corpus:
    """Words that stood between the same two neighbours somewhere: what can take each other's place."""

    def __init__(self, texts: list[str]) -> None:
        self._between: dict[tuple[str, str], set[str]] = {}
        for text in texts:
            words = ["", *re.findall(r"[a-z0-9'-]+", text.lower()), ""]
            for before, word, after in zip(words, words[1:], words[2:], strict=False):
                if len(word) > 2 and word not in FILLERS:
                    self._between.setdefault((before, after), set()).add(word)

    def replace(self, text: str, rng: random.Random) -> str | None:
        """Put another word in the place of one that carries meaning."""
        words = text.split()
        plain = ["", *(w.lower().strip("?.,!") for w in words), ""]
        places: list[tuple[int, list[str]]] = []
        for at, word in enumerate(plain[1:-1]):
            if len(word) > 3 and word not in QUESTION_WORDS and word not in FILLERS:
                others = [o for o in self._between.get((plain[at], plain[at + 2]), ()) if _differs(word, o)]
                if others:
                    places.append((at, sorted(others)))
        if not places:
            return None
        at, others = rng.choice(places)
        words[at] = words[at].lower().replace(plain[at + 1], rng.choice(others))
        return " ".join(words)


_WEAK = {
    "does",
    "will",
    "would",
    "could",
    "should",
    "have",
    "has",
    "had",
    "been",
    "with",
    "from",
    "that",
    "this",
    "these",
    "those",
    "them",
    "they",
    "just",
    "also",
    "get",
    "got",
}


def _differs(word: str, other: str) -> bool:
    if (
        len(other) < 4
        or other in _WEAK
        or word in _WEAK
        or are_alike(stem(word), stem(other))
        or are_alike(word, other)
    ):
        return False
    return stem(word)[:4] != stem(other)[:4]
