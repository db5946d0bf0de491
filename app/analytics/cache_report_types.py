"""What the report about the caches answers."""

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from app.semantic.types import Evidence


class CacheNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """What the caches answered. `hits` are exact and semantic ones; `hit_rate` is hits of hits and misses.

    null: no call asked a cache; what was saved is known for none of the hits. Otherwise `saved_cost` leaves out
    `hits_without_saved_cost` hits. `tokens_saved` are those of the answers that came from a cache.
    """

    total_requests: int
    hits: int
    misses: int
    exact_hits: int
    semantic_hits: int
    refreshes: int
    bypasses: int
    hit_rate: float | None
    saved_cost: Decimal | None
    hits_without_saved_cost: int
    tokens_saved: int


class CacheRow(CacheNumbers, frozen=True, kw_only=True):
    """The caches in one group of calls: null is a value like others, and what was not grouped by is missing."""

    bucket: datetime | UnsetType = UNSET
    provider: str | UnsetType | None = UNSET
    model: str | UnsetType | None = UNSET
    user_id: UUID | UnsetType | None = UNSET
    api_key_id: UUID | UnsetType | None = UNSET
    team_id: UUID | UnsetType | None = UNSET
    organization_id: UUID | UnsetType | None = UNSET
    endpoint: str | UnsetType = UNSET
    cache_status: str | UnsetType = UNSET
    status_code: int | UnsetType = UNSET
    tag: str | UnsetType | None = UNSET
    cache_scope: str | UnsetType | None = UNSET


class CacheEntries(msgspec.Struct, frozen=True, kw_only=True):
    """The entries that may be answered from now: `bytes` as they are answered, `stored_bytes` as they are kept."""

    count: int
    bytes: int
    stored_bytes: int


class ScopeEntries(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of one scope, and their bytes as they are answered."""

    scope: str
    entries: int
    bytes: int


class TierStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Whether answers of one tier are served, judged together with all surer tiers, whose checks count in here too."""

    tier: str
    mode: Literal["serving", "shadow"]
    bound: float
    checked: int
    wrong: int


class NamespaceStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How similar answers do in one namespace under one policy, tiers from the surest to the widest.

    `mode` is "serving" when all tiers may be served, "proving" when only surer ones are, "shadow" when none is. `bound`
    is the share of wrong answers that the checks do not rule out, of the widest tier that is served or else of all;
    `checked` and `wrong` are the newest checks of all tiers. `served` and `shadowed` (found, but not served) are the
    viewer's answers in the range, `reported` those of them that somebody said were wrong.
    """

    namespace: str
    policy: str
    mode: Literal["serving", "proving", "shadow"]
    bound: float
    checked: int
    wrong: int
    error_budget: float
    served: int
    shadowed: int
    reported: int
    tiers: list[TierStanding]


class CacheReport(CacheNumbers, frozen=True, kw_only=True):
    """The caches over the whole range and by group, what they hold now, and how similar answers stand now.

    `scopes` are the 100 with the most bytes, `semantic` the 100 namespaces with the newest decisions or checks.
    """

    groups: list[CacheRow]
    total: int
    next: str | None
    start: datetime
    end: datetime
    calls_not_kept: int
    entries: CacheEntries
    scopes: list[ScopeEntries]
    semantic: list[NamespaceStanding] = []


class NamespaceSums(msgspec.Struct, frozen=True, kw_only=True):
    """What is on record of one namespace under one policy, before it is judged."""

    namespace: str
    policy: str
    evidence: Evidence
    served: int
    shadowed: int
    reported: int
