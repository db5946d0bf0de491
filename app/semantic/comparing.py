"""Whether two answers say the same, as far as can be told without a model of language. No I/O.

It looks for contradictions: other numbers, a yes for a no, or texts that have little to do with each other.
Different words for the same thing are none. Who needs more can have answers read and report the wrong ones.
"""

import re
import unicodedata
from collections import Counter

SHORT_WORDS = 12
MIN_OVERLAP = 0.5
MIN_NUMBERS = 0.5
MIN_SIMILARITY = 0.75
"""From which cosine on two longer texts are about the same (all-MiniLM-L6-v2: other subjects lie around 0.2)."""

_WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,:/-]\d+)*", re.UNICODE)
_YES = frozenset({"yes", "yeah", "yep", "correct", "true", "indeed", "certainly", "absolutely"})
_NO = frozenset({"no", "nope", "incorrect", "false", "not", "never"})
_FILLERS = frozenset({
    "a", "an", "the", "is", "are", "was", "were", "be", "of", "to", "in", "on", "at", "for", "and", "or", "it", "its",
    "this", "that", "these", "those", "there", "here", "as", "by", "with", "from", "you", "your", "i", "we", "they",
    "he", "she", "them", "his", "her", "our", "their", "can", "could", "will", "would", "do", "does", "did", "has",
    "have", "had",
})  # fmt: skip


def compare_answers(one: str, other: str, similarity: float | None) -> str:
    """Return "same" or "different". `similarity` is the cosine of the answers' embeddings; None: not known."""
    words, others = _read(one), _read(other)
    if words == others:
        return "same"
    if _polarity(words) * _polarity(others) < 0 or not _numbers_agree(words, others):
        return "different"
    if min(len(words), len(others)) <= SHORT_WORDS or similarity is None:
        return "same" if _overlap(words, others) >= MIN_OVERLAP else "different"
    return "same" if similarity >= MIN_SIMILARITY else "different"


def _read(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _polarity(words: list[str]) -> int:
    """Return 1 for an answer that begins with a yes, -1 for one that begins with a no, else 0."""
    first = words[:1]
    if set(first) & _YES:
        return 1
    return -1 if set(first) & _NO else 0


def _numbers_agree(words: list[str], others: list[str]) -> bool:
    """Return whether most numbers of the text that has fewer of them are in the other one."""
    here = Counter(word for word in words if word[0].isdigit())
    there = Counter(word for word in others if word[0].isdigit())
    fewer = min(here.total(), there.total())
    if here == there or fewer == 0:
        return True
    return (here & there).total() / fewer > MIN_NUMBERS or fewer > SHORT_WORDS


def _overlap(words: list[str], others: list[str]) -> float:
    """Return the share of the shorter text's words of weight that the other has."""
    here, there = (set(text) - _FILLERS or set(text) for text in (words, others))
    fewer = min(len(here), len(there))
    return len(here & there) / fewer if fewer else 0.0
