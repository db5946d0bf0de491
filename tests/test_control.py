"""What all control routes have in common: bodies are read strictly, and whatever does not fit is named."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.support import query
from tests.gateway_process import Gateway

JSON = {"content-type": "application/json"}


@pytest.fixture
def admin(shared_gateway: Gateway) -> Iterator[httpx.Client]:
    with shared_gateway.client(headers={"authorization": f"Bearer {shared_gateway.admin_key}"}) as client:
        yield client


def refuse(reply: httpx.Response, param: str | None) -> None:
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param, reply.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"rpm": "60"}, "rpm"),
        ({"rpm": 60.0}, "rpm"),
        ({"rpm": True}, "rpm"),
        ({"blocked": "true"}, "blocked"),
        ({"blocked": 1}, "blocked"),
        ({"models": "null"}, "models"),
        ({"name": 5}, "name"),
        ({"budget_usd": True}, "budget_usd"),
        ({"organization_id": 5}, "organization_id"),
        ({"max_budget": 5}, "max_budget"),
        ({"a.b": 5}, "a.b"),
        ({"`$.x`": 5}, "`$.x`"),
        ({"tags": 5}, "tags"),
    ],
    ids=str,
)
def test_a_wrong_type_or_name_is_a_refusal(admin: httpx.Client, fields: dict[str, Any], param: str) -> None:
    """Nothing is turned into another type: a field of the wrong type, or that is unknown, is a 400 that names it."""
    refuse(admin.post("/admin/users", json={"email": "strict@example.org", **fields}), param)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/admin/users", {}, "email"),
        ("/admin/api-keys", {}, "user_id"),
        ("/admin/budgets", {"scope": "tag", "ref": "a", "period": "day"}, "amount_usd"),
        ("/admin/prices/rerate", {}, "from"),
    ],
)
def test_a_missing_field_is_named(admin: httpx.Client, path: str, body: dict[str, Any], param: str) -> None:
    """A field that has to be there and is not is a 400 that names it."""
    refuse(admin.post(path, json=body), param)


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"nope": {}}, "nope"),
        ({"cache": {"nope": 1}}, "cache.nope"),
        ({"cache": {"default_ttl": "60"}}, "cache.default_ttl"),
        ({"providers": {"a": {}}}, "providers[...].type"),
        ({"providers": {"a\n": {"type": "openai"}}}, "providers"),
        ({"providers": {"a": {"type": "openai", "base_url": "http://x/\0"}}}, "providers[...].base_url"),
        ({"providers": {"a": {"type": "openai", "base_url": "http://x\n"}}}, "providers[...].base_url"),
        ({"models": {"a\0": {"targets": [{"provider": "mock", "model": "echo"}]}}}, "models"),
        ({"models": {"a": {"targets": [{"provider": "mock", "model": "echo\n"}]}}}, "models[...].targets[0].model"),
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_is_named(admin: httpx.Client, config: Any, param: str) -> None:
    """Of the configuration as well, and text that the database cannot hold is refused before it is asked to."""
    before = admin.get("/v1/config").json()
    refuse(admin.put("/v1/config", json=config), param)
    assert admin.get("/v1/config").json() == before


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{", b'{"email":"\xff"}'])
def test_what_is_no_object_names_nothing(admin: httpx.Client, content: bytes) -> None:
    """A body that is no JSON object is a 400 without a field: there is none."""
    refuse(admin.put("/v1/config", content=content, headers=JSON), None)


@pytest.mark.parametrize("amount", ["1e400", "1e-400", "12345678.1234567890123456"])
def test_money_is_read_digit_by_digit(admin: httpx.Client, amount: str) -> None:
    """An amount that is too large, or finer than what is kept, is refused; no float comes between that rounds it."""
    content = f'{{"email":"money@example.org","budget_usd":{amount}}}'
    refuse(admin.post("/admin/users", content=content, headers=JSON), "budget_usd")


def test_money_keeps_its_digits(admin: httpx.Client) -> None:
    """All digits that are kept come back as they were sent."""
    content = '{"scope":"tag","ref":"digits","period":"day","amount_usd":12345678.123456789012345}'
    reply = admin.post("/admin/budgets", content=content, headers=JSON)
    assert reply.status_code == 201
    assert '"amount_usd":12345678.123456789012345,' in reply.text


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/admin/users?emial=a@example.org", "emial"),
        ("/admin/api-keys?userid=5", "userid"),
        ("/admin/budgets?whose=tag", "whose"),
        ("/admin/audit?who=me", "who"),
        ("/admin/audit?wanted=me", "wanted"),
        ("/admin/prices?control=1", "control"),
        ("/v1/config/providers?limit=1", "limit"),
        ("/v1/analytics/usage?group=model", "group"),
    ],
)
def test_an_unknown_parameter_is_named(admin: httpx.Client, path: str, param: str) -> None:
    """A filter that is misspelt does not let everything through: it is a 400 that names it."""
    refuse(admin.get(path), param)


def test_a_misspelt_instant_ends_no_price(shared_gateway: Gateway, admin: httpx.Client) -> None:
    """A price is not ended for all of its time because the parameter that was to spare the past is misspelt."""
    price = {"provider": "mock", "model": "spelt", "token_class": "input_tokens", "usd_per_million": 1}
    made = admin.put("/admin/prices", json=price).json()
    refuse(admin.delete(f"/admin/prices/{made['id']}?valid_til=2030-01-01T00:00:00Z"), "valid_til")
    assert admin.get("/admin/prices", params={"model": "spelt"}).json()["total"] == 1


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "2020-01-01T00:00:00Z"])
def test_instants_that_no_calendar_has_are_named(shared_gateway: Gateway, admin: httpx.Client, at: str) -> None:
    """An instant outside of the years that can be stored, or in the past, is a 400 that names it."""
    (user,) = query(shared_gateway, "SELECT id::text FROM users WHERE email = 'admin@localhost'")
    refuse(admin.post("/admin/api-keys", json={"user_id": user["id"], "expires_at": at}), "expires_at")
    budget = {"scope": "tag", "ref": "a", "period": "day", "amount_usd": 1, "override_usd": 2, "override_until": at}
    refuse(admin.post("/admin/budgets", json=budget), "override_until")


def test_the_last_instant_is_one(shared_gateway: Gateway, admin: httpx.Client) -> None:
    """The last second of the year 9999 is a way to say never."""
    (user,) = query(shared_gateway, "SELECT id::text FROM users WHERE email = 'admin@localhost'")
    made = admin.post("/admin/api-keys", json={"user_id": user["id"], "expires_at": "9999-12-31T23:59:59Z"})
    assert made.json()["expires_at"] == "9999-12-31T23:59:59Z"
