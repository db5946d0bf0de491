"""docs/clients/codex-cli.md: what Codex sends to its model provider, whichever vendor answers."""

import json
import tomllib

import pytest

from tests.acceptance.support import fresh
from tests.clients.guides import list_events, place, read_blocks, send

[SETTINGS] = [tomllib.loads(block) for block in read_blocks("codex-cli", "toml")]
PROVIDER = SETTINGS["model_providers"][SETTINGS["model_provider"]]
SHELL = {
    "type": "function",
    "name": "shell",
    "description": "Runs a command.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"command": {"type": "array", "items": {"type": "string"}}},
        "required": ["command"],
        "additionalProperties": False,
    },
}
PLAN = SHELL | {"name": "update_plan"}


def text(role, words):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": words}]}


def build_body(model, *items, **more):
    return {
        "model": model,
        "instructions": "You are Codex.",
        "input": [text("developer", "<permissions>read-only</permissions>"), *items],
        "tools": [SHELL, PLAN],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199a213-81c0-7800-8aa1-bbab2a035a53",
        "client_metadata": {"x-codex-installation-id": "i"},
        **more,
    }


def call(gateway, body):
    [script] = read_blocks("codex-cli", "sh")
    name, _, value = place(script, gateway).strip().removeprefix("export ").partition("=")
    assert name == PROVIDER["env_key"]
    headers = {
        "authorization": f"Bearer {value}",
        "accept": "text/event-stream",
        "originator": "codex_cli_rs",
        "session_id": "0199a213-81c0-7800-8aa1-bbab2a035a53",
        "user-agent": "codex_cli_rs/0.60.0 (Linux)",
    }
    return send(gateway, "POST", f"{PROVIDER['base_url']}/responses", headers, body)


def completed(reply):
    assert reply.status_code == 200, reply.text
    events = list_events(reply)
    assert (events[0], events[-1]) == ("response.created", "response.completed")
    data = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    return json.loads(data[-1])["response"]


def test_the_settings():
    """The guide names the only wire format that Codex takes."""
    assert PROVIDER["wire_api"] == "responses"


def test_openai_gets_every_byte(vendors, provider):
    """To OpenAI the body goes as it came."""
    body = build_body(SETTINGS["model"], text("user", fresh()))
    completed(call(vendors, body))
    assert (provider.last().path, json.loads(provider.last().body)) == ("/v1/responses", body)


def test_claude_over_two_turns(vendors, provider):
    """Claude gets system, tools and effort; its calls and sealed thinking come back to it in the next turn."""
    first = text("user", fresh("[[mock think=6 tool=shell]] list the files"))
    answer = completed(call(vendors, build_body("claude-sonnet-4-6", first)))
    assert [item["type"] for item in answer["output"]] == ["reasoning", "function_call"]
    body = json.loads(provider.last().body)
    assert [block["text"] for block in body["system"]] == ["You are Codex.", "<permissions>read-only</permissions>"]
    assert [tool["name"] for tool in body["tools"]] == ["shell", "update_plan"]
    assert body["output_config"] == {"effort": "medium"}
    reasoning, use = answer["output"]
    back = [
        {key: reasoning[key] for key in ("type", "summary", "encrypted_content")},
        {key: use[key] for key in ("type", "name", "arguments", "call_id")},
        {"type": "function_call_output", "call_id": use["call_id"], "output": "a.txt"},
    ]
    completed(call(vendors, build_body("claude-sonnet-4-6", first, *back)))
    [_, said, told] = json.loads(provider.last().body)["messages"]
    assert [block["type"] for block in said["content"]] == ["thinking", "tool_use"]
    assert said["content"][0]["signature"]
    assert told["content"][0]["type"] == "tool_result"


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "web_search", "external_web_access": False}, "tools[2].type"),
        ({"type": "custom", "name": "apply_patch", "description": "d", "format": {"type": "text"}}, "tools"),
    ],
)
def test_tools_that_claude_lacks(vendors, provider, tool, param):
    """What the guide says is refused is a 400 that names it, before anything is sent."""
    reply = call(vendors, build_body("claude-sonnet-4-6", text("user", fresh()), tools=[SHELL, PLAN, tool]))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert provider.count() == 0
