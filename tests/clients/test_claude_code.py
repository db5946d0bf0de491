"""docs/clients/claude-code.md: what Claude Code sends a gateway, for Claude and for other vendors' models."""

import json

import pytest

from tests.acceptance.support import fresh, wait_for_row
from tests.clients.guides import list_events, place, read_blocks, send

[SETTINGS] = [json.loads(block)["env"] for block in read_blocks("claude-code", "json")]
BASE = SETTINGS["ANTHROPIC_BASE_URL"]
BETAS = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,something-new-2026-11-01"
SYSTEM = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.181; cc_entrypoint=cli;"},
    {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
    {"type": "text", "text": "Be careful.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
]
BASH = {
    "name": "Bash",
    "description": "Runs a command.",
    "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}},
        "required": ["command"],
        "additionalProperties": False,
    },
}
READ = BASH | {"name": "Read", "cache_control": {"type": "ephemeral"}}
USER = json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": "4d1c2f6e-0000-4000-8000-000000000000"})


def build_headers(gateway, **more):
    return {
        "authorization": place(f"Bearer {SETTINGS['ANTHROPIC_AUTH_TOKEN']}", gateway),
        "anthropic-version": "2023-06-01",
        "anthropic-beta": BETAS,
        "anthropic-dangerous-direct-browser-access": "true",
        "user-agent": "claude-cli/2.1.181 (external, cli)",
        "x-app": "cli",
        "x-claude-code-session-id": "4d1c2f6e-0000-4000-8000-000000000000",
        "x-stainless-retry-count": "0",
        "x-stainless-timeout": "600",
        **more,
    }


def build_body(model, text, **more):
    content = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
    return {
        "model": model,
        "max_tokens": 32000,
        "system": SYSTEM,
        "messages": [{"role": "user", "content": content}],
        "tools": [BASH, READ],
        "metadata": {"user_id": USER},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
        **more,
    }


def call(gateway, body, **headers):
    return send(gateway, "POST", f"{BASE}/v1/messages?beta=true", build_headers(gateway, **headers), body)


def test_claude_gets_every_byte(vendors, provider):
    """To Claude the body goes as it came, and all headers of Anthropic's verbatim; the session stays here."""
    body = build_body("claude-opus-4-5", fresh("[[mock think=4]] hi"), field_of_a_new_beta={"a": [1.10]})
    reply = call(vendors, body)
    events = list_events(reply)
    assert (reply.status_code, events[0], events[-1]) == (200, "message_start", "message_stop")
    assert "ping" in events
    arrived = provider.last()
    assert json.loads(arrived.body) == body
    assert json.dumps(json.loads(arrived.body)) == json.dumps(body)
    assert (arrived.path, arrived.query) == ("/v1/messages", "beta=true")
    assert (arrived.headers["anthropic-beta"], arrived.headers["anthropic-version"]) == (BETAS, "2023-06-01")
    assert not [name for name in arrived.names if name.startswith("x-claude-code")]
    assert wait_for_row(vendors, reply.headers["request-id"])["session_id"] == "4d1c2f6e-0000-4000-8000-000000000000"


def test_another_vendors_model(vendors, provider):
    """The same call reaches GPT: system blocks, tools and effort are there, hints and Anthropic's headers are not."""
    reply = call(vendors, build_body("gpt-5", fresh("hello")))
    events = list_events(reply)
    assert (reply.status_code, events[0], events[-1]) == (200, "message_start", "message_stop")
    arrived = provider.last()
    assert (arrived.path, arrived.query) == ("/v1/chat/completions", "")
    assert not [name for name in arrived.names if name.startswith(("anthropic-", "x-claude-code"))]
    body = json.loads(arrived.body)
    assert [part["text"] for part in body["messages"][0]["content"]] == [block["text"] for block in SYSTEM]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["Bash", "Read"]
    assert (body["reasoning_effort"], body["max_completion_tokens"]) == ("high", 32000)
    assert len(body["user"]) == 64
    assert not {"thinking", "context_management", "output_config", "metadata"} & body.keys()


@pytest.mark.parametrize("model", ["claude-opus-4-5", "gpt-5"])
def test_a_turn_with_tools(vendors, provider, model):
    """Tool results go back with errors, images and reminders beside them, whichever vendor answers."""
    said = [
        {"type": "thinking", "thinking": "Look first.", "signature": "sig"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_01A", "name": "Bash", "input": {"command": "ls"}},
        {"type": "tool_use", "id": "toolu_01B", "name": "Read", "input": {"command": "a.png"}},
    ]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_01B", "content": [image]},
        {"type": "tool_result", "tool_use_id": "toolu_01A", "content": "no such file", "is_error": True},
        {"type": "text", "text": "<system-reminder>mind the gap</system-reminder>"},
    ]
    body = build_body(model, fresh())
    body["messages"] += [{"role": "assistant", "content": said}, {"role": "user", "content": results}]
    reply = call(vendors, body)
    assert (reply.status_code, list_events(reply)[-1]) == (200, "message_stop")
    arrived = json.loads(provider.last().body)["messages"]
    if model == "gpt-5":
        assert {one["tool_call_id"] for one in arrived if one["role"] == "tool"} == {"toolu_01A", "toolu_01B"}
        assert "data:image/png;base64,iVBORw0KGgo=" in json.dumps(arrived[-1])
    else:
        assert arrived == body["messages"]


def test_the_helpers_key_in_both_headers(vendors):
    """A key that comes in both headers, as apiKeyHelper sends it, is one key."""
    assert call(vendors, build_body("claude-opus-4-5", fresh()), **{"x-api-key": vendors.key}).status_code == 200


def test_errors_keep_their_words(vendors, provider):
    """The provider's own error body is not wrapped: Claude Code looks for its words."""
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}'
    provider.answer_next(body, status=400)
    reply = call(vendors, build_body("claude-opus-4-5", fresh()))
    assert (reply.status_code, reply.content) == (400, body)


def test_the_probe(vendors):
    """HEAD / is answered without a key."""
    assert send(vendors, "HEAD", f"{BASE}/", {}).status_code == 200


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_discovery(vendors, header):
    """The list of models comes at once, without a redirect, for a key in one header, with Claude's ids in it."""
    assert SETTINGS["CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY"] == "1"
    credential = f"Bearer {vendors.key}" if header == "authorization" else vendors.key
    headers = {header: credential, "anthropic-version": "2023-06-01"}
    reply = send(vendors, "GET", f"{BASE}/v1/models?limit=1000", headers)
    assert reply.status_code == 200
    assert reply.elapsed.total_seconds() < 3
    entries = reply.json()["data"]
    assert [entry for entry in entries if entry["id"].startswith(("claude", "anthropic")) and entry["display_name"]]


def test_counting_tokens(vendors):
    """count_tokens is answered for Claude; for another model it is a 400 in Anthropic's shape."""
    body = {"model": "claude-opus-4-5", "messages": [{"role": "user", "content": "hello"}], "system": SYSTEM}
    url = f"{BASE}/v1/messages/count_tokens?beta=true"
    assert send(vendors, "POST", url, build_headers(vendors), body).json()["input_tokens"] > 0
    reply = send(vendors, "POST", url, build_headers(vendors), body | {"model": "gpt-5"})
    assert (reply.status_code, reply.json()["type"]) == (400, "error")


def test_an_alias_that_discovery_shows(vendors, provider):
    """An alias that begins like Claude's names is listed, and leads to the other vendor's model."""
    target = {"provider": "openai", "model": "gpt-5"}
    vendors.configure(models={"claude-via-gpt": {"targets": [target]}})
    try:
        headers = {"authorization": f"Bearer {vendors.key}", "anthropic-version": "2023-06-01"}
        listed = send(vendors, "GET", f"{BASE}/v1/models?limit=1000", headers).json()["data"]
        assert "claude-via-gpt" in [entry["id"] for entry in listed]
        assert call(vendors, build_body("claude-via-gpt", fresh())).status_code == 200
        assert json.loads(provider.last().body)["model"] == "gpt-5"
    finally:
        vendors.configure(models={})
