"""Reading users, keys, teams and organizations as administrators see them: one, or a page of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Connection, Table

from app.access.pages import write_cursor
from app.access.principal_store import count_live, find_live, list_live
from app.access.shrink import Parent
from app.access.simple_budgets import add_budgets
from app.access.views import KeyView, OrganizationView, TeamView, UserView
from app.db.tables import api_keys, organizations, teams, users
from app.errors import BadRequestError, NotFoundError

V = TypeVar("V", bound=msgspec.Struct)


class Kind(NamedTuple, Generic[V]):
    """A kind of principal: where it is stored, how it is shown and what it is called."""

    table: Table
    view: type[V]
    scope: str
    name: str


USER = Kind(users, UserView, "user", "user")
KEY = Kind(api_keys, KeyView, "key", "API key")
TEAM = Kind(teams, TeamView, "team", "team")
ORGANIZATION = Kind(organizations, OrganizationView, "organization", "organization")


class Page(NamedTuple, Generic[V]):
    """Some of what there is, newest first."""

    rows: list[V]
    total: int
    next: str | None


def get_view(connection: Connection, kind: Kind[V], row_id: UUID) -> V:
    """Return what is shown of one. Raises NotFoundError."""
    row = find_live(connection, kind.table, row_id)
    if row is None:
        raise NotFoundError(f"There is no {kind.name} with this id.")
    return build_views(connection, kind, [row])[0]


def list_views(
    connection: Connection,
    kind: Kind[V],
    where: Sequence[ColumnElement[bool]],
    *,
    limit: int,
    before: UUID | None,
) -> Page[V]:
    """Return a page of those that meet the conditions; it begins after the id `before`."""
    rows = list_live(connection, kind.table, where, limit=limit + 1, before=before)
    page = rows[:limit]
    more = write_cursor(page[-1]["id"]) if len(rows) > limit else None
    return Page(build_views(connection, kind, page), count_live(connection, kind.table, where), more)


def build_views(connection: Connection, kind: Kind[V], rows: Sequence[Mapping[str, Any]]) -> list[V]:
    """Return what is shown of rows."""
    fields = kind.view.__struct_fields__
    if "budget_usd" in fields:
        rows = add_budgets(connection, kind.scope, rows)
    return [kind.view(**{name: row[name] for name in fields}) for row in rows]


def get_parent(connection: Connection, kind: Kind[Any], row_id: UUID) -> Parent:
    """Return somebody who is to be above another. Raises BadRequestError naming the field that said so."""
    row = find_live(connection, kind.table, row_id)
    if row is None:
        raise BadRequestError(f"There is no {kind.name} with this id.", param=f"{kind.scope}_id")
    return Parent(f"the {kind.name} {row.get('email') or row['name']!r}", row)
