"""Who calls: users, keys and what a key may do."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from app.wire.caching import SemanticRules

Priority = Literal["interactive", "batch"]

SCOPES = frozenset({"inference", "analytics", "cache", "batch", "admin"})
"""What a key can be held to; a key without scopes may do all that its user may."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How often somebody may call. `scope` says who: "key:<uuid>", "user:…", "team:…", "organization:…", "model:…".

    Requests and tokens count for each minute, `max_parallel` at any moment; None is no limit.
    """

    scope: str
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The holder of a credential that was accepted.

    `scope` names one user, whose keys share what is kept for them. `label` names the credential for people.
    `cache_scope` and `semantic` are what the key's calls ask of the caches when they say nothing themselves.
    What follows `label` is what is left after everybody above the key narrowed it (app.access.rights): None is no
    narrowing, and every one of `limits` holds by itself. `routes` are names of endpoints of model traffic.
    """

    user_id: UUID
    key_id: UUID | None
    admin: bool
    scope: bytes
    team_id: UUID | None = None
    organization_id: UUID | None = None
    tags: tuple[str, ...] = ()
    priority: Priority = "interactive"
    label: str = ""
    models: frozenset[str] | None = None
    routes: frozenset[str] | None = None
    scopes: frozenset[str] | None = None
    limits: tuple[Limit, ...] = ()
    cache_scope: str | None = None
    semantic: SemanticRules | None = None

    def may(self, scope: str) -> bool:
        """Return whether the key reaches a part of the gateway, one of SCOPES."""
        return self.scopes is None or scope in self.scopes


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that stands for a stored key, as the local snapshot holds it; `expires_at` is seconds since the epoch.

    After a rotation a key has two, each with a public id of its own, and the older one expires first.
    """

    public_id: str
    secret_hash: bytes
    caller: Caller
    live: bool
    expires_at: float | None


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user about to be stored."""

    email: str
    name: str = ""
    role: str = "user"


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key about to be stored; the key itself is never."""

    user_id: UUID
    public_id: str
    secret_hash: bytes
    name: str = ""
    models: tuple[str, ...] | None = None
    expires_at: datetime | None = None
