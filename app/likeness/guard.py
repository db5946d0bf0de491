"""What two questions must have in common before anything else counts: numbers, names, negation, order and scope."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from app.likeness.question import Question
from app.likeness.stems import stem, stem_plural
from app.likeness.surface import senses_differ
from app.likeness.telling import is_member
from app.likeness.words import (
    AUXILIARIES,
    EASY_MODALS,
    FILLERS,
    OPPOSITES,
    ORDINALS,
    PRESENT_BE,
    ROMAN,
    SUBJECTS,
    SYNONYMS,
    TURNING,
    UNITS,
    YES_NO,
)

# Beginnings that turn a word into its opposite.
_PREFIXES = ("un", "non", "in", "dis", "im", "ir", "il", "mis", "anti", "de")
_AND_OR = {"and", "or"}
_TOWARDS = frozenset({"to", "into", "onto", "towards"})
_BEFORE_TARGETS = FILLERS | {"my", "your", "his", "her", "its", "our", "their"}
# Words whose places around another word say who does what: a swap of the two is another question.
_PARTICLES = frozenset(
    {"to", "from", "in", "out", "on", "off", "up", "down", "before", "after", "with", "without", "into", "onto"}
    | {"over", "under", "for", "against"}
)


def find_refusal(asked: Question, stored: Question) -> str | None:
    """Return the first reason why an answer to `stored` does not answer `asked`, or None."""
    if not (asked.readable and stored.readable):
        # Words of another script are not in our lists, so only equal words will do.
        return None if asked.words == stored.words else "unreadable"
    for reason, differs in _RULES:
        if differs(asked, stored):
            return reason
    return None


def _number_differs(a: Question, b: Question) -> bool:
    return a.amounts != b.amounts


def _unit_differs(a: Question, b: Question) -> bool:
    """Tell whether one asks in miles and the other in kilometres, without a number."""
    return bool(a.units - b.units) and bool(b.units - a.units)


def _sign_differs(a: Question, b: Question) -> bool:
    return a.signs != b.signs


def _form_differs(a: Question, b: Question) -> bool:
    """Tell whether words are spoken of, and one is a plural here and a singular there."""
    only_a, only_b = set(a.spelled) - set(b.spelled), set(b.spelled) - set(a.spelled)
    return bool(a.spelled and b.spelled) and not {*map(stem_plural, only_a)}.isdisjoint(map(stem_plural, only_b))


def _sense_differs(a: Question, b: Question) -> bool:
    return senses_differ(a.senses, b.senses)


def _negation_differs(a: Question, b: Question) -> bool:
    return a.negations % 2 != b.negations % 2


def _turning_differs(a: Question, b: Question) -> bool:
    """Tell whether only one speaks of avoiding, stopping or refusing what comes after."""
    return {TURNING[w] for w in a.words if w in TURNING} != {TURNING[w] for w in b.words if w in TURNING}


def _target_differs(a: Question, b: Question) -> bool:
    """Tell whether what one turns into, or goes to, is in the other what it starts from."""
    to_a, to_b = _list_targets(a.words), _list_targets(b.words)
    return bool((to_a - to_b) & set(b.words)) and bool((to_b - to_a) & set(a.words))


def _list_targets(words: tuple[str, ...]) -> set[str]:
    """Return what comes first after each "to" but for articles, possessives and the like."""
    places = (at for at, word in enumerate(words) if word in _TOWARDS)
    found = (next((word for word in words[at + 1 : at + 4] if word not in _BEFORE_TARGETS), "") for at in places)
    return {word for word in found if word}


def _quote_differs(a: Question, b: Question) -> bool:
    return bool(a.quoted and b.quoted) and sorted(a.quoted) != sorted(b.quoted)


def _opposite_stands(a: Question, b: Question) -> bool:
    """Tell whether a word has its opposite in the other question, and neither stands in both."""
    only_a, only_b = set(a.words) - set(b.words), set(b.words) - set(a.words)
    # Both can stand in one question, so that what follows them decides.
    ways = (("to", "from"), ("from", "to"))
    if any(_turns(a.words, b.words, x, y) or _turns(b.words, a.words, x, y) for x, y in ways):
        return True
    for word in only_a:
        if not OPPOSITES.get(word, frozenset()).isdisjoint(only_b):
            return True
    return any(_is_prefixed(x, only_b) for x in only_a) or any(_is_prefixed(x, only_a) for x in only_b)


def _joint_differs(a: Question, b: Question) -> bool:
    """Tell whether an "and" is an "or" in the other, and nothing else differs but "both" or "either"."""
    more, less = Counter(a.content) - Counter(b.content), Counter(b.content) - Counter(a.content)
    return _AND_OR <= {*more.elements()} | {*less.elements()} <= _AND_OR | {"both", "either"}


def _turns(a: tuple[str, ...], b: tuple[str, ...], here: str, there: str) -> bool:
    """Tell whether `here` stands before the same word as `there` does in the other, and before it in one alone."""
    return not _list_after(a, here).isdisjoint(_list_after(b, there) - _list_after(b, here))


def _list_after(words: tuple[str, ...], link: str) -> set[str]:
    return {after for word, after in pairwise(words) if word == link and after not in FILLERS}


def _is_prefixed(word: str, others: set[str]) -> bool:
    return any(
        f"{prefix}{word}" in others or stem(f"{prefix}{word}") in {stem(o) for o in others if o.startswith(prefix)}
        for prefix in _PREFIXES
        if len(word) > 3
    )


def _class_differs(a: Question, b: Question) -> bool:
    """Tell whether one names a country, day, colour ... that the other does not."""
    return a.classes != b.classes


def _name_differs(a: Question, b: Question) -> bool:
    return not (_holds_names(a.names, b) and _holds_names(b.names, a))


# Written with a capital by some who write every Word so.
_NO_NAMES = FILLERS | PRESENT_BE | AUXILIARIES | YES_NO | _PARTICLES | {"and", "of", "or", "ok", "if", "by", "at"}
_OF_STATES = {"united", "states", "kingdom", "emirates"}
_RESPELLED = {**SYNONYMS, **ROMAN, **ORDINALS}


def _holds_names(names: frozenset[str], other: Question) -> bool:
    """Tell whether every name stands in `other`, whichever way it is written there."""
    if not names:
        return True
    present = {stem(word) for word in other.words}
    joined = "".join(other.words)
    for name in names - _NO_NAMES:
        if name in _OF_STATES or is_member(SYNONYMS.get(name, name)):
            continue  # The rule for classes knows all their spellings.
        if not all(_holds_part(part, other, present, joined) for part in name.split("-") if part not in _NO_NAMES):
            return False
    return True


def _holds_part(part: str, other: Question, present: set[str], joined: str) -> bool:
    """Tell whether one word of a name stands there, perhaps with another ending or a slip of the pen."""
    spelled = _RESPELLED.get(part, part)
    if stem(spelled) in present or spelled in other.words or part.replace(".", "") in joined:
        return True
    return len(part) >= 6 and any(word[:5] == part[:5] and abs(len(word) - len(part)) <= 3 for word in other.words)


def _scope_differs(a: Question, b: Question) -> bool:
    return a.scope != b.scope


def _order_differs(a: Question, b: Question) -> bool:
    """Tell whether the same words stand in another order around a word that gives them their part."""
    if Counter(a.content) != Counter(b.content) or a.content == b.content:
        return False
    return _roles(a.content) != _roles(b.content)


def _roles(content: tuple[str, ...]) -> set[tuple[str, str]]:
    """Return each little word with what follows it, and each verb-like neighbour pair around it."""
    return {(x, y) for x, y in pairwise(content) if x in _PARTICLES or x == "than"}


def _asking_differs(a: Question, b: Question) -> bool:
    """Tell whether both ask openly, but for things that cannot be one: a time and a place, a number and a reason."""
    first, second = _KINDS.get(a.asks, ""), _KINDS.get(b.asks, "")
    return bool(first and second) and first != second and not _may_meet(a, b)


_KINDS = {
    "who": "person", "whose": "person", "when": "time", "where": "place", "why": "reason", "how": "manner",
    "how_many": "count", "how_much": "count", "how_long": "length", "how_often": "rate", "how_old": "age",
    "how_far": "distance",
}  # fmt: skip


def _may_meet(a: Question, b: Question) -> bool:
    """Tell whether kinds that differ may ask for one thing.

    They do in "how long" and "how many days", "how can I get" and "where can I get", "how painful" and "how much does
    it hurt".
    """
    asked = {a.asks: a.words, b.asks: b.words}
    match sorted(asked):
        case ["how_far" | "how_long", "how_many"] | ["how_many", "how_often"]:
            return any(x == "many" and y in _MEASURES for x, y in pairwise(asked["how_many"]))
        case ["how", "where"]:
            return _asks_for_a_way(a.words) and _asks_for_a_way(b.words)
        case ["how", "how_much"]:
            return not any(x == "how" and y in _MANNERS for x, y in pairwise(asked["how"]))
        case _:
            return False


_MEASURES = UNITS.keys() | {"times"}
_MANNERS = EASY_MODALS | YES_NO | {"to"}


def _asks_for_a_way(words: tuple[str, ...]) -> bool:
    """Tell "how do I" and "where can one" from "how did he"."""
    return any(
        x in ("how", "where") and y in EASY_MODALS and (y == "to" or z in SUBJECTS)
        for x, y, z in zip(words, words[1:], words[2:], strict=False)
    )


def _asked_for_differs(a: Question, b: Question) -> bool:
    """Tell whether one asks who did it and the other to whom: "who beat Ali" and "who did Ali beat"."""
    if a.asks != b.asks or _asks_for_object(a) == _asks_for_object(b):
        return False
    return a.asks == "who" or (a.asks == "what" and a.content != b.content and _count_stems(a) == _count_stems(b))


def _asks_for_object(question: Question) -> bool:
    return any(x in ("who", "whom", "what") and y in ("did", "do", "does") for x, y in pairwise(question.words))


def _count_stems(question: Question) -> Counter[str]:
    return Counter(map(stem, question.content))


_RULES: tuple[tuple[str, Callable[[Question, Question], bool]], ...] = (
    ("number", _number_differs),
    ("unit", _unit_differs),
    ("sign", _sign_differs),
    ("form", _form_differs),
    ("sense", _sense_differs),
    ("negation", _negation_differs),
    ("opposite", _opposite_stands),
    ("opposite", _turning_differs),
    ("opposite", _joint_differs),
    ("class", _class_differs),
    ("quote", _quote_differs),
    ("name", _name_differs),
    ("scope", _scope_differs),
    ("question_word", _asking_differs),
    ("order", _order_differs),
    ("order", _target_differs),
    ("order", _asked_for_differs),
)
