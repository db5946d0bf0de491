"""What does not depend on the words of a dialect holds for translated calls as well: cache, rows, pace, departures."""

import contextlib
import json
import time

import httpx
import pytest

from app.gateway import tongues
from tests.acceptance.support import chat, data_of, fresh, message, query, wait_for_row

CLAUDE, GPT = "claude-opus-4-5", "gpt-4o"


def respond(text, model, **fields):
    return {"model": model, "input": text, **fields}


CROSSED = [
    ("/v1/chat/completions", chat, CLAUDE, "anthropic", "/v1/messages"),
    ("/v1/responses", respond, CLAUDE, "anthropic", "/v1/messages"),
    ("/v1/messages", message, GPT, "openai", "/v1/chat/completions"),
]
crossed = pytest.mark.parametrize(("path", "build", "model", "name", "upstream"), CROSSED)
SSE = {"content-type": "text/event-stream"}


@pytest.fixture(scope="module")
def http(vendors):
    with vendors.client() as client:
        yield client


def row_of(gateway, reply):
    """Return the row of an answer; that of a stream is written after its last byte has gone."""
    return wait_for_row(gateway, reply.headers["x-request-id"])


def text_of(path, reply):
    """Return the text of an answer, whole or streamed, of whichever dialect."""
    if "event-stream" not in reply.headers["content-type"]:
        body = reply.json()
        if path == "/v1/messages":
            return body["content"][0]["text"]
        return body["output"][0]["content"][0]["text"] if "output" in body else body["choices"][0]["message"]["content"]
    events = [json.loads(data) for data in data_of(reply.text) if data != "[DONE]"]
    if path == "/v1/messages":
        return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    if path == "/v1/responses":
        return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


@crossed
@pytest.mark.parametrize("streamed", [False, True])
def test_headers_and_row(vendors, provider, http, path, build, model, name, upstream, streamed):
    """The headers name who answered; the row has its provider, model, tokens and the cost of its prices."""
    reply = http.post(path, json=build(fresh("some words " * 20), model, stream=streamed))
    assert reply.status_code == 200
    assert provider.last().path == upstream
    heads = reply.headers
    assert (heads["x-relay-provider"], heads["x-relay-model"], heads["x-relay-attempts"]) == (name, model, "1")
    assert heads["content-type"] == ("text/event-stream; charset=utf-8" if streamed else "application/json")
    assert "set-cookie" not in heads
    row = row_of(vendors, reply)
    assert (row["provider"], row["model"], row["requested_model"], row["status_code"]) == (name, model, model, 200)
    assert row["streamed"] is streamed
    prices = {
        one["token_class"]: one["usd_per_unit"]
        for one in query(
            vendors,
            "SELECT token_class, usd_per_unit FROM prices WHERE provider = %s AND model = %s AND from_input_tokens = 0",
            name,
            model,
        )
    }
    cost = row["input_tokens"] * prices["input_tokens"] + row["output_tokens"] * prices["output_tokens"]
    assert row["estimated_cost"] == cost > 0
    if not streamed:
        assert float(heads["x-relay-cost-usd"]) == pytest.approx(float(cost))


@crossed
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("then", [False, True])
def test_hit_after_miss(vendors, provider, http, path, build, model, name, upstream, first, then):
    """An answer is kept in the client's dialect and replayed whole or streamed, whichever way it came."""
    text = fresh("kept")
    miss = http.post(path, json=build(text, model, stream=first))
    hit = http.post(path, json=build(text, model, stream=then))
    assert [reply.headers["x-aihub-cache-status"] for reply in (miss, hit)] == ["miss", "hit"]
    assert text_of(path, miss) == text_of(path, hit) == text
    assert [one.path for one in provider.arrivals()] == [upstream]
    rows = [row_of(vendors, reply) for reply in (miss, hit)]
    assert [row["provider"] for row in rows] == [name, name]
    assert (rows[1]["estimated_cost"], rows[1]["saved_cost"]) == (0, rows[0]["estimated_cost"])


def test_dialects_are_kept_apart(provider, http):
    """The same words in another dialect are another answer: each has a form of its own."""
    text = fresh("one of each")
    for path, build, model, *_ in CROSSED[:2]:
        assert http.post(path, json=build(text, model)).headers["x-aihub-cache-status"] == "miss"
    assert provider.count() == 2


@crossed
def test_events_come_as_they_are_made(provider, http, path, build, model, name, upstream):
    """A translated stream is not held back: its pieces come at the pace of the provider's."""
    body = build(fresh("[[mock chunk_ms=40 tokens=12]]"), model, stream=True)
    with http.stream("POST", path, json=body) as reply:
        started, moments = time.monotonic(), []
        for _ in reply.iter_raw():
            moments.append(time.monotonic() - started)
            if len(moments) == 1:
                assert provider.stats()["in_flight"] == 1
    assert moments[0] < 0.3
    assert moments[-1] - moments[0] > 0.3
    assert len(moments) >= 10


@crossed
def test_client_leaves(vendors, provider, path, build, model, name, upstream):
    """When the client leaves, the provider's stream is closed at once, and the row says so."""
    body = build(fresh("[[mock chunk_ms=30 tokens=400]]"), model, stream=True)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(vendors.client())
        reply = stack.enter_context(client.stream("POST", path, json=body))
        next(reply.iter_raw())
        request_id = reply.headers["x-request-id"]
    provider.wait_for(lambda stats: stats["aborted"] == 1 and stats["in_flight"] == 0)
    assert wait_for_row(vendors, request_id)["status_code"] == 499


@crossed
@pytest.mark.parametrize("leave", [False, True])
def test_signs_of_life(vendors, provider, monkeypatch, path, build, model, name, upstream, leave):
    """While a stream that has begun is silent the client gets pings of its dialect, and leaving still ends it all."""
    monkeypatch.setattr(tongues, "PING_SECONDS", 0.05)
    ping = tongues.PINGS[{"/v1/chat/completions": "chat", "/v1/responses": "responses"}.get(path, "messages")].decode()
    body = build(fresh(f"[[mock chunk_ms={30_000 if leave else 160} tokens=3]]"), model, stream=True)
    with vendors.client() as client, client.stream("POST", path, json=body) as reply:
        seen = ""
        for piece in reply.iter_text():
            seen += piece
            if leave and seen.count(ping) == 2:
                break
        request_id = reply.headers["x-request-id"]
    assert seen.count(ping) >= 2
    if leave:
        provider.wait_for(lambda stats: stats["aborted"] == 1)
        assert wait_for_row(vendors, request_id)["status_code"] == 499
    else:
        row = wait_for_row(vendors, request_id)
        assert (row["status_code"], row["error_type"]) == (200, None)
        with vendors.client() as client:
            hit = client.post(path, json=body | {"stream": False})
        assert (hit.status_code, hit.headers["x-aihub-cache-status"]) == (200, "hit")
        assert text_of(path, hit)


def test_a_quick_stream_has_no_pings(http):
    """Where the provider is not silent nothing is added to its answer."""
    reply = http.post("/v1/messages", json=message(fresh(), GPT, stream=True))
    assert "ping" not in reply.text


@crossed
def test_a_stream_that_begins_with_an_error(vendors, provider, http, path, build, model, name, upstream):
    """An error before anything of an answer is a plain error with its status, in every dialect."""
    error = {"type": "overloaded_error", "message": "Busy now."}
    data = json.dumps({"type": "error", "error": error})
    provider.answer_next(f"event: error\ndata: {data}\n\n".encode(), b"", headers=SSE)
    reply = http.post(path, json=build(fresh(), model, stream=True))
    status = 529 if path == "/v1/messages" else 503  # Anthropic's clients know 529, others do not
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json")
    assert "Busy now." in reply.json()["error"]["message"]
    assert row_of(vendors, reply)["status_code"] == status


@crossed
def test_a_whole_answer_to_a_stream(provider, http, path, build, model, name, upstream):
    """A provider that answers whole although a stream was asked for: the client gets its stream all the same."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    said = {"role": "assistant", "content": "all at once"}
    completion = {"id": "c", "object": "chat.completion", "created": 1, "model": model, "usage": usage}
    completion["choices"] = [{"index": 0, "message": said, "finish_reason": "stop"}]
    letter = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn"}
    letter |= {"content": [{"type": "text", "text": "all at once"}], "usage": {"input_tokens": 1, "output_tokens": 1}}
    provider.answer_next(json.dumps(letter if name == "anthropic" else completion).encode())
    reply = http.post(path, json=build(fresh(), model, stream=True))
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert text_of(path, reply) == "all at once"


@crossed
@pytest.mark.parametrize("how", ["cut_after=3", "error_after=3", "stall_after=3"])
def test_the_last_event_of_a_broken_stream(vendors, provider, http, path, build, model, name, upstream, how):
    """A stream that breaks ends with exactly one error in the client's dialect, is a failure and is not kept."""
    body = build(fresh(f"[[mock {how} text=lorem]]"), model, stream=True)
    for _ in range(2):
        reply = http.post(path, json=body, headers={"x-relay-timeout": "0.4"})
        assert reply.headers["x-aihub-cache-status"] == "miss"
        events = [json.loads(data) for data in data_of(reply.text)]
        failed = [event for event in events if event.get("error") or event.get("type") in {"error", "response.failed"}]
        assert failed
        assert failed[-1] == events[-1]
        assert events[-1].get("type") == ("error" if path == "/v1/messages" else events[-1].get("type"))
        assert row_of(vendors, reply)["status_code"] >= 500
    assert provider.count() == 2


@pytest.mark.parametrize(
    ("path", "build", "model"), [("/v1/chat/completions", chat, GPT), ("/v1/messages", message, CLAUDE)]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_own_dialect_is_not_translated(vendors, provider, http, path, build, model, streamed):
    """A call whose provider speaks the client's dialect passes byte for byte, fields that nobody knows included."""
    odd = {"type": "ephemeral", "made_up": [1.10, 9007199254740993]}
    body = json.dumps(build(fresh(), model, frobnicate=odd, stream_options={"include_usage": True}, stream=streamed))
    answer = b'{ "id":"x",  "choices":[], "content":[], "odd": 1.10 }'
    if streamed:
        answer = b'event: odd\ndata: {"a" :  1.10}\n\ndata: {"choices":[]}\n\ndata: [DONE]\n\n'
        if path == "/v1/messages":
            answer = b'event: odd\ndata: {"a" :  1.10}\n\nevent: message_stop\ndata: {"type":"message_stop" }\n\n'
    provider.answer_next(answer, headers=SSE if streamed else {})
    reply = http.post(path, content=body, headers={"content-type": "application/json", "x-aihub-cache": "bypass"})
    assert provider.last().body.decode() == body
    assert reply.content == answer


def test_a_provider_in_the_path(provider, vendors, http):
    """A path that names its provider is translated as well, and the model's name goes up as it came."""
    reply = http.post("/v1/anthropic/chat/completions", json=chat(fresh(), CLAUDE))
    assert reply.json()["object"] == "chat.completion"
    assert provider.last().path == "/v1/messages"
    reply = http.post("/openai/v1/messages", json=message(fresh(), GPT))
    assert reply.json()["type"] == "message"
    assert provider.last().path == "/v1/chat/completions"


def test_the_clients_own_key(vendors, provider):
    """A caller's own provider key goes up in the header of the provider's dialect."""
    headers = {"x-relay-upstream-key": "sk-ant-of-the-caller"}
    with vendors.client(headers=headers) as client:
        assert client.post("/v1/chat/completions", json=chat(fresh(), CLAUDE)).status_code == 200
    arrived = provider.last()
    assert arrived.headers["x-api-key"] == "sk-ant-of-the-caller"
    assert "authorization" not in arrived.headers


def test_half_json_names_the_field(http):
    """A body that is JSON but no call is a 400 in the client's dialect."""
    reply = http.post("/v1/messages", json={"model": GPT, "max_tokens": 5, "messages": "hi"})
    assert (reply.status_code, reply.json()["type"]) == (400, "error")
    reply = http.post("/v1/chat/completions", json={"model": CLAUDE, "messages": [{"role": "x", "content": "a"}]})
    assert isinstance(reply, httpx.Response)
    assert reply.json()["error"]["param"] == "messages[0].role"


@crossed
def test_client_leaves_a_whole_answer(vendors, provider, path, build, model, name, upstream):
    """A client that leaves while a whole answer is made ends the provider's work as well."""
    body = build(fresh("[[mock delay_ms=20000]]"), model)
    with vendors.client() as client, pytest.raises(httpx.ReadTimeout):
        client.post(path, json=body, timeout=0.2)
    provider.wait_for(lambda stats: stats["aborted"] == 1 and stats["in_flight"] == 0)


@crossed
def test_a_fallback_in_another_dialect(vendors, provider, http, path, build, model, name, upstream):
    """A name may lead on to a provider of another dialect; whoever answers, the form is the client's."""
    first, second = ("anthropic", "openai/gpt-4o") if name == "anthropic" else ("openai", "anthropic/claude-opus-4-5")
    fallback = {"targets": [{"provider": first, "model": "status-500"}], "fallbacks": {"any": [second]}}
    vendors.configure(models={"ours": fallback})
    try:
        for streamed in (False, True):
            provider.reset()
            text = fresh("either")
            reply = http.post(path, json=build(text, "ours", stream=streamed))
            assert text_of(path, reply) == text
            assert reply.headers["x-relay-attempts"] == "2"
            assert f"{reply.headers['x-relay-provider']}/{reply.headers['x-relay-model']}" == second
            assert len({one.path for one in provider.arrivals()}) == 2
            assert row_of(vendors, reply)["provider"] == second.partition("/")[0]
    finally:
        vendors.configure(models={})


@pytest.mark.parametrize("first", [False, True])
def test_usage_from_the_cache(http, first):
    """Whether the first client asked for a stream's usage or not, the next one gets it if it asks, and only then."""
    body = chat(fresh("counted"), CLAUDE, stream=True)
    asking = body | {"stream_options": {"include_usage": True}}
    replies = [http.post("/v1/chat/completions", json=one) for one in ((asking, body) if first else (body, asking))]
    assert [reply.headers["x-aihub-cache-status"] for reply in replies] == ["miss", "hit"]
    assert ['"total_tokens"' in reply.text for reply in replies] == [first, not first]
    whole = http.post("/v1/chat/completions", json=chat(body["messages"][0]["content"], CLAUDE))
    assert whole.headers["x-aihub-cache-status"] == "hit"
    assert whole.json()["usage"]["total_tokens"] > 0
