"""Measures in which order two questions say their words, for where the same words say something else."""

from bisect import bisect_left
from collections import Counter
from itertools import pairwise

from app.likeness.numbers import holds_digit
from app.likeness.question import Question

# Words that tell what the next one does in the sentence.
LEADERS = frozenset(
    {
        "to",
        "from",
        "in",
        "out",
        "on",
        "off",
        "up",
        "down",
        "before",
        "after",
        "with",
        "without",
        "into",
        "onto",
        "over",
        "under",
        "for",
        "against",
        "by",
        "of",
        "at",
        "as",
        "than",
        "and",
        "or",
        "between",
        "through",
        "until",
        "since",
        "during",
        "was",
        "is",
        "were",
        "are",
        "not",
    }
)


def measure_order(a: Question, b: Question, words_a: list[str], words_b: list[str]) -> list[float]:
    """Return nine numbers; `words_a` and `words_b` are the stems of the content, in order."""
    path = _match(words_a, words_b)
    kept = _find_longest_rising(path)
    displaced = [words_a[i] for at, (i, _) in enumerate(path) if at not in kept]
    names = a.names | b.names
    longer = max(len(words_a), len(words_b), 1)
    led_a, led_b = _list_led(a.words), _list_led(b.words)
    both = _count_both(_list_neighbours(words_a), _list_neighbours(words_b))
    return [
        len(displaced),
        sum(word in names or holds_digit(word) for word in displaced),
        sum(1 for (i, j), (k, m) in pairwise(path) if (k - i, m - j) != (1, 1)),
        _count_swaps(words_a, words_b),
        _count_replaced(words_a, words_b),
        _count_both(led_a, led_b) / max(len(led_a), len(led_b), 1),
        both / max(longer - 1, 1),
        len(kept) / longer,
        len(a.words) + len(b.words),
    ]


def _match(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """Pair equal words, the first with the first of its kind; returned in the order of `a`."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(b):
        places.setdefault(word, []).append(place)
    seen: Counter[str] = Counter()
    path: list[tuple[int, int]] = []
    for place, word in enumerate(a):
        found = places.get(word, ())
        if seen[word] < len(found):
            path.append((place, found[seen[word]]))
            seen[word] += 1
    return path


def _find_longest_rising(path: list[tuple[int, int]]) -> set[int]:
    """Return which pairs of the path are left when the fewest are taken away so that no two cross."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for at, (_, place) in enumerate(path):
        slot = bisect_left(tails, place)
        before.append(ends[slot - 1] if slot else -1)
        tails[slot : slot + 1] = [place]
        ends[slot : slot + 1] = [at]
    kept: set[int] = set()
    at = ends[-1] if ends else -1
    while at >= 0:
        kept.add(at)
        at = before[at]
    return kept


def _count_swaps(a: list[str], b: list[str]) -> int:
    """Count pairs of words that have changed places, as where who did what to whom is turned around."""
    differing = [(x, y) for x, y in zip(a, b, strict=False) if x != y]
    turned = {(y, x) for x, y in differing}
    return sum((x, y) in turned for x, y in differing)


def _count_replaced(a: list[str], b: list[str]) -> int:
    """Count words of one that stand between the same neighbours as another word of the other."""
    around_b: dict[tuple[str, str], str] = {(x, z): y for x, y, z in _list_threes(b)}
    return sum(around_b.get((x, z), y) != y for x, y, z in _list_threes(a))


def _list_threes(words: list[str]) -> list[tuple[str, str, str]]:
    marked = ["", *words, ""]
    return list(zip(marked, marked[1:], marked[2:], strict=False))


def _list_led(words: tuple[str, ...]) -> Counter[tuple[str, str]]:
    return Counter((x, y) for x, y in pairwise(words) if x in LEADERS)


def _list_neighbours(words: list[str]) -> Counter[tuple[str, str]]:
    return Counter(pairwise(words))


def _count_both(a: Counter[tuple[str, str]], b: Counter[tuple[str, str]]) -> int:
    return sum((a & b).values())
