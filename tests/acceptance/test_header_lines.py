"""Which header lines reach the provider and which come back to the client."""

import json

import pytest

from tests.acceptance.support import chat, fresh, message, send_path

SECRETIVE = {
    "x-relay-tags": "a,b",
    "x-relay-metadata": '{"a":1}',
    "x-relay-timeout": "20",
    "x-relay-anything": "1",
    "X-AIHub-Cache": "use",
    "X-AIHub-Cache-TTL": "60",
    "x-aihub-anything": "1",
    "x-stainless-lang": "python",
    "X-Stainless-Retry-Count": "0",
    "cookie": "session=1",
    "x-forwarded-for": "10.0.0.1",
    "X-Forwarded-Host": "inside.example.org",
    "forwarded": "for=10.0.0.1",
    "x-real-ip": "10.0.0.1",
    "via": "1.1 proxy",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=1",
    "x-request-id": "mine-1",
    "x-claude-code-session-id": "s1",
    "x-litellm-tags": "a",
    "origin": "https://inside.example.org",
    "sec-fetch-mode": "cors",
    "te": "trailers",
    "proxy-authorization": "Basic abc",
}
WELCOME = {
    "OpenAI-Organization": "org-1",
    "openai-project": "proj-1",
    "openai-beta": "assistants=v2",
    "anthropic-beta": "a-2025-01-01,b-unheard-of",
    "anthropic-version": "2023-01-01",
    "anthropic-dangerous-direct-browser-access": "true",
    "user-agent": "test/1",
    "accept": "application/json",
    "http-referer": "https://example.org",
    "x-title": "An app",
    "x-unknown": "passes",
    "content-type": "application/json",
}


def post(gateway, path, body, **headers):
    return send_path(gateway, "POST", path, json.dumps(body).encode(), **headers)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat("hi", "gpt-4o")),
        ("/v1/messages", message("hi", "claude-opus-4-5")),
        ("/v1/audio/other", {"model": "gpt-4o"}),
    ],
)
def test_what_goes_up(vendors, provider, path, body):
    """What is ours, the connection's, or tells about our house stays here; the provider's own headers go verbatim."""
    if "audio" in path:
        provider.answer_next(b"{}")
    assert post(vendors, path, body | {"user": fresh()}, **SECRETIVE, **WELCOME).status == 200
    arrived = provider.last()
    kept_back = {name.lower() for name in SECRETIVE}
    assert kept_back.isdisjoint(arrived.names)
    assert not [name for name in arrived.names if name.startswith(("x-relay", "x-aihub", "x-stainless", "sec-"))]
    assert {name: arrived.headers.get(name) for name in map(str.lower, WELCOME)} == {
        name.lower(): value for name, value in WELCOME.items()
    }
    assert "gateway" not in arrived.headers["host"]
    assert vendors.key not in str(arrived.headers)


def test_anthropic_version_default(vendors, provider):
    """A Messages call without `anthropic-version` goes up with the usual one, once."""
    assert post(vendors, "/v1/messages", message(fresh(), "claude-opus-4-5")).status == 200
    assert [name for name in provider.last().names if name == "anthropic-version"] == ["anthropic-version"]
    assert provider.last().headers["anthropic-version"] == "2023-06-01"


def test_no_anthropic_version_for_openai(vendors, provider):
    """A chat call carries no header of the other vendor."""
    assert post(vendors, "/v1/chat/completions", chat(fresh(), "gpt-4o")).status == 200
    assert not [name for name in provider.last().names if name.startswith("anthropic")]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [200, 400])
def test_what_comes_back(vendors, provider, streamed, status):
    """Cookies, servers and organisations stay here; rate limits, retry hints and versions come back."""
    lines = {
        "set-cookie": "a=1",
        "openai-organization": "org-of-the-house",
        "anthropic-organization-id": "org-1",
        "server": "nginx",
        "x-served-by": "host-7",
        "cf-ray": "1",
        "x-request-id": "theirs",
        "location": "https://elsewhere.example.org",
        "strict-transport-security": "max-age=1",
        "access-control-allow-origin": "*",
        "x-ratelimit-remaining-images": "7",
        "anthropic-ratelimit-cents-remaining": "8",
        "retry-after": "3",
        "x-should-retry": "false",
        "openai-model": "gpt",
    }
    if status == 400:
        provider.answer_next(b'{"error":{"message":"no"}}', status=400, headers=lines)
    elif streamed:
        chunk = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        provider.answer_next(chunk, b"data: [DONE]\n\n", headers=lines | {"content-type": "text/event-stream"})
    else:
        answer = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}'
        provider.answer_next(answer, headers=lines)
    reply = post(vendors, "/v1/chat/completions", chat(fresh(), "gpt-4o", stream=streamed))
    assert reply.status == status
    for name in list(lines)[:6] + list(lines)[7:10]:
        assert name not in reply.headers, name
    assert reply.headers["x-request-id"] != "theirs"
    for name in list(lines)[10:]:
        assert reply.headers[name] == lines[name], name


def test_a_request_id_of_the_clients_own(vendors):
    """A usable `x-request-id` is taken over; one that is no plain text of usual length is not."""
    body = chat(fresh(), "gpt-4o")
    assert post(vendors, "/v1/chat/completions", body, x_request_id="mine-2").headers["x-request-id"] == "mine-2"
    for odd in ("x" * 200, "a\tb", "\xe4"):
        assert post(vendors, "/v1/chat/completions", body, x_request_id=odd).headers["x-request-id"] != odd


@pytest.mark.parametrize("streamed", [False, True])
def test_streams_are_not_held_up_on_their_way(vendors, streamed):
    """A stream says of itself that no proxy may hold it back, from the provider and from the cache alike."""
    body = chat(fresh(), "gpt-4o")
    post(vendors, "/v1/chat/completions", body | {"stream": streamed})
    reply = post(vendors, "/v1/chat/completions", body | {"stream": True})
    assert reply.headers["x-aihub-cache-status"] == "hit"
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"X-AIHub-Cache": "perhaps"}, "X-AIHub-Cache"),
        ({"X-AIHub-Cache-TTL": "-1"}, "X-AIHub-Cache-TTL"),
        ({"X-AIHub-Cache-TTL": "1.5"}, "X-AIHub-Cache-TTL"),
        ({"X-AIHub-Cache-TTL": "soon"}, "X-AIHub-Cache-TTL"),
        ({"X-AIHub-Cache-TTL": "9" * 40}, "X-AIHub-Cache-TTL"),
        ({"x-relay-timeout": "0"}, "x-relay-timeout"),
        ({"x-relay-timeout": "nan"}, "x-relay-timeout"),
        ({"x-relay-timeout": "inf"}, "x-relay-timeout"),
        ({"x-relay-metadata": "no object"}, "x-relay-metadata"),
        ({"x-relay-metadata": "[]"}, "x-relay-metadata"),
        ({"x-relay-tags": "\xff"}, "x-relay-tags"),
        ({"x-relay-tags": ",".join("abc" for _ in range(33))}, "x-relay-tags"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/files"])
def test_nonsense_in_our_headers(vendors, provider, path, headers, named):
    """A header of ours that makes no sense is a 400 in the dialect that names it, and nothing goes up."""
    reply = post(vendors, path, {}, **headers)
    assert reply.status == 400
    assert named in reply.json()["error"]["message"]
    assert provider.count() == 0


def test_timeout_header(vendors):
    """`x-relay-timeout` shortens how long the provider may take: 504, which clients may try again."""
    reply = post(
        vendors, "/v1/chat/completions", chat(fresh("[[mock delay_ms=3000]]"), "gpt-4o"), x_relay_timeout="0.2"
    )
    assert reply.status == 504
    assert reply.json()["error"]["code"] == "upstream_timeout"
