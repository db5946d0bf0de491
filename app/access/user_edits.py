"""What administrators do to users."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from app.access.bodies import UserChanges, UserCreation
from app.access.budget_edits import remove_budgets
from app.access.given import find_changes, read_given, take_budget
from app.access.key_edits import revoke_keys
from app.access.principal_store import (
    delete_members,
    find_bound_team,
    find_email,
    insert_row,
    lock_access,
    mark_deleted,
    update_row,
)
from app.access.principals import ORGANIZATION, USER, get_parent, get_view
from app.access.shrink import check_within
from app.access.simple_budgets import write_budget
from app.access.store import ADMIN_EMAIL
from app.access.views import UserView
from app.db.control import Change
from app.db.tables import api_keys, team_members, users
from app.errors import ConflictError

BUILT_IN = ("email", "role", "blocked")


def create_user(change: Change, body: UserCreation) -> UserView:
    """Make a user."""
    lock_access(change.connection)
    given = read_given(body)
    budget = take_budget(given, {})
    _check(change.connection, given, {})
    user_id = insert_row(change.connection, users, given)
    write_budget(change, "user", user_id, budget)
    after = get_view(change.connection, USER, user_id)
    change.note("user.create", "user", user_id, after=after)
    return after


def update_user(change: Change, user_id: UUID, body: UserChanges) -> UserView:
    """Change a user."""
    return write_user(change, user_id, read_given(body), "user.update")


def write_user(change: Change, user_id: UUID, given: dict[str, Any], action: str) -> UserView:
    """Write some fields of a user, and `action` into the audit log."""
    lock_access(change.connection)
    before = get_view(change.connection, USER, user_id)
    row = msgspec.structs.asdict(before)
    budget = take_budget(given, row)
    _check(change.connection, given, row)
    changes = find_changes(given, row)
    if changes:
        update_row(change.connection, users, user_id, changes)
    write_budget(change, "user", user_id, budget)
    after = get_view(change.connection, USER, user_id)
    if after != before:
        change.note(action, "user", user_id, before=before, after=after)
    return after


def delete_user(change: Change, user_id: UUID) -> None:
    """Delete a user and revoke all keys of theirs."""
    lock_access(change.connection)
    before = get_view(change.connection, USER, user_id)
    if before.email == ADMIN_EMAIL:
        raise ConflictError("The built-in administrator cannot be deleted.", code="built_in_user")
    revoke_keys(change, api_keys.c.user_id == user_id)
    delete_members(change.connection, team_members.c.user_id == user_id)
    mark_deleted(change.connection, users, user_id)
    remove_budgets(change, "user", user_id)
    change.note("user.delete", "user", user_id, before=before)


def _check(connection: Connection, given: dict[str, Any], before: dict[str, Any]) -> None:
    """Raise RelayError when a user must not become what is given."""
    if before.get("email") == ADMIN_EMAIL and any(given.get(name, before[name]) != before[name] for name in BUILT_IN):
        raise ConflictError("The built-in administrator keeps address and role, unblocked.", code="built_in_user")
    taken = find_email(connection, given["email"]) if "email" in given else None
    if taken is not None and taken != before.get("id"):
        raise ConflictError("There is a user with this e-mail address already.", code="email_taken", param="email")
    organization_id = given.get("organization_id", before.get("organization_id"))
    moves = organization_id != before.get("organization_id")
    if moves and before:
        _check_free(connection, before["id"])
    if organization_id is not None:
        wanted = before | given if moves else given
        check_within(wanted, [get_parent(connection, ORGANIZATION, organization_id)])


def _check_free(connection: Connection, user_id: UUID) -> None:
    team = find_bound_team(connection, user_id)
    if team is not None:
        raise ConflictError(
            f"The user belongs to the team {team['name']!r} of an organization: end that first.",
            code="team_member",
            param="organization_id",
        )
