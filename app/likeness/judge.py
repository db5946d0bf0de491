"""Decides whether the answer to a stored question may be given to the one that is asked."""

import re
from typing import Literal

import msgspec

from app.likeness.guard import find_refusal
from app.likeness.question import Question, read_question, read_words
from app.likeness.verifier import Align, estimate
from app.likeness.words import FILLERS, QUESTION_WORDS

POLICY_VERSION = "likeness-5"
DEFAULT_FLOOR = 0.92
# How far below the default floor the verifier may reach, with the embedder that it was trained with.
REACH = 0.80
# The probability that is needed: with the embedder that the verifier was trained with, by the words alone, and where
# the words are the same.
LIKELY, LIKELY_BY_WORDS, LIKELY_SAME = 0.845, 0.86, 0.50
# Pairs of the band "same_words" among the minimal edits, PAWS, Banking77 and CLINC150, each with another spelling, and
# how many of them ask something else: all that were labelled so were read one by one.
PRIOR_CHECKED = 1537
PRIOR_WRONG = 1

Band = Literal["same_words", "likely", ""]
_CAPITAL_OR_DIGIT = re.compile(r"[A-Z0-9]")


class Judgement(msgspec.Struct, frozen=True):
    """`reason` says why not, in one word; it is empty where the answer may be given."""

    accepted: bool
    band: Band = ""
    probability: float | None = None
    reason: str = ""


def judge(
    asked: Question,
    stored: Question,
    cosine: float,
    *,
    floor: float = DEFAULT_FLOOR,
    calibrated: bool = True,
    echoes: frozenset[str] = frozenset(),
    align: Align | None = None,
) -> Judgement:
    """Judge one pair. `calibrated` says that `cosine` is the local embedder's; a floor that somebody set is strict.

    Below the floor the same words are not enough: the verifier has to agree, as it has to for all others.
    `align` is the local embedder's method of that name: it computes for some milliseconds, and only when everything
    else is in favour. Without it the words alone decide.
    """
    known = align if calibrated else None
    judgement = screen(asked, stored, cosine, floor=floor, reaches=known is not None, echoes=echoes)
    return verify(asked, stored, cosine, known) if judgement is None else judgement


def screen(
    asked: Question,
    stored: Question,
    cosine: float,
    *,
    floor: float = DEFAULT_FLOOR,
    reaches: bool = True,
    echoes: frozenset[str] = frozenset(),
) -> Judgement | None:
    """Judge what needs no verifier; None leaves it to `verify`. `reaches`: that knows the embedder."""
    if cosine < (REACH if reaches and floor == DEFAULT_FLOOR else floor):
        return Judgement(accepted=False, reason="below_floor")
    refusal = find_refusal(asked, stored)
    if refusal is not None:
        return Judgement(accepted=False, reason=refusal)
    if not echoes <= set(asked.words):
        return Judgement(accepted=False, reason="echo")
    if cosine >= floor and is_same_words(asked, stored):
        return Judgement(accepted=True, band="same_words")
    return None


def verify(asked: Question, stored: Question, cosine: float, align: Align | None, least: float = 0.0) -> Judgement:
    """Judge what `screen` leaves open; without `align` by the words alone. A probability below `least` is no use."""
    same = is_same_words(asked, stored)
    likely = LIKELY_BY_WORDS if align is None else LIKELY
    enough = max(LIKELY_SAME if same else likely, least)
    probability = estimate(asked, stored, cosine, align, enough)
    if probability < enough:
        return Judgement(accepted=False, probability=probability, reason="unsure")
    return Judgement(accepted=True, band="same_words" if same else "likely", probability=probability)


def is_same_words(a: Question, b: Question) -> bool:
    """Tell whether only courtesies, little words, contractions, marks and plurals differ.

    Where words are spoken of ("what does please mean") nothing may.
    """
    said = a.asks == b.asks and a.content == b.content and a.negations == b.negations
    return said and a.senses == b.senses and a.spelled == b.spelled


def list_echoes(question_text: str, answer_text: str) -> frozenset[str]:
    """Return the names, numbers and quoted words of a question that its answer repeats: they are what it is about."""
    question = read_question(question_text)
    answer = read_words(answer_text)
    telling = {word for word in question.words if word in question.names or _CAPITAL_OR_DIGIT.search(word)}
    telling.update(word for quoted in question.quoted for word in read_words(quoted))
    return frozenset(word for word in telling if word in answer and word not in FILLERS and word not in QUESTION_WORDS)
