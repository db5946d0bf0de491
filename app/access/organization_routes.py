"""Organizations and their members over HTTP, for administrators."""

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy import Connection

from app.access.bodies import OrganizationChanges, OrganizationCreation
from app.access.organization_edits import (
    add_organization_member,
    create_organization,
    delete_organization,
    remove_organization_member,
    update_organization,
)
from app.access.pages import Cursor, Limit, parse_id, read_cursor
from app.access.principals import ORGANIZATION, USER, Page, get_view, list_views
from app.access.views import MemberPage, OrganizationPage, OrganizationView, UserView
from app.db.audit import Actor
from app.db.control import Control
from app.db.tables import users

TAGS = ["Organizations"]


@post("/admin/organizations", tags=TAGS, status_code=201)
async def add_organization(
    control: NamedDependency[Control], actor: NamedDependency[Actor], data: JSONBody[OrganizationCreation]
) -> OrganizationView:
    """Create an organization.

    A name that another one has, in whatever case, is a 409.
    """
    return await control.change(actor, lambda change: create_organization(change, data))


@get("/admin/organizations", tags=TAGS, status_code=200)
async def read_organizations(
    control: NamedDependency[Control], limit: Limit = 100, cursor: Cursor = None
) -> OrganizationPage:
    """List organizations, newest first."""
    before = read_cursor(cursor)
    page = await control.read(lambda connection: list_views(connection, ORGANIZATION, [], limit=limit, before=before))
    return OrganizationPage(organizations=page.rows, total=page.total, next=page.next)


@get("/admin/organizations/{organization_id:str}", tags=TAGS, status_code=200)
async def read_organization(control: NamedDependency[Control], organization_id: FromPath[str]) -> OrganizationView:
    """Return an organization."""
    found = parse_id(organization_id, ORGANIZATION.name)
    return await control.read(lambda connection: get_view(connection, ORGANIZATION, found))


@put("/admin/organizations/{organization_id:str}", tags=TAGS, status_code=200)
async def change_organization(
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    organization_id: FromPath[str],
    data: JSONBody[OrganizationChanges],
) -> OrganizationView:
    """Change an organization.

    Fields that are not sent stay. What is taken from it is taken from all its users, teams and keys at once.
    """
    found = parse_id(organization_id, ORGANIZATION.name)
    return await control.change(actor, lambda change: update_organization(change, found, data))


@delete("/admin/organizations/{organization_id:str}", tags=TAGS, status_code=204)
async def remove_organization(
    control: NamedDependency[Control], actor: NamedDependency[Actor], organization_id: FromPath[str]
) -> None:
    """Delete an organization.

    One that still has users or teams is a 409.
    """
    found = parse_id(organization_id, ORGANIZATION.name)
    await control.change(actor, lambda change: delete_organization(change, found))


@get("/admin/organizations/{organization_id:str}/members", tags=TAGS, status_code=200)
async def read_organization_members(
    control: NamedDependency[Control], organization_id: FromPath[str], limit: Limit = 100, cursor: Cursor = None
) -> MemberPage:
    """List the users of an organization."""
    found, before = parse_id(organization_id, ORGANIZATION.name), read_cursor(cursor)

    def read(connection: Connection) -> Page[UserView]:
        get_view(connection, ORGANIZATION, found)
        return list_views(connection, USER, [users.c.organization_id == found], limit=limit, before=before)

    page = await control.read(read)
    return MemberPage(members=page.rows, total=page.total, next=page.next)


@put("/admin/organizations/{organization_id:str}/members/{user_id:str}", tags=TAGS, status_code=200)
async def join_organization(
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    organization_id: FromPath[str],
    user_id: FromPath[str],
) -> UserView:
    """Make a user a member of an organization.

    Nobody belongs to two: a member of another one is a 409.
    """
    organization, user = parse_id(organization_id, ORGANIZATION.name), parse_id(user_id, USER.name)
    return await control.change(actor, lambda change: add_organization_member(change, organization, user))


@delete("/admin/organizations/{organization_id:str}/members/{user_id:str}", tags=TAGS, status_code=204)
async def leave_organization(
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    organization_id: FromPath[str],
    user_id: FromPath[str],
) -> None:
    """End a membership.

    Who still belongs to a team of the organization is a 409.
    """
    organization, user = parse_id(organization_id, ORGANIZATION.name), parse_id(user_id, USER.name)
    await control.change(actor, lambda change: remove_organization_member(change, organization, user))


ORGANIZATION_HANDLERS = [
    add_organization,
    read_organizations,
    read_organization,
    change_organization,
    remove_organization,
    read_organization_members,
    join_organization,
    leave_organization,
]
