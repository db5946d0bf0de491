"""Gemini and Bedrock behind each client dialect: what a client echoes comes back to the provider as it was."""

import json
from typing import Any

import pytest

from app.providers.protocol import ClientDialect, ProviderDialect
from app.translation.anthropic import ANTHROPIC_CLIENT
from app.translation.bedrock import BEDROCK_ANTHROPIC, BEDROCK_CONVERSE
from app.translation.gemini import GEMINI_PROVIDER
from app.translation.openai import OPENAI_CLIENT
from app.translation.responses import RESPONSES_CLIENT
from tests.translation import test_bedrock_invoke, test_bedrock_reply, test_gemini_reply
from tests.translation.canonical_calls import show

QUESTION = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {}}
MODEL = "gemini-3-pro"


def build_openai(answer: dict[str, Any] | None, results: dict[str, str]) -> dict[str, Any]:
    messages = [QUESTION] + ([answer["choices"][0]["message"]] if answer else [])
    messages += [{"role": "tool", "tool_call_id": name, "content": text} for name, text in results.items()]
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    return {"model": MODEL, "messages": messages, "tools": [tool]}


def build_anthropic(answer: dict[str, Any] | None, results: dict[str, str]) -> dict[str, Any]:
    messages = [QUESTION] + ([{"role": "assistant", "content": answer["content"]}] if answer else [])
    blocks = [{"type": "tool_result", "tool_use_id": name, "content": text} for name, text in results.items()]
    messages += [{"role": "user", "content": blocks}] if blocks else []
    return {"model": MODEL, "max_tokens": 9, "messages": messages, "tools": [{"name": "f", "input_schema": SCHEMA}]}


def build_responses(answer: dict[str, Any] | None, results: dict[str, str]) -> dict[str, Any]:
    items = [QUESTION] + (answer["output"] if answer else [])
    items += [{"type": "function_call_output", "call_id": name, "output": text} for name, text in results.items()]
    tool = {"type": "function", "name": "f", "parameters": SCHEMA}
    return {"model": MODEL, "input": items, "tools": [tool], "include": ["reasoning.encrypted_content"]}


CLIENTS = {
    "openai": (OPENAI_CLIENT, build_openai),
    "anthropic": (ANTHROPIC_CLIENT, build_anthropic),
    "responses": (RESPONSES_CLIENT, build_responses),
}
STREAMS = {
    "gemini": (GEMINI_PROVIDER, test_gemini_reply.build_stream(test_gemini_reply.PIECES)),
    "converse": (BEDROCK_CONVERSE, b"".join(test_bedrock_reply.FRAMES)),
    "invoke": (BEDROCK_ANTHROPIC, test_bedrock_invoke.STREAM),
}
ENDS = {"openai": b"data: [DONE]", "anthropic": b"event: message_stop", "responses": b"event: response.completed"}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_signed_call_survives_every_client(name: str) -> None:
    """A client that sends an answer back with its results brings Gemini the signature of its call, and the ids fit."""
    client, build = CLIENTS[name]
    parts = [
        {"text": "so ", "thought": True},
        {"functionCall": {"name": "f", "args": {"x": 1.10}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "f", "args": {"x": 2}}},
    ]
    reply = GEMINI_PROVIDER.parse_chat(test_gemini_reply.build_whole(parts))
    call = client.read_call(json.dumps(build(None, {})).encode())
    answer = json.loads(client.write_reply(reply, call))
    first, second = [part.id for part in reply.choices[0].parts[-2:]]
    again = client.read_call(json.dumps(build(answer, {second: "two", first: "one"})).encode())
    turns = show(GEMINI_PROVIDER.build_chat(again))["contents"]
    assert turns[1] == {
        "role": "model",
        "parts": [
            {"functionCall": {"id": first, "name": "f", "args": {"x": "1.1"}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": second, "name": "f", "args": {"x": 2}}},
        ],
    }
    assert [part["functionResponse"]["response"] for part in turns[2]["parts"]] == [
        {"output": "one"},
        {"output": "two"},
    ]


@pytest.mark.parametrize("name", CLIENTS)
def test_signed_reasoning_survives_every_client(name: str) -> None:
    """Claude's reasoning comes back to Bedrock with its signature, whatever the client speaks."""
    client, build = CLIENTS[name]
    reply = BEDROCK_CONVERSE.parse_chat(test_bedrock_reply.build_whole(test_bedrock_reply.CONTENT, "tool_use"))
    call = client.read_call(json.dumps(build(None, {})).encode())
    answer = json.loads(client.write_reply(reply, call))
    again = client.read_call(json.dumps(build(answer, {"t2": "two", "t1": "one"})).encode())
    turns = show(BEDROCK_CONVERSE.build_chat(again))["messages"]
    assert sorted(map(json.dumps, turns[1]["content"])) == sorted(map(json.dumps, test_bedrock_reply.CONTENT))
    assert [block["toolResult"]["toolUseId"] for block in turns[2]["content"]] == ["t2", "t1"]


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("source", STREAMS)
def test_a_stream_reaches_every_client_with_one_ending(name: str, source: str) -> None:
    """Every stream ends once, with the client's own marker, and not before its last byte has come."""
    client, build = CLIENTS[name]
    provider, stream = STREAMS[source]
    call = client.read_call(json.dumps(build(None, {}) | {"stream": True}).encode())
    written = write(client, provider, call, stream)
    assert written.count(ENDS[name]) == 1
    assert "Hé".encode() in written
    assert ENDS[name] not in write(client, provider, call, stream[:-1])


def write(client: ClientDialect, provider: ProviderDialect, call: Any, stream: bytes) -> bytes:
    reader, writer = provider.open_reader(), client.open_writer(call)
    return b"".join(writer.write(event) for event in reader.feed(stream))
