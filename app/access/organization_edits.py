"""What administrators do to organizations and to who belongs to them."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from app.access.bodies import OrganizationChanges, OrganizationCreation
from app.access.budget_edits import remove_budgets
from app.access.given import find_changes, read_given
from app.access.principal_store import (
    find_organization,
    find_where,
    insert_row,
    lock_access,
    mark_deleted,
    update_row,
)
from app.access.principals import ORGANIZATION, USER, get_view
from app.access.user_edits import write_user
from app.access.views import OrganizationView, UserView
from app.db.control import Change
from app.db.tables import organizations, teams, users
from app.errors import ConflictError, NotFoundError


def create_organization(change: Change, body: OrganizationCreation) -> OrganizationView:
    """Make an organization."""
    lock_access(change.connection)
    given = read_given(body)
    _check_name(change.connection, given, None)
    organization_id = insert_row(change.connection, organizations, given)
    after = get_view(change.connection, ORGANIZATION, organization_id)
    change.note("organization.create", "organization", organization_id, after=after)
    return after


def update_organization(change: Change, organization_id: UUID, body: OrganizationChanges) -> OrganizationView:
    """Change an organization."""
    lock_access(change.connection)
    given = read_given(body)
    before = get_view(change.connection, ORGANIZATION, organization_id)
    _check_name(change.connection, given, organization_id)
    changes = find_changes(given, msgspec.structs.asdict(before))
    if changes:
        update_row(change.connection, organizations, organization_id, changes)
    after = get_view(change.connection, ORGANIZATION, organization_id)
    if after != before:
        change.note("organization.update", "organization", organization_id, before=before, after=after)
    return after


def delete_organization(change: Change, organization_id: UUID) -> None:
    """Delete an organization that nobody belongs to."""
    lock_access(change.connection)
    before = get_view(change.connection, ORGANIZATION, organization_id)
    for table, name in ((teams, "teams"), (users, "users")):
        if find_where(change.connection, table, table.c.organization_id == organization_id) is not None:
            raise ConflictError(f"The organization still has {name}.", code="organization_not_empty")
    mark_deleted(change.connection, organizations, organization_id)
    remove_budgets(change, "organization", organization_id)
    change.note("organization.delete", "organization", organization_id, before=before)


def add_organization_member(change: Change, organization_id: UUID, user_id: UUID) -> UserView:
    """Make a user, who belongs to none, a member of an organization."""
    lock_access(change.connection)
    get_view(change.connection, ORGANIZATION, organization_id)
    present = get_view(change.connection, USER, user_id).organization_id
    if present not in {None, organization_id}:
        raise ConflictError("The user belongs to another organization.", code="other_organization", param="user_id")
    return write_user(change, user_id, {"organization_id": organization_id}, "organization.add_member")


def remove_organization_member(change: Change, organization_id: UUID, user_id: UUID) -> None:
    """End a membership in an organization."""
    lock_access(change.connection)
    get_view(change.connection, ORGANIZATION, organization_id)
    if get_view(change.connection, USER, user_id).organization_id != organization_id:
        raise NotFoundError("The user is no member of this organization.")
    write_user(change, user_id, {"organization_id": None}, "organization.remove_member")


def _check_name(connection: Connection, given: dict[str, Any], own: UUID | None) -> None:
    taken = find_organization(connection, given["name"]) if "name" in given else None
    if taken is not None and taken != own:
        raise ConflictError("There is an organization with this name already.", code="name_taken", param="name")
