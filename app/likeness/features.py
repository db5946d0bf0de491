"""Measures how far the words of two questions are the same: the numbers that the verifier decides by."""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from app.likeness.alike import ALIKE
from app.likeness.classes import SOFT_SCOPE
from app.likeness.order import measure_order
from app.likeness.question import Question
from app.likeness.stems import stem
from app.likeness.words import FILLERS, PRESENT_BE

NAMES = (
    "shared_words", "shared_content", "covered_least", "covered_most", "unmatched_least", "unmatched_most",
    "unmatched_alike", "substituted", "shared_pairs", "longest_run", "moved", "same_start", "same_end",
    "shared_trigrams", "shorter", "longer", "length_ratio", "asks_same", "asks_open", "names", "amounts",
    "soft_scope", "little_words", "edit_place", "first_content", "last_content", "unmatched_length", "negations",
    "displaced", "displaced_names", "pieces", "swaps", "replaced", "led", "neighbours", "kept_order", "word_count",
    "unlike_least", "unlike_most",
)  # fmt: skip
# Groups are joined where two words have one stem.
_ALIKE_STEMS: dict[str, frozenset[str]] = {}
for _word, _others in ALIKE.items():
    _ALIKE_STEMS[stem(_word)] = _ALIKE_STEMS.get(stem(_word), frozenset()) | {stem(other) for other in _others}
_SKIPPED = FILLERS | PRESENT_BE


def measure(a: Question, b: Question) -> list[float]:
    """Return the numbers in the order of NAMES. They are the same whichever question comes first."""
    if b.content < a.content:
        a, b = b, a
    words_a, words_b = list(map(_stem, a.content)), list(map(_stem, b.content))
    left, right = list_unmatched(words_a, words_b)
    least, most = sorted((len(left), len(right)))
    shorter, longer = sorted((len(words_a), len(words_b)))
    common = _count_common(words_a, words_b)
    run_start, run_end, longest = _find_runs(words_a, words_b)
    return [
        _share(a.words, b.words),
        _share(words_a, words_b),
        common / max(longer, 1),
        common / max(shorter, 1),
        least,
        most,
        _compare_spelling(left, right),
        float(_is_substitution(words_a, words_b, run_start, run_end)),
        _share(_list_pairs(words_a), _list_pairs(words_b)),
        longest / max(longer, 1),
        _measure_moves(words_a, words_b),
        run_start,
        run_end,
        _share(_list_trigrams(a.words), _list_trigrams(b.words)),
        shorter,
        longer,
        shorter / max(longer, 1),
        float(a.asks == b.asks),
        float(bool(a.asks) + bool(b.asks)),
        len(a.names ^ b.names) - len(a.names & b.names),
        len(a.amounts) + len(b.amounts),
        len(_list_soft_scope(a) ^ _list_soft_scope(b)),
        _share(_list_little(a), _list_little(b)),
        run_start / max(shorter, 1),
        float(words_a[:1] == words_b[:1]),
        float(words_a[-1:] == words_b[-1:]),
        sum(map(len, left + right)),
        a.negations + b.negations,
        *measure_order(a, b, words_a, words_b),
        *sorted(_count_unlike(left, right)),
    ]


def _count_unlike(left: list[str], right: list[str]) -> tuple[int, int]:
    """Count what is left on either side when words that may stand for one another are paired off."""
    others = list(right)
    alone = 0
    for word in left:
        partner = next((other for other in others if other in _ALIKE_STEMS.get(word, ())), None)
        if partner is None:
            alone += 1
        else:
            others.remove(partner)
    return alone, len(others)


@lru_cache(8192)
def _stem(word: str) -> str:
    return stem(word)


def list_unmatched(words_a: list[str], words_b: list[str]) -> tuple[list[str], list[str]]:
    """Return what stands on one side only and is more than a filler."""
    count_a, count_b = Counter(words_a), Counter(words_b)
    left = [word for word in (count_a - count_b).elements() if word not in _SKIPPED]
    return left, [word for word in (count_b - count_a).elements() if word not in _SKIPPED]


def _share(first: Iterable[str | tuple[str, str]], second: Iterable[str | tuple[str, str]]) -> float:
    """Return what part of all the members both have; two empty lists are the same."""
    a, b = set(first), set(second)
    whole = len(a | b)
    return len(a & b) / whole if whole else 1.0


def _count_common(a: list[str], b: list[str]) -> int:
    return sum((Counter(a) & Counter(b)).values())


def _list_pairs(words: list[str]) -> list[tuple[str, str]]:
    marked = ["", *words, ""]
    return list(pairwise(marked))


def _list_trigrams(words: tuple[str, ...]) -> set[str]:
    line = f" {' '.join(words)} "
    return {line[i : i + 3] for i in range(len(line) - 2)}


def _list_soft_scope(question: Question) -> frozenset[str]:
    return SOFT_SCOPE.intersection(question.words)


def _list_little(question: Question) -> list[str]:
    return [word for word in question.words if len(word) <= 4]


def _find_runs(a: list[str], b: list[str]) -> tuple[int, int, int]:
    """Return how many words are the same from the start, from the end, and in the longest row anywhere."""
    start = _count_same(a, b)
    end = _count_same(a[::-1], b[::-1])
    longest = 0
    before = [0] * (len(b) + 1)
    for word in a:
        row = [0] * (len(b) + 1)
        for j, other in enumerate(b):
            if word == other:
                row[j + 1] = before[j] + 1
        longest = max(longest, *row)
        before = row
    return start, end, longest


def _count_same(a: list[str], b: list[str]) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count


def _is_substitution(a: list[str], b: list[str], start: int, end: int) -> bool:
    """Tell whether the two differ by one or two words in one and the same place."""
    middle_a, middle_b = len(a) - start - end, len(b) - start - end
    return 0 < middle_a <= 2 and 0 < middle_b <= 2


def _compare_spelling(left: list[str], right: list[str]) -> float:
    """Return how alike the unmatched words are spelled at best: a slip of the pen is nearly the same word."""
    best = 0.0
    for x in left[:8]:
        letters = _list_letters(x)
        for y in right[:8]:
            best = max(best, _share(letters, _list_letters(y)))
    return best


@lru_cache(4096)
def _list_letters(word: str) -> frozenset[str]:
    marked = f" {word} "
    return frozenset(marked[i : i + 2] for i in range(len(marked) - 1))


def _measure_moves(a: list[str], b: list[str]) -> float:
    """Return what part of the pairs of shared words stands in another order."""
    places = {word: place for place, word in enumerate(b)}
    order = [places[word] for word in dict.fromkeys(a) if word in places]
    if len(order) < 2:
        return 0.0
    turned = sum(x > y for i, x in enumerate(order) for y in order[i + 1 :])
    return turned * 2 / (len(order) * (len(order) - 1))
