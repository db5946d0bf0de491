"""Whether two answers say the same, as far as can be told without a model of language. No I/O.

It looks for contradictions: other numbers, units or names, a yes for a no, a negation in one of them, opposite words,
or texts that have little to do with each other. In doubt they are different: that costs hits, not trust.
"""

import re
import unicodedata
from collections import Counter

SHORT_WORDS = 24
"""Up to how many words of weight an answer is short: each of them then counts."""

MAX_OWN = 0.25
"""How much of a short answer may be words that the other has not; more where a name or number is shared, and near."""

MAX_OWN_NEAR = 0.67
MIN_NEAR = 0.8
MIN_SIMILARITY = 0.75
"""From which cosine on two longer texts are about the same (all-MiniLM-L6-v2: other subjects lie around 0.2)."""

MIN_OVERLAP = 0.25
MIN_NUMBERS = 0.5

_NUMBER = r"[-\u2212]?[$\u20ac\u00a3\u00a5]?\d+(?:[.,:/]\d+)*[%\u00b0\u20ac]?"
_WORD = re.compile(rf"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|{_NUMBER}")
_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NAME = re.compile(r"(?<![.!?:\n]\s)(?<![.!?:\n])(?<!^)\b(?!I\b|I['\u2019])[^\W\d_a-z][^\W\d_]+")
_YES = frozenset({"yes", "yeah", "yep", "correct", "true", "indeed", "certainly", "absolutely"})
_NO = frozenset({"no", "nope", "incorrect", "false", "not", "never"})
_NEGATIONS = frozenset({"no", "not", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot"})
_OPPOSITES = tuple(
    map(
        frozenset,
        (
            {"left", "right"},
            {"north", "south", "east", "west"},
            {"above", "below"},
            {"before", "after"},
            {"more", "less", "fewer"},
            {"first", "last"},
            {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"},
            {"safe", "dangerous", "unsafe"},
            {"open", "closed"},
            {"increase", "decrease"},
            {"increases", "decreases"},
            {"enable", "disable"},
        ),
    )
)
_FILLERS = frozenset({
    "a", "an", "the", "is", "are", "was", "were", "be", "of", "to", "in", "on", "at", "for", "and", "or", "it", "its",
    "this", "that", "these", "those", "there", "here", "as", "by", "with", "from", "you", "your", "i", "we", "they",
    "he", "she", "them", "his", "her", "our", "their", "can", "could", "will", "would", "do", "does", "did", "has",
    "have", "had", "about", "around", "approximately", "roughly", "well", "so", "very", "just", "also",
})  # fmt: skip


def compare_answers(one: str, other: str, similarity: float | None) -> str:
    """Return "same" or "different". `similarity` is the cosine of the answers' embeddings; None: not known."""
    words, others = _read(one), _read(other)
    if words == others:
        return "same"
    here, there = _weigh(words), _weigh(others)
    short = min(len(here), len(there)) <= SHORT_WORDS
    if _contradict(words, others, short=short):
        return "different"
    if short:
        return "same" if _agree_shortly(one, other, similarity) else "different"
    near = similarity is None or similarity >= MIN_SIMILARITY
    enough = 2 * MIN_OVERLAP if similarity is None else MIN_OVERLAP
    return "same" if near and _overlap(here, there) >= enough else "different"


def _agree_shortly(one: str, other: str, similarity: float | None) -> bool:
    """Return whether what one of two short answers has beyond the other is not another thing."""
    here, there = _weigh(_read(one)), _weigh(_read(other))
    if not here or not there:
        return False
    if here <= there or there <= here:
        return True
    names, others = _read_names(one), _read_names(other)
    if names - there and others - here:
        return False
    own = max(len(here - there) / len(here), len(there - here) / len(there))
    facts = here & there & (names | others | {word for word in here if any(map(str.isdigit, word))})
    near = similarity is not None and similarity >= MIN_NEAR and bool(facts)
    return own <= (MAX_OWN_NEAR if near else MAX_OWN)


def _read(text: str) -> list[str]:
    plain = _GROUPS.sub("", unicodedata.normalize("NFKC", text).casefold())
    return _WORD.findall(plain)


def _read_names(text: str) -> set[str]:
    """Return the words with a capital letter that do not begin a sentence."""
    return {name.casefold() for name in _NAME.findall(unicodedata.normalize("NFKC", text))}


def _contradict(words: list[str], others: list[str], *, short: bool) -> bool:
    if _polarity(words) * _polarity(others) < 0 or not _numbers_agree(words, others):
        return True
    if short and _count_negations(words) % 2 != _count_negations(others) % 2:
        return True
    here, there = set(words), set(others)
    return any(here & kind and there & kind and not here & there & kind for kind in _OPPOSITES)


def _polarity(words: list[str]) -> int:
    """Return 1 for an answer that begins with a yes, -1 for one that begins with a no, else 0."""
    first = set(words[:1])
    return 1 if first & _YES else -1 if first & _NO else 0


def _count_negations(words: list[str]) -> int:
    return sum(word in _NEGATIONS or word.endswith(("n't", "n\u2019t")) for word in words)


def _numbers_agree(words: list[str], others: list[str]) -> bool:
    """Return whether most numbers of the text with fewer of them are in the other, with their signs and units."""
    here, there = (Counter(word for word in text if any(map(str.isdigit, word))) for text in (words, others))
    fewer = min(here.total(), there.total())
    return here == there or fewer == 0 or (here & there).total() / fewer > MIN_NUMBERS


def _weigh(words: list[str]) -> set[str]:
    return set(words) - _FILLERS or set(words)


def _overlap(here: set[str], there: set[str]) -> float:
    """Return the share of the shorter text's words of weight that the other has."""
    fewer = min(len(here), len(there))
    return len(here & there) / fewer if fewer else 0.0
