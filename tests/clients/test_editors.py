"""docs/clients/continue.md and vscode.md: what the editors' chats send with the guides' settings."""

import json
from urllib.parse import urljoin

import pytest
import yaml

from tests.acceptance.support import fresh
from tests.clients.guides import list_events, place, read_blocks, send

[CONTINUE] = [yaml.safe_load(block)["models"] for block in read_blocks("continue", "yaml")]
[[VSCODE]] = [json.loads(block) for block in read_blocks("vscode", "json")]
FUNCTION = {"name": "read_file", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}
TOOLS = {
    "chat-completions": [{"type": "function", "function": FUNCTION}],
    "responses": [{"type": "function", **FUNCTION, "strict": False}],
    "messages": [{"name": "read_file", "input_schema": FUNCTION["parameters"]}],
}


def ask(model, text, **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **fields}


def find(role, kind):
    return next(model for model in CONTINUE if role in model["roles"] and model["provider"] == kind)


@pytest.mark.parametrize("other", [None, "gpt-4o"])
def test_continue_by_chat_completions(vendors, other):
    """Continue's provider openai sends its key twice and asks for usage; either vendor's model answers."""
    model = find("chat", "openai")
    base = model["apiBase"] if model["apiBase"].endswith("/") else model["apiBase"] + "/"
    key = place(model["apiKey"], vendors)
    headers = {"authorization": f"Bearer {key}", "api-key": key, "content-type": "application/json"}
    body = ask(other or model["model"], fresh("hello"), max_tokens=4096, stream_options={"include_usage": True})
    reply = send(vendors, "POST", urljoin(base, "chat/completions"), headers, body)
    data = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert (reply.status_code, data[-1]) == (200, "[DONE]")
    assert json.loads(data[-2])["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("other", [None, "claude-opus-4-5"])
def test_continue_by_messages(vendors, other):
    """Continue's provider anthropic joins `messages` to the guide's apiBase, whose last slash matters."""
    model = find("chat", "anthropic")
    headers = {
        "x-api-key": place(model["apiKey"], vendors),
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "prompt-caching-2024-07-31",
    }
    system = [{"type": "text", "text": "Help.", "cache_control": {"type": "ephemeral"}}]
    body = ask(other or model["model"], fresh("hello"), max_tokens=4096, system=system, tools=TOOLS["messages"])
    reply = send(vendors, "POST", urljoin(model["apiBase"], "messages"), headers, body)
    assert (reply.status_code, list_events(reply)[-1]) == (200, "message_stop")


def test_continue_embeds(vendors):
    """Continue's embeddings come from the same address."""
    model = find("embed", "openai")
    key = place(model["apiKey"], vendors)
    headers = {"authorization": f"Bearer {key}", "api-key": key}
    body = {"input": ["a", "b"], "model": model["model"]}
    reply = send(vendors, "POST", urljoin(model["apiBase"] + "/", "embeddings"), headers, body)
    assert len(reply.json()["data"]) == 2


@pytest.mark.parametrize("model", VSCODE["models"], ids=lambda model: model["apiType"])
@pytest.mark.parametrize("other", [None, "claude-sonnet-4-6", "gpt-4o"])
def test_vscode(vendors, model, other):
    """VS Code posts to the guide's URL exactly, in the dialect of its apiType; any model answers with tools."""
    kind = model["apiType"]
    body = ask(other or model["id"], fresh("[[mock tool=read_file]] read it"), tools=TOOLS[kind])
    headers = {"authorization": f"Bearer {vendors.key}", "user-agent": "GitHubCopilotChat/0.50.0"}
    if kind == "messages":
        headers = {"x-api-key": vendors.key, "anthropic-version": "2023-06-01"}
        body["max_tokens"] = model["maxOutputTokens"]
    if kind == "responses":
        body["input"], body["store"] = body.pop("messages"), False
    reply = send(vendors, "POST", model["url"], headers, body)
    assert reply.status_code == 200
    assert "read_file" in reply.text
    ends = {"chat-completions": "[DONE]", "responses": "response.completed", "messages": "message_stop"}
    assert ends[kind] in reply.text
