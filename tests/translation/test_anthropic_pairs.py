"""Anthropic's SDK and Claude Code in front of OpenAI's models."""

import json
from typing import Any

import anthropic
import httpx2
import pytest

from app.providers.endpoints import ENDPOINTS
from app.translation.anthropic import ANTHROPIC_CLIENT
from app.translation.openai import OPENAI_PROVIDER
from tests.providers.samples import CHAT, USAGE, compact

CLAUDE_CODE: dict[str, Any] = {
    "model": "openai/gpt-5",
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.181"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "list files", "cache_control": {"type": "ephemeral"}}]},
        {"role": "system", "content": [{"type": "text", "text": "Today is Monday."}]},
    ],
    "tools": [
        {
            "name": "Bash",
            "description": "Run a command",
            "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}},
            "eager_input_streaming": True,
        }
    ],
    "metadata": {"user_id": '{"device_id":"d","session_id":"s"}'},
    "thinking": {"type": "adaptive", "display": "omitted"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "stream": True,
}
CALLS = [
    {"id": "call_a", "type": "function", "function": {"name": "Bash", "arguments": '{"command":"ls"}'}},
    {"id": "functions.Bash:1", "type": "function", "function": {"name": "Bash", "arguments": '{"command":"pwd"}'}},
]
ANSWERS: list[dict[str, Any]] = [
    {
        **{key: CHAT[key] for key in ("id", "object", "created", "model")},
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "I look.", "tool_calls": CALLS},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": USAGE,
    },
    CHAT,
]


def open_sdk(asked: list[dict[str, Any]]) -> anthropic.Anthropic:
    """Anthropic's client, whose calls go through both dialects; `asked` gets the bodies that OpenAI sees."""
    answers = [compact(answer) for answer in ANSWERS]

    def handle(request: httpx2.Request) -> httpx2.Response:
        call = ANTHROPIC_CLIENT.read_call(request.content)
        asked.append(json.loads(OPENAI_PROVIDER.build_chat(call)))
        answer = answers[len(asked) - 1]
        if not call.stream:
            written = ANTHROPIC_CLIENT.write_reply(OPENAI_PROVIDER.parse_chat(answer), call)
            return httpx2.Response(200, headers={"content-type": "application/json"}, content=written)
        write_stream = ENDPOINTS["chat"].write_stream
        assert write_stream is not None
        reader, writer = OPENAI_PROVIDER.open_reader(), ANTHROPIC_CLIENT.open_writer(call)
        stream = b"".join(writer.write(event) for event in reader.feed(write_stream(answer, True)))
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    transport = httpx2.MockTransport(handle)
    return anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0)


@pytest.mark.parametrize("streamed", [True, False])
def test_the_sdk_calls_tools_of_an_openai_model(streamed: bool) -> None:
    """Two turns with two tools at once: what the SDK got goes back as it is, and OpenAI sees its own ids again."""
    asked: list[dict[str, Any]] = []
    said: dict[str, Any] = {"model": "openai/gpt-4o", "max_tokens": 1000}
    messages: list[Any] = [{"role": "user", "content": "list files"}]
    with open_sdk(asked) as client:

        def ask() -> Any:
            if not streamed:
                return client.messages.create(**said, messages=messages)
            with client.messages.stream(**said, messages=messages) as stream:
                return stream.get_final_message()

        first = ask()
        uses = [block for block in first.content if block.type == "tool_use"]
        assert (first.stop_reason, [use.input for use in uses]) == ("tool_use", [{"command": "ls"}, {"command": "pwd"}])
        results = [{"type": "tool_result", "tool_use_id": use.id, "content": "ok"} for use in reversed(uses)]
        messages += [first.to_param(), {"role": "user", "content": results}]
        last = ask()
    assert [call["id"] for call in asked[1]["messages"][1]["tool_calls"]] == ["call_a", "functions.Bash:1"]
    assert [message["tool_call_id"] for message in asked[1]["messages"][2:]] == ["functions.Bash:1", "call_a"]
    assert [block.to_dict() for block in last.content][-1] == {"type": "text", "text": "Hello, 世界!"}
    usage = last.usage
    assert (last.stop_reason, usage.input_tokens, usage.cache_read_input_tokens) == ("end_turn", 40, 60)
    assert usage.output_tokens == 40


def test_claude_codes_call_can_be_said_to_openai() -> None:
    """What Claude Code sends with every call is either understood or has no effect: it can use other models."""
    body = json.loads(OPENAI_PROVIDER.build_chat(ANTHROPIC_CLIENT.read_call(compact(CLAUDE_CODE))))
    assert [message["role"] for message in body["messages"]] == ["system", "user", "system"]
    assert body["reasoning_effort"] == "high"
    assert body["tools"][0]["function"]["name"] == "Bash"
