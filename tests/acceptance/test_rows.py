"""One row per request, whatever became of it, with what it used, cost and took."""

import json
import time
from decimal import Decimal

import pytest

from tests.acceptance.support import (
    chat,
    find_rows,
    fresh,
    get_row,
    make_key,
    message,
    query,
    row_of,
    send_raw,
    wait_until,
)

CHAT = "/v1/chat/completions"
COUNTS = [
    "input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "input_audio_tokens",
    "input_image_tokens", "output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens",
]  # fmt: skip


@pytest.fixture(scope="module")
def http(vendors):
    with vendors.client() as client:
        yield client


def price(gateway, provider, model):
    """Return the US dollars of one token by class, as the price table has them."""
    rows = query(
        gateway,
        "SELECT token_class, usd_per_unit FROM prices WHERE provider = %s AND model = %s AND from_input_tokens = 0",
        provider,
        model,
    )
    return {row["token_class"]: row["usd_per_unit"] for row in rows}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("path", "build", "provider", "model"),
    [(CHAT, chat, "openai", "gpt-4o"), ("/v1/messages", message, "anthropic", "claude-opus-4-5")],
)
def test_a_miss_and_its_hit(vendors, http, path, build, provider, model, streamed):
    """A miss costs what the price table says; its hit costs nothing and tells what it saved."""
    body = build(fresh("some words " * 20), model, stream=streamed)
    miss, hit = (row_of(vendors, http.post(path, json=body)) for _ in range(2))
    prices = price(vendors, provider, model)
    cost = miss["input_tokens"] * prices["input_tokens"] + miss["output_tokens"] * prices["output_tokens"]
    assert miss["input_tokens"] > 40
    assert miss["estimated_cost"] == cost > 0
    assert (hit["estimated_cost"], hit["saved_cost"], miss["saved_cost"]) == (0, cost, None)
    for row, status in ((miss, "miss"), (hit, "hit")):
        assert (row["cache_status"], row["status_code"], row["error_type"]) == (status, 200, None)
        assert (row["provider"], row["model"], row["requested_model"]) == (provider, model, model)
        assert row["streamed"] is streamed
        assert row["user_id"]
        assert row["api_key_id"]
        assert row["endpoint"] == ("chat" if path == CHAT else "messages")
        assert row["response_bytes"] > 0
    assert [miss[name] for name in COUNTS] == [hit[name] for name in COUNTS]
    assert miss["cache_key"] == hit["cache_key"] is not None
    assert (miss["attempts"], hit["attempts"]) == (1, 0)
    assert miss["upstream_request_id"]
    assert (hit["upstream_ms"], hit["upstream_request_id"]) == (None, None)


def test_tokens_of_openai_are_disjoint(vendors, http):
    """Cached tokens are not among the input tokens, nor reasoning among the output tokens."""
    text = fresh("[[mock cached=5 think=16]] many words to be counted here")
    reply = http.post(CHAT, json=chat(text, "gpt-4o"))
    usage, row = reply.json()["usage"], row_of(vendors, reply)
    assert (row["cache_read_tokens"], row["reasoning_tokens"]) == (5, 16)
    assert row["input_tokens"] + row["cache_read_tokens"] == usage["prompt_tokens"]
    assert row["output_tokens"] + row["reasoning_tokens"] == usage["completion_tokens"]
    prices = price(vendors, "openai", "gpt-4o")
    assert row["estimated_cost"] == (
        row["input_tokens"] * prices["input_tokens"]
        + 5 * prices["cache_read_tokens"]
        + usage["completion_tokens"] * prices["output_tokens"]
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_tokens_of_anthropic_are_disjoint(vendors, http, streamed):
    """Cache reads and writes stand beside the input tokens."""
    text = fresh("[[mock cached=100 cache_write=50]] words")
    row = row_of(vendors, http.post("/v1/messages", json=message(text, "claude-opus-4-5", stream=streamed)))
    assert (row["cache_read_tokens"], row["cache_write_5m_tokens"]) == (100, 50)
    assert 0 < row["input_tokens"] < 50
    assert row["estimated_cost"] > 0


def test_an_unknown_model_costs_nobody_knows_what(vendors, http):
    """The cost of a model without a price is NULL, never 0, and so is what a hit of it saved."""
    body = chat(fresh(), "openai/qwen-of-our-own")
    replies = [http.post(CHAT, json=body) for _ in range(2)]
    miss, hit = (row_of(vendors, reply) for reply in replies)
    assert (miss["estimated_cost"], miss["input_tokens"] > 0) == (None, True)
    assert (hit["estimated_cost"], hit["saved_cost"]) == (0, None)
    assert "x-relay-cost-usd" not in replies[0].headers


def test_embeddings_have_tokens_and_cost(vendors, http):
    """Embeddings are priced by their input."""
    reply = http.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": fresh("a b c")})
    row = row_of(vendors, reply)
    assert (
        row["estimated_cost"]
        == row["input_tokens"] * price(vendors, "openai", "text-embedding-3-small")["input_tokens"]
        > 0
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_latency_is_split(vendors, http, streamed):
    """Total, provider and own time add up; the first byte of a stream comes before its end."""
    text = fresh("[[mock delay_ms=100 chunk_ms=10 tokens=10]]")
    row = row_of(vendors, http.post(CHAT, json=chat(text, "gpt-4o", stream=streamed)))
    assert row["upstream_ms"] > 95
    assert row["latency"] >= row["upstream_ms"]
    assert row["overhead_ms"] == pytest.approx(row["latency"] - row["upstream_ms"], abs=0.01)
    assert row["overhead_ms"] < 60
    assert row["first_byte_ms"] <= row["latency"]
    assert (row["first_byte_ms"] < row["latency"] - 50) is streamed
    assert (row["response_time"] - row["request_time"]).total_seconds() * 1000 == pytest.approx(row["latency"], abs=1)


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/embeddings", "/v1/files"])
@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [
        ("no key", 401, "invalid_api_key"),
        ("held key", 403, "model_not_allowed"),
        ("bad body", 400, "invalid_request_error"),
        ("bad header", 400, "invalid_request_error"),
        ("no provider", 404, "provider_not_configured"),
        ("too large", 413, "request_too_large"),
    ],
)
def test_refusals(vendors, http, path, how, status, kind):
    """Every refusal has one row with its status and kind, no tokens and no cost."""
    model = "claude-haiku-4-5" if path == "/v1/messages" else "gpt-4o-mini"
    headers, content, target = {"content-type": "application/json"}, json.dumps({"model": model}).encode(), path
    if how == "no key":
        headers["authorization"] = "Bearer rk-wrong"
    if how == "held key":
        headers["authorization"] = f"Bearer {make_key(vendors, 'held@example.org', models=('gpt-4o',))}"
    if how == "bad body":
        content = b"{"
    if how == "bad header":
        headers["x-aihub-cache"] = "perhaps"
    if how == "no provider":
        target = path.replace("/v1", "/v1/groq")
    if how == "too large":
        content = b"{" + b" " * (vendors.settings.max_body_bytes + 1)
    if path == "/v1/files" and how == "bad body":
        status, kind = 400, "upstream_refused"  # what fits this path is for the provider to say
    row = row_of(vendors, http.post(target, content=content, headers=headers))
    assert (row["status_code"], row["error_type"]) == (status, kind)
    assert [row[name] for name in COUNTS] == [None] * len(COUNTS)
    assert row["estimated_cost"] in {None, Decimal(0)}
    assert (row["user_id"] is None) is (how == "no key")


@pytest.mark.parametrize(
    ("directive", "status"),
    [("status=400", 400), ("status=429", 429), ("status=500", 500), ("fault=html", 502), ("status=401", 502)],
)
def test_failures(vendors, http, directive, status):
    """A provider's refusal or failure is recorded with what the client was told, and with the time it took."""
    row = row_of(vendors, http.post(CHAT, json=chat(fresh(f"[[mock {directive}]]"), "gpt-4o")))
    assert row["status_code"] == status
    assert row["error_type"]
    assert (row["provider"], row["model"], row["attempts"]) == ("openai", "gpt-4o", 1)
    assert row["upstream_ms"] is not None
    assert row["estimated_cost"] is None


def test_what_is_sent_along(vendors, http):
    """Tags, metadata, session and the SDK's count of tries are on the row."""
    headers = {
        "x-relay-tags": "alpha, beta,,",
        "x-relay-metadata": '{"team":"a","n":9007199254740993}',
        "x-claude-code-session-id": "session-1",
        "x-stainless-retry-count": "1",
    }
    row = row_of(vendors, http.post(CHAT, json=chat(fresh(), "gpt-4o"), headers=headers))
    assert row["tags"] == ["alpha", "beta"]
    assert row["metadata"] == {"team": "a", "n": 9007199254740993}
    assert (row["session_id"], row["retry_count"]) == ("session-1", 1)
    assert row["request_bytes"] > 0


def test_odd_text_does_not_lose_a_row(vendors, http):
    """NUL, overlong and foreign text in what a client names is cleaned, and the row is there."""
    for model in ("a\0b", "openai/\0", "openai/" + "x" * 5000, "openai/\u00e9\u4e2d\U0001f600"):
        row = row_of(vendors, http.post(CHAT, json=chat("hi", model)))
        assert row["status_code"] in {400, 404}
        assert "\0" not in row["requested_model"]


def test_rows_appear_by_themselves(vendors, http):
    """A row is there within two seconds, with nobody asking for it."""
    reply = http.post(CHAT, json=chat(fresh(), "gpt-4o"))
    started = time.monotonic()
    find = "SELECT 1 FROM requests WHERE request_id = %s"
    wait_until(lambda: query(vendors, find, reply.headers["x-request-id"]), bool, 4)
    assert time.monotonic() - started < 2


def test_reading_has_no_row(vendors, http):
    """Lists and probes are not calls: they have no row."""
    for path in ("/", "/v1/models", "/v1/files"):
        assert not find_rows(vendors, http.get(path).headers["x-request-id"])


def test_files_of_batches_have_no_row(vendors, http):
    """What the gateway keeps itself is no call."""
    reply = http.post("/v1/files", files={"file": ("a.jsonl", b"{}")}, data={"purpose": "batch"})
    assert reply.status_code == 200
    assert not find_rows(vendors, reply.headers["x-request-id"])


def test_unread_calls_have_a_row(vendors, http):
    """A call that passes unread is recorded, without tokens."""
    reply = http.post("/v1/files", files={"file": ("a.txt", b"{}")}, data={"purpose": "user_data"})
    row = row_of(vendors, reply)
    assert (row["status_code"], row["endpoint"], row["provider"], row["input_tokens"]) == (200, "files", "openai", None)
    assert row["cache_status"] == "disabled"


def test_every_request_on_one_connection_has_its_row(vendors):
    """Requests that follow each other on one connection do not share a row."""
    lines = f"host: x\r\nauthorization: Bearer {vendors.key}\r\ncontent-length: 2\r\n"
    first = f"POST {CHAT} HTTP/1.1\r\n{lines}x-request-id: pipe-1\r\n\r\n{{}}"
    second = f"POST {CHAT} HTTP/1.1\r\n{lines}x-request-id: pipe-2\r\nconnection: close\r\n\r\n{{}}"
    send_raw(vendors, (first + second).encode())
    assert get_row(vendors, "pipe-1")["status_code"] == 400
    assert get_row(vendors, "pipe-2")["status_code"] == 400
