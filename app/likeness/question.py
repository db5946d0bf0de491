"""Reads a question into what comparing it needs: its words in one spelling, its numbers, names and what it asks for."""

import re
import unicodedata

import msgspec

from app.likeness import words as english
from app.likeness.courtesies import CLOSERS, GOING_ON, GREETINGS, OPENERS
from app.likeness.numbers import holds_digit, list_amounts, read_numbers
from app.likeness.stems import stem_plural
from app.likeness.surface import Sense, list_signs, list_spelled, read_senses
from app.likeness.telling import list_classes, list_scope

# A word keeps what a name or a number is written with inside: c++, 3.5, node.js, u.s., at&t, 24/7, well-known.
_WORD = re.compile(
    r"[$€£¥₹]?\d+(?:[.,:/]\d+)*[%°]?[^\W\d_]*(?:\d+[^\W_]*)*|[^\W_]+(?:['.&/+-][^\W_]+)*(?:\+{1,2}|#)?|[%&]"
)
_QUOTED = re.compile(r"[\"“”«»]([^\"“”«»]{1,80})[\"“”«»]|(?<![\w'])'([^' ][^']{0,80}[^' ])'(?![\w'])")
_SENTENCE_END = re.compile(r"[.!?:]\s*$")
# What is written for an apostrophe, and what does not show.
_APOSTROPHES = str.maketrans(
    {**dict.fromkeys("\u2019\u2018\u0060\u00b4\u02bc", "'"), **dict.fromkeys("\u200b\u200d\ufeff\u00ad", "")}
)
_SIDE_ENDS = frozenset({"in", "on", "for", "when", "with", "at", "of", "if", "as", "and", "from"})


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A text as the judge sees it. All words are in lower case and one spelling."""

    text: str
    words: tuple[str, ...]
    content: tuple[str, ...]  # what is left without fillers, in order, plurals as singulars
    asks: str  # what, who, when, where, why, how, how_many ..., can, do, be ...; "" for an order or a statement
    amounts: tuple[str, ...]
    names: frozenset[str]
    quoted: tuple[str, ...]
    scope: frozenset[str]
    classes: frozenset[str]
    negations: int
    readable: bool  # whether nearly all of it is written in Latin letters
    units: frozenset[str]
    signs: tuple[str, ...]
    senses: dict[str, Sense]
    spelled: tuple[str, ...]  # all words as written, where words are spoken of


def read_question(text: str) -> Question:
    """Read `text` once; reading is most of what a comparison costs, so stored questions are read beforehand."""
    plain = _plain(text)
    words = _list_words(plain)
    spelled = list_spelled(plain)
    core = _strip(words, spoken_of=bool(spelled))
    asks, rest = _read_asks(core)
    return Question(
        text=text,
        words=words,
        content=tuple(stem_plural(word) for word in rest),
        asks=asks,
        amounts=list_amounts(words),
        names=_find_names(plain),
        quoted=tuple((a or b).casefold().strip(" .,?!") for a, b in _QUOTED.findall(plain)),
        scope=list_scope(words),
        classes=list_classes(words),
        negations=sum(word in english.NEGATIONS for word in words),
        readable=_is_readable(plain),
        units=frozenset(english.UNITS[word] for word in words if word in english.UNITS and len(word) > 1),
        signs=list_signs(plain),
        senses=read_senses(plain),
        spelled=spelled,
    )


def read_words(text: str) -> frozenset[str]:
    """Return the words of a text of any length, spelled as those of a question are."""
    return frozenset(_list_words(_plain(text)))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).replace("''", '"')


def _list_words(plain: str) -> tuple[str, ...]:
    raw = _WORD.findall(plain)
    if not plain.isupper():
        raw = ["usa" if word == "US" else word for word in raw]
    return tuple(read_numbers(_spell([word.casefold() for word in raw])))


def _spell(raw: list[str]) -> list[str]:
    """Undo contractions and give the spellings of one word one form."""
    found: list[str] = []
    for word in raw:
        found.extend(_spell_word(word, found[-1] if found else ""))
    return _join_pairs(found)


def _spell_word(word: str, before: str) -> list[str]:
    if word in english.CONTRACTIONS:
        return english.CONTRACTIONS[word].split()
    for ending, written in english.ENDINGS.items():
        if word.endswith(ending) and len(word) > len(ending):
            start = word[: -len(ending)]
            return [start, "is"] if ending == "'s" and start in english.IS_AFTER else [start, *written.split()]
    word = english.SYNONYMS.get(word, word)
    if "-" in word and "+" not in word and not word[0].isdigit():
        return word.split("-") if word not in english.OPPOSITES else [word]
    if "/" in word and not holds_digit(word):
        return word.split("/")
    return [word.replace("'", "")] if word != "'s" or before else [word]


def _join_pairs(words: list[str]) -> list[str]:
    """Give what is written in two words, like "united states", its one word."""
    found: list[str] = []
    for word in words:
        pair = f"{found[-1]} {word}" if found else ""
        if pair in english.SYNONYMS:
            found[-1] = english.SYNONYMS[pair]
        else:
            found.append(word)
    return found


def _strip(words: tuple[str, ...], *, spoken_of: bool) -> tuple[str, ...]:
    """Take away greetings, courtesies and "can you tell me", as often as there are any, but never everything.

    Where words are `spoken_of`, a greeting may be what is asked about.
    """
    openers = tuple(opener for opener in OPENERS if opener not in GREETINGS) if spoken_of else OPENERS
    closers = () if spoken_of else CLOSERS
    changed = True
    while changed:
        changed = False
        for opener in openers:
            if words[: len(opener)] == opener and len(words) > len(opener) + 1:
                if opener in GREETINGS and words[len(opener)] in GOING_ON:
                    continue
                words, changed = words[len(opener) :], True
        for closer in closers:
            if words[-len(closer) :] == closer and len(words) > len(closer) + 1:
                words, changed = words[: -len(closer)], True
    return words


def _read_asks(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return what is asked for and the words that are left without the asking and the fillers."""
    asks, rest = _read_start(words)
    kept = [word for word in rest if word not in english.FILLERS and word not in english.PRESENT_BE]
    return asks, _sort_sides(kept)


def _sort_sides(words: list[str]) -> tuple[str, ...]:
    """Put the sides of "between a and b", "a versus b" and "a or b" in one order: which comes first asks nothing."""
    for link, opener in (("and", "between"), ("versus", ""), ("or", "")):
        start = words.index(opener) + 1 if opener in words else 0
        if link in words[start + 1 : -1] and (start or not opener):
            at = words.index(link, start)
            end = next((i for i, word in enumerate(words) if i > at and word in _SIDE_ENDS), len(words))
            left, right = words[start:at] if opener else words[at - 1 : at], words[at + 1 : end if opener else at + 2]
            first, second = sorted((left, right))
            words = [*words[: at - len(left)], *first, link, *second, *words[at + 1 + len(right) :]]
    return tuple(words)


def _read_start(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if words[:1] in (("tell",), ("give",), ("show",)) and words[1:2] == ("me",) and len(words) > 2:
        words = words[2:] if words[2] in english.QUESTION_WORDS else ("what", *words[2:])
    first, second = (*words, "", "")[:2]
    if first == "how":
        return _read_how(words)
    if first in english.QUESTION_WORDS:
        asks = "what" if first == "which" else "who" if first == "whom" else first
        return asks, _drop_subject(words[1:], generic=first == "where")
    if first in english.YES_NO:
        return english.MODALS.get(first, "be" if first in english.PRESENT_BE else first), words[1:]
    for at, word in enumerate(words):
        if word in english.QUESTION_WORDS and at <= 4 and second:
            return f"_{'what' if word == 'which' else word}", words
    return "", words


def _read_how(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    second = words[1] if len(words) > 1 else ""
    if words[1:3] == ("much", "time"):
        return "how_long", words[3:]
    if second in english.HOW_MEASURES:
        return f"how_{second}", words[2:]
    if second == "come":
        return "why", words[2:]
    return "how", _drop_subject(words[1:], generic=True)


def _drop_subject(words: tuple[str, ...], *, generic: bool) -> tuple[str, ...]:
    """Take "do I", "can you" or "to" away, where who does it and what helps the verb makes no difference."""
    if generic and words and words[0] in english.EASY_MODALS:
        rest = words[1:]
        if words[0] == "to" or not rest:
            return rest
        return rest[1:] if rest[0] in english.SUBJECTS else rest
    return words[1:] if words and words[0] in english.AUXILIARIES else words


def _find_names(plain: str) -> frozenset[str]:
    """Return the words written like names: with a capital inside a sentence, unless every word has one."""
    starts = True
    names: list[str] = []
    ordinary = 0
    for token in plain.split():
        word = token.strip(".,;:!?()[]\"'“”*")
        if word and word[0].isalpha():
            capital = word[0].isupper() and word.split("'")[0] != "I"
            if capital and (not starts or (len(word) > 1 and word.isupper())):
                names.extend(part.casefold() for part in _WORD.findall(word))
            ordinary += not capital and len(word) > 3
            starts = False
        starts = starts or bool(_SENTENCE_END.search(token))
    if ordinary == 0 and len(names) > 2:
        return frozenset()
    return frozenset(name.removesuffix("'s") for name in names)


def _is_readable(plain: str) -> bool:
    letters = [c for c in plain if c.isalpha()]
    foreign = sum(1 for c in letters if c > "\u024f")
    return bool(letters) and foreign * 10 <= len(letters)
