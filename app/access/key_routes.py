"""API keys over HTTP, for administrators. A key itself is in the answer that made it, and nowhere else."""

from typing import Annotated, cast
from uuid import UUID

from litestar import delete, get, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter
from sqlalchemy import ColumnElement

from app.access.bodies import KeyChanges, KeyCreation, Rotation
from app.access.directory import Directory
from app.access.key_edits import create_key, revoke_key, rotate_key, update_key
from app.access.keys import Secret
from app.access.pages import Cursor, Limit, parse_filter, parse_id, read_cursor
from app.access.principals import KEY, get_view, list_views
from app.access.views import KeyPage, KeyView, NewKeyView
from app.db.audit import Actor
from app.db.control import Control
from app.db.tables import api_keys

TAGS = ["API keys"]
Owner = Annotated[str | None, QueryParameter(description="Only keys of this user.")]
Team = Annotated[str | None, QueryParameter(description="Only keys that act for this team.")]


def get_secret(state: State) -> Secret:
    """Hand a new key to the routes that store one."""
    return cast(Directory, state.directory).make_secret()


NEW_SECRET = {"secret": Provide(get_secret, sync_to_thread=False)}


@post("/admin/api-keys", tags=TAGS, status_code=201, dependencies=NEW_SECRET)
async def add_key(
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    secret: NamedDependency[Secret],
    data: JSONBody[KeyCreation],
) -> NewKeyView:
    """Create a key.

    `key` is shown this once. What is more than the key's user, team or organization has is a 400.
    """
    return await control.change(actor, lambda change: create_key(change, data, secret))


@get("/admin/api-keys", tags=TAGS, status_code=200)
async def read_keys(
    control: NamedDependency[Control],
    user_id: Owner = None,
    team_id: Team = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> KeyPage:
    """List the keys that were not revoked, newest first."""
    where = _build_conditions(parse_filter(user_id, "user_id"), parse_filter(team_id, "team_id"))
    before = read_cursor(cursor)
    page = await control.read(lambda connection: list_views(connection, KEY, where, limit=limit, before=before))
    return KeyPage(api_keys=page.rows, total=page.total, next=page.next)


@get("/admin/api-keys/{key_id:str}", tags=TAGS, status_code=200)
async def read_key(control: NamedDependency[Control], key_id: FromPath[str]) -> KeyView:
    """Return a key, without the key itself."""
    found = parse_id(key_id, KEY.name)
    return await control.read(lambda connection: get_view(connection, KEY, found))


@put("/admin/api-keys/{key_id:str}", tags=TAGS, status_code=200)
async def change_key(
    control: NamedDependency[Control], actor: NamedDependency[Actor], key_id: FromPath[str], data: JSONBody[KeyChanges]
) -> KeyView:
    """Change a key.

    Fields that are not sent stay, and so does the key itself. What is more than those above have is a 400.
    """
    found = parse_id(key_id, KEY.name)
    return await control.change(actor, lambda change: update_key(change, found, data))


@delete("/admin/api-keys/{key_id:str}", tags=TAGS, status_code=204)
async def remove_key(control: NamedDependency[Control], actor: NamedDependency[Actor], key_id: FromPath[str]) -> None:
    """Revoke a key."""
    found = parse_id(key_id, KEY.name)
    await control.change(actor, lambda change: revoke_key(change, found))


@post("/admin/api-keys/{key_id:str}/rotate", tags=TAGS, status_code=201, dependencies=NEW_SECRET)
async def renew_key(
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    secret: NamedDependency[Secret],
    key_id: FromPath[str],
    data: JSONBody[Rotation | None] = None,
) -> NewKeyView:
    """Rotate a key.

    The answer has the new `key`, this once. The present one works for `grace_seconds` more (a day when not said).
    """
    found, grace = parse_id(key_id, KEY.name), (data or Rotation()).grace_seconds
    return await control.change(actor, lambda change: rotate_key(change, found, secret, grace))


def _build_conditions(user_id: UUID | None, team_id: UUID | None) -> list[ColumnElement[bool]]:
    given = ((api_keys.c.user_id, user_id), (api_keys.c.team_id, team_id))
    return [column == value for column, value in given if value is not None]


KEY_HANDLERS = [add_key, read_keys, read_key, change_key, remove_key, renew_key]
