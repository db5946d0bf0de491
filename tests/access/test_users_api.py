"""Users over HTTP: made, shown, changed, deleted, and what administrators are kept from."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.acceptance.support import query
from tests.access.conftest import Make, ask, check_refusal, created, fresh
from tests.gateway_process import Gateway

NOBODY = "01900000-0000-7000-8000-00000000dead"


def test_a_user_is_made_and_shown(admin: httpx.Client) -> None:
    """What was sent comes back, with an id, what was left out and when it was made."""
    email = f"{fresh('a')}@example.org"
    sent = {"email": email, "name": "Ada", "role": "user", "rpm": 5, "models": ["b", "a", "b"], "metadata": {"n": [1]}}
    made = created(admin.post("/admin/users", json=sent))
    assert made | {"models": sent["models"]} == made | sent
    assert made["models"] == ["a", "b"]
    assert uuid.UUID(made["id"]).version == 7
    assert datetime.fromisoformat(made["created_at"]).tzinfo is not None
    assert (made["routes"], made["tpm"], made["blocked"], made["organization_id"]) == (None, None, False, None)
    assert admin.get(f"/admin/users/{made['id']}").json() == made
    assert admin.get("/admin/users", params={"email": email.upper()}).json() == {
        "users": [made],
        "total": 1,
        "next": None,
    }


def test_a_change_is_partial(admin: httpx.Client, make_user: Make) -> None:
    """Fields that are not sent stay; null lifts what was said."""
    user = make_user(name="Old", rpm=5, models=["m"])
    changed = admin.put(f"/admin/users/{user['id']}", json={"name": "New", "rpm": None}).json()
    assert (changed["name"], changed["rpm"], changed["models"], changed["email"]) == ("New", None, ["m"], user["email"])
    assert admin.put(f"/admin/users/{user['id']}", json={}).json()["name"] == "New"


def test_an_address_belongs_to_one(admin: httpx.Client, make_user: Make) -> None:
    """An address that another user has is a 409, in any case; one's own may be rewritten; a deleted one's is free."""
    one, other = make_user(), make_user()
    check_refusal(admin.post("/admin/users", json={"email": one["email"].upper()}), 409, "email")
    check_refusal(admin.put(f"/admin/users/{other['id']}", json={"email": one["email"]}), 409, "email")
    assert admin.put(f"/admin/users/{one['id']}", json={"email": one["email"].upper()}).status_code == 200
    assert admin.delete(f"/admin/users/{one['id']}").status_code == 204
    assert created(admin.post("/admin/users", json={"email": one["email"]}))["id"] != one["id"]


def test_of_many_at_once_one_gets_the_address(shared_gateway: Gateway) -> None:
    """Of several that want an address at the same moment one gets it, the others are told so, and nobody waits long."""
    email = f"{fresh('race')}@example.org"

    def make(_: int) -> int:
        with shared_gateway.client(headers={"authorization": f"Bearer {shared_gateway.admin_key}"}) as client:
            return client.post("/admin/users", json={"email": email}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(8))) == [201] + [409] * 7


def test_a_deleted_users_keys_stop(
    shared_gateway: Gateway, admin: httpx.Client, make_user: Make, make_key: Make
) -> None:
    """Deleting a user revokes all keys of theirs, at once; nothing of them is found any more."""
    user = make_user()
    keys = [make_key(user_id=user["id"]) for _ in range(2)]
    assert ask(shared_gateway, keys[0]["key"]).status_code == 200
    reply = admin.delete(f"/admin/users/{user['id']}")
    assert (reply.status_code, reply.content) == (204, b"")
    for key in keys:
        assert ask(shared_gateway, key["key"]).status_code == 401
        check_refusal(admin.get(f"/admin/api-keys/{key['id']}"), 404)
    for method in ("GET", "PUT", "DELETE"):
        check_refusal(admin.request(method, f"/admin/users/{user['id']}", json={}), 404)
    check_refusal(admin.post("/admin/api-keys", json={"user_id": user["id"]}), 400, "user_id")


def test_a_blocked_user_waits(shared_gateway: Gateway, admin: httpx.Client, make_user: Make, make_key: Make) -> None:
    """The keys of a blocked user are refused as long as that holds."""
    user = make_user()
    key = make_key(user_id=user["id"])["key"]
    for blocked, status in ((True, 401), (False, 200)):
        assert admin.put(f"/admin/users/{user['id']}", json={"blocked": blocked}).json()["blocked"] is blocked
        assert ask(shared_gateway, key).status_code == status


def test_a_role_holds_at_once(shared_gateway: Gateway, admin: httpx.Client, make_user: Make, make_key: Make) -> None:
    """A user who becomes an administrator may do what these may, with keys that have the scope or none; and back."""
    user = make_user()
    keys = [make_key(user_id=user["id"])["key"], make_key(user_id=user["id"], scopes=["inference"])["key"]]

    def look() -> list[int]:
        replies = []
        for key in keys:
            with shared_gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
                replies.append(client.get("/admin/users").status_code)
        return replies

    assert look() == [403, 403]
    admin.put(f"/admin/users/{user['id']}", json={"role": "admin"})
    assert look() == [200, 403]
    admin.put(f"/admin/users/{user['id']}", json={"role": "user"})
    assert look() == [403, 403]


@pytest.mark.parametrize("change", [{"email": "x@example.org"}, {"role": "user"}, {"blocked": True}])
def test_the_built_in_administrator_stays(shared_gateway: Gateway, admin: httpx.Client, change: dict[str, Any]) -> None:
    """The user that the admin key stands for cannot be renamed, demoted, blocked or deleted; their name is free."""
    (built_in,) = query(shared_gateway, "SELECT id FROM users WHERE email = 'admin@localhost'")
    path = f"/admin/users/{built_in['id']}"
    check_refusal(admin.put(path, json=change), 409, "built-in")
    check_refusal(admin.delete(path), 409, "built-in")
    assert admin.put(path, json={"name": "Root", "role": "admin"}).status_code == 200


BAD = [
    ({}, "email"),
    ({"email": ""}, "email"),
    ({"email": "nobody"}, "email"),
    ({"email": "a@b@c"}, "email"),
    ({"email": "a @b.c"}, "email"),
    ({"email": "a@b.c\n"}, "email"),
    ({"email": "a\0@b.c"}, "email"),
    ({"email": f"{'a' * 251}@b.c"}, "email"),
    ({"email": 5}, "email"),
    ({"email": None}, "email"),
    ({"email": "a@b.c", "name": "x" * 201}, "name"),
    ({"email": "a@b.c", "name": "a\0b"}, "name"),
    ({"email": "a@b.c", "name": None}, "name"),
    ({"email": "a@b.c", "role": "root"}, "role"),
    ({"email": "a@b.c", "role": ["admin"]}, "role"),
    ({"email": "a@b.c", "rpm": 0}, "rpm"),
    ({"email": "a@b.c", "rpm": -1}, "rpm"),
    ({"email": "a@b.c", "rpm": 1.5}, "rpm"),
    ({"email": "a@b.c", "rpm": 2**31}, "rpm"),
    ({"email": "a@b.c", "rpm": 10**30}, "rpm"),
    ({"email": "a@b.c", "tpm": 10**16}, "tpm"),
    ({"email": "a@b.c", "max_parallel": "many"}, "max_parallel"),
    ({"email": "a@b.c", "models": "gpt"}, "models"),
    ({"email": "a@b.c", "models": [""]}, "models"),
    ({"email": "a@b.c", "models": ["a\0"]}, "models"),
    ({"email": "a@b.c", "models": ["m"] * 1001}, "models"),
    ({"email": "a@b.c", "routes": ["Chat!"]}, "routes"),
    ({"email": "a@b.c", "routes": ["chat\n"]}, "routes"),
    ({"email": "a@b.c", "blocked": "perhaps"}, "blocked"),
    ({"email": "a@b.c", "metadata": []}, "metadata"),
    ({"email": "a@b.c", "metadata": {"a": ["\0"]}}, "metadata"),
    ({"email": "a@b.c", "metadata": {"\0": 1}}, "metadata"),
    ({"email": "a@b.c", "metadata": {"a": "x" * 8192}}, "metadata"),
    ({"email": "a@b.c", "organization_id": "mine"}, "organization_id"),
    ({"email": "a@b.c", "organization_id": NOBODY}, "organization_id"),
    ({"email": "a@b.c", "budget_usd": -1}, "budget_usd"),
    ({"email": "a@b.c", "budget_usd": "NaN"}, "budget_usd"),
    ({"email": "a@b.c", "budget_usd": "1e-16"}, "budget_usd"),
    ({"email": "a@b.c", "budget_usd": 1e9}, "budget_usd"),
    ({"email": "a@b.c", "budget_usd": 1, "budget_period": "year"}, "budget_period"),
    ({"email": "a@b.c", "budget_period": "day"}, "budget_period"),
    ({"email": "a@b.c", "is_superuser": True}, "is_superuser"),
    ({"email": "a@b.c", "id": NOBODY}, "id"),
    ({"email": "a@b.c", "deleted_at": None}, "deleted_at"),
]


@pytest.mark.parametrize(("body", "named"), BAD, ids=lambda case: str(case)[:60])
def test_what_does_not_fit_is_named(admin: httpx.Client, make_user: Make, body: dict[str, Any], named: str) -> None:
    """A field that is unknown, missing or senseless is a 400 that names it, on POST and PUT."""
    before = admin.get("/admin/users").json()["total"]
    check_refusal(admin.post("/admin/users", json=body), 400, named)
    assert admin.get("/admin/users").json()["total"] == before
    if body:
        check_refusal(admin.put(f"/admin/users/{make_user()['id']}", json=body), 400, named)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"\xff\xfe",
        b'{"email":"a@b.c","email":"\\ud800@b.c"}',
        b'{"metadata":' * 3000,
    ],
)
def test_bodies_that_are_none_are_refused(admin: httpx.Client, content: bytes) -> None:
    """What is no JSON object is a 400, never a 500."""
    reply = admin.post("/admin/users", content=content, headers={"content-type": "application/json"})
    check_refusal(reply, 400)


def test_a_huge_body_is_refused(admin: httpx.Client) -> None:
    """A body over the limit is a 413 and leaves nothing behind."""
    reply = admin.post("/admin/users", json={"email": "a@b.c", "name": "x" * 11 * 2**20})
    assert reply.status_code == 413


NO_IDS = ["1", "none", "%00", NOBODY, f"{{{NOBODY}}}", NOBODY.replace("-", ""), "x" * 5000, "..%2f", "\u00e9"]


@pytest.mark.parametrize("path", ["users", "api-keys", "teams", "organizations"])
@pytest.mark.parametrize("bad", NO_IDS, ids=lambda one: one[:12])
def test_what_is_no_id_is_of_nothing(admin: httpx.Client, path: str, bad: str) -> None:
    """Unknown ids and what is no UUID are 404, whatever is done to them."""
    for method in ("GET", "PUT", "DELETE"):
        check_refusal(admin.request(method, f"/admin/{path}/{bad}", json={}), 404)


def test_pages_hold_still_while_users_come(admin: httpx.Client, make_user: Make) -> None:
    """A list read page by page has everybody who was there at first exactly once, whoever is added meanwhile."""
    first = [make_user()["id"] for _ in range(7)]
    seen, cursor = [], None
    while True:
        page = admin.get("/admin/users", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [user["id"] for user in page["users"]]
        make_user()
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert [one for one in seen if one in first] == first[::-1]
    assert page["total"] > len(seen)


@pytest.mark.parametrize(
    ("query_string", "named"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=" + "A" * 4000, "cursor"),
        ("cursor=", "cursor"),
        ("organization_id=x", "organization_id"),
        ("email=%00", "email"),
    ],
)
def test_senseless_questions_are_named(admin: httpx.Client, query_string: str, named: str) -> None:
    """A bad limit, cursor or filter is a 400 that names it."""
    check_refusal(admin.get(f"/admin/users?{query_string}"), 400, named)


def test_every_change_is_in_the_audit_log(shared_gateway: Gateway, admin: httpx.Client, make_user: Make) -> None:
    """Making, changing and deleting are on record with before and after; what changed nothing is not."""
    user = make_user(name="Old")
    admin.put(f"/admin/users/{user['id']}", json={"name": "New"})
    admin.put(f"/admin/users/{user['id']}", json={})
    admin.delete(f"/admin/users/{user['id']}")
    lines = query(
        shared_gateway,
        "SELECT action, before ->> 'name' AS old, after ->> 'name' AS new FROM audit_log WHERE object_id = %s "
        "ORDER BY sequence",
        user["id"],
    )
    assert [tuple(line.values()) for line in lines] == [
        ("user.create", None, "Old"),
        ("user.update", "Old", "New"),
        ("user.delete", "New", None),
    ]


def test_users_are_for_administrators(shared_gateway: Gateway, make_user: Make) -> None:
    """An ordinary key can neither read users nor make itself more than it is."""
    with shared_gateway.client() as client:
        user = make_user()
        for method in ("GET", "PUT", "DELETE"):
            check_refusal(client.request(method, f"/admin/users/{user['id']}", json={"role": "admin"}), 403)
        check_refusal(client.post("/admin/users", json={"email": "a@b.c", "role": "admin"}), 403)


def test_a_user_comes_with_a_budget(admin: httpx.Client, make_user: Make) -> None:
    """A budget that is set with a user is shown with them, in lists as well, and can be changed and taken away."""
    user = make_user(budget_usd=5, budget_period="week")
    assert (user["budget_usd"], user["budget_period"]) == (5, "week")
    assert admin.get("/admin/users", params={"email": user["email"]}).json()["users"] == [user]
    changed = admin.put(f"/admin/users/{user['id']}", json={"budget_usd": 6}).json()
    assert (changed["budget_usd"], changed["budget_period"]) == (6, "week")
    assert admin.put(f"/admin/users/{user['id']}", json={"budget_usd": None}).json()["budget_usd"] is None
