"""What administrators do to keys."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Connection

from app.access.bodies import KeyChanges, KeyCreation
from app.access.budget_edits import remove_budgets
from app.access.given import find_changes, read_given, take_budget
from app.access.keys import Secret
from app.access.principal_store import (
    find_live,
    insert_row,
    is_member,
    list_key_ids,
    lock_access,
    mark_deleted,
    replace_secret,
    update_row,
)
from app.access.principals import KEY, ORGANIZATION, TEAM, USER, get_parent, get_view
from app.access.shrink import Parent, check_scopes, check_within
from app.access.simple_budgets import write_budget
from app.access.views import KeyView, NewKeyView
from app.db.control import Change
from app.db.tables import api_keys, teams
from app.errors import BadRequestError


def create_key(change: Change, body: KeyCreation, secret: Secret) -> NewKeyView:
    """Make a key for a user; the answer is the only place where it is shown."""
    lock_access(change.connection)
    given = read_given(body)
    budget = take_budget(given, {})
    _check(change.connection, given, {})
    stored = {"public_id": secret.public_id, "secret_hash": secret.secret_hash}
    key_id = insert_row(change.connection, api_keys, given | stored)
    write_budget(change, "key", key_id, budget)
    after = get_view(change.connection, KEY, key_id)
    change.note("api_key.create", "api_key", key_id, after=after)
    return _show(after, secret)


def update_key(change: Change, key_id: UUID, body: KeyChanges) -> KeyView:
    """Change a key; its secret stays."""
    lock_access(change.connection)
    given = read_given(body)
    before = get_view(change.connection, KEY, key_id)
    row = msgspec.structs.asdict(before)
    budget = take_budget(given, row)
    _check(change.connection, given, row)
    changes = find_changes(given, row)
    if changes:
        update_row(change.connection, api_keys, key_id, changes)
    write_budget(change, "key", key_id, budget)
    after = get_view(change.connection, KEY, key_id)
    if after != before:
        change.note("api_key.update", "api_key", key_id, before=before, after=after)
    return after


def rotate_key(change: Change, key_id: UUID, secret: Secret, grace_seconds: int) -> NewKeyView:
    """Give a key another secret; the one it had works for the grace, any older one ends now."""
    lock_access(change.connection)
    before = get_view(change.connection, KEY, key_id)
    replace_secret(change.connection, key_id, (secret.public_id, secret.secret_hash), grace_seconds)
    after = get_view(change.connection, KEY, key_id)
    change.note("api_key.rotate", "api_key", key_id, before=before, after=after)
    return _show(after, secret)


def revoke_key(change: Change, key_id: UUID) -> None:
    """Revoke a key for good."""
    lock_access(change.connection)
    before = get_view(change.connection, KEY, key_id)
    mark_deleted(change.connection, api_keys, key_id)
    remove_budgets(change, "key", key_id)
    change.note("api_key.revoke", "api_key", key_id, before=before)


def revoke_keys(change: Change, where: ColumnElement[bool]) -> None:
    """Revoke the keys that meet a condition."""
    for key_id in list_key_ids(change.connection, where):
        revoke_key(change, key_id)


def _show(view: KeyView, secret: Secret) -> NewKeyView:
    return NewKeyView(**msgspec.structs.asdict(view), key=secret.key)


def _check(connection: Connection, given: dict[str, Any], before: dict[str, Any]) -> None:
    """Raise BadRequestError when a key must not become what is given."""
    user_id = before.get("user_id") or given["user_id"]
    user = get_parent(connection, USER, user_id)
    check_scopes(given.get("scopes"), user.rights["role"])
    moves = given.get("team_id") is not None
    if moves:
        get_parent(connection, TEAM, given["team_id"])
        if not is_member(connection, given["team_id"], user_id):
            raise BadRequestError("The user is no member of this team.", param="team_id")
    team_id = given.get("team_id", before.get("team_id"))
    check_within(before | given if moves else given, _list_parents(connection, user, team_id))


def _list_parents(connection: Connection, user: Parent, team_id: UUID | None) -> list[Parent]:
    """Return everybody above a key: its user, its team and the organization of either."""
    team = find_live(connection, teams, team_id) if team_id is not None else None
    parents = [user, *([Parent(f"the team {team['name']!r}", team)] if team is not None else [])]
    found = (parent.rights["organization_id"] for parent in reversed(parents))
    organization_id = next((one for one in found if one is not None), None)
    if organization_id is not None:
        parents.append(get_parent(connection, ORGANIZATION, organization_id))
    return parents
