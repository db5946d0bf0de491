"""A request's way: admit, find, lead, forward, keep. The edge (routes) answers what is raised here, and records."""

from app.cache.key import build_key
from app.errors import BadRequestError, RelayError
from app.gateway.call import Call
from app.gateway.checks import Shadow
from app.gateway.exchange import Exchange
from app.gateway.forwarding import choose, forward
from app.gateway.headers import find_own_credential
from app.gateway.idempotency import repeat
from app.gateway.limiting import admit_call
from app.gateway.parts import Parts
from app.gateway.plan import Plan
from app.gateway.policy import CachePolicy, decide_caching
from app.gateway.sharing import Keeper, answer_from_cache, share_with_processes
from app.gateway.similar import answer_from_similar, find_wanted
from app.providers.protocol import Endpoint


async def relay(call: Call, endpoint: Endpoint, exchange: Exchange, parts: Parts) -> None:
    """Answer a call of an endpoint that we can read."""
    snapshot = parts.catalog.current
    chosen = choose(call, exchange, snapshot)
    if await repeat(call, exchange, parts.idempotent):
        return
    await admit_call(call, chosen, exchange, parts)
    policy = decide_caching(call, snapshot.cache)
    exchange.note_cache_status(policy.status)
    if not policy.active:
        refuse_others(policy)
        await forward(call, endpoint, chosen, exchange, parts)
        return
    key = build_call_key(call, endpoint, chosen, policy)
    note_key(key, policy, exchange)
    leads = await answer_from_cache(key, policy, call, endpoint, exchange, parts) if policy.reads else True
    if leads is not None:
        keeper = Keeper(
            key=key,
            policy=policy,
            call=call,
            endpoint=endpoint,
            parts=parts,
            flight=parts.flights.open(key, streamed=call.streamed, shared=not policy.only),
        )
        await lead(keeper, chosen, exchange, leads=leads)


def refuse_others(policy: CachePolicy) -> None:
    """Raise RelayError when the client wants no answer but a kept one."""
    if policy.only:
        raise RelayError(
            "The answer is not in the cache, and the request allows nothing else (X-AIHub-Cache: only).",
            code="cache_miss",
            status=504,
            headers=((b"x-should-retry", b"false"),),
        )


def build_call_key(call: Call, endpoint: Endpoint, chosen: Plan, policy: CachePolicy) -> bytes:
    """Return the cache key of a call; a caller's own provider credential is part of whose answer it is."""
    try:
        return build_key(policy.label.encode(), chosen.name, endpoint.name, list_key_headers(call), call.body)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise BadRequestError("The body is not valid JSON: it has text or numbers that cannot be read.") from error


def list_key_headers(call: Call) -> tuple[bytes, ...]:
    """Return the values of the headers that change what a provider answers."""
    sent = call.sent
    own = sent.upstream_key or b"\0".join(value for _, value in find_own_credential(sent))
    return (sent.anthropic_version, sent.anthropic_beta, sent.openai_beta, own)


def note_key(key: bytes, policy: CachePolicy, exchange: Exchange) -> None:
    """Note what the answer is kept under, for the client and the record."""
    exchange.trace.row.cache_key = key
    exchange.trace.row.cache_scope = policy.label
    exchange.headers.append((b"x-aihub-cache-key", key.hex().encode()))


async def lead(keeper: Keeper, chosen: Plan, exchange: Exchange, *, leads: bool) -> None:
    """Make the call for everybody who asks the same meanwhile, and keep its answer.

    `leads` False: another process makes it, and its answer will do. A similar answer may do as well.
    """
    key, policy, call, parts = keeper.key, keeper.policy, keeper.call, keeper.parts
    try:
        if leads and policy.leases:
            parts.cache.lead(key)
        elif not leads and await share_with_processes(keeper, exchange):
            return
        wanted = find_wanted(call, policy, chosen.name, list_key_headers(call), parts)
        shadow: Shadow | None = None
        if wanted is not None:
            answered, shadow = await answer_from_similar(wanted, keeper, exchange)
            if answered:
                return
        refuse_others(policy)
        await forward(call, keeper.endpoint, chosen, exchange, parts, keeper)
        if shadow is not None:
            parts.checks.compare_kept(shadow, keeper.entry, keeper.endpoint)
    finally:
        keeper.land(None)
        if policy.leases:
            parts.cache.give_up(key)
