"""Whether a call may be answered from the cache and its answer be kept, decided without I/O."""

from typing import cast

import msgspec

from app.catalog.cache_types import CacheConfig, EndpointName, RouteCacheConfig
from app.gateway.cache_scope import CacheScope, find_scope
from app.gateway.call import Call
from app.semantic.asking import plays_with_tools

DEFAULT_TEMPERATURE = 1.0
"""What providers take when a call does not say."""


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the exact cache does for one call. `status` is what the client is told unless it is a hit."""

    status: str
    reads: bool
    ttl_seconds: int
    only: bool = False
    scope: CacheScope | None = None

    @property
    def active(self) -> bool:
        """Whether the cache has any part in the call."""
        return self.scope is not None and (self.reads or self.ttl_seconds > 0)

    @property
    def label(self) -> str:
        """What the answer is kept under, of an active policy."""
        return self.scope.label if self.scope is not None else ""

    @property
    def leases(self) -> bool:
        """Whether other processes may wait for the answer to the call."""
        return self.reads and self.ttl_seconds > 0 and not self.only


class _Particulars(msgspec.Struct, frozen=True):
    """What a route's rules look at. Values of a wrong type are the provider's to judge."""

    temperature: msgspec.Raw = msgspec.Raw()
    n: msgspec.Raw = msgspec.Raw()
    best_of: msgspec.Raw = msgspec.Raw()
    seed: msgspec.Raw = msgspec.Raw()


BYPASS = CachePolicy(status="bypass", reads=False, ttl_seconds=0)
EVERYTHING = RouteCacheConfig()
_NOTHING = frozenset({b"", b"null"})
_decode = msgspec.json.Decoder(_Particulars).decode


def decide_caching(call: Call, config: CacheConfig) -> CachePolicy:
    """Return the policy for `call`: switched off, kept out by the client, or how long to keep the answer for whom.

    A bypass neither reads nor stores. The client's time to live is bounded by the configured one. Raises RelayError
    for a scope that the caller may not ask for.
    """
    asked = call.options
    if asked.cache == "bypass":
        return BYPASS
    endpoint = call.route.endpoint
    route = config.routes.get(cast(EndpointName, endpoint.name), EVERYTHING) if endpoint is not None else EVERYTHING
    if endpoint is None or not endpoint.cacheable or not config.enabled or call.stateful or not takes_part(call, route):
        return CachePolicy(status="disabled", reads=False, ttl_seconds=0, only=asked.cache == "only")
    scope = find_scope(call.caller, asked.cache_scope, config)
    ttl = min(_choose_ttl(asked.ttl, scope, route, config), config.max_ttl)
    if asked.cache == "refresh":
        return CachePolicy(status="refresh", reads=False, ttl_seconds=ttl, scope=scope)
    return CachePolicy(status="miss", reads=True, ttl_seconds=ttl, only=asked.cache == "only", scope=scope)


def takes_part(call: Call, route: RouteCacheConfig) -> bool:
    """Return whether a call is of the kind that the cache takes part in on its route."""
    if route is EVERYTHING or route == EVERYTHING:
        return True
    said = _decode(call.body)
    warm = route.max_temperature is not None and _number(said.temperature, DEFAULT_TEMPERATURE) > route.max_temperature
    many = route.max_n is not None and max(_number(said.n, 1), _number(said.best_of, 1)) > route.max_n
    tools = not route.tools and plays_with_tools(call.body)
    seeded = bytes(said.seed) not in _NOTHING
    unseeded = route.seeded == ("never" if seeded else "only")
    return route.enabled and not (warm or many or tools or unseeded)


def _choose_ttl(asked: int | None, scope: CacheScope, route: RouteCacheConfig, config: CacheConfig) -> int:
    """Return the most particular time to live that was said."""
    named = scope.namespace.ttl if scope.namespace is not None else None
    return next(ttl for ttl in (asked, named, route.ttl, config.default_ttl) if ttl is not None)


def _number(raw: msgspec.Raw, absent: float) -> float:
    """Return a number of the body; one that is none is beyond any bound."""
    if bytes(raw) in _NOTHING:
        return absent
    try:
        return msgspec.json.decode(raw, type=float)
    except msgspec.MsgspecError:
        return float("inf")
