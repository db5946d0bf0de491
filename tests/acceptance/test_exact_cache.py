"""The exact cache: what is the same call, how it is answered again, and what is never kept."""

import json

import pytest

from tests.acceptance.support import (
    chat,
    data_of,
    fresh,
    make_key,
    message,
    query,
    row_of,
    wait_until,
)
from tests.conftest import prepare
from tests.gateway_process import run_gateway


def completion(text, **fields):
    return {"model": "mock/echo", "prompt": text, **fields}


def response(text, **fields):
    return {"model": "mock/echo", "input": text, **fields}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": n,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for n in ("get_weather", "clock")
]
CLAUDE_TOOLS = [
    {"name": n, "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
    for n in ("get_weather", "clock")
]
RESPONSE_TOOLS = [
    {
        "type": "function",
        "name": n,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    for n in ("get_weather", "clock")
]
BOTH = "[[mock tool=* parallel=2]] both"

CALLS = {
    "chat": ("/v1/chat/completions", lambda: chat(fresh())),
    "chat n": ("/v1/chat/completions", lambda: chat(fresh(), n=3)),
    "chat tools": ("/v1/chat/completions", lambda: chat(fresh(BOTH), tools=TOOLS, n=2)),
    "chat reasoning": ("/v1/chat/completions", lambda: chat(fresh("[[mock think=5]]"))),
    "completions": ("/v1/completions", lambda: completion(fresh())),
    "completions n": ("/v1/completions", lambda: completion(fresh(), n=2)),
    "responses": ("/v1/responses", lambda: response(fresh())),
    "responses tools": ("/v1/responses", lambda: response(fresh(BOTH), tools=RESPONSE_TOOLS)),
    "messages": ("/v1/messages", lambda: message(fresh())),
    "messages tools": ("/v1/messages", lambda: message(fresh(BOTH), tools=CLAUDE_TOOLS)),
    "messages thinking": (
        "/v1/messages",
        lambda: message(
            fresh("[[mock think=5]]"), max_tokens=3000, thinking={"type": "enabled", "budget_tokens": 1024}
        ),
    ),
}


@pytest.fixture(scope="module")
def http(shared_gateway):
    with shared_gateway.client() as client:
        yield client


def status_of(reply):
    return reply.headers.get("x-aihub-cache-status")


def gist(path, reply):
    """Return what an answer says, whole or streamed, without what only its form brings."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return _plain(reply.json())
    if path == "/v1/responses":
        return _plain(json.loads(data_of(reply.text)[-1])["response"])
    events = [json.loads(line) for line in data_of(reply.text) if line != "[DONE]"]
    return _joined_message(events) if path == "/v1/messages" else _joined_choices(events)


def _plain(answer):
    if "choices" in answer:
        return {
            choice["index"]: _choice(choice.get("message") or {"content": choice["text"]}, choice["finish_reason"])
            for choice in answer["choices"]
        }
    if "content" in answer:
        return [[_block(block) for block in answer["content"]], answer["stop_reason"]]
    return [answer["output"], answer["usage"], answer["status"]]


def _choice(message, finish):
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or []
    ]
    return [message.get("content") or "", calls, finish]


def _block(block):
    return {key: value for key, value in block.items() if value is not None and key not in {"citations", "caller"}}


def _joined_choices(events):
    joined = {}
    for choice in (choice for event in events for choice in event["choices"]):
        parts = joined.setdefault(choice["index"], {"content": "", "calls": {}, "finish": None})
        delta = choice.get("delta") or {"content": choice.get("text")}
        parts["content"] += delta.get("content") or ""
        for call in delta.get("tool_calls") or []:
            known = parts["calls"].setdefault(call["index"], ["", "", ""])
            known[0] += call.get("id") or ""
            known[1] += call["function"].get("name") or ""
            known[2] += call["function"].get("arguments") or ""
        parts["finish"] = choice.get("finish_reason") or parts["finish"]
    return {
        index: [parts["content"], [tuple(call) for _, call in sorted(parts["calls"].items())], parts["finish"]]
        for index, parts in joined.items()
    }


def _add_delta(block, delta):
    for key in ("text", "thinking", "signature"):
        if key in delta:
            block[key] = block.get(key, "") + delta[key]
    block["json"] += delta.get("partial_json", "")


def _joined_message(events):
    blocks, reason = {}, None
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "json": ""}
        if event["type"] == "content_block_delta":
            _add_delta(blocks[event["index"]], event["delta"])
        if event["type"] == "message_delta":
            reason = event["delta"]["stop_reason"] or reason
    for block in blocks.values():
        text = block.pop("json")
        if text:
            block["input"] = json.loads(text)
    return [[_block(block) for block in blocks.values()], reason]


@pytest.mark.parametrize("second", [False, True], ids=["then whole", "then stream"])
@pytest.mark.parametrize("first", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CALLS)
def test_either_form_from_either(shared_gateway, http, mock, name, first, second):
    """A stored answer is given whole or as a stream, whichever way it was stored, and says the same."""
    path, build = CALLS[name]
    body = build()
    stored = http.post(path, json=body | {"stream": first})
    again = http.post(path, json=body | {"stream": second})
    assert (status_of(stored), status_of(again)) == ("miss", "hit")
    assert mock.count() == 1
    assert gist(path, again) == gist(path, stored)
    assert again.headers["content-type"].startswith("text/event-stream") is second
    if first == second:
        assert again.content == stored.content
    row = row_of(shared_gateway, again)
    assert (row["cache_status"], row["status_code"], row["estimated_cost"]) == ("hit", 200, 0)
    assert row["output_tokens"] == row_of(shared_gateway, stored)["output_tokens"] > 0


@pytest.mark.parametrize("first", [None, False, True], ids=["whole", "without", "with"])
@pytest.mark.parametrize("second", [False, True], ids=["then without", "then with"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_usage_on_replay(http, mock, path, first, second):
    """A replayed stream shows its usage to those who ask for it and to nobody else, whoever asked first."""
    body = chat(fresh()) if "chat" in path else completion(fresh())
    form = {} if first is None else {"stream": True, "stream_options": {"include_usage": first}}
    http.post(path, json=body | form)
    again = http.post(path, json=body | {"stream": True, "stream_options": {"include_usage": second}})
    assert status_of(again) == "hit"
    chunks = [json.loads(line) for line in data_of(again.text) if line != "[DONE]"]
    with_usage = [chunk for chunk in chunks if chunk.get("usage")]
    assert len(with_usage) == int(second)
    if second:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["total_tokens"] > 0
    else:
        assert not [chunk for chunk in chunks if "usage" in chunk]


def test_headers(http):
    """Both answers name the key; a hit tells its age."""
    body = chat(fresh())
    first, second = http.post("/v1/chat/completions", json=body), http.post("/v1/chat/completions", json=body)
    assert first.headers["x-aihub-cache-key"] == second.headers["x-aihub-cache-key"]
    assert len(first.headers["x-aihub-cache-key"]) == 64
    assert "age" not in first.headers
    assert 0 <= int(second.headers["age"]) < 30
    assert second.headers["x-relay-provider"] == "mock"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]


def post(http, body, path="/v1/chat/completions", **headers):
    return http.post(path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_bypass(http, mock, path):
    """A bypass neither reads nor stores."""
    body = chat(fresh(), max_tokens=9)
    assert status_of(post(http, body, path, x_aihub_cache="bypass")) == "bypass"
    assert status_of(post(http, body, path)) == "miss"
    assert status_of(post(http, body, path, x_aihub_cache="bypass")) == "bypass"
    assert mock.count() == 3


def test_refresh(http, mock):
    """A refresh asks the provider again and replaces what was stored."""
    body = chat(fresh())
    mock.answer_next(b'{"choices":[{"index":0,"message":{"content":"old"},"finish_reason":"stop"}]}')
    assert "old" in post(http, body).text
    mock.answer_next(b'{"choices":[{"index":0,"message":{"content":"new"},"finish_reason":"stop"}]}')
    refreshed = post(http, body, x_aihub_cache="refresh")
    assert (status_of(refreshed), "new" in refreshed.text) == ("refresh", True)
    assert "new" in post(http, body).text
    assert mock.count() == 2


@pytest.mark.parametrize(("path", "kind"), [("/v1/chat/completions", "cache_miss"), ("/v1/messages", "api_error")])
def test_only(http, mock, path, kind):
    """`only` is answered from the cache or not at all, and tells SDKs not to try again."""
    body = chat(fresh(), max_tokens=9)
    refused = post(http, body, path, x_aihub_cache="only")
    error = refused.json()["error"]
    assert (refused.status_code, error.get("code") or error["type"]) == (504, kind)
    assert refused.headers["x-should-retry"] == "false"
    assert mock.count() == 0
    post(http, body, path)
    assert status_of(post(http, body, path, x_aihub_cache="ONLY")) == "hit"


def test_ttl(http, mock):
    """An answer lives as long as its call said; zero stores nothing; more than the limit is the limit."""
    body = chat(fresh())
    post(http, body, x_aihub_cache_ttl="1")
    assert status_of(post(http, body)) == "hit"
    wait_until(lambda: status_of(post(http, body, x_aihub_cache_ttl="0")), lambda status: status == "miss")
    assert status_of(post(http, body, x_aihub_cache_ttl="0")) == "miss"
    assert status_of(post(http, body)) == "miss"
    assert status_of(post(http, body)) == "hit"


def test_ttl_is_bounded(shared_gateway, http):
    """A time to live over the configured limit is cut to it."""
    reply = post(http, chat(fresh()), x_aihub_cache_ttl="999999999999")
    key = bytes.fromhex(reply.headers["x-aihub-cache-key"])
    find = "SELECT extract(epoch FROM expires_at - created_at)::int AS s FROM cache_entries WHERE key = %s"
    rows = wait_until(lambda: query(shared_gateway, find, key), bool)
    assert rows[0]["s"] == shared_gateway.parts.catalog.current.cache.max_ttl


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_scope(shared_gateway, http, mock, path):
    """Two keys of one user share answers, two users never do, nor do a user and an admin."""
    body = chat(fresh(), max_tokens=9)
    keys = [make_key(shared_gateway, email) for email in ("a@example.org", "a@example.org", "b@example.org")]
    seen = [
        status_of(http.post(path, json=body, headers={"authorization": f"Bearer {k}"}))
        for k in [*keys, shared_gateway.admin_key]
    ]
    assert seen == ["miss", "hit", "miss", "miss"]
    assert mock.count() == 3


BASE = {"model": "mock/echo", "messages": [{"role": "user", "content": "same"}], "temperature": 1, "max_tokens": 10}
CHANGED = {
    "model": "mock/lorem",
    "messages": [{"role": "user", "content": "Same"}],
    "temperature": 0.5,
    "max_tokens": 11,
    "top_p": 0.5,
    "n": 2,
    "stop": ["x"],
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "logit_bias": {"1": 1},
    "logprobs": True,
    "top_logprobs": 2,
    "seed": 1,
    "user": "u",
    "metadata": {"a": "b"},
    "store": True,
    "response_format": {"type": "json_object"},
    "tools": TOOLS,
    "tool_choice": "none",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "service_tier": "flex",
    "max_completion_tokens": 9,
    "modalities": ["text"],
    "verbosity": "low",
    "prediction": {"type": "content", "content": "x"},
    "unknown": None,
    "system": "x",
    "top_k": 3,
}


@pytest.mark.parametrize("field", CHANGED)
def test_every_field_counts(http, field):
    """A call with another value in any field of its body is another call, null included."""
    tag = fresh()
    base = {**BASE, "safety_identifier": tag}
    keys = {post(http, body).headers["x-aihub-cache-key"] for body in (base, {**base, field: CHANGED[field]})}
    assert len(keys) == 2


def test_what_does_not_count(http, mock):
    """How the answer is sent, the order of keys, white space and the way a model was found are not part of the call."""
    text = fresh()
    forms = [
        chat(text),
        chat(text, stream=False),
        chat(text, stream=True),
        chat(text, stream=True, stream_options={"include_usage": True}),
        dict(reversed(chat(text).items())),
    ]
    keys = {post(http, body).headers["x-aihub-cache-key"] for body in forms}
    spaced = json.dumps(chat(text), indent=7).encode()
    keys.add(http.post("/v1/chat/completions", content=spaced).headers["x-aihub-cache-key"])
    keys.add(http.post("/v1//chat/completions/?a=b", content=spaced).headers["x-aihub-cache-key"])
    assert len(keys) == 1
    assert mock.count() == 1


def test_paths_and_providers_are_apart(http):
    """The same body to another endpoint is another call."""
    body = message(fresh())
    assert (
        len({post(http, body, path).headers["x-aihub-cache-key"] for path in ("/v1/messages", "/v1/chat/completions")})
        == 2
    )


@pytest.mark.parametrize("header", ["anthropic-beta", "anthropic-version", "openai-beta", "x-relay-upstream-key"])
def test_headers_that_count(http, header):
    """What a provider reads from a header can change its answer; so can whose account it is."""
    body = message(fresh())
    seen = [status_of(http.post("/v1/messages", json=body, headers={header: value})) for value in ("a", "b", "a")]
    assert seen == ["miss", "miss", "hit"]


def test_own_credentials_beside_ours_count(shared_gateway, http):
    """Answers that were got with a caller's own provider key are for that key alone, in any header it came in."""
    body = chat(fresh())
    plain = {"x-relay-api-key": shared_gateway.key, "authorization": f"Bearer {shared_gateway.key}"}
    seen = [
        status_of(http.post("/v1/chat/completions", json=body, headers=headers))
        for headers in (
            {},
            plain,
            {**plain, "authorization": "Bearer sk-1"},
            {**plain, "authorization": "Bearer sk-2"},
            {**plain, "api-key": "sk-3"},
            {**plain, "authorization": "Bearer sk-1"},
        )
    ]
    assert seen == ["miss", "hit", "miss", "miss", "miss", "hit"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_errors_are_not_kept(http, mock, path, status):
    """A refusal is not stored: the next call asks again."""
    body = chat(fresh(f"[[mock status={status} times=1]]"), max_tokens=9)
    assert post(http, body, path).status_code == status
    assert status_of(post(http, body, path)) == "miss"
    assert mock.count() == 2


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/chat/completions", b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":null}]}'),
        ("/v1/chat/completions", b'{"choices":[]}'),
        (
            "/v1/chat/completions",
            b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"error":{"message":"x"}}',
        ),
        ("/v1/chat/completions", b'{"error":{"message":"x"}}'),
        ("/v1/messages", b'{"content":[{"type":"text","text":"a"}],"stop_reason":null}'),
        ("/v1/messages", b'{"type":"error","error":{"type":"api_error","message":"x"}}'),
        ("/v1/responses", b'{"id":"r","object":"response","status":"in_progress","output":[]}'),
        (
            "/v1/responses",
            b'{"id":"r","object":"response","status":"failed","output":[],"error":{"message":"x","code":"y"}}',
        ),
    ],
)
def test_incomplete_answers_are_not_kept(http, mock, path, answer):
    """A 200 that is no complete answer is passed on and not stored."""
    body = {**chat(fresh(), max_tokens=9), "input": fresh()}
    mock.answer_next(answer)
    assert post(http, body, path).content == answer
    assert status_of(post(http, body, path)) == "miss"


def test_background_responses_are_not_kept(http, mock):
    """A response made in the background has an id of its own to be asked for: it is never shared."""
    body = response(fresh(), background=True)
    seen = [status_of(post(http, body, "/v1/responses")) for _ in range(2)]
    assert seen == ["disabled", "disabled"]


def test_a_restart_keeps_answers(database_url, tmp_path):
    """Answers survive a restart, streamed and whole."""
    bodies = [chat(fresh()), chat(fresh(), stream=True)]
    with run_gateway(prepare(database_url, tmp_path)) as first:
        with first.client() as http:
            before = [http.post("/v1/chat/completions", json=body) for body in bodies]
        key = first.key
    with (
        run_gateway(prepare(database_url, tmp_path)) as second,
        second.client(headers={"authorization": f"Bearer {key}"}) as http,
    ):
        after = [http.post("/v1/chat/completions", json=body) for body in bodies]
    assert [status_of(reply) for reply in after] == ["hit", "hit"]
    assert [reply.content for reply in after] == [reply.content for reply in before]


def test_processes_share_answers(shared_gateway, http, tmp_path):
    """What one process stored another finds."""
    body = chat(fresh())
    stored = post(http, body)
    key = bytes.fromhex(stored.headers["x-aihub-cache-key"])
    wait_until(lambda: query(shared_gateway, "SELECT 1 FROM cache_entries WHERE key = %s", key), bool)
    with run_gateway(prepare(shared_gateway.database_url, tmp_path)) as other, other.client() as second:
        found = second.post(
            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {shared_gateway.key}"}
        )
    assert (status_of(found), found.content) == ("hit", stored.content)


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings(http, mock, form):
    """Embeddings are cached in the form they were asked for."""
    body = {"model": "mock/embed", "input": [fresh(), "b"], "encoding_format": form}
    first, second = post(http, body, "/v1/embeddings"), post(http, body, "/v1/embeddings")
    assert (status_of(first), status_of(second), second.content) == ("miss", "hit", first.content)


def test_token_counts_are_not_cached(http, mock):
    """Counting is free and never cached."""
    body = {"model": "mock/echo", "messages": [{"role": "user", "content": fresh()}]}
    assert [status_of(post(http, body, "/v1/messages/count_tokens")) for _ in range(2)] == ["disabled"] * 2


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}])
def test_conversations_are_not_cached(http, mock, conversation):
    """A call that adds to a conversation at the provider is made every time."""
    body = response(fresh(), conversation=conversation)
    assert [status_of(post(http, body, "/v1/responses")) for _ in range(2)] == ["disabled"] * 2
    assert mock.count() == 2


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/messages/count_tokens"])
def test_no_stream_where_there_is_none(http, path):
    """An endpoint without streams answers whole, whatever `stream` says, the first time and again."""
    body = {"model": "mock/embed", "input": fresh(), "messages": [{"role": "user", "content": "a"}], "stream": True}
    for _ in range(2):
        reply = post(http, body, path)
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
        assert reply.json()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (
            "/v1/chat/completions",
            b'{"choices":[{"index":0,"message":{"role":"assistant","content":"whole"},"finish_reason":"stop"}]}',
        ),
        (
            "/v1/messages",
            b'{"type":"message","id":"m","role":"assistant","content":[{"type":"text","text":"whole"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}',
        ),
    ],
)
def test_a_provider_that_does_not_stream(http, mock, path, answer):
    """A whole answer to a call for a stream reaches the client as a stream, first from the provider and then again."""
    body = chat(fresh(), max_tokens=9, stream=True)
    mock.answer_next(answer)
    first, second = post(http, body, path), post(http, body, path)
    assert first.headers["content-type"].startswith("text/event-stream")
    assert "whole" in first.text
    assert (status_of(second), second.content) == ("hit", first.content)
