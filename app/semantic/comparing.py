"""Whether two answers say the same, as far as can be told without a model of language. No I/O.

Answers of a few sentences are compared as questions are: by the guard (numbers, units, names, negations, opposites,
order) and the verifier. Longer ones must not contradict each other and must be near. In doubt they are different: that
costs hits, not trust.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Set
from difflib import SequenceMatcher

from app.likeness.guard import find_refusal
from app.likeness.judge import judge
from app.likeness.question import read_question
from app.likeness.telling import is_member
from app.likeness.verifier import Align

SHORT_WORDS = 60
"""Up to how many words an answer is compared as questions are."""

MIN_SHORT = 0.85
"""From which cosine on two short answers may say the same in other words."""

MIN_SIMILARITY = 0.8
"""From which cosine on two longer texts are about the same (all-MiniLM-L6-v2: other subjects lie around 0.2)."""

MIN_NUMBERS = 0.5
FACT_WORDS = 3

ALIGNED_WORDS = 600
"""How much of two long answers is laid side by side."""

MAX_REPLACED = 3
MIN_FRAME = 2
"""So few words, between so many that are the same, stand in each other's place."""

_WORD = re.compile(r"\.?\w+(?:['\u2019.,:/-]\w+)*|[^\w\s]")
_LAYOUT = re.compile(r"^[#>*\s-]+(?=[^\W\d])", re.MULTILINE)
"""What begins lines of headings, quotations and lists."""

_MARKS = frozenset(".,;:!?\"'()[]*_`\u201c\u201d\u2018\u2019\u2026\u2013\u2014")
_YES = frozenset({"yes", "yeah", "yep", "correct", "true", "indeed", "certainly", "absolutely", "ja", "oui", "s\u00ed"})
_NO = frozenset({"no", "nope", "incorrect", "false", "not", "never", "nein", "non"})
_SIZES = frozenset({"hundred", "thousand", "million", "billion", "trillion"})
_LINKS = frozenset({"is", "are", "was", "were"})


def compare_answers(one: str, other: str, similarity: float | None, align: Align | None = None) -> str:
    """Return "same" or "different". `similarity` is the cosine of the answers' embeddings; None: not known.

    `align` is the local embedder's, which the verifier looks closer at short answers with.
    """
    here, there = _read(one), _read(other)
    if here == there:
        return "same"
    if _polarity(here) * _polarity(there) < 0:
        return "different"
    if max(len(here), len(there)) > SHORT_WORDS:
        agree = _agree_at_length(one, other, here, there, similarity)
    else:
        fact = _is_fact_of(here, one, there) or _is_fact_of(there, other, here)
        agree = _list_signs(here) == _list_signs(there) and (fact or _agree(one, other, similarity, align))
    return "same" if agree else "different"


def _read(text: str) -> list[str]:
    """Return the words and signs of a text, without the marks that only set it."""
    small = any(unicodedata.category(sign) == "No" for sign in text)  # a power is not another digit
    plain = _LAYOUT.sub("", unicodedata.normalize("NFC" if small else "NFKC", text))
    return [word for word in _WORD.findall(plain.casefold()) if word not in _MARKS]


def _polarity(words: list[str]) -> int:
    """Return 1 for an answer that begins with a yes, -1 for one that begins with a no, else 0."""
    first = set(words[:1])
    return 1 if first & _YES else -1 if first & _NO else 0


def _is_fact_of(words: list[str], text: str, others: list[str]) -> bool:
    """Return whether an answer is a name or a number alone, and the other a sentence that says "… is" it."""
    bare = text.strip().strip(".!").split()
    if not 0 < len(words) <= FACT_WORDS or not all(part[0].isupper() or part[0].isdigit() for part in bare):
        return False
    return others[-len(words) :] == words and others[-len(words) - 1 : -len(words)] in [[link] for link in _LINKS]


def _agree(one: str, other: str, similarity: float | None, align: Align | None) -> bool:
    """Return whether two short answers are the same but for their words."""
    if similarity is None or similarity < MIN_SHORT:
        return False
    found = judge(
        read_question(one), read_question(other), similarity, floor=MIN_SHORT, calibrated=align is not None, align=align
    )
    return found.accepted


def _list_signs(words: list[str]) -> Counter[str]:
    """Return what no sentence has for its grammar: signs of money, sums and comparison, and how large numbers are."""
    return Counter(word for word in words if not word[0].isalnum() or word in _SIZES)


def _agree_at_length(one: str, other: str, here: list[str], there: list[str], similarity: float | None) -> bool:
    if similarity is None or similarity < MIN_SIMILARITY or not _numbers_agree(here, there):
        return False
    first, second = read_question(one), read_question(other)
    if find_refusal(first, second) in {"negation", "opposite"}:
        return False
    telling = first.names | second.names | set(filter(is_member, (*first.words, *second.words)))
    return not _says_another(here[:ALIGNED_WORDS], there[:ALIGNED_WORDS], telling)


def _says_another(words: list[str], others: list[str], telling: Set[str]) -> bool:
    """Tell whether, in the midst of the same words, a name or a word of a closed class stands for another one."""
    steps = SequenceMatcher(None, words, others, autojunk=False).get_opcodes()
    for before, (kind, start, end, begin, stop), after in zip([None, *steps], steps, [*steps[1:], None], strict=False):
        short = 0 < end - start <= MAX_REPLACED and 0 < stop - begin <= MAX_REPLACED
        framed = all(step is None or step[2] - step[1] >= MIN_FRAME for step in (before, after))
        if kind == "replace" and short and framed and not telling.isdisjoint({*words[start:end], *others[begin:stop]}):
            return True
    return False


def _numbers_agree(words: list[str], others: list[str]) -> bool:
    """Return whether most numbers of the text with fewer of them are in the other."""
    here, there = (Counter(word for word in text if any(map(str.isdigit, word))) for text in (words, others))
    fewer = min(here.total(), there.total())
    return here == there or fewer == 0 or (here & there).total() / fewer > MIN_NUMBERS
