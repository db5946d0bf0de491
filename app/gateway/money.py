"""Holding the most that a call can cost before it goes out, where a budget applies to it."""

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from functools import partial
from typing import Any, NamedTuple

import msgspec

from app.access.budgets import Demand
from app.access.escrow import Scopes
from app.catalog.estimate import BYTES_A_TOKEN, Estimate, affordable_output, estimate, estimate_interrupted
from app.catalog.output_limits import OutputLimit, cap_output, find_output_limit
from app.catalog.tokens import InputCount, count_inputs
from app.catalog.types import BudgetConfig
from app.errors import UnpricedModelError
from app.gateway.call import Call
from app.gateway.exchange import Exchange
from app.gateway.parts import Parts
from app.gateway.plan import Target, name_for_counting
from app.routing.failure import Kind
from app.wire.money import SMALLEST_USD, Ceiling, Hold, list_ceiling_lines
from app.wire.usage import Usage

MILLION = Decimal(1_000_000)
NO_PRICE = (
    "No price is known for {}, and a budget applies to this call. An administrator can set a price for it, "
    "or a ceiling for all such calls."
)

# What vendors do not charge for among the paths that are passed on unread: by the first part of the path, or the last.
FREE_PATHS = frozenset({"files", "uploads", "moderations", "models"})
FREE_ENDINGS = frozenset({"count_tokens", "cancel", "input_tokens"})
READING = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
UNMETERED = "batches"  # what they will cost is in a file that the provider has


class Ways(NamedTuple):
    """Where a call may go: the targets in order, and those after failures of one kind."""

    targets: list[Target]
    after: Mapping[Kind, list[Target]]

    def list_all(self) -> list[Target]:
        """Return every target, each deployment once."""
        found: dict[tuple[str, str], Target] = {}
        for target in (*self.targets, *(one for named in self.after.values() for one in named)):
            found.setdefault(target.deployment, target)
        return list(found.values())

    def keep(self, deployments: Iterable[tuple[str, str]]) -> "Ways":
        """Return the ways that lead to one of `deployments`."""
        kept = frozenset(deployments)
        after = {kind: [one for one in named if one.deployment in kept] for kind, named in self.after.items()}
        targets = [one for one in self.targets if one.deployment in kept]
        return Ways(targets, {kind: named for kind, named in after.items() if named})


class Held(NamedTuple):
    """A call whose money is held: the call as it is to be made, and where it may still go.

    `cap_tokens` is the limit that each of its answers got although the call names none; None: it got none.
    """

    call: Call
    ways: Ways
    cap_tokens: int | None = None


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What one target may cost."""

    target: Target
    count: InputCount
    output: OutputLimit
    estimate: Estimate


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a call may cost the budgets of `scopes`: `factor` times the dearest of its quotes."""

    scopes: Scopes
    quotes: list[Quote]
    dearest: Quote
    ceiling: Ceiling | None
    deployment: str
    factor: Decimal

    @property
    def wanted_usd(self) -> Decimal:
        """The most that the call is expected to cost."""
        return (self.dearest.estimate.wanted_usd * self.factor).quantize(SMALLEST_USD, ROUND_CEILING)


def find_budgets(call: Call, ways: Ways, tags: Iterable[str], parts: Parts) -> Scopes:
    """Return what has a budget among whom and what a call concerns; empty for most calls, at once."""
    if not parts.budgets.there_are_any:
        return ()
    return parts.budgets.find_scopes(list_scopes(call, ways.list_all(), tags))


def list_scopes(call: Call, targets: Iterable[Target], tags: Iterable[str]) -> list[tuple[str, str]]:
    """Return the scopes that a budget of a call may have."""
    caller = call.caller
    ids = (
        ("key", caller.key_id),
        ("user", caller.user_id),
        ("team", caller.team_id),
        ("organization", caller.organization_id),
    )
    models = {call.fields.model or ""}
    for target in targets:
        models |= {target.model or "", f"{target.provider.name}/{target.model}"}
    return [
        *((scope, str(one)) for scope, one in ids if one is not None),
        *(("model", name) for name in models if name),
        *(("tag", tag) for tag in tags),
    ]


async def hold_money(call: Call, ways: Ways, exchange: Exchange, parts: Parts) -> Held:
    """Hold the most that a call can cost, and note it; a call without a budget goes on as it came.

    What was held for it before it came here is not held again. Raises UnpricedModelError, BudgetExceededError, or
    UnavailableError when nobody can tell.
    """
    row = exchange.trace.row
    need = await find_need(call, ways, row.tags or (), parts)
    if need is None:
        return Held(call, ways)
    if row.hold is not None:
        need = keep_affordable(need, row.hold)
    kept = ways.keep(one.target.deployment for one in need.quotes)
    if need.wanted_usd == 0:
        return Held(call, kept)
    hold = row.hold or await parts.budgets.hold(build_demand(call, need, exchange, parts))
    if hold is None:
        return Held(call, ways)
    row.hold = hold
    dearest = need.dearest
    exchange.trace.estimate_usage = partial(
        estimate_rest, dearest.count, dearest.output.total, readable=call.route.endpoint is not None
    )
    return fit_call(call, kept, need, hold)


def keep_affordable(need: Need, hold: Hold) -> Need:
    """Return a need without the targets that what is held does not pay for, as long as there are others."""
    paid = [one for one in need.quotes if one.estimate.minimum_usd * need.factor <= hold.amount_usd]
    if not paid or len(paid) == len(need.quotes):
        return need
    return msgspec.structs.replace(need, quotes=paid, dearest=max(paid, key=lambda one: one.estimate.wanted_usd))


def fit_call(call: Call, kept: Ways, need: Need, hold: Hold) -> Held:
    """Return a call as what is held for it pays for: with a limit of its answer where it names none."""
    unbounded = call.route.endpoint is not None and any(one.output.source == "assumed" for one in need.quotes)
    if hold.amount_usd >= need.wanted_usd and not unbounded:
        return Held(call, kept)
    return cap_call(call, kept, need.quotes, hold.amount_usd / need.factor)


async def find_need(call: Call, ways: Ways, tags: Iterable[str], parts: Parts) -> Need | None:
    """Return what a call may cost its budgets; None when none applies, or nobody charges for it.

    Raises UnpricedModelError when nobody knows.
    """
    scopes = find_budgets(call, ways, tags, parts)
    if not scopes or is_free(call):
        return None
    ceiling = read_ceiling(parts.catalog.current.budgets)
    quotes = await quote_all(call, ways, parts, ceiling) if UNMETERED not in call.route.rest.split("/") else []
    if not quotes:
        what = f"the model {call.fields.model!r}" if call.fields.model else "what is at this path"
        raise UnpricedModelError(NO_PRICE.format(what), param="model")
    dearest = max(quotes, key=lambda one: one.estimate.wanted_usd)
    deployment = "/".join(dearest.target.deployment)
    return Need(
        scopes=scopes,
        quotes=quotes,
        dearest=dearest,
        ceiling=ceiling,
        deployment=deployment,
        factor=parts.budgets.foresight.find_factor(deployment),
    )


def build_demand(call: Call, need: Need, exchange: Exchange, parts: Parts) -> Demand:
    """Return what the budgets are asked for one call."""
    minimum = max(one.estimate.minimum_usd for one in need.quotes)
    if call.route.endpoint is None:  # its answer cannot be cut to what is left
        minimum = need.dearest.estimate.wanted_usd
    return Demand(
        scopes=need.scopes,
        wanted_usd=need.wanted_usd,
        minimum_usd=(minimum * need.factor).quantize(SMALLEST_USD, ROUND_CEILING),
        seconds=parts.settings.upstream.total_seconds,
        facts=build_facts(call, need.dearest.target, exchange),
        shared_facts=build_shared_facts(call, need.scopes),
        ceiling=need.ceiling,
        deployment=need.deployment,
    )


def estimate_rest(count: InputCount, output_tokens: int, sent_bytes: int, *, readable: bool) -> Usage:
    """Return what is charged when no usage was told: all that was held for an answer that we cannot read."""
    return estimate_interrupted(count, sent_bytes if readable else output_tokens * BYTES_A_TOKEN, output_tokens)


def is_free(call: Call) -> bool:
    """Return whether nobody charges for a call."""
    endpoint = call.route.endpoint
    if endpoint is not None:
        return endpoint.name == "count_tokens"
    parts = call.route.rest.split("/")
    return call.method in READING or parts[0] in FREE_PATHS or parts[-1] in FREE_ENDINGS


async def quote_all(call: Call, ways: Ways, parts: Parts, ceiling: Ceiling | None) -> list[Quote]:
    """Return what each target may cost; those that nobody can price are left out."""
    targets = ways.list_all()
    endpoint = call.route.endpoint
    name = endpoint.name if endpoint is not None else ""
    assumed = parts.catalog.current.budgets.assumed_output_tokens
    counts = await count_inputs(call.body, [name_for_counting(one) for one in targets])
    quotes: list[Quote] = []
    for target, count in zip(targets, counts, strict=True):
        output = find_output_limit(name, target.provider.vendor, target.model or "", count.asked, assumed)
        found = None
        if endpoint is not None:
            found = estimate(parts.catalog.find_lines, target.provider.name, target.model or "", count, output)
        if found is None and ceiling is not None:
            found = estimate(lambda _, __, usage: list_ceiling_lines(ceiling, usage), "", "", count, output)
        if found is not None:
            quotes.append(Quote(target=target, count=count, output=output, estimate=found))
    return quotes


def read_ceiling(config: BudgetConfig) -> Ceiling | None:
    """Return what an unpriced token is counted at; None when such calls are refused."""
    into, out = config.unpriced_input_usd, config.unpriced_output_usd
    if into is None or out is None:
        return None
    return Ceiling(input_usd=Decimal(str(into)) / MILLION, output_usd=Decimal(str(out)) / MILLION)


def cap_call(call: Call, ways: Ways, quotes: list[Quote], granted_usd: Decimal) -> Held:
    """Return a call that names no limit with the one that its grant pays for.

    Vendors have different words for it, so it goes only to those of the first one's kind.
    """
    endpoint, vendor = call.route.endpoint, quotes[0].target.provider.vendor
    alike = [one for one in quotes if one.target.provider.vendor == vendor]
    tokens = min(max(affordable_output(granted_usd, one.estimate), 1) for one in alike)
    body = cap_output(call.body, endpoint.name if endpoint is not None else "", vendor, tokens)
    kept = ways.keep(one.target.deployment for one in alike)
    return Held(msgspec.structs.replace(call, body=body), kept, tokens if body is not call.body else None)


def build_facts(call: Call, target: Target, exchange: Exchange) -> dict[str, Any]:
    """Return what is told of a call by others should this process die during it."""
    row, caller = exchange.trace.row, call.caller
    return {
        "request_id": str(row.id),
        "request_time": row.request_time,
        "public_request_id": row.request_id,
        "user_id": _text(caller.user_id),
        "api_key_id": _text(caller.key_id),
        "team_id": _text(caller.team_id),
        "organization_id": _text(caller.organization_id),
        "provider": target.provider.name,
        "model": target.model,
        "requested_model": call.fields.model,
        "endpoint": call.route.name,
        "tags": list(row.tags or ()),
        "streamed": call.streamed,
    }


def build_shared_facts(call: Call, scopes: Scopes) -> dict[str, Any]:
    """Return what is told of a lease: only what all calls have in common that count against these budgets."""
    by_scope = dict(scopes)
    names = {"key": "api_key_id", "user": "user_id", "team": "team_id", "organization": "organization_id"}
    facts: dict[str, Any] = {field: by_scope[scope] for scope, field in names.items() if scope in by_scope}
    models = [ref for scope, ref in scopes if scope == "model"]
    return {
        **facts,
        "requested_model": models[0] if models else None,
        "tags": [ref for scope, ref in scopes if scope == "tag"],
        "endpoint": call.route.name,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
