"""What clients put into names, tags and bodies, under budgets and limits: no failure of ours, and nothing left."""

import json
import socket
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.acceptance.support import chat, fresh, query
from tests.db.conftest import wait_until
from tests.gateway_process import Gateway

CHAT = "/v1/chat/completions"
LIMITS = {"rpm": 1000, "tpm": 10_000_000, "max_parallel": 5}
CEILING = {"unpriced_input_usd": 1, "unpriced_output_usd": 2}


@pytest.fixture
def limited(gateway: Gateway):
    """A key with a budget and every limit, on a gateway with a ceiling for models without a price."""
    gateway.configure(budgets=CEILING)
    return make_key(gateway, budget_usd=1, **LIMITS)


def make_key(gateway: Gateway, **fields: Any) -> str:
    with gateway.client(headers={"authorization": f"Bearer {gateway.admin_key}"}) as admin:
        user = admin.post("/admin/users", json={"email": f"{fresh('u').replace(' ', '')}@example.org", "role": "user"})
        made = admin.post("/admin/api-keys", json={"user_id": user.json()["id"], "name": "edge", **fields})
        assert made.status_code == 201, made.text
        return made.json()["key"]


def send(gateway: Gateway, key: str, body: bytes, *lines: bytes, path: str = CHAT) -> int:
    """Send bytes as no client library would, and return the status."""
    head = [
        b"POST " + path.encode() + b" HTTP/1.1",
        b"host: x",
        b"content-type: application/json",
        b"x-aihub-cache: bypass",
        b"authorization: Bearer " + key.encode(),
        b"content-length: %d" % len(body),
        b"connection: close",
        *lines,
    ]
    with socket.create_connection(("127.0.0.1", urlsplit(gateway.url).port), timeout=10) as connection:
        connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return int(answer.split()[1])


def read_left(gateway: Gateway) -> tuple[int, int, int]:
    """Return what is left: reservations, calls that count as under way, and rows that were refused."""
    gateway.flush()
    found = query(
        gateway,
        "SELECT (SELECT count(*) FROM reservations) AS held, "
        "(SELECT coalesce(sum(calls), 0) FROM parallel_calls) AS calls",
    )[0]
    return found["held"], int(found["calls"]), gateway.parts.recorder.stats.rejected


def check_nothing_left(gateway: Gateway) -> None:
    wait_until(lambda: read_left(gateway) == (0, 0, 0))
    assert query(gateway, "SELECT * FROM relaycore_ledger_check()") == []


TAGS = [
    b",".join(b"%02d" % n + b"t" * 126 for n in range(32)),
    b"a,a,a,b,b",
    "Überwachung,日本,\"quoted\",'single',{brace},\\backslash,\U0001f600".encode(),
    b"a\x00b",
    b"\xed\xa0\x80",
    b"\xff\xfe",
    b"NULL,{},null",
    b"\t, ,,",
    "a\u2028b,c\u0085d".encode(),
]


def test_tags_of_any_kind(gateway, limited):
    """Whatever stands in x-relay-tags is taken or refused as the client's mistake."""
    for tags in TAGS:
        body = json.dumps(chat(fresh(), max_tokens=10)).encode()
        assert send(gateway, limited, body, b"x-relay-tags: " + tags) in {200, 400}, tags
    check_nothing_left(gateway)


NAMES = [
    "m" * 256,
    "\"'; DROP TABLE budgets; --",
    "\U0001f600" * 64,
    "a\x00b",
    "\ud800",
    "a\nb",
    "{}",
    "%s%(x)s",
    "a/b/c",
]


def test_models_of_any_name(gateway, limited):
    """Whatever the model is called, the answer is the provider's or says what is wrong with the call."""
    for name, path in product(NAMES, (CHAT, "/v1/messages", "/v1/mock/images/generations")):
        body = {"model": f"mock/{name}", "messages": [{"role": "user", "content": fresh()}], "max_tokens": 10}
        status = send(gateway, limited, json.dumps(body).encode(), path=path)
        assert status in {200, 400, 403, 404, 422}, (name, path)
    check_nothing_left(gateway)


ODD = [
    {"max_tokens": 10**30},
    {"max_tokens": -5},
    {"max_tokens": 1.5},
    {"max_tokens": "10"},
    {"max_tokens": True},
    {"n": 10**9, "max_tokens": 10},
    {"n": -1},
    {"n": "x"},
    {"max_tokens": 1e400},
    {"metadata": {"a\x00": "\ud800"}},
    {"user": "\x00"},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,\x00"}}] * 50}]},
    {"messages": None},
    {"messages": [None, 1, "\ud800"]},
    {"tools": [{"type": "function", "function": {"name": "\ud800" * 100}}]},
    {"service_tier": ["priority"]},
    {"stream": "yes"},
    {"max_completion_tokens": 0, "max_tokens": 0},
]


def test_bodies_of_any_kind(gateway, limited):
    """Numbers and texts that make no sense are the provider's to judge, and what is held for them is finite."""
    for fields in ODD:
        body = json.dumps(chat(fresh()) | fields).encode()
        metadata = b'x-relay-metadata: {"a": "\\u0000", "b": "\\ud800"}'
        assert send(gateway, limited, body, metadata) in {200, 400, 402, 404, 422, 429}, fields
    check_nothing_left(gateway)


def test_paths_that_pass_unread_get_all_they_may_need_or_nothing(gateway):
    """The answer of a path that we do not read cannot be cut to what is left: then it is refused."""
    gateway.configure(budgets=CEILING)
    key = make_key(gateway, budget_usd=0.005, max_parallel=5)
    with gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
        refused = client.post("/v1/mock/images/generations", json={"model": "echo", "prompt": "x"})
    assert refused.status_code == 402
    check_nothing_left(gateway)


def test_the_limits_of_the_provider_are_not_shown_to_a_limited_key(gateway):
    """Whoever has limits of his own sees none of those that the provider has for us, be his of calls at a time only."""
    key = make_key(gateway, max_parallel=5)
    with gateway.client(headers={"authorization": f"Bearer {key}", "x-aihub-cache": "bypass"}) as client:
        for path in (CHAT, "/v1/messages"):
            answer: httpx.Response = client.post(path, json=chat(fresh(), max_tokens=5))
            assert answer.status_code == 200
            assert not [name for name in answer.headers if "ratelimit" in name]


def test_the_last_of_several_budgets_decides(gateway):
    """Key, user, model and tag have budgets of one amount: all are charged the same, and refuse together."""
    key = make_key(gateway, budget_usd=1)
    with psycopg.connect(gateway.database_url) as connection:
        for scope, ref, usd in (("model", "mock/echo", "0.0005"), ("tag", "a, b", "1"), ("tag", "b", "1")):
            connection.execute(
                "INSERT INTO budgets (id, scope, ref, amount_usd, period, rolling) "
                "VALUES (gen_random_uuid(), %s, %s, %s, 'day', %s)",
                (scope, ref, usd, scope == "model"),
            )
    wait_until(lambda: gateway.parts.budgets.there_are_any and len(gateway.parts.budgets._budgeted) == 4)
    headers = {"authorization": f"Bearer {key}", "x-aihub-cache": "bypass", "x-relay-tags": "b,b, b"}
    with gateway.client(headers=headers) as client:
        seen = [client.post(CHAT, json=chat(fresh(), max_tokens=50)).status_code for _ in range(20)]
    assert set(seen) == {200, 402}
    check_nothing_left(gateway)
    spent = {
        (row["scope"], row["ref"][:4]): row["spent_usd"]
        for row in query(
            gateway, "SELECT scope, ref, spent_usd FROM budget_counters JOIN budgets b ON b.id = budget_id"
        )
    }
    assert spent[("model", "mock")] == spent[("tag", "b")] <= 1
    assert spent[("tag", "a, b")] == 0
