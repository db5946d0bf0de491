"""Who shares the answer to a call, decided without I/O: as narrow as was asked for, never wider than is allowed."""

from functools import lru_cache
from uuid import UUID

import msgspec

from app.access.types import Caller
from app.cache.clear_scope import find_member
from app.cache.clearing import name_of
from app.catalog.cache_types import CacheConfig, NamespaceConfig
from app.errors import BadRequestError, ForbiddenError
from app.semantic.rules import narrow_rules
from app.wire.caching import NAMESPACE, SCOPE_KINDS, SemanticConfig

HEADER = "x-relay-cache-scope"


class CacheScope(msgspec.Struct, frozen=True, kw_only=True):
    """Who shares an answer. `label` is what it is kept under: "user:<uuid>", "team:<uuid>/name", "namespace:name".

    `shared`: more than one user may get it. `namespace` is how the namespace is configured, if there is one.
    """

    label: str
    shared: bool
    namespace: NamespaceConfig | None = None


def find_scope(caller: Caller, asked: str | None, config: CacheConfig) -> CacheScope:
    """Return the scope of a call: what its header asks for, else what its key is set to, else the configured one.

    Raises ForbiddenError for one that is wider than is allowed, BadRequestError for one that the caller is not in; a
    key that is set to such a scope is kept to its user.
    """
    if asked is not None:
        return _find_asked(caller, asked, config)
    given = caller.cache_scope
    if given is not None and given.startswith(NAMESPACE):
        return _find_namespace(caller, given.removeprefix(NAMESPACE), config)
    kind = given or config.scope
    member = find_member(caller, kind)
    return build_scope(kind, member) if member is not None else build_scope("user", caller.user_id)


def _find_asked(caller: Caller, asked: str, config: CacheConfig) -> CacheScope:
    if asked.startswith(NAMESPACE):
        return _find_namespace(caller, asked.removeprefix(NAMESPACE), config)
    widest = max(config.widest_scope, config.scope, key=_width)
    if _width(asked) > _width(widest) and asked != caller.cache_scope:
        raise ForbiddenError(
            f"Answers may be shared by {widest} at most.", code="cache_scope_not_allowed", param=HEADER
        )
    member = find_member(caller, asked)
    if member is None:
        raise BadRequestError(f"This API key belongs to no {asked}.", param=HEADER)
    return build_scope(asked, member)


def _find_namespace(caller: Caller, name: str, config: CacheConfig) -> CacheScope:
    """Return a namespace: one that is configured as it says, any other a part of what the caller's user has."""
    namespace = config.namespaces.get(name)
    shared_by = namespace.shared_by if namespace is not None else "user"
    if shared_by == "everyone":
        return CacheScope(label=f"{NAMESPACE}{name}", shared=True, namespace=namespace)
    member = find_member(caller, shared_by)
    kind, member = (shared_by, member) if member is not None else ("user", caller.user_id)
    scope = build_scope(kind, member)
    return CacheScope(label=f"{scope.label}/{name}", shared=scope.shared, namespace=namespace)


def find_label_rules(label: str, config: CacheConfig) -> SemanticConfig:
    """Return the rules of likeness that hold under a scope's label, but for what single keys and calls say."""
    namespace = config.namespaces.get(name_of(label))
    return narrow_rules(config.semantic, namespace.semantic if namespace is not None else None)


@lru_cache(maxsize=4096)
def build_scope(kind: str, member: UUID) -> CacheScope:
    """Return the scope of one of SCOPE_KINDS."""
    return CacheScope(label=f"{kind}:{member}", shared=kind in {"team", "organization"})


def _width(kind: str) -> int:
    return SCOPE_KINDS.index(kind)
