"""The operator's routing rules as the decisions take them, and what all requests of a process share."""

import time
from collections.abc import Iterable
from random import Random

from app.catalog.snapshot import Snapshot
from app.catalog.types import RoutingConfig
from app.errors import RelayError
from app.gateway.call import Call
from app.gateway.plan import Plan, Target, plan
from app.routing.failure import Kind
from app.routing.health import Health, Rules
from app.routing.keys import KeyPool
from app.routing.order import Option, order
from app.routing.retry import RetryBudget, RetryRules


class Routing:
    """What the attempts of all requests of this process share."""

    def __init__(self) -> None:
        self.health = Health()
        self.keys = KeyPool()
        self.budget = RetryBudget()
        self.random = Random()  # noqa: S311 - spreads load, hides nothing


def order_targets(chosen: Plan, session: str, routing: Routing, config: RoutingConfig) -> list[Target]:
    """Return the targets of a plan in the order to try them."""
    if len(chosen.targets) == 1:
        return list(chosen.targets)
    by_deployment = {target.deployment: target for target in chosen.targets}
    options = [Option(deployment=target.deployment, weight=target.weight) for target in chosen.targets]
    ordered = order(
        options,
        chosen.strategy,
        routing.health,
        now=time.monotonic(),
        rules=build_health_rules(config),
        random=routing.random,
        session=session,
    )
    return [by_deployment[option.deployment] for option in ordered]


def build_health_rules(config: RoutingConfig) -> Rules:
    """Return the rules of ejection."""
    return Rules(eject_after=config.eject_after, eject_seconds=config.eject_seconds, max_ejected=config.max_ejected)


def build_retry_rules(config: RoutingConfig) -> RetryRules:
    """Return the rules of trying again."""
    return RetryRules(
        max_retries=config.max_retries,
        backoff_seconds=config.backoff,
        max_backoff_seconds=config.max_backoff,
        max_wait_seconds=config.max_wait,
        budget=config.retry_budget,
    )


def list_targets(
    chosen: Plan, call: Call, snapshot: Snapshot, routing: Routing
) -> tuple[list[Target], dict[Kind, list[Target]]]:
    """Return the targets to try in order, those of the fallbacks behind them, and those after failures of one kind."""
    session = find_session(call)
    targets = order_targets(chosen, session, routing, snapshot.routing)
    anyhow = [*call.options.fallback, *chosen.fallbacks.any]
    targets += list_named(anyhow, call, snapshot, routing)
    after = {
        Kind.CONTEXT_WINDOW: list_named(chosen.fallbacks.context_window, call, snapshot, routing),
        Kind.CONTENT_POLICY: list_named(chosen.fallbacks.content_policy, call, snapshot, routing),
    }
    return targets, {kind: named for kind, named in after.items() if named}


def list_named(names: Iterable[str], call: Call, snapshot: Snapshot, routing: Routing) -> list[Target]:
    """Return the targets of other names; a name that leads nowhere, or that the key may not use, is left out."""
    found: list[Target] = []
    allowed = call.caller.models
    for name in names:
        if allowed is not None and name not in allowed:
            continue
        try:
            other = plan(call.route, name, snapshot)
        except RelayError:
            continue
        found += order_targets(other, find_session(call), routing, snapshot.routing)
    return found


def find_session(call: Call) -> str:
    """Return what keeps the calls of one conversation together, "" when nothing says so."""
    sent = call.sent.session_id.decode("latin-1")
    return sent or call.fields.prompt_cache_key or ""
