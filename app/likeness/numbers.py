"""Reads numbers, number words, ordinals and units out of words, so that "five milligrams" and "5mg" are one thing."""

import re

from app.likeness.words import (
    FRACTIONS,
    MULTIPLIERS,
    NUMBER_WORDS,
    ORDINALS,
    ROMAN,
    UNITS,
)

_GLUED = re.compile(r"([$€£¥₹]?)(\d+(?:[.,:/-]\d+)*)([a-z°%]*)(.*)", re.DOTALL)
_THOUSANDS = re.compile(r"\d{1,3}(,\d{2,3})+(\.\d+)?")
_ORDINAL_ENDINGS = ("st", "nd", "rd", "th")


def read_numbers(words: list[str]) -> list[str]:
    """Return `words` with every number in digits and every unit after a number in its short form."""
    found: list[str] = []
    at = 0
    while at < len(words):
        at = _read_one(words, at, found)
    return found


def holds_digit(word: str) -> bool:
    """Tell whether `word` is a number or a name with a number in it."""
    return any(c.isdigit() for c in word)


def list_amounts(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the numbers of normalised words in order of size of text, each with its unit; "two times" is "twice"."""
    units = set(UNITS.values())
    amounts: list[str] = []
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        if holds_digit(word) and not _counts_nothing(words, at, following):
            times = word.isdigit() and following in ("time", "times")
            amounts.append(f"{word}x" if times else f"{word} {following}" if following in units else word)
    return tuple(sorted(amounts))


def _counts_nothing(words: tuple[str, ...], at: int, following: str) -> bool:
    """Tell whether it is "of the two", or a "first" that says when or as what something is done."""
    if words[at] == "2":
        return words[max(at - 2, 0) : at] == ("of", "the")
    return words[at] == "1st" and following in ("", "to", "time", "thing", "step", "if", "when", "or")


def _read_one(words: list[str], at: int, found: list[str]) -> int:
    """Read one number or word at `at`; return where the next begins."""
    word = words[at]
    if word[0] in "$€£¥₹" or word[0].isdigit():
        found.extend(_read_digits(word))
        return _read_unit(words, at + 1, found)
    if _is_number_word(words, at):
        at = _read_number_words(words, at, found)
        return _read_unit(words, at, found)
    found.append(_read_plain(word, found))
    return at + 1


def _read_plain(word: str, before: list[str]) -> str:
    if word in ROMAN:
        return ROMAN[word]
    if word in FRACTIONS:
        return FRACTIONS[word]
    # "a second" is a time, "the second" a place in a row.
    if word == "second" and (not before or before[-1] in ("a", "per", "each", "every")):
        return word
    return ORDINALS.get(word, word)


def _read_digits(word: str) -> list[str]:
    """Split a sign of money and a unit off a number: "£1,000.00" is 1000 gbp, "5mg" is 5 mg; "6s" stays a name."""
    match = _GLUED.fullmatch(word)
    if match is None:
        return [word]
    sign, number, ending, rest = match.groups()
    if rest or (ending and ending not in UNITS and ending not in _ORDINAL_ENDINGS):
        return [word]
    number = _write_number(number, money=bool(sign))
    if ending in _ORDINAL_ENDINGS:
        return [number + ending]
    return [number, *([UNITS[sign]] if sign else []), *([UNITS[ending]] if ending else [])]


def _write_number(number: str, *, money: bool) -> str:
    if _THOUSANDS.fullmatch(number):
        number = number.replace(",", "")
    if money and number.endswith(".00"):
        number = number[:-3]
    return number


def _read_unit(words: list[str], at: int, found: list[str]) -> int:
    if at < len(words) and words[at] in UNITS and words[at] != found[-1]:
        found.append(UNITS[words[at]])
        return at + 1
    return at


def _is_number_word(words: list[str], at: int) -> bool:
    """Tell whether a number begins at `at`. "One" is mostly a person or a thing, and a number only before a unit."""
    word, after = words[at], words[at + 1] if at + 1 < len(words) else ""
    return word in NUMBER_WORDS and (word != "one" or after in UNITS or after in MULTIPLIERS)


def _read_number_words(words: list[str], at: int, found: list[str]) -> int:
    """Read "two hundred and fifty thousand" as one number; "one two three" is three of them."""
    total = current = 0
    smallest = 1000
    start = at
    while at < len(words):
        word = words[at]
        if word in MULTIPLIERS and at > start:
            total, current = _multiply(total, current, MULTIPLIERS[word])
            smallest = 1000
        elif word in NUMBER_WORDS and _size(word) < smallest:
            smallest = _size(word)
            current += NUMBER_WORDS[word]
        elif not (
            word == "and" and words[at - 1] in MULTIPLIERS and words[at + 1 : at + 2] and words[at + 1] in NUMBER_WORDS
        ):
            break
        at += 1
    found.append(str(total + current))
    return at


def _size(word: str) -> int:
    """Return how big a number may be that still follows `word` within one number: "twenty" takes "five"."""
    return 10 if NUMBER_WORDS[word] >= 20 else 1


def _multiply(total: int, current: int, by: int) -> tuple[int, int]:
    return (total, current * by) if by == 100 else (total + max(current, 1) * by, 0)
