"""What administrators are shown of users, keys, teams and organizations: never a secret or its hash."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec


class RightsView(msgspec.Struct, frozen=True, kw_only=True):
    """What a level was given itself; what holds is what all levels above allow as well."""

    models: list[str] | None
    routes: list[str] | None
    rpm: int | None
    tpm: int | None
    max_parallel: int | None
    blocked: bool
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class UserView(RightsView, frozen=True, kw_only=True):
    """A user."""

    id: UUID
    email: str
    name: str
    role: str
    organization_id: UUID | None
    budget_usd: Decimal | None = None
    budget_period: str | None = None


class KeyView(RightsView, frozen=True, kw_only=True):
    """A key. `public_id` is the part of it that is no secret; `previous_*` is what a rotation left behind."""

    id: UUID
    public_id: str
    user_id: UUID
    team_id: UUID | None
    name: str
    scopes: list[str] | None
    tags: list[str]
    priority: str
    cache_scope: str | None
    semantic: dict[str, Any] | None
    expires_at: datetime | None
    previous_public_id: str | None
    previous_until: datetime | None
    budget_usd: Decimal | None = None
    budget_period: str | None = None


class NewKeyView(KeyView, frozen=True, kw_only=True):
    """A key with the key itself, which is shown this once."""

    key: str


class TeamView(RightsView, frozen=True, kw_only=True):
    """A team."""

    id: UUID
    name: str
    organization_id: UUID | None


class OrganizationView(RightsView, frozen=True, kw_only=True):
    """An organization."""

    id: UUID
    name: str


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit log has of a membership."""

    user_id: UUID


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    """Users, newest first; `next` leads to older ones."""

    users: list[UserView]
    total: int
    next: str | None


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Keys, newest first; `next` leads to older ones."""

    api_keys: list[KeyView]
    total: int
    next: str | None


class TeamPage(msgspec.Struct, frozen=True, kw_only=True):
    """Teams, newest first; `next` leads to older ones."""

    teams: list[TeamView]
    total: int
    next: str | None


class OrganizationPage(msgspec.Struct, frozen=True, kw_only=True):
    """Organizations, newest first; `next` leads to older ones."""

    organizations: list[OrganizationView]
    total: int
    next: str | None


class MemberPage(msgspec.Struct, frozen=True, kw_only=True):
    """Members, newest users first; `next` leads to older ones."""

    members: list[UserView]
    total: int
    next: str | None
