"""Serves labelled questions from a cache by a policy, end to end: never-rules, cosine, guard, verifier."""

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from app.likeness.judge import Judgement, judge
from app.likeness.never import find_reason
from app.likeness.question import Question, read_question
from app.likeness.verifier import Align
from app.semantic.evidence import SURE
from benchmarks.semantic.datasets import Pair, Request

SEED = 11


@dataclass
class Reading:
    """What is known of a text before it is compared."""

    question: Question
    never: str | None
    vector: np.ndarray


class Library:
    """Reads and embeds every text once."""

    def __init__(self, embed: Callable[[list[str]], list[np.ndarray]], fits: Callable[[str], bool]) -> None:
        self._embed, self._fits = embed, fits
        self._known: dict[str, Reading] = {}

    def read(self, text: str) -> Reading:
        if text not in self._known:
            never = find_reason(text, shared=False) or (None if self._fits(text) else "too_long")
            self._known[text] = Reading(read_question(text), never, self._embed([text])[0])
        return self._known[text]


@dataclass(frozen=True)
class Outcome:
    """One pair: its label, its cosine, and what the judge makes of it."""

    same: bool
    category: str
    cosine: float
    judgement: Judgement


Judge = Callable[[Reading, Reading, float], Judgement]


def judge_like_the_gateway(align: Align) -> Judge:
    """Return the whole policy: what is never answered from another, and the judge."""

    def decide(asked: Reading, stored: Reading, cosine: float) -> Judgement:
        never = asked.never or stored.never
        if never is not None:
            return Judgement(accepted=False, reason=never)
        return judge(asked.question, stored.question, cosine, align=align)

    return decide


def judge_pairs(pairs: Iterable[Pair], library: Library, decide: Judge) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for pair in pairs:
        asked, stored = library.read(pair.b), library.read(pair.a)
        cosine = float(asked.vector @ stored.vector)
        outcomes.append(Outcome(pair.same, pair.category, cosine, decide(asked, stored, cosine)))
    return outcomes


def judge_conversations(rows: Iterable[dict], library: Library, decide: Judge) -> list[Outcome]:
    """Judge the last turns of two conversations, whose earlier turns are part of the exact identity."""
    outcomes: list[Outcome] = []
    for row in rows:
        asked, stored = library.read(row["b"][-1]["content"]), library.read(row["a"][-1]["content"])
        cosine = float(asked.vector @ stored.vector)
        one_history = hash_turns(row["a"][:-1]) == hash_turns(row["b"][:-1])
        judgement = decide(asked, stored, cosine) if one_history else Judgement(accepted=False, reason="history")
        outcomes.append(Outcome(bool(row["same_answer"]), row["subtype"], cosine, judgement))
    return outcomes


def hash_turns(turns: list[dict]) -> bytes:
    """Return what two histories must have in common."""
    digest = hashlib.sha256()
    for turn in turns:
        for part in (turn["role"], turn["content"]):
            digest.update(len(part).to_bytes(4, "big") + part.encode())
    return digest.digest()


@dataclass
class Stream:
    """What became of the counted requests of a growing cache."""

    counted: int = 0
    hits: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)


def run_stream(
    requests: list[Request],
    library: Library,
    serve: Judge,
    candidates: int = 1,
    counts: Callable[[Request], bool] = lambda _: True,
) -> Stream:
    """Ask in random order; what is not answered from one of the nearest entries becomes an entry."""
    order = list(requests)
    random.Random(SEED).shuffle(order)
    stream = Stream()
    entries: list[tuple[Request, Reading]] = []
    matrix = np.zeros((len(order), len(library.read(order[0].text).vector)), dtype=np.float32)
    for request in order:
        asked = library.read(request.text)
        stream.counted += counts(request)
        served = _find(asked, entries, matrix, serve, candidates)
        if served is None:
            matrix[len(entries)] = asked.vector
            entries.append((request, asked))
        elif counts(request):
            found, band = served
            stream.hits[band] = stream.hits.get(band, 0) + 1
            stream.wrong[band] = stream.wrong.get(band, 0) + (found.intent != request.intent)
    return stream


def _find(
    asked: Reading, entries: list[tuple[Request, Reading]], matrix: np.ndarray, serve: Judge, candidates: int
) -> tuple[Request, str] | None:
    if not entries:
        return None
    near = matrix[: len(entries)] @ asked.vector
    best = [int(near.argmax())] if candidates == 1 else [int(i) for i in np.argsort(-near)[:candidates]]
    accepted: list[tuple[tuple[bool, bool, float], Request, str]] = []
    for at in best:
        found, stored = entries[at]
        judgement = serve(asked, stored, float(near[at]))
        if judgement.accepted:
            # As in the gateway: the nearest with the same words, else the nearest that is sure, else the nearest.
            rank = (judgement.band == "same_words", (judgement.probability or 0.0) >= SURE, float(near[at]))
            accepted.append((rank, found, judgement.band))
    return max(accepted, key=lambda one: one[0])[1:] if accepted else None


def serve_above(floor: float) -> Judge:
    """Return the policy that looks at nothing but the cosine."""
    return lambda _asked, _stored, cosine: Judgement(accepted=cosine >= floor)
