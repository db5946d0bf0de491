"""The operator's routing rules as the decisions take them, and what all requests of a process share."""

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from random import Random

import msgspec

from app.analytics.types import RequestRow
from app.catalog.prices import PriceBook
from app.catalog.snapshot import Snapshot
from app.catalog.types import RoutingConfig
from app.errors import RelayError
from app.gateway.answers import Answered
from app.gateway.call import Call
from app.gateway.headers import brings_own_key
from app.gateway.plan import Plan, Target, plan
from app.routing.failure import UNHEALTHY, Kind
from app.routing.health import Deployment, Health, Rules
from app.routing.keys import KeyPool
from app.routing.order import Option, order
from app.routing.retry import RetryBudget, RetryRules
from app.wire.usage import Usage

USUAL = Usage(input_tokens=3000, output_tokens=1000)
"""What deployments are compared by: models read about three times as much as they write."""


class Routing:
    """What the attempts of all requests of this process share."""

    def __init__(self) -> None:
        self.health = Health()
        self.keys = KeyPool()
        self.budget = RetryBudget()
        self.random = Random()  # noqa: S311 - spreads load, hides nothing

    def succeed(self, answered: Answered, config: RoutingConfig) -> None:
        """Note a complete answer; a deployment that is usually far slower than the others of its group goes out."""
        deployment, pool = answered.target.deployment, answered.target.pool
        self.health.succeed(deployment, answered.started, answered.latency_seconds)
        if len(pool) > 1 and deployment in self.health.find_outliers(pool):
            self.health.eject(deployment, time.monotonic(), build_health_rules(config))

    def fail(self, deployment: Deployment, kind: Kind, started: float, config: RoutingConfig) -> None:
        """Note a failure: of the deployment, of a key, which says nothing about it, or of the call, which it read."""
        if kind in UNHEALTHY:
            self.health.fail(deployment, time.monotonic(), build_health_rules(config))
        elif kind in {Kind.RATE_LIMITED, Kind.CREDENTIAL}:
            self.health.release(deployment)
        else:
            self.health.succeed(deployment, started)

    @contextmanager
    def watch(self, answered: Answered, row: RequestRow, config: RoutingConfig) -> Generator[None]:
        """Note how a stream ends; when the client leaves, nothing is known of its end."""
        deployment = answered.target.deployment
        try:
            yield
        except RelayError:
            self.fail(deployment, Kind.SERVER, answered.started, config)
            raise
        except BaseException:
            self.health.release(deployment)
            raise
        if row.error_type is None:
            self.succeed(answered, config)
        else:
            self.fail(deployment, Kind.SERVER, answered.started, config)


def order_targets(
    chosen: Plan, session: str, routing: Routing, config: RoutingConfig, prices: PriceBook
) -> list[Target]:
    """Return the targets of a plan in the order to try them."""
    if len(chosen.targets) == 1:
        return list(chosen.targets)
    pool = tuple({target.deployment: None for target in chosen.targets})
    by_deployment = {target.deployment: msgspec.structs.replace(target, pool=pool) for target in chosen.targets}
    cheapest = chosen.strategy == "cheapest"
    options = [
        Option(
            deployment=target.deployment,
            weight=target.weight,
            price=find_price(target, prices) if cheapest else None,
        )
        for target in chosen.targets
    ]
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


def find_price(target: Target, prices: PriceBook) -> float | None:
    """Return what a usual call costs there, None when that is unknown."""
    provider = target.provider
    cost = prices.find_cost(
        provider.prices, target.model or "", USUAL, name=provider.name, factor=provider.price_factor
    )
    return float(cost) if cost is not None else None


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
    )


def list_targets(
    chosen: Plan, call: Call, snapshot: Snapshot, routing: Routing, prices: PriceBook
) -> tuple[list[Target], dict[Kind, list[Target]]]:
    """Return the targets to try in order, those of the fallbacks behind them, and those after failures of one kind.

    What is out of rotation comes last. A caller's own key goes to one provider only.
    """

    def resolve(names: Iterable[str]) -> list[Target]:
        return list_named(names, call, snapshot, routing, prices)

    first = order_targets(chosen, find_session(call), routing, snapshot.routing, prices)
    spare = resolve([*call.options.fallback, *chosen.fallbacks.any])
    after = {
        Kind.CONTEXT_WINDOW: resolve(chosen.fallbacks.context_window) or spare,
        Kind.CONTENT_POLICY: resolve(chosen.fallbacks.content_policy) or spare,
    }
    if brings_own_key(call.sent):
        mine = chosen.targets[0].provider.name
        first, spare = keep_provider(first, mine), keep_provider(spare, mine)
        after = {kind: keep_provider(targets, mine) for kind, targets in after.items()}
    targets = put_out_last(first, spare, routing, snapshot.routing)
    return targets, {kind: named for kind, named in after.items() if named}


def put_out_last(first: list[Target], spare: list[Target], routing: Routing, config: RoutingConfig) -> list[Target]:
    """Return all targets, each once; those out of rotation last where there are others."""
    if not spare:
        return first
    found: dict[Deployment, Target] = {}
    for target in [*first, *spare]:
        found.setdefault(target.deployment, target)
    targets = list(found.values())
    pool = [target.deployment for target in targets]
    out = routing.health.list_out(pool, time.monotonic(), build_health_rules(config))
    return sorted(targets, key=lambda target: target.deployment in out)


def keep_provider(targets: list[Target], name: str) -> list[Target]:
    """Return the targets at one provider."""
    return [target for target in targets if target.provider.name == name]


def list_named(
    names: Iterable[str], call: Call, snapshot: Snapshot, routing: Routing, prices: PriceBook
) -> list[Target]:
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
        found += order_targets(other, find_session(call), routing, snapshot.routing, prices)
    return found


def find_session(call: Call) -> str:
    """Return what keeps the calls of one conversation together, "" when nothing says so."""
    sent = call.sent.session_id.decode("latin-1")
    return sent or call.fields.prompt_cache_key or ""
