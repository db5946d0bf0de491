"""Users over HTTP, for administrators."""

from typing import Annotated
from uuid import UUID

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from sqlalchemy import ColumnElement, func

from app.access.bodies import NO_CONTROL, UserChanges, UserCreation
from app.access.pages import Cursor, Limit, parse_filter, parse_id, read_cursor
from app.access.principals import USER, get_view, list_views
from app.access.user_edits import create_user, delete_user, update_user
from app.access.views import UserPage, UserView
from app.db.audit import Actor
from app.db.control import Control
from app.db.tables import users

TAGS = ["Users"]
Address = Annotated[str | None, QueryParameter(pattern=NO_CONTROL, description="Only the user with this address.")]
Organization = Annotated[str | None, QueryParameter(description="Only users of this organization.")]


@post("/admin/users", tags=TAGS, status_code=201)
async def add_user(
    control: NamedDependency[Control], actor: NamedDependency[Actor], data: JSONBody[UserCreation]
) -> UserView:
    """Create a user.

    An e-mail address that another user has, in whatever case, is a 409.
    """
    return await control.change(actor, lambda change: create_user(change, data))


@get("/admin/users", tags=TAGS, status_code=200)
async def read_users(
    control: NamedDependency[Control],
    email: Address = None,
    organization_id: Organization = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> UserPage:
    """List users, newest first."""
    where = _build_conditions(email, parse_filter(organization_id, "organization_id"))
    before = read_cursor(cursor)
    page = await control.read(lambda connection: list_views(connection, USER, where, limit=limit, before=before))
    return UserPage(users=page.rows, total=page.total, next=page.next)


@get("/admin/users/{user_id:str}", tags=TAGS, status_code=200)
async def read_user(control: NamedDependency[Control], user_id: FromPath[str]) -> UserView:
    """Return a user."""
    found = parse_id(user_id, USER.name)
    return await control.read(lambda connection: get_view(connection, USER, found))


@put("/admin/users/{user_id:str}", tags=TAGS, status_code=200)
async def change_user(
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    user_id: FromPath[str],
    data: JSONBody[UserChanges],
) -> UserView:
    """Change a user.

    Fields that are not sent stay. What is more than the user's organization has is a 400.
    """
    found = parse_id(user_id, USER.name)
    return await control.change(actor, lambda change: update_user(change, found, data))


@delete("/admin/users/{user_id:str}", tags=TAGS, status_code=204)
async def remove_user(control: NamedDependency[Control], actor: NamedDependency[Actor], user_id: FromPath[str]) -> None:
    """Delete a user.

    Their keys are revoked.
    """
    found = parse_id(user_id, USER.name)
    await control.change(actor, lambda change: delete_user(change, found))


def _build_conditions(email: str | None, organization_id: UUID | None) -> list[ColumnElement[bool]]:
    where = [func.lower(users.c.email) == func.lower(email)] if email is not None else []
    return where + ([users.c.organization_id == organization_id] if organization_id is not None else [])


USER_HANDLERS = [add_user, read_users, read_user, change_user, remove_user]
