"""Every base URL that clients are given leads to the same handler, and nothing redirects."""

import json

import pytest

from tests.acceptance.support import chat, fresh, message, send_path

CHAT = [
    "/v1/chat/completions",
    "/chat/completions",
    "/v1/openai/chat/completions",
    "/openai/v1/chat/completions",
    "/v1/openai/v1/chat/completions",
    "/openai/chat/completions",
    "/v1/v1/chat/completions",
    "//v1//chat/completions",
]
MESSAGES = [
    "/v1/messages",
    "/messages",
    "/anthropic/v1/messages",
    "/v1/anthropic/messages",
    "/v1/anthropic/v1/messages",
    "/anthropic/messages",
    "/v1/v1/messages",
]
ENDINGS = ["", "/", "?beta=true", "/?beta=true"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("path", CHAT)
def test_chat_addresses(vendors, provider, path, ending):
    """Every form of the chat address, with a trailing slash or a query, is the provider's one chat path."""
    text = fresh()
    reply = send_path(vendors, "POST", path + ending, json.dumps(chat(text, "gpt-4o")).encode())
    assert reply.status == 200, reply.body
    assert reply.json()["choices"][0]["message"]["content"] == text
    arrived = provider.last()
    assert (arrived.path, arrived.query) == ("/v1/chat/completions", ending.partition("?")[2])


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("path", MESSAGES)
def test_messages_addresses(vendors, provider, path, ending):
    """Every form of the messages address, with a trailing slash or a query, is the provider's one messages path."""
    text = fresh()
    reply = send_path(vendors, "POST", path + ending, json.dumps(message(text, "claude-opus-4-5")).encode())
    assert reply.status == 200, reply.body
    assert reply.json()["content"][0]["text"] == text
    arrived = provider.last()
    assert (arrived.path, arrived.query) == ("/v1/messages", ending.partition("?")[2])


@pytest.mark.parametrize("prefix", ["/v1", "", "/v1/openai", "/openai/v1", "/openai"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/responses", {"model": "gpt-4o", "input": "hi"}),
        ("/embeddings", {"model": "text-embedding-3-small", "input": "hi"}),
        ("/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "hi"}),
    ],
)
def test_other_openai_addresses(vendors, provider, prefix, path, body):
    """Responses, embeddings and legacy completions are found below every prefix."""
    reply = send_path(vendors, "POST", prefix + path, json.dumps(body | {"user": fresh()}).encode())
    assert reply.status == 200, reply.body
    assert provider.last().path == f"/v1{path}"


@pytest.mark.parametrize("prefix", ["/v1", "", "/v1/anthropic", "/anthropic", "/anthropic/v1", "/v1/anthropic/v1"])
def test_count_tokens_addresses(vendors, provider, prefix):
    """Token counting is found below every prefix."""
    body = {"model": "claude-opus-4-5", "messages": [{"role": "user", "content": "hi"}]}
    reply = send_path(vendors, "POST", f"{prefix}/messages/count_tokens", json.dumps(body).encode())
    assert reply.status == 200, reply.body
    assert provider.last().path == "/v1/messages/count_tokens"


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/", "/openai/v1/models", "/v1/models?limit=1000"])
def test_model_list_addresses(vendors, path):
    """The list of models answers at once wherever clients look for it: a redirect counts as a failure there."""
    reply = send_path(vendors, "GET", path)
    assert reply.status == 200
    assert reply.json()["object"] == "list"


@pytest.mark.parametrize("path", ["/anthropic/v1/models?limit=9", "/anthropic/v1/models", "/v1/anthropic/models"])
def test_model_list_for_anthropic_clients(vendors, provider, path):
    """Below the provider's name a client gets Anthropic's own list, asked for with Anthropic's credential."""
    reply = send_path(vendors, "GET", path, anthropic_version="2023-06-01")
    assert reply.json()["data"][0]["type"] == "model"
    assert provider.last().headers["x-api-key"] == "sk-ant-of-the-house"


def test_encoded_ids_stay_encoded(vendors, provider):
    """Percent-encoded parts of a path go up as they came."""
    send_path(vendors, "GET", "/v1/openai/models/ft%3Agpt-4o%2Fa%20b")
    assert provider.arrivals()[-1].path in {"/v1/models/ft%3Agpt-4o%2Fa%20b", "/v1/models/ft:gpt-4o/a b"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("key", ["", None])
def test_root(vendors, method, key):
    """The root answers probes, with a key or without."""
    reply = send_path(vendors, method, "/", key=key)
    assert reply.status == 200
    assert bool(reply.body) is (method == "GET")


def test_unknown_provider_paths_pass(vendors, provider):
    """A path of a provider that the gateway does not know goes through with its body and its answer."""
    provider.answer_next(b'{"text":"hello"}', headers={"openai-version": "2020-10-01"})
    body = b'{ "model":"whisper-1",  "x": 9007199254740993 }'
    reply = send_path(vendors, "POST", "/v1/audio/something-new", body, content_type="application/json")
    assert (reply.status, reply.body) == (200, b'{"text":"hello"}')
    assert reply.headers["openai-version"] == "2020-10-01"
    arrived = provider.last()
    assert (arrived.path, arrived.body) == ("/v1/audio/something-new", body)


def test_a_redirect_is_not_followed_nor_passed(vendors):
    """A provider's redirect is an error: the client is never sent elsewhere."""
    reply = send_path(vendors, "POST", "/v1/chat/completions", json.dumps(chat("hi", "openai/redirect")).encode())
    assert reply.status == 502
    assert "location" not in reply.headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/../admin/users", 404),
        ("/v1/%2e%2e/admin/users", 404),
        ("/v1/models/%2e%2e%2f%2e%2e%2fadmin", 404),
        ("/v1/files/../../mock/stats", 404),
        ("/v1/./models", 404),
        ("/nothing/here", 404),
        ("/v2/chat/completions", 404),
        ("/v1", 404),
        ("/v1/chat/completions/" + "x" * 20_000, 404),
    ],
    ids=lambda value: str(value)[:30],
)
def test_paths_that_lead_nowhere(vendors, provider, path, status):
    """A path that climbs or that is nobody's is a 404 after the key was judged, and a 401 before; none reaches out."""
    reply = send_path(vendors, "GET", path)
    assert reply.status == status
    assert reply.json()["error"]["message"]
    assert send_path(vendors, "GET", path, key="").status == 401
    assert not any(arrived.path.startswith(("/mock", "/admin")) for arrived in provider.arrivals())


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_odd_methods(vendors, method):
    """A method that a path does not take is refused in the dialect, after the key was judged."""
    reply = send_path(vendors, method, "/v1/chat/completions")
    assert 400 <= reply.status < 500
    assert reply.json()["error"]["message"]
    assert send_path(vendors, method, "/v1/chat/completions", key="").status == 401
