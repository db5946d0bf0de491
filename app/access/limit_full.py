"""Remembers which scopes have made all their requests, so that those who ask again are refused without a round trip."""

import math

import msgspec

from app.access.limit_rules import find_share
from app.access.limit_types import Asking, Decision, Figures

MAX_SCOPES = 10_000


class Full(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal: certain until `until`, told to wait until `waits_until`, a round trip later (steady clock)."""

    decision: Decision
    value: int
    since: float
    until: float
    waits_until: float


class FullScopes:
    """Requests are never given back, so a scope that was full stays so until its oldest request leaves the window."""

    def __init__(self) -> None:
        self._full: dict[str, Full] = {}

    def note(self, decision: Decision, sent: float, received: float) -> None:
        """Remember a refusal that was asked for and received at these moments of the steady clock."""
        refusal = decision.refusal
        if refusal is None or refusal.limit != "rpm" or not math.isfinite(refusal.wait_seconds):
            return
        if len(self._full) >= MAX_SCOPES:
            self._full.clear()
        self._full[refusal.scope] = Full(
            decision=decision,
            value=refusal.value,
            since=sent,
            until=sent + refusal.wait_seconds,
            waits_until=received + refusal.wait_seconds,
        )

    def find(self, asking: Asking, now: float) -> Decision | None:
        """Return the refusal of an asking that cannot be admitted yet."""
        for limit in asking.limits:
            full = self._full.get(limit.scope)
            if full is None or limit.rpm is None:
                continue
            if now >= full.until:
                del self._full[limit.scope]
            elif find_share(limit.rpm, asking.share) <= full.value:
                return _refuse_again(full, now)
        return None


def _refuse_again(full: Full, now: float) -> Decision:
    """Return the refusal as it stands now; how the tokens stand has changed meanwhile, so they are left out."""
    decision, passed = full.decision, now - full.since
    refusal, requests = decision.refusal, decision.standing.requests
    if refusal is not None:
        refusal = msgspec.structs.replace(refusal, wait_seconds=full.waits_until - now)
    if requests is not None:
        left = max(requests.reset_seconds - passed, 0.0)
        requests = Figures(limit=requests.limit, remaining=requests.remaining, reset_seconds=left)
    standing = msgspec.structs.replace(
        decision.standing, at=decision.standing.at + passed, requests=requests, tokens=None
    )
    return msgspec.structs.replace(decision, refusal=refusal, standing=standing)
