"""Teams and their members over HTTP, for administrators."""

from typing import Annotated

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from sqlalchemy import Connection

from app.access.bodies import TeamChanges, TeamCreation
from app.access.pages import Cursor, Limit, parse_filter, parse_id, read_cursor
from app.access.principal_store import belongs_to
from app.access.principals import TEAM, USER, Page, get_view, list_views
from app.access.team_edits import add_team_member, create_team, delete_team, remove_team_member, update_team
from app.access.views import MemberPage, TeamPage, TeamView, UserView
from app.db.audit import Actor
from app.db.control import Control
from app.db.tables import teams

TAGS = ["Teams"]
Organization = Annotated[str | None, QueryParameter(description="Only teams of this organization.")]


@post("/admin/teams", tags=TAGS, status_code=201)
async def add_team(
    control: NamedDependency[Control], actor: NamedDependency[Actor], data: JSONBody[TeamCreation]
) -> TeamView:
    """Create a team.

    What is more than its organization has is a 400.
    """
    return await control.change(actor, lambda change: create_team(change, data))


@get("/admin/teams", tags=TAGS, status_code=200)
async def read_teams(
    control: NamedDependency[Control], organization_id: Organization = None, limit: Limit = 100, cursor: Cursor = None
) -> TeamPage:
    """List teams, newest first."""
    of = parse_filter(organization_id, "organization_id")
    where = [teams.c.organization_id == of] if of is not None else []
    before = read_cursor(cursor)
    page = await control.read(lambda connection: list_views(connection, TEAM, where, limit=limit, before=before))
    return TeamPage(teams=page.rows, total=page.total, next=page.next)


@get("/admin/teams/{team_id:str}", tags=TAGS, status_code=200)
async def read_team(control: NamedDependency[Control], team_id: FromPath[str]) -> TeamView:
    """Return a team."""
    found = parse_id(team_id, TEAM.name)
    return await control.read(lambda connection: get_view(connection, TEAM, found))


@put("/admin/teams/{team_id:str}", tags=TAGS, status_code=200)
async def change_team(
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    team_id: FromPath[str],
    data: JSONBody[TeamChanges],
) -> TeamView:
    """Change a team.

    Fields that are not sent stay. What is more than its organization has is a 400.
    """
    found = parse_id(team_id, TEAM.name)
    return await control.change(actor, lambda change: update_team(change, found, data))


@delete("/admin/teams/{team_id:str}", tags=TAGS, status_code=204)
async def remove_team(control: NamedDependency[Control], actor: NamedDependency[Actor], team_id: FromPath[str]) -> None:
    """Delete a team.

    The keys that act for it are revoked; its members stay users.
    """
    found = parse_id(team_id, TEAM.name)
    await control.change(actor, lambda change: delete_team(change, found))


@get("/admin/teams/{team_id:str}/members", tags=TAGS, status_code=200)
async def read_team_members(
    control: NamedDependency[Control], team_id: FromPath[str], limit: Limit = 100, cursor: Cursor = None
) -> MemberPage:
    """List the members of a team."""
    found, before = parse_id(team_id, TEAM.name), read_cursor(cursor)

    def read(connection: Connection) -> Page[UserView]:
        get_view(connection, TEAM, found)
        return list_views(connection, USER, [belongs_to(found)], limit=limit, before=before)

    page = await control.read(read)
    return MemberPage(members=page.rows, total=page.total, next=page.next)


@put("/admin/teams/{team_id:str}/members/{user_id:str}", tags=TAGS, status_code=200)
async def join_team(
    control: NamedDependency[Control], actor: NamedDependency[Actor], team_id: FromPath[str], user_id: FromPath[str]
) -> UserView:
    """Make a user a member of a team.

    A team with an organization takes only its users. Keys of a member may act for the team.
    """
    team, user = parse_id(team_id, TEAM.name), parse_id(user_id, USER.name)
    return await control.change(actor, lambda change: add_team_member(change, team, user))


@delete("/admin/teams/{team_id:str}/members/{user_id:str}", tags=TAGS, status_code=204)
async def leave_team(
    control: NamedDependency[Control], actor: NamedDependency[Actor], team_id: FromPath[str], user_id: FromPath[str]
) -> None:
    """End a membership.

    Keys of the user that act for the team stop working.
    """
    team, user = parse_id(team_id, TEAM.name), parse_id(user_id, USER.name)
    await control.change(actor, lambda change: remove_team_member(change, team, user))


TEAM_HANDLERS = [
    add_team,
    read_teams,
    read_team,
    change_team,
    remove_team,
    read_team_members,
    join_team,
    leave_team,
]
