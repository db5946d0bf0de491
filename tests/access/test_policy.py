"""Every route and every kind of caller, over HTTP, against the table; and that nothing gets round it."""

import itertools
import re
import runpy
import socket
import urllib.parse
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from litestar import Litestar, get, websocket
from litestar.connection import WebSocket

from app.access import policy as table
from app.access.guards import UndeclaredRouteError, check_declared
from app.access.keys import make_key as make_unknown_key
from app.access.policy import (
    ADMIN,
    CALLS,
    HELLO,
    PUBLIC,
    TRAFFIC,
    Policy,
    find_nearest_policy,
    find_policy,
    get_traffic_policy,
    list_rules,
)
from app.access.types import SCOPES
from app.main import create_app
from tests.acceptance.support import make_key
from tests.gateway_process import Gateway

ROOT = Path(__file__).parents[2]
RULES = sorted({(method, path) for method, path, _ in list_rules()})
STRANGERS = ("no key", "malformed", "unknown", "expired", "revoked", "blocked")
SAMPLES = {"name": "nobody", "asset": "index.html"}

MODEL_TRAFFIC = [
    ("GET", "/", HELLO),
    ("HEAD", "/", HELLO),
    ("GET", "/v1/models", get_traffic_policy("models")),
    ("GET", "/v1/models/mock/echo", get_traffic_policy("models")),
    ("POST", "/v1/chat/completions", get_traffic_policy("chat")),
    ("POST", "/v1/messages", get_traffic_policy("messages")),
    ("POST", "/v1/messages/count_tokens", get_traffic_policy("messages")),
    ("POST", "/anthropic/v1/messages", get_traffic_policy("messages")),
    ("POST", "/v1/embeddings", get_traffic_policy("embeddings")),
    ("POST", "/v1/responses", get_traffic_policy("responses")),
    ("GET", "/v1/openai/files", get_traffic_policy("files")),
    ("GET", "/v1/openai/batches", get_traffic_policy("batches")),
    ("GET", "/v1/messages/batches", get_traffic_policy("batches")),
    ("GET", "/anthropic/v1/messages/batches/msgbatch_1/results", get_traffic_policy("batches")),
    ("POST", "/v1/openai/audio/speech", get_traffic_policy("audio")),
    ("GET", "/nowhere/at/all", get_traffic_policy("nowhere")),
]


def principals() -> list[str]:
    held = ["user with inference", "user with analytics", "user with batch", "user with admin"]
    return [*STRANGERS, "user", "admin", "built-in admin", *held, "admin with inference", "admin with admin"]


def may(policy: Policy, principal: str) -> bool:
    """Return what the table promises, said once more in other words."""
    if policy.kind == "public":
        return True
    role, _, scope = principal.partition(" with ")
    if policy.kind == "admin":
        return principal in {"admin", "built-in admin", "admin with admin"}
    return role in {"user", "admin", "built-in admin"} and (not scope or not policy.scopes or scope in policy.scopes)


def expected_refusal(principal: str) -> int:
    return 401 if principal in STRANGERS else 403


@pytest.fixture(scope="module")
def keys(shared_gateway: Gateway) -> dict[str, str | None]:
    """A key for every principal."""
    found: dict[str, str | None] = {"no key": None, "malformed": "rk-wrong", "unknown": make_unknown_key()}
    found["built-in admin"] = shared_gateway.admin_key
    with psycopg.connect(shared_gateway.database_url, autocommit=True) as connection:
        for name in principals():
            if name in found:
                continue
            key = found[name] = make_key(shared_gateway, f"{name.replace(' ', '.')}@example.org")
            public_id = key.split("-")[1]
            role, _, scope = name.partition(" with ")
            connection.execute(
                "UPDATE users SET role = %s FROM api_keys k WHERE k.user_id = users.id AND k.public_id = %s",
                ("admin" if role == "admin" else "user", public_id),
            )
            connection.execute(
                """UPDATE api_keys SET scopes = %(scopes)s, blocked = %(name)s = 'blocked',
                   revoked_at = CASE WHEN %(name)s = 'revoked' THEN now() END,
                   expires_at = CASE WHEN %(name)s = 'expired' THEN now() - interval '1 second' END
                   WHERE public_id = %(public_id)s""",
                {"scopes": [scope] if scope else None, "name": name, "public_id": public_id},
            )
    shared_gateway.run(shared_gateway.parts.directory._refresh)
    return found


@pytest.fixture(scope="module")
def client(shared_gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared_gateway.url, timeout=30, trust_env=False) as client:
        yield client


def ask(client: httpx.Client, method: str, path: str, key: str | None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    body = {"json": {}} if method in {"POST", "PUT", "PATCH"} else {}
    return client.request(method, path, headers=headers, **body)


def fill(template: str) -> str:
    return re.sub(r"{(\w+)}", lambda found: SAMPLES.get(found[1], str(uuid4())), template)


def check_cell(client: httpx.Client, method: str, path: str, policy: Policy, principal: tuple[str, str | None]) -> None:
    name, key = principal
    status = ask(client, method, path, key).status_code
    if may(policy, name):
        assert status not in {401, 403}, (method, path, name, status)
        assert status < 500, (method, path, name, status)
    else:
        assert status == expected_refusal(name), (method, path, name, status)


@pytest.mark.parametrize(("method", "template"), RULES, ids=lambda one: one)
def test_every_control_route_lets_in_whom_the_table_says(client, keys, method, template):
    """Each cell of routes by principals answers as declared: 401 to strangers, 403 without the right, else neither."""
    policy = find_policy(method, template)
    for principal in keys.items():
        check_cell(client, method, fill(template), policy, principal)


@pytest.mark.parametrize(("method", "path", "policy"), MODEL_TRAFFIC, ids=str)
def test_model_traffic_lets_in_whom_the_table_says(client, keys, method, path, policy):
    """Model traffic is held to the scopes of its class, unknown paths included: 403 comes before 404."""
    for principal in keys.items():
        if may(policy, principal[0]) and "openai" in path:
            continue  # without a provider of that name the rest is not about rights
        check_cell(client, method, path, policy, principal)


@pytest.mark.parametrize("template", sorted({path for _, path in RULES}))
def test_to_ask_for_methods_takes_what_the_route_takes(client, keys, template):
    """OPTIONS and methods that a route has not are refused to whom the route is: a 405 is for those who may."""
    allowed = {method for method, path in RULES if path == template}
    policy = find_policy("OPTIONS", template)
    for method, principal in itertools.product(({"OPTIONS", "PATCH", "HEAD", "TRACE"} - allowed), keys.items()):
        name, key = principal
        status = ask(client, method, fill(template), key).status_code
        if name in STRANGERS and (policy.kind != "public" or method != "OPTIONS"):
            assert status == 401, (method, name)
        elif not may(policy, name):
            assert status == 403, (method, name)
        else:
            assert status == (204 if method == "OPTIONS" else 405), (method, name)


def test_what_is_not_there_is_hidden_below_closed_places(client, keys):
    """Below /admin a path that is none is 401 to strangers, 403 to users and 404 to administrators only."""
    for name, key in keys.items():
        status = ask(client, "GET", "/admin/nothing/here", key).status_code
        assert status == (404 if may(ADMIN, name) else expected_refusal(name)), name
        status = ask(client, "GET", "/v1/config/nothing/here", key).status_code
        assert status == (401 if name in STRANGERS else 404), name


TRICKS = [
    "//v1/config",
    "/v1//config",
    "/v1/config/",
    "/v1/config//",
    "/./v1/config",
    "/v1/./config",
    "/v1/config/.",
    "/docs/../v1/config",
    "/health/..%2fv1/config",
    "/%76%31/config",
    "/v1%2fconfig",
    "/v1/%63onfig",
    "/v1%2Fconfig%2Fproviders",
    "/v1/config;a=b",
    "/v1;a/config",
    "/v1/config%3bx",
    "/v1/config%00",
    "/v1/config%20",
    "/V1/CONFIG",
    "/v1/Config",
    "/v1/config?x=/health",
    "/v1/config#/health",
    "/v1/config/providers/%2e%2e",
    "/admin/audit/",
    "//admin//audit",
    "/admin%2faudit",
    "/Admin/audit",
    "/admin;/audit",
    "/health/%2e%2e/admin/audit",
    "/openai/../admin/audit",
    "/v1/openai/../../admin/audit",
    "/v1/v1/config",
    "/mock/v1/config",
    "/v1/mock/../config",
    "http://127.0.0.1/v1/config",
    "http://admin.example/admin/audit",
    "https://x@y/v1/config",
]
LINES = [
    "",
    "X-Forwarded-For: 127.0.0.1\r\n",
    "X-Forwarded-Prefix: /health\r\nX-Forwarded-Path: /health\r\n",
    "X-Original-URL: /health\r\nX-Rewrite-URL: /health\r\n",
    "X-Forwarded-Host: admin.example\r\nX-Forwarded-Proto: https\r\n",
    "X-HTTP-Method-Override: HEAD\r\n",
    "Forwarded: for=127.0.0.1;host=localhost\r\n",
]
SECRETS = (b'"providers"', b'"audit"', b'"version"')


def send_raw(gateway: Gateway, method: str, target: str, lines: str) -> tuple[int, bytes]:
    """Return status and body of a request whose target goes out as it is written."""
    address = urllib.parse.urlsplit(gateway.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode("latin-1"))
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


@pytest.mark.parametrize("target", TRICKS)
def test_no_way_of_writing_a_path_changes_the_rule(shared_gateway, keys, target):
    """However path, host and forwarding headers are written, who may not read the configuration or the log does not."""
    hosts = ("Host: 127.0.0.1\r\n", "Host: localhost:1\r\n", "Host: admin.example\r\n")
    cells = [*itertools.product(("no key", "user"), LINES, hosts[:1]), *itertools.product(("user",), [""], hosts)]
    cells += itertools.product(("malformed", "expired", "admin with inference"), [""], hosts[:1])
    for name, line, host in cells:
        credential = f"Authorization: Bearer {keys[name]}\r\n" if keys[name] else ""
        status, body = send_raw(shared_gateway, "GET", target, host + line + credential)
        assert not any(secret in body for secret in SECRETS), (target, name, line)
        assert 400 <= status < 500, (target, name, line, status)


def test_the_right_key_reads_what_the_tricks_aim_at(client, shared_gateway):
    """The targets of the tricks are there: with the admin key their bodies hold what the test before looks for."""
    for path, secret in (("/v1/config", SECRETS[0]), ("/admin/audit", SECRETS[1]), ("/v1/config", SECRETS[2])):
        assert secret in ask(client, "GET", path, shared_gateway.admin_key).content


@get("/v1/config/secret-door")
async def undeclared() -> str:
    return "open"


@websocket("/livez")
async def undeclared_socket(socket: WebSocket) -> None:
    await socket.close()


@pytest.mark.parametrize("handler", [undeclared, undeclared_socket])
def test_a_route_without_a_policy_does_not_start(shared_gateway, monkeypatch, handler):
    """An application with a route that the table does not know refuses to be made, naming it."""
    monkeypatch.setattr("app.main.DOCS_HANDLERS", [handler])
    with pytest.raises(UndeclaredRouteError, match="is a route without a policy"):
        create_app(shared_gateway.settings)


def test_a_policy_without_a_route_does_not_start():
    """A line of the table that no route has any more stops a start as well."""
    with pytest.raises(UndeclaredRouteError, match="GET /v1/config has a policy and is no route"):
        check_declared(Litestar(openapi_config=None).routes)


def test_an_undeclared_route_is_closed_even_so(shared_gateway):
    """Should the check at the start ever miss a route, there is no policy that would let anybody in."""
    assert find_policy("GET", "/v1/config/secret-door") is None
    assert find_policy("OPTIONS", "/v1/config/secret-door") is None


def test_who_may_is_never_read_off_the_address():
    """The code that decides reads neither the request's URL nor what proxies and clients say about host or path."""
    for name in ("policy", "guards", "credentials", "directory", "rights"):
        text = (ROOT / "app" / "access" / f"{name}.py").read_text().lower()
        assert not re.search(
            r"\.url\b|base_url|raw_path|root_path|forwarded|\bhost\b|original-url|rewrite-url", text
        ), name


def test_every_scope_and_class_is_real():
    """The table names only scopes that keys can have, and knows no class of traffic beside those of the gateway."""
    policies = [*(policy for _, _, policy in list_rules()), *TRAFFIC.values(), CALLS]
    assert {scope for policy in policies for scope in policy.scopes} <= SCOPES
    assert find_nearest_policy("/admin/x") == ADMIN
    assert find_nearest_policy("/health") == PUBLIC
    assert find_nearest_policy("/elsewhere") is None
    assert table.user() == Policy("user")


def test_the_page_is_the_table():
    """docs/access-table.md is what docs/list_access.py prints."""
    printed = StringIO()
    with redirect_stdout(printed):
        runpy.run_path(str(ROOT / "docs" / "list_access.py"))
    assert (ROOT / "docs" / "access-table.md").read_text() == printed.getvalue()
