"""API keys over HTTP: made, shown, changed, rotated, revoked, and what they may do then, on every process."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.support import query, row_of, wait_until
from tests.access.conftest import Make, ask, check_refusal, created
from tests.conftest import prepare
from tests.gateway_process import Gateway, run_gateway

NOBODY = "01900000-0000-7000-8000-00000000dead"
PROMISED_SECONDS = 5.0


def put(admin: httpx.Client, key: dict[str, Any], **fields: Any) -> dict[str, Any]:
    reply = admin.put(f"/admin/api-keys/{key['id']}", json=fields)
    assert reply.status_code == 200, reply.text
    return reply.json()


def rotate(admin: httpx.Client, key: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return created(admin.post(f"/admin/api-keys/{key['id']}/rotate", json=fields))


def test_a_key_is_shown_once(shared_gateway: Gateway, admin: httpx.Client, make_user: Make) -> None:
    """The answer that makes a key has it; no other answer, and nothing in the database, has it or its hash."""
    user = make_user()
    sent = {
        "user_id": user["id"],
        "name": "mine",
        "models": ["mock/echo"],
        "routes": ["chat", "models"],
        "scopes": ["inference", "analytics"],
        "tags": ["b", "a"],
        "metadata": {"ticket": "T-1"},
        "priority": "batch",
        "rpm": 10,
        "tpm": 10**9,
        "max_parallel": 3,
        "expires_at": "2099-01-01T00:00:00+02:00",
    }
    made = created(admin.post("/admin/api-keys", json=sent))
    key = made.pop("key")
    assert key.startswith(f"rk-{made['public_id']}-")
    assert made["expires_at"] == "2098-12-31T22:00:00Z"
    expected = sent | {"expires_at": made["expires_at"], "scopes": ["analytics", "inference"]}
    assert made | expected == made
    shown = [admin.get(f"/admin/api-keys/{made['id']}"), admin.get("/admin/api-keys", params={"user_id": user["id"]})]
    assert shown[0].json() == made
    assert shown[1].json() == {"api_keys": [made], "total": 1, "next": None}
    everything = "".join(reply.text for reply in shown) + str(query(shared_gateway, "SELECT * FROM audit_log"))
    (stored,) = query(shared_gateway, "SELECT secret_hash FROM api_keys WHERE id = %s", made["id"])
    for secret in (key, key.rpartition("-")[2], stored["secret_hash"].hex(), "hash"):
        assert secret not in everything.replace("previous_hash", "").replace("'hash'", "")
    assert ask(shared_gateway, key).status_code == 200


def test_a_revoked_key_is_gone(shared_gateway: Gateway, admin: httpx.Client, make_key: Make) -> None:
    """DELETE is a 204 once, the key is refused at once, and then nothing is found of it."""
    key = make_key()
    assert ask(shared_gateway, key["key"]).status_code == 200
    reply = admin.delete(f"/admin/api-keys/{key['id']}")
    assert (reply.status_code, reply.content) == (204, b"")
    assert ask(shared_gateway, key["key"]).status_code == 401
    for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/rotate")):
        check_refusal(admin.request(method, f"/admin/api-keys/{key['id']}{path}", json={}), 404)
    assert key["id"] not in admin.get("/admin/api-keys", params={"limit": 1000}).text


def test_a_blocked_key_waits(shared_gateway: Gateway, admin: httpx.Client, make_key: Make) -> None:
    """A blocked key is refused as long as that holds."""
    key = make_key()
    for blocked, status in ((True, 401), (False, 200)):
        assert put(admin, key, blocked=blocked)["blocked"] is blocked
        assert ask(shared_gateway, key["key"]).status_code == status


def test_what_a_key_may_do_changes_at_once(shared_gateway: Gateway, admin: httpx.Client, make_key: Make) -> None:
    """Models, routes and scopes hold from the next call on; null lifts them."""
    key = make_key()
    for fields, code in (
        ({"models": ["mock/other"]}, "model_not_allowed"),
        ({"models": []}, "model_not_allowed"),
        ({"models": None, "routes": ["messages"]}, "route_not_allowed"),
        ({"routes": [], "scopes": ["inference"]}, "route_not_allowed"),
        ({"routes": None, "scopes": ["analytics", "cache"]}, "scope_missing"),
        ({"scopes": []}, "scope_missing"),
    ):
        put(admin, key, **fields)
        check_refusal(ask(shared_gateway, key["key"]), 403, code)
    put(admin, key, scopes=None)
    assert ask(shared_gateway, key["key"]).status_code == 200


def test_a_refused_call_is_recorded_with_its_key(shared_gateway: Gateway, make_key: Make) -> None:
    """The row of a call that a key may not make names key and user, and costs nothing."""
    key = make_key(routes=["embeddings"])
    row = row_of(shared_gateway, ask(shared_gateway, key["key"]))
    assert (row["status_code"], row["error_type"]) == (403, "route_not_allowed")
    assert (str(row["api_key_id"]), str(row["user_id"])) == (key["id"], key["user_id"])


def test_tags_of_the_key_are_recorded(shared_gateway: Gateway, make_key: Make) -> None:
    """Calls carry the tags of their key, followed by those of the request."""
    key = make_key(tags=["costs", "a"])
    row = row_of(shared_gateway, ask(shared_gateway, key["key"], **{"x-relay-tags": "a,b"}))
    assert row["tags"] == ["costs", "a", "b"]
    assert row_of(shared_gateway, ask(shared_gateway, key["key"]))["tags"] == ["costs", "a"]


def test_a_rotated_key_works_for_its_grace(shared_gateway: Gateway, admin: httpx.Client, make_key: Make) -> None:
    """After a rotation both keys work and are the same key; another one ends the first; without grace it is at once."""
    key = make_key(name="same", rpm=1000)
    second = rotate(admin, key)
    assert (second["id"], second["name"], second["rpm"]) == (key["id"], "same", 1000)
    assert second["public_id"] != second["previous_public_id"] == key["public_id"]
    ahead = datetime.fromisoformat(second["previous_until"]) - datetime.now(UTC)
    assert timedelta(hours=23.9) < ahead <= timedelta(days=1)
    for one in (key, second):
        assert str(row_of(shared_gateway, ask(shared_gateway, one["key"]))["api_key_id"]) == key["id"]
    third = rotate(admin, key, grace_seconds=3600)
    assert [ask(shared_gateway, one["key"]).status_code for one in (key, second, third)] == [401, 200, 200]
    fourth = rotate(admin, key, grace_seconds=0)
    assert fourth["previous_public_id"] is None
    assert [ask(shared_gateway, one["key"]).status_code for one in (second, third, fourth)] == [401, 401, 200]
    assert admin.delete(f"/admin/api-keys/{key['id']}").status_code == 204
    assert ask(shared_gateway, fourth["key"]).status_code == 401


def test_a_grace_ends_by_itself(shared_gateway: Gateway, admin: httpx.Client, make_key: Make) -> None:
    """When the grace is over the replaced key is refused without anybody's doing."""
    key = make_key()
    new = rotate(admin, key, grace_seconds=1)
    assert ask(shared_gateway, key["key"]).status_code == 200
    wait_until(lambda: ask(shared_gateway, key["key"]).status_code, lambda status: status == 401)
    assert ask(shared_gateway, new["key"]).status_code == 200


def test_a_revoked_key_leaves_no_grace(shared_gateway: Gateway, admin: httpx.Client, make_key: Make) -> None:
    """Revoking and blocking take the replaced key with them."""
    key = make_key()
    new = rotate(admin, key)
    put(admin, key, blocked=True)
    assert [ask(shared_gateway, one["key"]).status_code for one in (key, new)] == [401, 401]
    put(admin, key, blocked=False)
    admin.delete(f"/admin/api-keys/{key['id']}")
    assert [ask(shared_gateway, one["key"]).status_code for one in (key, new)] == [401, 401]


def test_a_rotation_may_come_without_a_body(shared_gateway: Gateway, admin: httpx.Client, make_key: Make) -> None:
    """No body means the usual grace of a day."""
    key = make_key()
    new = created(admin.post(f"/admin/api-keys/{key['id']}/rotate"))
    assert [ask(shared_gateway, one["key"]).status_code for one in (key, new)] == [200, 200]


@pytest.mark.parametrize("grace", [-1, 30 * 86400 + 1, "soon", 1.5, None, 10**30])
def test_a_senseless_grace_is_named(admin: httpx.Client, make_key: Make, grace: Any) -> None:
    """A grace outside of 0 to 30 days is a 400, and the key stays."""
    key = make_key()
    check_refusal(
        admin.post(f"/admin/api-keys/{key['id']}/rotate", json={"grace_seconds": grace}), 400, "grace_seconds"
    )
    assert admin.get(f"/admin/api-keys/{key['id']}").json()["public_id"] == key["public_id"]


BAD = [
    ({"user_id": "me"}, "user_id"),
    ({"user_id": None}, "user_id"),
    ({"user_id": NOBODY}, "user_id"),
    ({"name": "a\0"}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"team_id": "team"}, "team_id"),
    ({"team_id": NOBODY}, "team_id"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ({"expires_at": "2099-01-01T00:00:00"}, "expires_at"),
    ({"expires_at": "tomorrow"}, "expires_at"),
    ({"scopes": ["everything"]}, "scopes"),
    ({"scopes": "inference"}, "scopes"),
    ({"scopes": ["admin"]}, "scopes"),
    ({"tags": ["a,b"]}, "tags"),
    ({"tags": [" a"]}, "tags"),
    ({"tags": ["\0"]}, "tags"),
    ({"tags": [str(n) for n in range(33)]}, "tags"),
    ({"tags": None}, "tags"),
    ({"priority": "urgent"}, "priority"),
    ({"rpm": 0}, "rpm"),
    ({"budget_usd": "Infinity"}, "budget_usd"),
    ({"budget_period": "day"}, "budget_period"),
    ({"secret_hash": "00"}, "secret_hash"),
    ({"key": "rk-of-mine"}, "key"),
    ({"public_id": "x"}, "public_id"),
]


@pytest.mark.parametrize(("fields", "named"), BAD, ids=lambda case: str(case)[:60])
def test_what_does_not_fit_is_named(admin: httpx.Client, make_key: Make, fields: dict[str, Any], named: str) -> None:
    """A field that is unknown or senseless is a 400 that names it, on POST and PUT."""
    key = make_key()
    check_refusal(admin.post("/admin/api-keys", json={"user_id": key["user_id"], **fields}), 400, named)
    check_refusal(admin.put(f"/admin/api-keys/{key['id']}", json=fields), 400, named)
    assert admin.get("/admin/api-keys", params={"user_id": key["user_id"]}).json()["total"] == 1


@pytest.mark.parametrize("parameter", ["user_id", "team_id"])
def test_filters(admin: httpx.Client, make_key: Make, parameter: str) -> None:
    """A filter by an id that nothing has finds nothing; one that is no id is a 400."""
    make_key()
    page = admin.get("/admin/api-keys", params={parameter: str(uuid.uuid4())}).json()
    assert page == {"api_keys": [], "total": 0, "next": None}
    check_refusal(admin.get("/admin/api-keys", params={parameter: "x"}), 400, parameter)


def test_a_key_of_an_administrator_may_be_less(shared_gateway: Gateway, make_user: Make, make_key: Make) -> None:
    """An administrator's key reaches /admin with the scope "admin" or none named; a budgeted one is no less a key."""
    user = make_user(role="admin")
    for fields, status in (({}, 200), ({"scopes": ["admin"]}, 200), ({"scopes": ["inference"]}, 403)):
        key = make_key(user_id=user["id"], **fields)["key"]
        with shared_gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
            assert client.get("/admin/api-keys").status_code == status


def test_every_process_follows(shared_gateway: Gateway, admin: httpx.Client, make_key: Make, tmp_path: Path) -> None:
    """New, narrowed, blocked, rotated, revoked: another process does the same within seconds, and new keys at once."""
    with run_gateway(prepare(shared_gateway.database_url, tmp_path / "other")) as other:
        key = make_key()
        assert ask(other, key["key"]).status_code == 200
        steps: list[tuple[dict[str, Any], int]] = [
            ({"routes": []}, 403),
            ({"routes": None}, 200),
            ({"blocked": True}, 401),
            ({"blocked": False}, 200),
        ]
        for fields, status in steps:
            put(admin, key, **fields)
            wait_until(lambda: ask(other, key["key"]).status_code, lambda seen, w=status: seen == w, PROMISED_SECONDS)
        new = rotate(admin, key, grace_seconds=2)
        assert ask(other, new["key"]).status_code == 200
        began = time.monotonic()
        wait_until(lambda: ask(other, key["key"]).status_code, lambda seen: seen == 401, PROMISED_SECONDS)
        assert time.monotonic() - began > 1
        admin.delete(f"/admin/users/{key['user_id']}")
        wait_until(lambda: ask(other, new["key"]).status_code, lambda seen: seen == 401, PROMISED_SECONDS)


def test_a_key_comes_with_a_budget(shared_gateway: Gateway, admin: httpx.Client, make_key: Make) -> None:
    """A budget that is set with a key is shown with it, changed and taken away with it; all on record."""
    key = make_key(budget_usd=10.5, budget_period="month")
    path = f"/admin/api-keys/{key['id']}"
    steps: list[tuple[dict[str, Any], Any, Any]] = [
        ({}, 10.5, "month"),
        ({"budget_usd": 0}, 0, "month"),
        ({"budget_period": "day"}, 0, "day"),
        ({"budget_usd": "0.000000000000001", "budget_period": "total"}, 1e-15, "total"),
        ({"budget_usd": None}, None, None),
        ({"budget_usd": 7}, 7, "total"),
    ]
    for fields, amount, period in steps:
        shown = put(admin, key, **fields)
        assert (shown["budget_usd"], shown["budget_period"]) == (amount, period)
        assert admin.get(path).json() == shown
    check_refusal(admin.put(path, json={"budget_usd": None, "budget_period": "day"}), 400, "budget_period")
    live = "SELECT scope, amount_usd, period FROM budgets WHERE ref = %s AND deleted_at IS NULL"
    assert [tuple(line.values()) for line in query(shared_gateway, live, key["id"])] == [("key", 7, "total")]
    noted = "SELECT after ->> 'budget_usd' AS usd FROM audit_log WHERE object_id = %s ORDER BY sequence"
    amounts = [line["usd"] for line in query(shared_gateway, noted, key["id"])]
    assert amounts == ["10.5", "0", "0", "0.000000000000001", None, "7"]


def test_putting_back_what_was_read_changes_nothing(
    shared_gateway: Gateway, admin: httpx.Client, make_key: Make
) -> None:
    """The fields of a key, sent as they were read, change nothing and leave no line in the audit log."""
    key = make_key(models=["b", "a"], tags=["y", "x"], budget_usd=1, expires_at="2099-01-01T00:00:00Z")
    before = admin.get(f"/admin/api-keys/{key['id']}").json()
    own = {"id", "user_id", "public_id", "previous_public_id", "previous_until", "created_at", "updated_at"}
    assert put(admin, key, **{name: value for name, value in before.items() if name not in own}) == before
    lines = query(shared_gateway, "SELECT action FROM audit_log WHERE object_id = %s", key["id"])
    assert [line["action"] for line in lines] == ["api_key.create"]


def test_no_key_outlives_its_user(shared_gateway: Gateway, admin: httpx.Client, make_user: Make) -> None:
    """Keys that are made while their user is deleted are either refused or revoked with the others."""
    user = make_user()

    def make(number: int) -> httpx.Response:
        headers = {"authorization": f"Bearer {shared_gateway.admin_key}"}
        with shared_gateway.client(headers=headers) as client:
            if number == 4:
                return client.delete(f"/admin/users/{user['id']}")
            return client.post("/admin/api-keys", json={"user_id": user["id"]})

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(make, range(12)))
    assert {reply.status_code for reply in replies} <= {201, 204, 400}
    assert admin.get("/admin/api-keys", params={"user_id": user["id"]}).json()["total"] == 0
    for reply in replies:
        if reply.status_code == 201:
            assert ask(shared_gateway, reply.json()["key"]).status_code == 401
