"""Answering a call like a similar one: what it asks, what is found, and what the client is told of it."""

from uuid import UUID

from app.cache.flight import Likened
from app.gateway.call import Call
from app.gateway.checks import Shadow
from app.gateway.exchange import Exchange
from app.gateway.parts import Parts
from app.gateway.policy import CachePolicy
from app.gateway.replay import replay
from app.gateway.sharing import Keeper
from app.semantic.asking import UnlikeError, build_identity, read_asking
from app.semantic.lookup import Similar, Wanted
from app.semantic.rules import narrow_rules
from app.semantic.types import Decision
from app.wire.caching import SemanticConfig
from app.wire.http import Headers
from app.wire.ids import make_uuid7


def find_wanted(
    call: Call, policy: CachePolicy, answered_by: str, headers: tuple[bytes, ...], parts: Parts
) -> Wanted | None:
    """Return what is searched for; None for most calls: likeness is off, or the call is of a kind that has none."""
    scope, endpoint = policy.scope, call.route.endpoint
    rules = find_rules(call, policy, parts)
    if rules is None or parts.cache.away or scope is None or endpoint is None:
        return None
    try:
        asking = read_asking(endpoint.name, call.body, rules, asked_for=call.options.semantic is True)
    except UnlikeError:
        return None
    return Wanted(
        question=asking.question,
        identity=build_identity(scope.label, answered_by, endpoint.name, headers, asking.rest),
        namespace=scope.label,
        shared=scope.shared,
        rules=rules,
        floor=call.options.floor,
    )


def find_rules(call: Call, policy: CachePolicy, parts: Parts) -> SemanticConfig | None:
    """Return the rules of likeness for a call; None when it is off.

    On or off is said by the call's header, else its key, else its namespace, else the configuration.
    """
    config, key = parts.catalog.current.cache.semantic, call.caller.semantic
    named = policy.scope.namespace if policy.scope is not None else None
    if call.options.semantic is None and key is None and named is None and not config.enabled:
        return None
    rules = narrow_rules(config, named.semantic if named is not None else None, key)
    enabled = rules.enabled if call.options.semantic is None else call.options.semantic
    return rules if enabled else None


async def answer_from_similar(wanted: Wanted, keeper: Keeper, exchange: Exchange) -> tuple[bool, Shadow | None]:
    """Answer from what was stored for a similar question; False when the provider has to be asked.

    The shadow is what would have answered if it were proven enough: to be compared with the provider's answer.
    """
    parts, call = keeper.parts, keeper.call
    exchange.watch(keeper.flight.leader_leaves)
    search = await parts.semantic.search(wanted)
    exchange.unwatch()
    keeper.likeness = search.likeness
    similar = search.similar
    entry = (await parts.cache.find(similar.candidate.key)).entry if similar is not None else None
    if similar is None or entry is None or not keeper.policy.reads:
        return False, None
    shadow = Shadow(
        decision=build_decision(similar, wanted, call.caller.user_id, exchange.trace.row.request_id),
        entry=entry,
        evidence=similar.evidence,
        rules=wanted.rules,
    )
    evidence = write_evidence(similar, wanted)
    if not similar.standing.served:
        exchange.headers.extend(evidence)
        return False, shadow
    if not await replay(entry, call, keeper.endpoint, exchange, evidence):
        return False, None
    keeper.land(entry, Likened(shadow.decision, evidence))
    parts.checks.note_served(shadow, call, keeper.endpoint, may_ask=not keeper.policy.only)
    return True, None


def build_decision(similar: Similar, wanted: Wanted, user_id: UUID, request_id: str) -> Decision:
    """Return what is written down of a similar answer that was found."""
    return Decision(
        id=make_uuid7(),
        namespace=wanted.namespace,
        policy=similar.policy,
        tier=similar.tier,
        user_id=user_id,
        request_id=request_id,
        entry_key=similar.candidate.key,
        similarity=similar.candidate.similarity,
        probability=similar.probability,
        served=similar.standing.served,
    )


def write_evidence(similar: Similar, wanted: Wanted) -> Headers:
    """Return the header lines that say what was found and what is known of such answers."""
    standing = similar.standing
    lines = {
        "x-relay-semantic-mode": "serving" if standing.served else "shadow",
        "x-relay-semantic-similarity": f"{similar.candidate.similarity:.4f}",
        "x-relay-semantic-entry": similar.candidate.key.hex(),
        "x-relay-semantic-bound": f"{standing.bound:.4f}",
        "x-relay-semantic-checks": f"{standing.wrong}/{standing.checked}",
        "x-relay-semantic-namespace": wanted.namespace,
    }
    if similar.probability is not None:
        lines["x-relay-semantic-probability"] = f"{similar.probability:.4f}"
    return [(name.encode(), value.encode()) for name, value in lines.items()]
