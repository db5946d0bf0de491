"""What the spelling of a text tells and its words do not: signs, capitals, articles, and that words are spoken of."""

import re
from typing import Literal

import msgspec

from app.likeness.classes import HOMOGRAPHS, MENTIONS, NO_NOUNS

# A sign that means something by itself. Money and percents are read with their numbers, & and / with their words.
_SIGN = re.compile(
    r"[<>=^~|@#\\{}\[\]]|(?<!\w)\*(?!\w)|(?<=\d)!|(?<!\S)[?!]+(?=\s+[a-z])|(?<!\S)[:;=]-?[()DPp/|](?!\w)"
    r"|(?<!\S)--?[^\W\d_][\w-]*"
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?:]\s*$")

Kind = Literal["name", "thing", "open"]
Article = Literal["none", "own", "lent"]


class Sense(msgspec.Struct, frozen=True):
    """How a word is written that can be a name: with a capital, without one among others, or so that nobody can say.

    Its article is "lent" where a noun follows that it belongs to: "a python list".
    """

    kind: Kind
    article: Article
    plural: bool
    written: str


def list_signs(plain: str) -> tuple[str, ...]:
    """Return the signs that mean something, sorted: of "<" and ">" neither stands for the other."""
    return tuple(sorted(_SIGN.findall(plain)))


def list_spelled(plain: str) -> tuple[str, ...]:
    """Return every word as it is written when the text speaks of words ("what does please mean"), else nothing."""
    words = tuple(word.casefold() for word in _WORD.findall(plain))
    return words if any(word in MENTIONS for word in words) else ()


def read_senses(plain: str) -> dict[str, Sense]:
    """Return how each homograph is written: "Apple" and "an apple", "Turkey" and "turkey"."""
    found: dict[str, Sense] = {}
    words = list(_WORD.finditer(plain))
    cased = _uses_capitals([match[0] for match in words])
    for at, match in enumerate(words):
        word = match[0].partition("'")[0]
        stem = word.casefold() if word.casefold() in HOMOGRAPHS else word.casefold().removesuffix("s")
        if stem in HOMOGRAPHS:
            before = words[at - 1][0].casefold() if at else ""
            after = words[at + 1][0].casefold() if at + 1 < len(words) else ""
            starts = at == 0 or bool(_SENTENCE_END.search(plain[: match.start()]))
            open_ = not cased or (starts and not (len(word) > 1 and word.isupper()))
            kind: Kind = "open" if open_ else "name" if word[0].isupper() else "thing"
            article: Article = "none" if before not in ("a", "an") else "own" if after in NO_NOUNS else "lent"
            found[stem] = Sense(kind, article, stem != word.casefold(), word.casefold())
    return found


def senses_differ(one: dict[str, Sense], other: dict[str, Sense]) -> bool:
    """Tell whether a word is certainly a name here and a thing there, or one of a kind here and not there."""
    pairs = [(one[word], other[word]) for word in one.keys() & other.keys()]
    return any({a.kind, b.kind} == {"name", "thing"} or _is_one(a, b) or _is_one(b, a) for a, b in pairs)


def _is_one(one: Sense, other: Sense) -> bool:
    """Tell whether here it is one of a kind, and there neither that nor several."""
    return one.article == "own" and other.article == "none" and not other.plural


def _uses_capitals(words: list[str]) -> bool:
    """Tell whether a writer gives capitals to some words and not to all, so that they say something."""
    longer = [word for word in words if word.isalpha() and word not in ("I", "A")]
    capitals = sum(word[0].isupper() for word in longer)
    return 0 < capitals < len(longer)
