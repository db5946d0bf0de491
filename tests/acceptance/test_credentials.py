"""Who may call: every place a key can be in, keys that are no good, and a caller's own provider key."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.support import chat, fresh, make_key, message, query, row_of, send_path, wait_until

PLACES = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "x-relay-api-key"]
HOUSE_KEYS = ("sk-openai-of-the-house", "sk-ant-of-the-house")


def post(gateway, headers, body=None, path="/v1/chat/completions"):
    content = json.dumps(body or chat(fresh(), "gpt-4o")).encode()
    return send_path(gateway, "POST", path, content, key="", **headers)


def value_in(place, key):
    return f"Bearer {key}" if place == "authorization" else key


@pytest.mark.parametrize("place", PLACES)
def test_every_place(vendors, provider, place):
    """A key is accepted in every header clients use, in any case; what goes up is the provider's own credential."""
    assert post(vendors, {place.upper(): value_in(place, vendors.key)}).status == 200
    arrived = provider.last()
    assert arrived.headers["authorization"] == "Bearer sk-openai-of-the-house"
    assert vendors.key not in str(arrived.headers)
    assert {"x-api-key", "api-key", "x-goog-api-key", "x-relay-api-key"}.isdisjoint(arrived.names)


def test_messages_get_the_key_in_anthropics_way(vendors, provider):
    """Anthropic's credential goes up as `x-api-key`, whichever way the client sent ours."""
    body = message(fresh(), "claude-opus-4-5")
    assert post(vendors, {"authorization": f"Bearer {vendors.key}"}, body, "/v1/messages").status == 200
    arrived = provider.last()
    assert arrived.headers["x-api-key"] == "sk-ant-of-the-house"
    assert "authorization" not in arrived.names


@pytest.mark.parametrize(("first", "second"), [(a, b) for i, a in enumerate(PLACES[:4]) for b in PLACES[i + 1 : 4]])
def test_order(vendors, first, second):
    """Of several credentials the first place in the order counts: bearer, x-api-key, api-key, x-goog-api-key."""
    good, bad = vendors.key, "rk-wrong"
    assert post(vendors, {first: value_in(first, good), second: value_in(second, bad)}).status == 200
    assert post(vendors, {first: value_in(first, bad), second: value_in(second, good)}).status == 401


def test_same_key_twice(vendors, provider):
    """Claude Code sends one key in two headers; neither goes up."""
    body = message(fresh(), "claude-opus-4-5")
    headers = {"authorization": f"Bearer {vendors.key}", "x-api-key": vendors.key}
    assert post(vendors, headers, body, "/v1/messages").status == 200
    assert vendors.key not in str(provider.last().headers)


def test_our_own_header_wins(vendors, provider):
    """With `x-relay-api-key` the usual header is the caller's own: it goes up as it is, and ours does not."""
    headers = {"x-relay-api-key": vendors.key, "authorization": "Bearer sk-of-the-caller"}
    assert post(vendors, headers).status == 200
    arrived = provider.last()
    assert arrived.headers["authorization"] == "Bearer sk-of-the-caller"
    assert vendors.key not in str(arrived.headers)


def test_a_subscription_token_goes_up(vendors, provider):
    """A Claude subscription's bearer token goes up as bearer, with no key of the house beside it."""
    headers = {"x-relay-api-key": vendors.key, "authorization": "Bearer sk-ant-oat01-abc"}
    assert post(vendors, headers, message(fresh(), "claude-opus-4-5"), "/v1/messages").status == 200
    arrived = provider.last()
    assert arrived.headers["authorization"] == "Bearer sk-ant-oat01-abc"
    assert "x-api-key" not in arrived.names


def test_our_own_header_wins_even_when_bad(vendors):
    """A bad key in `x-relay-api-key` is not made good by another header."""
    headers = {"x-relay-api-key": "rk-wrong", "authorization": f"Bearer {vendors.key}"}
    assert post(vendors, headers).status == 401


@pytest.mark.parametrize("same", [True, False])
def test_gateway_keys_never_go_up(vendors, provider, same):
    """A gateway key beside `x-relay-api-key` is no provider credential: it stays here, also when it is another one."""
    other = vendors.key if same else make_key(vendors, "other@example.org")
    headers = {"x-relay-api-key": vendors.key, "authorization": f"Bearer {other}", "x-api-key": other}
    assert post(vendors, headers).status == 200
    arrived = provider.last()
    assert other not in str(arrived.headers)
    assert arrived.headers["authorization"] == "Bearer sk-openai-of-the-house"


@pytest.mark.parametrize(
    ("path", "body", "line"),
    [
        ("/v1/chat/completions", chat("hi", "gpt-4o"), ("authorization", "Bearer sk-mine")),
        ("/v1/messages", message("hi", "claude-opus-4-5"), ("x-api-key", "sk-mine")),
    ],
)
def test_upstream_key(vendors, provider, path, body, line):
    """`x-relay-upstream-key` goes up in the dialect's way, in place of the provider's configured key."""
    headers = {"authorization": f"Bearer {vendors.key}", "x-relay-upstream-key": "sk-mine"}
    assert post(vendors, headers, body, path).status == 200
    arrived = provider.last()
    assert arrived.headers[line[0]] == line[1]
    assert not any(key in str(arrived.headers) for key in (*HOUSE_KEYS, vendors.key))


def test_a_callers_own_bad_key_is_a_401(vendors):
    """A provider's 401 about the caller's own key is the caller's to see, in the provider's words."""
    headers = {"x-relay-api-key": vendors.key, "authorization": "Bearer bad-key"}
    reply = post(vendors, headers)
    assert reply.status == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"


def test_the_houses_bad_key_is_a_502(vendors):
    """A provider's 401 about the gateway's own key is a 502 without the provider's text, which may quote the key."""
    body = chat(fresh("[[mock status=401]]"), "gpt-4o")
    reply = post(vendors, {"authorization": f"Bearer {vendors.key}"}, body)
    assert reply.status == 502
    assert reply.json()["error"]["code"] == "upstream_credentials_exhausted"
    assert b"sk-" not in reply.body


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer rk-wrong"},
        {"authorization": "Bearer sk-1234"},
        {"authorization": "Bearer " + "x" * 5000},
        {"authorization": "Bearer \xff\xfe"},
        {"x-api-key": "rk-000000000000-" + "0" * 38},
        {"x-api-key": " "},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/files", "/v1/nowhere/at/all"])
def test_no_good(vendors, provider, headers, path):
    """No key, a malformed one or an unknown one is a 401 in the dialect on every path, and nothing goes up."""
    reply = post(vendors, headers, path=path)
    assert reply.status == 401
    error = reply.json()["error"]
    assert error["type"] == "authentication_error"
    assert ("code" in error) is (path != "/v1/messages")
    assert provider.count() == 0


def test_expired(vendors):
    """An expired key is a 401."""
    key = make_key(vendors, "late@example.org", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert post(vendors, {"x-api-key": key}).status == 401


def test_a_key_expires_while_in_use(vendors):
    """A key works until its time is over, and no longer."""
    key = make_key(vendors, "short@example.org", expires_at=datetime.now(UTC) + timedelta(seconds=1))
    assert post(vendors, {"x-api-key": key}).status == 200
    wait_until(lambda: post(vendors, {"x-api-key": key}).status, lambda status: status == 401)


def test_revoked(vendors):
    """A revoked key, and the key of a deleted user, is a 401 within moments."""
    for number, statement in enumerate(
        (
            "UPDATE api_keys SET revoked_at = now() FROM users u WHERE u.id = user_id AND u.email = %s",
            "UPDATE users SET deleted_at = now() WHERE email = %s",
        )
    ):
        email = f"gone{number}@example.org"
        key = make_key(vendors, email)
        assert post(vendors, {"x-api-key": key}).status == 200
        query(vendors, statement, email)
        wait_until(lambda key=key: post(vendors, {"x-api-key": key}).status, lambda status: status == 401, 5)


def test_admin_key(vendors):
    """The admin key works on model routes."""
    assert post(vendors, {"authorization": f"Bearer {vendors.admin_key}"}).status == 200


@pytest.mark.parametrize(
    ("model", "path", "status"),
    [
        ("gpt-4o", "/v1/chat/completions", 200),
        ("openai/gpt-4o", "/v1/chat/completions", 200),
        ("gpt-4o", "/v1/openai/chat/completions", 200),
        ("openai/o3", "/v1/chat/completions", 200),
        ("o3", "/v1/chat/completions", 200),
        ("gpt-4o-mini", "/v1/chat/completions", 403),
        ("openai/gpt-4o-mini", "/v1/chat/completions", 403),
        ("claude-opus-4-5", "/v1/messages", 403),
        (None, "/v1/openai/chat/completions", 403),
        ("gpt-4o", "/v1/audio/speech", 200),
        ("tts-1", "/v1/audio/speech", 403),
    ],
)
def test_restricted_keys(vendors, provider, model, path, status):
    """A key that is held to models is a 403 with every other one, and with calls that name none."""
    key = make_key(vendors, "held@example.org", models=("gpt-4o", "openai/o3"))
    body = chat(fresh(), model) if "messages" not in path else message(fresh(), model)
    if model is None:
        del body["model"]
    if "audio" in path:
        provider.answer_next(b"{}")
    headers = {"x-api-key": key, "content-type": "application/json"}
    reply = post(vendors, headers, body, path)
    assert reply.status == status, reply.body
    if status == 403:
        assert reply.json()["error"]["type"] == "permission_error"
        assert provider.count() == 0


def test_a_refusal_is_recorded(vendors):
    """A 401 has its row, with no user."""
    with vendors.client(headers={"authorization": "Bearer rk-wrong"}) as client:
        row = row_of(vendors, client.post("/v1/messages", json=message("hi")))
    assert (row["status_code"], row["error_type"], row["user_id"]) == (401, "invalid_api_key", None)
