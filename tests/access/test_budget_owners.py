"""Budgets end with those whose they are."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.acceptance.support import query
from tests.access.conftest import Make, check_refusal, created
from tests.gateway_process import Gateway


def list_refs(admin: httpx.Client, ref: str) -> list[str]:
    """Return the ids of the live budgets of somebody."""
    return [one["id"] for one in admin.get("/admin/budgets", params={"ref": ref}).json()["budgets"]]


def add(admin: httpx.Client, scope: str, ref: str, **fields: Any) -> str:
    body = {"scope": scope, "ref": ref, "amount_usd": 5, "period": "day", **fields}
    return created(admin.post("/admin/budgets", json=body))["id"]


@pytest.mark.parametrize(
    ("scope", "path"),
    [("user", "users"), ("key", "api-keys"), ("team", "teams"), ("organization", "organizations")],
)
def test_budgets_end_with_their_owner(
    shared_gateway: Gateway, admin: httpx.Client, request: pytest.FixtureRequest, scope: str, path: str
) -> None:
    """Deleting somebody deletes all their budgets, each with a line in the audit log, and nobody else's."""
    make: Callable[..., dict[str, Any]] = request.getfixturevalue(f"make_{scope}")
    gone, stays = make()["id"], make()["id"]
    ended = {add(admin, scope, gone), add(admin, scope, gone, rolling=True, period="week")}
    kept = add(admin, scope, stays)
    assert set(list_refs(admin, gone)) == ended
    assert admin.delete(f"/admin/{path}/{gone}").status_code == 204
    assert list_refs(admin, gone) == []
    assert list_refs(admin, stays) == [kept]
    for budget_id in ended:
        check_refusal(admin.get(f"/admin/budgets/{budget_id}"), 404)
        lines = query(shared_gateway, "SELECT action FROM audit_log WHERE object_id = %s ORDER BY sequence", budget_id)
        assert [line["action"] for line in lines] == ["budget.create", "budget.delete"]


def test_budgets_of_a_users_keys_end_as_well(admin: httpx.Client, make_user: Make, make_key: Make) -> None:
    """Deleting a user revokes their keys, and the budgets of these, those that came with them too, end with them."""
    user = make_user(budget_usd=5)
    key = make_key(user_id=user["id"], budget_usd=3)
    assert len(list_refs(admin, user["id"]) + list_refs(admin, key["id"])) == 2
    assert admin.delete(f"/admin/users/{user['id']}").status_code == 204
    assert list_refs(admin, user["id"]) + list_refs(admin, key["id"]) == []
