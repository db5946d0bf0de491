"""What is kept of questions, and what is found and decided about similar ones."""

from uuid import UUID

import msgspec

TIERS = ("same_words", "sure", "likely")
"""How sure the policy is that two questions want the same answer, surest first."""


class Likeness(msgspec.Struct, frozen=True, kw_only=True):
    """The question that an entry of the cache answers, as others may be compared with it.

    `identity` is the hash of everything else in the call: only questions with the same one are compared. `vector` is
    the text form of the embedding that `embedder` made, `echoes` words of the question that the answer repeats.
    """

    identity: bytes
    embedder: str
    namespace: str
    question: str
    vector: str
    echoes: tuple[str, ...] = ()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A stored question near the one that is asked; `similarity` is the cosine, `key` its answer's in the cache."""

    key: bytes
    question: str
    echoes: frozenset[str]
    similarity: float


_NONE = (0,) * len(TIERS)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks of a namespace said, by tier: how many there were and how many found a wrong answer.

    `recent_*` are those among a tier's newest 500, `newest_wrong` those found wrong among its newest 50.
    """

    checked: tuple[int, ...] = _NONE
    wrong: tuple[int, ...] = _NONE
    recent_checked: tuple[int, ...] = _NONE
    recent_wrong: tuple[int, ...] = _NONE
    newest_wrong: tuple[int, ...] = _NONE


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Whether answers of a tier are served, and why: the upper bound of the share of wrong ones, from these checks."""

    served: bool
    bound: float
    checked: int
    wrong: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A similar entry that could have answered a request, and whether it did. `verdict` comes with it or later."""

    id: UUID
    namespace: str
    policy: str
    tier: int
    user_id: UUID
    request_id: str
    entry_key: bytes
    similarity: float
    probability: float | None
    served: bool
    verdict: str | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a check said of a decision: "same" or "different"."""

    decision_id: UUID
    namespace: str
    policy: str
    verdict: str
