"""Finds a stored question that asks the same as another, and says whether its answer is served."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import psycopg

from app.db.connection import DatabaseAwayError, PatientConnection
from app.likeness.judge import POLICY_VERSION, Judgement, is_same_words, screen, verify
from app.likeness.never import find_reason
from app.likeness.question import Question, read_question
from app.likeness.verifier import Align
from app.semantic.comparing import compare_answers
from app.semantic.embedding import Embedder, LocalVectors
from app.semantic.evidence import SURE, find_tier, judge_standing
from app.semantic.log import DecisionLog
from app.semantic.store import READER_OPTIONS, find_candidates, find_scope
from app.semantic.types import TIERS, Candidate, Evidence, Likeness, Standing
from app.wire.caching import LOCAL_EMBEDDER, SemanticConfig

FIND_SECONDS = 0.5
SCOPE_SECONDS = 30.0
MAX_SCOPES = 4096
SURE_TIER = TIERS.index("sure")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A question that may be answered like another: what it asks, within what, and by which rules.

    `shared`: others' questions are among those it is compared with. `floor` is the client's own, if it named one.
    """

    question: str
    identity: bytes
    namespace: str
    shared: bool
    rules: SemanticConfig
    floor: float | None = None


class Similar(NamedTuple):
    """The stored question that asks the same, as far as the policy can tell, and what that is worth."""

    candidate: Candidate
    probability: float | None
    tier: int
    standing: Standing
    evidence: Evidence
    policy: str


class Search(NamedTuple):
    """What a search came to. `likeness` is what is kept with the answer, None when the question has no vector."""

    similar: Similar | None = None
    likeness: Likeness | None = None


class _Scope(NamedTuple):
    found: tuple[int, bool]
    at: float


class SemanticCache:
    """Searches; whatever fails on the way only means that nothing similar was found."""

    def __init__(self, url: str, local: LocalVectors, open_remote: Callable[[str], Embedder]) -> None:
        self.log = DecisionLog(url)
        self._local = local
        self._open_remote = open_remote
        self._remotes: dict[str, Embedder] = {}
        self._reader = PatientConnection(url, name="relaycore semantic reader", options=READER_OPTIONS)
        self._scopes: dict[tuple[bytes, str], _Scope] = {}

    def start(self) -> None:
        """Begin to write decisions behind."""
        self.log.start()

    async def close(self) -> None:
        """Write what waits and let go of the connections."""
        await self._local.close()
        await self.log.close()
        await self._reader.close()

    async def find_embedder(self, name: str) -> Embedder | None:
        """Return what makes the vectors; None while it cannot."""
        if name != LOCAL_EMBEDDER and name not in self._remotes:
            self._remotes[name] = self._open_remote(name)
        embedder = self._local if name == LOCAL_EMBEDDER else self._remotes[name]
        return embedder if await embedder.ready() else None

    async def search(self, wanted: Wanted) -> Search:
        """Return the best stored question that the policy accepts for `wanted`, and what is to be kept of it."""
        if find_reason(wanted.question, shared=wanted.shared) is not None:
            return Search()
        embedder = await self.find_embedder(wanted.rules.embedder)
        vector = await embedder.embed(wanted.question) if embedder is not None else None
        if embedder is None or vector is None:
            return Search()
        likeness = Likeness(
            identity=wanted.identity,
            embedder=embedder.id,
            namespace=wanted.namespace,
            question=wanted.question,
            vector=vector,
        )
        policy = f"{embedder.id} {POLICY_VERSION}"
        candidates, evidence = await self._find_candidates(likeness, embedder.dimensions, policy)
        accepted = await self._choose(wanted, candidates, calibrated=embedder.calibrated)
        if accepted is None:
            return Search(likeness=likeness)
        candidate, probability, tier = accepted
        standing = judge_standing(tier, evidence, wanted.rules)
        return Search(Similar(candidate, probability, tier, standing, evidence, policy), likeness)

    async def _choose(
        self, wanted: Wanted, candidates: list[Candidate], *, calibrated: bool
    ) -> tuple[Candidate, float | None, int] | None:
        """Return the candidate that the policy is surest of; beside the event loop where it may compute for long."""
        align = self._local.align if calibrated else None
        if not candidates:
            return None
        if align is None:
            return choose(wanted, candidates, calibrated=calibrated)
        return await asyncio.to_thread(choose, wanted, candidates, calibrated=calibrated, align=align)

    async def compare(self, one: str, other: str) -> str:
        """Return whether two answers say the same: "same" or "different"."""
        similarity = await self._measure(one, other) if await self._local.ready() else None
        return await asyncio.to_thread(compare_answers, one, other, similarity, self._local.align)

    async def _measure(self, one: str, other: str) -> float | None:
        """Return the cosine of two texts; None when the local model cannot read them."""
        vectors = [await self._local.embed(text) for text in (one, other)]
        if None in vectors:
            return None
        here, there = (msgspec.json.decode(vector or "[]", type=list[float]) for vector in vectors)
        return sum(a * b for a, b in zip(here, there, strict=True))

    async def _find_candidates(
        self, likeness: Likeness, dimensions: int, policy: str
    ) -> tuple[list[Candidate], Evidence]:
        try:
            scope = await self._find_scope(likeness)
            if scope is None:
                return [], Evidence()
            of = likeness.namespace, policy
            return await self._reader.run(
                lambda c: find_candidates(c, scope, likeness.vector, dimensions, of), seconds=FIND_SECONDS
            )
        except (DatabaseAwayError, psycopg.Error):
            return [], Evidence()

    async def _find_scope(self, likeness: Likeness) -> tuple[int, bool] | None:
        """Return where to search; what is known of it is asked for again now and then, for it may have grown."""
        key, now = (likeness.identity, likeness.embedder), time.monotonic()
        known = self._scopes.get(key)
        if known is not None and now - known.at < SCOPE_SECONDS:
            return known.found
        found = await self._reader.run(lambda c: find_scope(c, *key), seconds=FIND_SECONDS)
        if found is not None:
            if len(self._scopes) >= MAX_SCOPES:
                self._scopes.clear()
            self._scopes[key] = _Scope(found, now)
        return found


def choose(
    wanted: Wanted, candidates: list[Candidate], *, calibrated: bool, align: Align | None = None
) -> tuple[Candidate, float | None, int] | None:
    """Return the nearest candidate of the surest tier, with its probability and tier; None when none is accepted.

    They come nearest first. `align` is the local embedder's, which the verifier looks closer with, for milliseconds a
    candidate: it is asked only when none has the same words, not beyond the first of which it is sure, and beyond the
    first that is likely for one of which it is.
    """
    asked, known = read_question(wanted.question), align if calibrated else None
    open_still: list[tuple[bool, Candidate, Question]] = []
    for candidate in candidates:
        stored = read_question(candidate.question)
        judgement = _screen(asked, stored, candidate, wanted, reaches=known is not None)
        if judgement is None:
            open_still.append((is_same_words(asked, stored), candidate, stored))
        elif judgement.accepted:
            return candidate, judgement.probability, find_tier(judgement.band, judgement.probability)
    best: tuple[Candidate, float | None, int] | None = None
    for _, candidate, stored in sorted(open_still, key=lambda one: not one[0]):
        judgement = verify(asked, stored, candidate.similarity, known, SURE if best else 0.0)
        if judgement.accepted:
            best = (candidate, judgement.probability, find_tier(judgement.band, judgement.probability))
            if best[2] <= SURE_TIER:
                break
    return best


def _screen(
    asked: Question, stored: Question, candidate: Candidate, wanted: Wanted, *, reaches: bool
) -> Judgement | None:
    floor = wanted.floor if wanted.floor is not None else wanted.rules.floor
    if wanted.floor is not None and candidate.similarity < wanted.floor:
        # Who names a floor wants nothing below it, however sure the policy is.
        return Judgement(accepted=False, reason="below_floor")
    return screen(asked, stored, candidate.similarity, floor=floor, reaches=reaches, echoes=candidate.echoes)
