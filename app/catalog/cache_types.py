"""How the caches are configured: who shares answers, what is kept and for how long, and how far likeness reaches."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from app.wire.caching import NamespaceName, ScopeKind, SemanticConfig, SemanticRules, Temperature

EndpointName = Literal["chat", "completions", "embeddings", "responses", "messages"]
TtlSeconds = Annotated[int, Meta(ge=0, le=31_536_000)]


class RouteCacheConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of an endpoint's calls the exact cache takes part in; the default is: in all.

    `max_temperature`: only calls that name one of at most this. `max_n`: only calls for so many answers. `seeded`: only
    calls that name a seed ("only"), or none of those ("never"). `ttl` is the default time to live in seconds.
    """

    enabled: bool = True
    ttl: TtlSeconds | None = None
    max_temperature: Temperature | None = None
    max_n: Annotated[int, Meta(ge=1, le=1000)] | None = None
    tools: bool = True
    seeded: Literal["any", "only", "never"] = "any"


class NamespaceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A namespace that several may use by its name: who shares it, and its own rules of likeness."""

    shared_by: Literal["user", "team", "organization", "everyone"] = "user"
    ttl: TtlSeconds | None = None
    semantic: SemanticRules = SemanticRules()


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The caches. Times are whole seconds.

    `scope` is whom a call shares answers with that says nothing of it, `widest_scope` the most that one may ask for.
    `max_bytes` bounds what is kept in Postgres, indexes included. `routes` go by the names of endpoints.
    """

    enabled: bool = True
    default_ttl: TtlSeconds = 3600
    max_ttl: TtlSeconds = 30 * 86_400
    max_entry_bytes: Annotated[int, Meta(ge=1024, le=64 * 2**20)] = 4 * 2**20
    max_bytes: Annotated[int, Meta(ge=2**20, le=2**50)] = 4 * 2**30
    scope: ScopeKind = "user"
    widest_scope: ScopeKind = "organization"
    routes: dict[EndpointName, RouteCacheConfig] = {}
    namespaces: dict[NamespaceName, NamespaceConfig] = {}
    semantic: SemanticConfig = SemanticConfig()
