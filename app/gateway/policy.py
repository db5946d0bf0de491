"""Whether a call may be answered from the cache and its answer be kept, decided without I/O."""

import msgspec

from app.catalog.types import CacheConfig
from app.gateway.call import Call


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the exact cache does for one call. `status` is what the client is told unless it is a hit."""

    status: str
    reads: bool
    ttl_seconds: int
    only: bool = False

    @property
    def active(self) -> bool:
        """Whether the cache has any part in the call."""
        return self.reads or self.ttl_seconds > 0


DISABLED = CachePolicy(status="disabled", reads=False, ttl_seconds=0)
BYPASS = CachePolicy(status="bypass", reads=False, ttl_seconds=0)


def decide_caching(call: Call, config: CacheConfig) -> CachePolicy:
    """Return the policy for `call`: switched off, kept out by the client, or how long to keep the answer.

    A bypass neither reads nor stores. The client's time to live is bounded by the configured one.
    """
    endpoint = call.route.endpoint
    if call.options.cache == "bypass":
        return BYPASS
    if endpoint is None or not endpoint.cacheable or not config.enabled or call.stateful:
        return DISABLED
    asked = call.options.ttl if call.options.ttl is not None else config.default_ttl
    ttl = min(asked, config.max_ttl)
    if call.options.cache == "refresh":
        return CachePolicy(status="refresh", reads=False, ttl_seconds=ttl)
    return CachePolicy(status="miss", reads=True, ttl_seconds=ttl, only=call.options.cache == "only")
