"""What administrators do to teams and to who belongs to them."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from app.access.bodies import TeamChanges, TeamCreation
from app.access.budget_edits import remove_budgets
from app.access.given import find_changes, read_given
from app.access.key_edits import revoke_keys
from app.access.principal_store import (
    belongs_to,
    delete_members,
    find_where,
    insert_member,
    insert_row,
    is_member,
    lock_access,
    mark_deleted,
    update_row,
)
from app.access.principals import ORGANIZATION, TEAM, USER, get_parent, get_view
from app.access.shrink import check_within
from app.access.views import Membership, TeamView, UserView
from app.db.control import Change
from app.db.tables import api_keys, team_members, teams, users
from app.errors import BadRequestError, ConflictError, NotFoundError


def create_team(change: Change, body: TeamCreation) -> TeamView:
    """Make a team."""
    lock_access(change.connection)
    given = read_given(body)
    _check(change.connection, given, {})
    team_id = insert_row(change.connection, teams, given)
    after = get_view(change.connection, TEAM, team_id)
    change.note("team.create", "team", team_id, after=after)
    return after


def update_team(change: Change, team_id: UUID, body: TeamChanges) -> TeamView:
    """Change a team."""
    lock_access(change.connection)
    given = read_given(body)
    before = get_view(change.connection, TEAM, team_id)
    row = msgspec.structs.asdict(before)
    _check(change.connection, given, row)
    changes = find_changes(given, row)
    if changes:
        update_row(change.connection, teams, team_id, changes)
    after = get_view(change.connection, TEAM, team_id)
    if after != before:
        change.note("team.update", "team", team_id, before=before, after=after)
    return after


def delete_team(change: Change, team_id: UUID) -> None:
    """Delete a team and revoke the keys that act for it; its members stay users."""
    lock_access(change.connection)
    before = get_view(change.connection, TEAM, team_id)
    revoke_keys(change, api_keys.c.team_id == team_id)
    delete_members(change.connection, team_members.c.team_id == team_id)
    mark_deleted(change.connection, teams, team_id)
    remove_budgets(change, "team", team_id)
    change.note("team.delete", "team", team_id, before=before)


def add_team_member(change: Change, team_id: UUID, user_id: UUID) -> UserView:
    """Make a user a member of a team."""
    lock_access(change.connection)
    team = get_view(change.connection, TEAM, team_id)
    user = get_view(change.connection, USER, user_id)
    if team.organization_id is not None and user.organization_id != team.organization_id:
        raise BadRequestError("The user is not of the team's organization.", param="user_id")
    if not is_member(change.connection, team_id, user_id):
        insert_member(change.connection, team_id, user_id)
        change.note("team.add_member", "team", team_id, after=Membership(user_id=user_id))
    return user


def remove_team_member(change: Change, team_id: UUID, user_id: UUID) -> None:
    """End a membership: keys of the user that act for the team stop working as long as it is ended."""
    lock_access(change.connection)
    get_view(change.connection, TEAM, team_id)
    if not is_member(change.connection, team_id, user_id):
        raise NotFoundError("The user is no member of this team.")
    delete_members(change.connection, (team_members.c.team_id == team_id) & (team_members.c.user_id == user_id))
    change.note("team.remove_member", "team", team_id, before=Membership(user_id=user_id))


def _check(connection: Connection, given: dict[str, Any], before: dict[str, Any]) -> None:
    """Raise RelayError when a team must not become what is given."""
    organization_id = given.get("organization_id", before.get("organization_id"))
    if organization_id is None:
        return
    moves = organization_id != before.get("organization_id")
    parent = get_parent(connection, ORGANIZATION, organization_id)
    check_within(before | given if moves else given, [parent])
    strangers = users.c.organization_id.is_distinct_from(organization_id)
    if moves and before and find_where(connection, users, belongs_to(before["id"]) & strangers) is not None:
        raise ConflictError(
            f"Somebody in the team is not of {parent.label}.", code="team_member", param="organization_id"
        )
