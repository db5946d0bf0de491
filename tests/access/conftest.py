"""What the tests of the control API share: an administrator's client, and things made with it."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.gateway_process import Gateway

_numbers = itertools.count()

Make = Callable[..., dict[str, Any]]


def fresh(word: str) -> str:
    """Return a name that nothing else of the run has."""
    return f"{word}{next(_numbers)}"


@pytest.fixture
def admin(shared_gateway: Gateway) -> Iterator[httpx.Client]:
    """A client with the administrator's key."""
    with shared_gateway.client(headers={"authorization": f"Bearer {shared_gateway.admin_key}"}) as client:
        yield client


def created(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 201, reply.text
    return reply.json()


@pytest.fixture
def make_user(admin: httpx.Client) -> Make:
    return lambda **fields: created(admin.post("/admin/users", json={"email": f"{fresh('u')}@example.org", **fields}))


@pytest.fixture
def make_key(admin: httpx.Client, make_user: Make) -> Make:
    def make(**fields: Any) -> dict[str, Any]:
        user_id = fields.pop("user_id", None) or make_user()["id"]
        return created(admin.post("/admin/api-keys", json={"user_id": user_id, **fields}))

    return make


@pytest.fixture
def make_team(admin: httpx.Client) -> Make:
    return lambda **fields: created(admin.post("/admin/teams", json={"name": fresh("team"), **fields}))


@pytest.fixture
def make_organization(admin: httpx.Client) -> Make:
    return lambda **fields: created(admin.post("/admin/organizations", json={"name": fresh("org"), **fields}))


def ask(gateway: Gateway, key: str, model: str = "mock/echo", **headers: str) -> httpx.Response:
    """Make a chat call with a key."""
    body = {"model": model, "messages": [{"role": "user", "content": fresh("hello")}]}
    with gateway.client(headers={"authorization": f"Bearer {key}", **headers}) as client:
        return client.post("/v1/chat/completions", json=body)


def check_refusal(reply: httpx.Response, status: int, named: str = "") -> None:
    """Check that a request was refused in OpenAI's shape, naming what is wrong."""
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert named in f"{error['param']} {error['message']} {error['code']}", error
