"""What administrators send about users, keys, teams and organizations; a field that is not sent stays as it is."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.access.types import Priority
from app.wire.caching import ScopeText, SemanticRules

NO_CONTROL = r"^(?![\s\S]*[\x00-\x1f\x7f])"
"""No control characters anywhere: the database cannot hold all of them, and people do not see them."""

Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^(?![\s\S]*[\x00-\x20\x7f])[^@\s]+@[^@\s]+$")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=NO_CONTROL)]
Title = Annotated[str, Meta(max_length=200, pattern=NO_CONTROL)]
RouteName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,63}(?![\s\S])")]
Tag = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^(?![\s\S]*[\x00-\x1f\x7f,])[^\s][\s\S]*$")]
Names = Annotated[list[Name], Meta(max_length=1000)]
RouteNames = Annotated[list[RouteName], Meta(max_length=100)]
Tags = Annotated[list[Tag], Meta(max_length=32)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Tokens = Annotated[int, Meta(ge=1, le=10**15)]
Instant = Annotated[datetime, Meta(tz=True)]
Scope = Literal["inference", "analytics", "cache", "batch", "admin"]
Scopes = list[Scope]
Role = Literal["user", "admin"]
BudgetPeriod = Literal["day", "week", "month", "quarter", "total"]
Metadata = dict[str, Any]
Grace = Annotated[int, Meta(ge=0, le=30 * 86400)]


class RightsFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every level can be held to: null lifts what was said, an empty list allows nothing."""

    models: Names | UnsetType | None = UNSET
    routes: RouteNames | UnsetType | None = UNSET
    rpm: Count | UnsetType | None = UNSET
    tpm: Tokens | UnsetType | None = UNSET
    max_parallel: Count | UnsetType | None = UNSET
    blocked: bool | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class BudgetFields(RightsFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A budget that is all one needs in most cases; `budget_period` is "total" when it is not said."""

    budget_usd: Decimal | UnsetType | None = UNSET
    budget_period: BudgetPeriod | UnsetType = UNSET


class UserFields(BudgetFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user has besides an address."""

    name: Title | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    organization_id: UUID | UnsetType | None = UNSET


class UserChanges(UserFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change about a user."""

    email: Email | UnsetType = UNSET


class UserCreation(UserFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to be made."""

    email: Email


class KeyChanges(BudgetFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change about a key. `scopes` null: everything that its user may do.

    `cache_scope` and `semantic` are what its calls ask of the caches when they say nothing themselves; null: as
    configured.
    """

    name: Title | UnsetType = UNSET
    team_id: UUID | UnsetType | None = UNSET
    expires_at: Instant | UnsetType | None = UNSET
    scopes: Scopes | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    cache_scope: ScopeText | UnsetType | None = UNSET
    semantic: SemanticRules | UnsetType | None = UNSET


class KeyCreation(KeyChanges, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made for a user."""

    user_id: UUID


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the secret that is replaced goes on working."""

    grace_seconds: Grace = 86400


class TeamFields(RightsFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a team has besides a name."""

    organization_id: UUID | UnsetType | None = UNSET


class TeamChanges(TeamFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change about a team."""

    name: Name | UnsetType = UNSET


class TeamCreation(TeamFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A team to be made."""

    name: Name


class OrganizationChanges(RightsFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change about an organization."""

    name: Name | UnsetType = UNSET


class OrganizationCreation(RightsFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An organization to be made."""

    name: Name
