"""Why a question is never answered from a similar one, whatever is near it."""

import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise

from app.likeness import classes
from app.likeness.numbers import holds_digit
from app.likeness.question import Question, read_question
from app.likeness.words import FILLERS

LONGEST_CONTENT_WORDS = 64
SHORT_WORDS = 8
_URL = re.compile(r"\b(?:https?|ftp|file)://|\bwww\.|\b[\w-]+\.(?:com|org|net|io|dev|gov|edu|co)\b", re.IGNORECASE)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.\w+|\b\d{1,3}(?:\.\d{1,3}){3}\b|(?:^|\s)(?:~?/|[A-Za-z]:\\)[\w.-]+[/\\]")
_HEX = re.compile(r"\b(?=[0-9a-f-]*\d)(?=[0-9a-f-]*[a-f])[0-9a-f]{6,}(?:-[0-9a-f]+)*\b", re.IGNORECASE)
_LONG_NUMBER = re.compile(r"(?<![\d.,])\d{5,}(?![\d.,]*\d)|\b\d+(?:[ -]\d{3,}){2,}\b|\+\d{6,}")
_MIXED = re.compile(r"\b(?=\w*\d\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9]{8,}\b|#\d+\b|\b[A-Z]{2,}-\d{2,}\b")
_SUM = re.compile(r"\d\s*(?:[+*\u00d7\u00f7=^]|\*\*)\s*\(?-?\d|\d\s*=|=\s*\d|√|∫|∑|\bsqrt\b|\b[xyz]\s*[-+=^]\s*[\dxyz]")
# In a longer text this is a score or a range of years.
_DIFFERENCE = re.compile(r"\d\s[-/x]\s\(?-?\d")
# Words that begin a line of code begin questions as well: "let us say ...", "from what age ...", "class 12 ...".
_CODE_CALL = re.compile(
    r"^\s*(?:import [\w.]+(?:, ?[\w.]+)*(?: as \w+)?;?\s*$|from [\w.]+ import\b|def \w+\s*\(|class [A-Za-z_]\w*\s*[:({]"
    r"|(?:var|let|const) [\w{[][^=?]*=)|\b\w+\.\w+\(|\b\w+\(\w*\)\s*[;{]|^\s*(?:\$|>>>|>) \w",
    re.MULTILINE,
)


def find_reason(text: str, *, shared: bool) -> str | None:
    """Return why `text` must be answered anew, in a word of its own, or None.

    `shared` says that other people's answers may be served: then a question about oneself has no answer but its own.
    """
    if not text.strip():
        return "empty"
    plain = unicodedata.normalize("NFKC", text)
    if len(plain) > 4000 or len(plain.split()) > LONGEST_CONTENT_WORDS * 3:
        return "too_long"
    question = read_question(plain)
    for reason, holds in _RULES:
        if holds(plain, question):
            return reason
    return "person_word" if shared and _holds_person(question) else None


def _is_empty(_: str, question: Question) -> bool:
    return not any(c.isalnum() for word in question.words for c in word)


def _is_long(_: str, question: Question) -> bool:
    return sum(word not in FILLERS for word in question.words) > LONGEST_CONTENT_WORDS


def _holds_code(plain: str, _: Question) -> bool:
    return any(sign in plain for sign in classes.CODE_SIGNS) or _CODE_CALL.search(plain) is not None


def _holds_url(plain: str, _: Question) -> bool:
    return _URL.search(plain) is not None or _ADDRESS.search(plain) is not None


def _holds_id(plain: str, _: Question) -> bool:
    if _HEX.search(plain) or _MIXED.search(plain):
        return True
    return any(not match[0].endswith("000") for match in _LONG_NUMBER.finditer(plain))


def _asks_to_compute(plain: str, question: Question) -> bool:
    if _SUM.search(plain) or (len(question.words) <= SHORT_WORDS and _DIFFERENCE.search(plain)):
        return True
    words = question.words
    if question.amounts and any(word in classes.COMPUTE_WORDS for word in words):
        return True
    return any(
        middle in classes.OPERATORS and holds_digit(before) and ("of" in words or holds_digit(after))
        for before, middle, after in zip(words, words[1:], [*words[2:], ""], strict=False)
    )


def _holds_time(_: str, question: Question) -> bool:
    words = question.words
    if any(word in classes.TIME_WORDS and not _flows(words, at) for at, word in enumerate(words)):
        return True
    pairs = pairwise(words)
    when = classes.TIME_UNITS | classes.WEEKDAYS
    return any(a in classes.TIME_POINTERS and (b in when or holds_digit(b)) for a, b in pairs) or _holds_phrase(words)


def _flows(words: tuple[str, ...], at: int) -> bool:
    """Tell whether a "current" is one of water or electricity, or a bank's account."""
    before, after = classes.CURRENTS
    named = words[max(at - 1, 0)] in before or (*words[at + 1 :], "")[0] in after or "voltage" in words
    return words[at] == "current" and named


def _holds_phrase(words: tuple[str, ...]) -> bool:
    line = f"_{'_'.join(words)}_"
    if any(f"_{phrase}_" in line for phrase in classes.TIME_PHRASES):
        return True
    for asked in classes.TIME_QUESTIONS:
        _, found, rest = line.partition(f"_{asked}_")
        if found and rest.split("_")[0] not in classes.TIME_THINGS:
            return True
    return False


def _points_elsewhere(_: str, question: Question) -> bool:
    words = question.words
    if words[0] in classes.DEICTIC_STARTS and len(words) <= 6:
        return True
    for at, word in enumerate(words[:-1]):
        if word in classes.DEICTIC_POINTERS and words[at + 1] in classes.DEICTIC_NOUNS:
            return True
    return len(question.content) <= 3 and any(word in classes.DEICTIC_STARTS for word in words)


def _holds_person(question: Question) -> bool:
    """Tell whether somebody speaks of themselves; in "how do I" nobody does."""
    words = question.words
    for at, word in enumerate(words):
        if word not in classes.PERSON_WORDS:
            continue
        generic = word in ("i", "we") and at >= 2 and words[at - 2] in ("how", "where")
        politeness = word == "me" and at >= 1 and words[at - 1] in ("tell", "give", "show", "help", "let")
        if not (generic or politeness):
            return True
    return False


_RULES: tuple[tuple[str, Callable[[str, Question], bool]], ...] = (
    ("empty", _is_empty),
    ("too_long", _is_long),
    ("code", _holds_code),
    ("url", _holds_url),
    ("id", _holds_id),
    ("compute", _asks_to_compute),
    ("time_word", _holds_time),
    ("deictic", _points_elsewhere),
)
