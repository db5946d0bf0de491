"""Teams and organizations over HTTP: who belongs to them, and rights that only shrink from above to below."""

import uuid
from typing import Any

import httpx
import pytest

from tests.acceptance.support import query, row_of
from tests.access.conftest import Make, ask, check_refusal
from tests.gateway_process import Gateway


def join(admin: httpx.Client, group: dict[str, Any], user: dict[str, Any], kind: str = "teams") -> httpx.Response:
    return admin.put(f"/admin/{kind}/{group['id']}/members/{user['id']}")


@pytest.mark.parametrize("kind", ["teams", "organizations"])
def test_made_shown_changed_deleted(admin: httpx.Client, kind: str) -> None:
    """What was sent comes back; a change is partial; what is deleted is gone."""
    name = f"{kind} {uuid.uuid4()}"
    made = admin.post(f"/admin/{kind}", json={"name": name, "rpm": 5, "routes": ["chat"]}).json()
    assert (made["name"], made["rpm"], made["routes"], made["models"]) == (name, 5, ["chat"], None)
    path = f"/admin/{kind}/{made['id']}"
    assert admin.get(path).json() == made
    assert made in admin.get(f"/admin/{kind}", params={"limit": 1000}).json()[kind]
    changed = admin.put(path, json={"rpm": None, "metadata": {"a": 1}}).json()
    assert (changed["name"], changed["rpm"], changed["metadata"]) == (name, None, {"a": 1})
    reply = admin.delete(path)
    assert (reply.status_code, reply.content) == (204, b"")
    check_refusal(admin.get(path), 404)
    check_refusal(admin.get(f"{path}/members"), 404)


@pytest.mark.parametrize("kind", ["teams", "organizations"])
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\0"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a", "rpm": 0}, "rpm"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "budget_usd": 1}, "budget_usd"),
        ({"name": "a", "members": []}, "members"),
    ],
)
def test_what_does_not_fit_is_named(admin: httpx.Client, kind: str, body: dict[str, Any], named: str) -> None:
    """A field that is unknown, missing or senseless is a 400 that names it."""
    check_refusal(admin.post(f"/admin/{kind}", json=body), 400, named)


def test_a_name_is_one_organizations(admin: httpx.Client, make_organization: Make) -> None:
    """Names of organizations are unique in whatever case; a deleted one's is free."""
    one, other = make_organization(), make_organization()
    check_refusal(admin.post("/admin/organizations", json={"name": one["name"].upper()}), 409, "name")
    check_refusal(admin.put(f"/admin/organizations/{other['id']}", json={"name": one["name"]}), 409, "name")
    assert admin.put(f"/admin/organizations/{one['id']}", json={"name": one["name"].upper()}).status_code == 200
    admin.delete(f"/admin/organizations/{one['id']}")
    assert admin.post("/admin/organizations", json={"name": one["name"]}).status_code == 201


def test_members_come_and_go(admin: httpx.Client, make_team: Make, make_user: Make) -> None:
    """PUT makes a member, twice as well as once; DELETE ends it once; both are in the audit log."""
    team, user = make_team(), make_user()
    for _ in range(2):
        assert join(admin, team, user).json() == user
    assert admin.get(f"/admin/teams/{team['id']}/members").json() == {"members": [user], "total": 1, "next": None}
    path = f"/admin/teams/{team['id']}/members/{user['id']}"
    assert [admin.delete(path).status_code for _ in range(2)] == [204, 404]
    assert admin.get(f"/admin/teams/{team['id']}/members").json()["members"] == []
    for stranger in (uuid.uuid4(), "x"):
        check_refusal(admin.put(f"/admin/teams/{team['id']}/members/{stranger}"), 404)
        check_refusal(admin.put(f"/admin/teams/{stranger}/members/{user['id']}"), 404)


def test_a_key_acts_for_a_team_of_its_user(
    shared_gateway: Gateway, admin: httpx.Client, make_team: Make, make_user: Make, make_key: Make
) -> None:
    """A key acts for a team only while its user is a member; the team and its organization are recorded."""
    team, user = make_team(), make_user()
    wanted = {"user_id": user["id"], "team_id": team["id"]}
    check_refusal(admin.post("/admin/api-keys", json=wanted), 400, "team_id")
    join(admin, team, user)
    key = make_key(**wanted)
    assert admin.get("/admin/api-keys", params={"team_id": team["id"]}).json()["total"] == 1
    row = row_of(shared_gateway, ask(shared_gateway, key["key"]))
    assert (str(row["team_id"]), row["organization_id"]) == (team["id"], None)
    admin.delete(f"/admin/teams/{team['id']}/members/{user['id']}")
    assert ask(shared_gateway, key["key"]).status_code == 401
    join(admin, team, user)
    assert ask(shared_gateway, key["key"]).status_code == 200
    admin.delete(f"/admin/teams/{team['id']}")
    assert ask(shared_gateway, key["key"]).status_code == 401
    check_refusal(admin.get(f"/admin/api-keys/{key['id']}"), 404)
    assert admin.get(f"/admin/users/{user['id']}").status_code == 200


def test_a_blocked_parent_stops_its_keys(
    shared_gateway: Gateway,
    admin: httpx.Client,
    make_organization: Make,
    make_team: Make,
    make_user: Make,
    make_key: Make,
) -> None:
    """Blocking a team or an organization refuses all keys below, as long as it holds."""
    organization = make_organization()
    user = make_user(organization_id=organization["id"])
    team = make_team(organization_id=organization["id"])
    join(admin, team, user)
    key = make_key(user_id=user["id"], team_id=team["id"])
    row = row_of(shared_gateway, ask(shared_gateway, key["key"]))
    assert (str(row["team_id"]), str(row["organization_id"])) == (team["id"], organization["id"])
    for path in (f"/admin/teams/{team['id']}", f"/admin/organizations/{organization['id']}"):
        for blocked, status in ((True, 401), (False, 200)):
            admin.put(path, json={"blocked": blocked})
            assert ask(shared_gateway, key["key"]).status_code == status


def test_a_parent_that_shrinks_shrinks_its_children(
    shared_gateway: Gateway, admin: httpx.Client, make_organization: Make, make_user: Make, make_key: Make
) -> None:
    """What is taken from an organization or a user is taken from their keys at once, whatever those were given."""
    organization = make_organization()
    user = make_user(organization_id=organization["id"])
    key = make_key(user_id=user["id"], models=["mock/echo", "mock/other"], routes=["chat"])
    user_path, above = f"/admin/users/{user['id']}", f"/admin/organizations/{organization['id']}"
    for path, fields, code in (
        (above, {"models": ["mock/other"]}, "model_not_allowed"),
        (above, {"models": None, "routes": ["messages"]}, "route_not_allowed"),
        (above, {"routes": None}, None),
        (user_path, {"models": []}, "model_not_allowed"),
        (user_path, {"models": ["mock/echo"]}, None),
    ):
        assert admin.put(path, json=fields).status_code == 200
        reply = ask(shared_gateway, key["key"])
        if code is None:
            assert reply.status_code == 200
        else:
            check_refusal(reply, 403, code)
    assert admin.get(f"/admin/api-keys/{key['id']}").json()["models"] == ["mock/echo", "mock/other"]


FIELDS = [
    ("models", ["a"], ["a", "b"], ["a"]),
    ("routes", ["chat"], ["messages"], []),
    ("rpm", 5, 6, 5),
    ("tpm", 100, 101, 100),
    ("max_parallel", 1, 2, None),
]


@pytest.mark.parametrize(("field", "given", "more", "less"), FIELDS)
def test_nobody_is_given_more_than_those_above(
    admin: httpx.Client,
    make_organization: Make,
    make_team: Make,
    make_user: Make,
    make_key: Make,
    field: str,
    given: Any,
    more: Any,
    less: Any,
) -> None:
    """A write that asks for more than a parent has is a 400 with field and parent; as much or less is taken."""
    organization = make_organization(**{field: given})
    inside = {"organization_id": organization["id"]}
    user, team = make_user(**inside), make_team(**inside)
    join(admin, team, user)
    key = make_key(user_id=user["id"], team_id=team["id"])
    for kind, one in (("api-keys", key), ("teams", team), ("users", user)):
        reply = admin.put(f"/admin/{kind}/{one['id']}", json={field: more})
        check_refusal(reply, 400, field)
        assert organization["name"] in reply.json()["error"]["message"]
        assert admin.put(f"/admin/{kind}/{one['id']}", json={field: less}).json()[field] == less
    check_refusal(admin.post("/admin/teams", json={"name": "t", **inside, field: more}), 400, field)
    outside = make_user(**{field: more})
    check_refusal(join(admin, organization, outside, "organizations"), 400, field)
    check_refusal(admin.put(f"/admin/users/{outside['id']}", json=inside), 400, field)
    lone = make_user(**{field: given})
    reply = admin.post("/admin/api-keys", json={"user_id": lone["id"], field: more})
    check_refusal(reply, 400, field)
    assert lone["email"] in reply.json()["error"]["message"]


def test_a_key_is_moved_only_where_it_fits(
    admin: httpx.Client, make_team: Make, make_user: Make, make_key: Make
) -> None:
    """A key that has more than a team cannot act for it; one that leaves its team keeps what it has."""
    team, user = make_team(rpm=5), make_user()
    join(admin, team, user)
    key = make_key(user_id=user["id"], rpm=6)
    path = f"/admin/api-keys/{key['id']}"
    check_refusal(admin.put(path, json={"team_id": team["id"]}), 400, "rpm")
    assert admin.put(path, json={"team_id": team["id"], "rpm": 5}).json()["team_id"] == team["id"]
    assert admin.put(path, json={"team_id": None, "rpm": 50}).json()["rpm"] == 50


def test_a_team_takes_users_of_its_organization(
    admin: httpx.Client, make_organization: Make, make_team: Make, make_user: Make
) -> None:
    """Users of elsewhere are a 400; who is in such a team does not change organization, nor does the team."""
    one, other = make_organization(), make_organization()
    team = make_team(organization_id=one["id"])
    stranger, member = make_user(organization_id=other["id"]), make_user(organization_id=one["id"])
    check_refusal(join(admin, team, stranger), 400, "user_id")
    check_refusal(join(admin, team, make_user()), 400, "user_id")
    assert join(admin, team, member).status_code == 200
    for change in ({"organization_id": other["id"]}, {"organization_id": None}):
        check_refusal(admin.put(f"/admin/users/{member['id']}", json=change), 409, team["name"])
    check_refusal(admin.delete(f"/admin/organizations/{one['id']}/members/{member['id']}"), 409, team["name"])
    check_refusal(admin.put(f"/admin/teams/{team['id']}", json={"organization_id": other["id"]}), 409, other["name"])
    assert admin.put(f"/admin/teams/{team['id']}", json={"organization_id": None}).status_code == 200
    check_refusal(admin.put(f"/admin/teams/{team['id']}", json={"organization_id": str(uuid.uuid4())}), 400)


def test_nobody_belongs_to_two_organizations(admin: httpx.Client, make_organization: Make, make_user: Make) -> None:
    """A member of another organization is a 409 until that has ended; the members are listed."""
    one, other, user = make_organization(), make_organization(), make_user()
    joined = join(admin, one, user, "organizations").json()
    assert joined["organization_id"] == one["id"]
    assert join(admin, one, user, "organizations").json() == joined
    assert admin.get(f"/admin/organizations/{one['id']}/members").json()["members"] == [joined]
    assert admin.get("/admin/users", params={"organization_id": one["id"]}).json()["users"] == [joined]
    check_refusal(join(admin, other, user, "organizations"), 409)
    check_refusal(admin.delete(f"/admin/organizations/{other['id']}/members/{user['id']}"), 404)
    assert admin.delete(f"/admin/organizations/{one['id']}/members/{user['id']}").status_code == 204
    assert join(admin, other, user, "organizations").status_code == 200


def test_an_organization_is_left_before_it_goes(
    admin: httpx.Client, make_organization: Make, make_team: Make, make_user: Make
) -> None:
    """An organization with live teams or users is a 409."""
    organization = make_organization()
    path = f"/admin/organizations/{organization['id']}"
    team, user = make_team(organization_id=organization["id"]), make_user(organization_id=organization["id"])
    assert admin.get("/admin/teams", params={"organization_id": organization["id"]}).json()["teams"] == [team]
    check_refusal(admin.delete(path), 409, "teams")
    admin.delete(f"/admin/teams/{team['id']}")
    check_refusal(admin.delete(path), 409, "users")
    admin.delete(f"/admin/users/{user['id']}")
    assert admin.delete(path).status_code == 204


def test_members_are_a_page_at_a_time(admin: httpx.Client, make_team: Make, make_user: Make) -> None:
    """Members are listed page by page, each once."""
    team = make_team()
    users = [make_user() for _ in range(5)]
    for user in users:
        join(admin, team, user)
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        parameters = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = admin.get(f"/admin/teams/{team['id']}/members", params=parameters).json()
        seen, cursor = [*seen, *(user["id"] for user in page["members"])], page["next"]
        assert page["total"] == 5
    assert seen == [user["id"] for user in users][::-1]


def test_what_is_done_is_on_record(
    shared_gateway: Gateway, admin: httpx.Client, make_organization: Make, make_team: Make, make_user: Make
) -> None:
    """Every change of teams, organizations and who belongs to them has its line, with the change that it made."""
    organization, team, user = make_organization(), make_team(), make_user()
    join(admin, organization, user, "organizations")
    join(admin, team, user)
    admin.put(f"/admin/teams/{team['id']}", json={"rpm": 1})
    admin.delete(f"/admin/teams/{team['id']}/members/{user['id']}")
    admin.delete(f"/admin/organizations/{organization['id']}/members/{user['id']}")
    admin.delete(f"/admin/teams/{team['id']}")
    ids = [organization["id"], team["id"], user["id"]]
    lines = query(shared_gateway, "SELECT action FROM audit_log WHERE object_id = ANY(%s) ORDER BY sequence", ids)
    assert [line["action"] for line in lines] == [
        "organization.create",
        "team.create",
        "user.create",
        "organization.add_member",
        "team.add_member",
        "team.update",
        "team.remove_member",
        "organization.remove_member",
        "team.delete",
    ]
