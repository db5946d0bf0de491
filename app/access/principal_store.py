"""Organizations, teams, users and keys in Postgres, as far as all of them are stored in the same way."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Table, Text, cast, delete, func, insert, select, update

from app.db.tables import api_keys, organizations, snapshot_versions, team_members, teams, users
from app.errors import NotFoundError
from app.wire.ids import make_uuid7

Row = dict[str, Any]


def lock_access(connection: Connection) -> None:
    """Be the only one to change the access snapshot until the transaction ends: what is checked then stays so."""
    connection.execute(
        select(snapshot_versions.c.version).where(snapshot_versions.c.name == "access").with_for_update()
    )


def is_live(table: Table) -> ColumnElement[bool]:
    """Return the condition of a row that was not deleted, or of a key that was not revoked."""
    return (table.c.revoked_at if table is api_keys else table.c.deleted_at).is_(None)


def find_live(connection: Connection, table: Table, row_id: UUID) -> Row | None:
    """Return a row that was not deleted."""
    return find_where(connection, table, table.c.id == row_id)


def find_where(connection: Connection, table: Table, where: ColumnElement[bool]) -> Row | None:
    """Return a row that was not deleted and meets a condition."""
    row = connection.execute(select(table).where(is_live(table), where).limit(1)).mappings().first()
    return dict(row) if row is not None else None


def list_live(
    connection: Connection,
    table: Table,
    where: Sequence[ColumnElement[bool]] = (),
    *,
    limit: int,
    before: UUID | None = None,
) -> list[Row]:
    """Return at most `limit` rows that were not deleted, newest first; with `before` those older than that id."""
    conditions = [is_live(table), *where, *([table.c.id < before] if before is not None else [])]
    statement = select(table).where(*conditions).order_by(table.c.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(statement).mappings()]


def count_live(connection: Connection, table: Table, where: Sequence[ColumnElement[bool]] = ()) -> int:
    """Return how many rows there are that were not deleted."""
    return connection.execute(select(func.count()).select_from(table).where(is_live(table), *where)).scalar_one()


def insert_row(connection: Connection, table: Table, values: Mapping[str, Any]) -> UUID:
    """Store a row and return its id."""
    row_id = make_uuid7()
    connection.execute(insert(table).values(id=row_id, **values))
    return row_id


def update_row(connection: Connection, table: Table, row_id: UUID, values: Mapping[str, Any]) -> None:
    """Change a row."""
    connection.execute(update(table).where(table.c.id == row_id).values(**values, updated_at=func.now()))


def mark_deleted(connection: Connection, table: Table, row_id: UUID) -> None:
    """Delete a row: its name stays for what was recorded of it. A key is revoked."""
    update_row(connection, table, row_id, {"revoked_at" if table is api_keys else "deleted_at": func.now()})


def find_email(connection: Connection, email: str) -> UUID | None:
    """Return the id of the live user with that address, in whatever case it is written."""
    row = find_where(connection, users, func.lower(users.c.email) == func.lower(email))
    return row["id"] if row is not None else None


def find_organization(connection: Connection, name: str) -> UUID | None:
    """Return the id of the live organization with that name, in whatever case it is written."""
    row = find_where(connection, organizations, func.lower(organizations.c.name) == func.lower(name))
    return row["id"] if row is not None else None


def is_member(connection: Connection, team_id: UUID, user_id: UUID) -> bool:
    """Return whether a user belongs to a team."""
    found = select(team_members.c.team_id).where(team_members.c.team_id == team_id, team_members.c.user_id == user_id)
    return connection.execute(found).first() is not None


def belongs_to(team_id: UUID) -> ColumnElement[bool]:
    """Return the condition of a user who belongs to a team."""
    return users.c.id.in_(select(team_members.c.user_id).where(team_members.c.team_id == team_id))


def insert_member(connection: Connection, team_id: UUID, user_id: UUID) -> None:
    """Make a user a member of a team."""
    connection.execute(insert(team_members).values(team_id=team_id, user_id=user_id))


def delete_members(connection: Connection, where: ColumnElement[bool]) -> None:
    """End the memberships that meet a condition."""
    connection.execute(delete(team_members).where(where))


def find_bound_team(connection: Connection, user_id: UUID) -> Row | None:
    """Return a team that the user belongs to and that takes only users of its organization."""
    mine = teams.c.id.in_(select(team_members.c.team_id).where(team_members.c.user_id == user_id))
    return find_where(connection, teams, mine & teams.c.organization_id.is_not(None))


def find_key(connection: Connection, public_id: str) -> UUID | None:
    """Return the id of the live key with that public id, be it the one that a rotation replaced."""
    either = (api_keys.c.public_id == public_id) | (api_keys.c.previous_public_id == public_id)
    row = find_where(connection, api_keys, either)
    return row["id"] if row is not None else None


def get_team(connection: Connection, text: str) -> UUID:
    """Return the id of the team with that id or name. Raises NotFoundError, also when several have the name."""
    found = list_live(connection, teams, [(cast(teams.c.id, Text) == text.lower()) | (teams.c.name == text)], limit=2)
    if len(found) != 1:
        raise NotFoundError(f"There is not exactly one team {text[:200]!r}.")
    return found[0]["id"]


def list_key_ids(connection: Connection, where: ColumnElement[bool]) -> list[UUID]:
    """Return the ids of the keys that were not revoked and meet a condition."""
    return list(connection.execute(select(api_keys.c.id).where(is_live(api_keys), where)).scalars())


def replace_secret(connection: Connection, key_id: UUID, secret: tuple[str, bytes], grace_seconds: int) -> None:
    """Give a key another secret (public id, hash); the one it had works for some seconds more."""
    keeps = grace_seconds > 0
    connection.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id)
        .values(
            previous_public_id=api_keys.c.public_id if keeps else None,
            previous_secret_hash=api_keys.c.secret_hash if keeps else None,
            previous_until=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, grace_seconds) if keeps else None,
            public_id=secret[0],
            secret_hash=secret[1],
            updated_at=func.now(),
        )
    )
