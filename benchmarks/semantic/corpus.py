"""Finds words that can take each other's place in given texts."""

import random
import re

from app.likeness.alike import are_alike
from app.likeness.stems import stem, stem_plural
from app.likeness.words import CONTRACTIONS, FILLERS, QUESTION_WORDS


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


# In place of one of these another word often says the same ("I need to", "I want to"), or breaks the sentence.
_WEAK = {
    *(
        "does",
        "will",
        "would",
        "could",
        "should",
        "have",
        "has",
        "had",
        "been",
        "being",
        "with",
        "from",
        "that",
        "this",
    ),
    *("these", "those", "them", "they", "just", "also", "get", "got", "want", "need", "wish", "like", "love", "hope"),
    *("tell", "give", "show", "know", "knew", "think", "believe", "make", "makes", "made", "take", "took", "taken"),
    *("look", "looking", "seem", "seems", "going", "gone", "went", "come", "comes", "came", "trying", "tried", "help"),
    *("find", "keep", "keeps", "used", "using", "some", "such", "very", "much", "many", "more", "most", "into", "onto"),
    *("about", "over", "only", "even", "still", "here", "there", "then", "than", "anyone", "someone", "something"),
    *("anything", "able", "please", "might", "must", "kind", "sort", "type", "good", "great", "proper", "really"),
    *("reason", "cause", "thing", "things", "steps", "process", "procedure", "ways", "means", "seeing", "happened"),
}


def _differs(word: str, other: str) -> bool:
    """Tell whether one word in another's place asks something else, as far as that can be said without looking."""
    if len(other) < 4 or "'" in word + other or not {word, other}.isdisjoint(_WEAK | CONTRACTIONS.keys()):
        return False
    pairs = ((word, other), (stem_plural(word), stem_plural(other)), (stem(word), stem(other)))
    return stem(word)[:4] != stem(other)[:4] and not any(are_alike(*pair) for pair in pairs)
