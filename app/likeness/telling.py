"""The words that say which things a question is about: members of closed classes, and what restricts them."""

from app.likeness.classes import DEMONYMS, MEMBERS, SCOPE, TIME_SPANS
from app.likeness.stems import stem_plural

_SAME = {"max": "maximum", "min": "minimum", "each": "every"}
# "All" and "last" restrict nothing before these, "last" with nobody it belongs to; nor do "at all" and "after all".
_ALL_OF = frozenset({"night", "day", "over", "time", "along"})
_GOES_ON = frozenset({"for", "long", "longer", "in", "on", "when", "if", "after", "without", "until"})
_OWNERS = frozenset({"the", "a", "my", "our", "your", "his", "her", "its", "their", "'s"})


def list_classes(words: tuple[str, ...]) -> frozenset[str]:
    """Return the members of closed classes, a people as its country and a faithful as the faith."""
    return frozenset(_name(word) for word in words if is_member(word))


def is_member(word: str) -> bool:
    """Tell whether a word belongs to a closed class: a country, a weekday, a colour."""
    return word in MEMBERS or (stem_plural(word) in DEMONYMS and stem_plural(word) in MEMBERS)


def _name(word: str) -> str:
    """Return one form for all that mean the same member: "dutch" and "netherlands", "dog" and "dogs"."""
    singular = stem_plural(word)
    return stem_plural(DEMONYMS.get(word) or DEMONYMS.get(singular) or singular)


def list_scope(words: tuple[str, ...]) -> frozenset[str]:
    """Return the words that restrict what is asked about, where they do."""
    return frozenset(
        _SAME.get(word, word) for at, word in enumerate(words) if word in SCOPE and not _restricts_nothing(words, at)
    )


def _restricts_nothing(words: tuple[str, ...], at: int) -> bool:
    """Tell "all the time", "each month", "how long does it last" and "next to" from what leaves things out."""
    before, (after, second) = words[at - 1] if at else "", (*words[at + 1 : at + 3], "", "")[:2]
    match words[at]:
        case "all":
            idle = after in _ALL_OF or (after == "the" and second in _ALL_OF) or before in ("at", "after", "what")
        case "every" | "each":
            idle = after in TIME_SPANS
        case "last":
            goes_on = not after or after in _GOES_ON or words[:2] == ("how", "long")
            idle = goes_on and before not in _OWNERS
        case "next":
            idle = after in ("to", "step")
        case _:
            idle = False
    return idle
