"""Responses clients in front of OpenAI's and Anthropic's chat providers."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from app.errors import BadRequestError
from app.providers.endpoints import ENDPOINTS
from app.providers.protocol import ProviderDialect
from app.translation.anthropic import ANTHROPIC_PROVIDER
from app.translation.openai import OPENAI_PROVIDER
from app.translation.responses import RESPONSES_CLIENT
from tests.providers.samples import CHAT, USAGE, compact
from tests.translation.responses_samples import CALL, read_stream
from tests.translation.test_responses_call import CODEX

MESSAGE: dict[str, Any] = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Two commands, 世界.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "cmVk"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "shell", "input": {"command": ["ls"], "n": 9007199254740993}},
        {"type": "tool_use", "id": "toolu_2", "name": "shell", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 30},
}
TOOL_CALLS = [
    {"id": "call_a", "type": "function", "function": {"name": "shell", "arguments": '{"command":["ls"]}'}},
    {"id": "call_b", "type": "function", "function": {"name": "shell", "arguments": "{}"}},
]
CHAT_CALLS: dict[str, Any] = {
    **{key: CHAT[key] for key in ("id", "object", "created", "model")},
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "I look.", "tool_calls": TOOL_CALLS},
            "finish_reason": "tool_calls",
        }
    ],
    "usage": USAGE,
}
ANSWERS: dict[str, tuple[ProviderDialect, str, dict[str, Any]]] = {
    "anthropic": (ANTHROPIC_PROVIDER, "messages", MESSAGE),
    "openai": (OPENAI_PROVIDER, "chat", CHAT_CALLS),
    "openai text": (OPENAI_PROVIDER, "chat", CHAT),
}


def open_sdk(dialect: ProviderDialect, endpoint: str, answers: list[dict[str, Any]], asked: list[Any]) -> openai.OpenAI:
    """Return OpenAI's client, whose calls go through both dialects; `asked` gets the bodies that the provider sees."""
    write_stream = ENDPOINTS[endpoint].write_stream

    def handle(request: httpx2.Request) -> httpx2.Response:
        call = RESPONSES_CLIENT.read_call(request.content)
        asked.append(json.loads(dialect.build_chat(call)))
        answer = compact(answers.pop(0))
        if not call.stream:
            return httpx2.Response(200, content=RESPONSES_CLIENT.write_reply(dialect.parse_chat(answer), call))
        reader, writer = dialect.open_reader(), RESPONSES_CLIENT.open_writer(call)
        stream = b"".join(writer.write(event) for event in reader.feed(write_stream(answer, True)))
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    transport = httpx2.MockTransport(lambda request: with_type(handle(request)))
    return openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0)


def with_type(response: httpx2.Response) -> httpx2.Response:
    response.headers.setdefault("content-type", "application/json")
    return response


def show(response: dict[str, Any]) -> dict[str, Any]:
    """A response without the time, which Anthropic does not tell."""
    return {key: value for key, value in response.items() if key != "created_at"}


@pytest.mark.parametrize("name", ANSWERS.keys())
def test_a_stream_is_the_whole_answer_wherever_it_is_cut(name: str) -> None:
    """The provider's stream, cut at every byte, becomes the same events, and they end with the unstreamed answer."""
    dialect, endpoint, answer = ANSWERS[name]
    stream = ENDPOINTS[endpoint].write_stream(compact(answer), True)
    whole = json.loads(RESPONSES_CLIENT.write_reply(dialect.parse_chat(compact(answer)), CALL))

    def translate(*pieces: bytes) -> list[dict[str, Any]]:
        reader, writer = dialect.open_reader(), RESPONSES_CLIENT.open_writer(CALL)
        return read_stream(b"".join(writer.write(event) for piece in pieces for event in reader.feed(piece)))

    expected = translate(stream)
    last = expected[-1]["response"]
    tier = {"service_tier": None}
    assert show(last) | tier == show(whole) | tier
    for place in range(1, len(stream), 7 if len(stream) > 4000 else 1):
        events = translate(stream[:place], stream[place:])
        assert [strip_time(event) for event in events] == [strip_time(event) for event in expected], place
    single = [stream[place : place + 1] for place in range(len(stream))]
    assert [strip_time(event) for event in translate(*single)] == [strip_time(event) for event in expected]


def strip_time(event: dict[str, Any]) -> dict[str, Any]:
    return event | {"response": show(event["response"])} if "response" in event else event


def test_codex_reaches_anthropic() -> None:
    """What Codex sends becomes a Messages body with its tools, its results in one turn and the thinking signed."""
    call = RESPONSES_CLIENT.read_call(json.dumps(CODEX | {"model": "claude-sonnet-4-5"}).encode())
    body = json.loads(ANTHROPIC_PROVIDER.build_chat(call))
    assert [block["text"] for block in body["system"]] == ["You are a coding agent.", "sandbox"]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    thought, first, second = body["messages"][1]["content"]
    assert (thought["thinking"], thought["signature"]) == ("I look.", "sig")
    assert (first["input"], second["input"]) == ({"command": ["ls"]}, {"command": ["pwd"]})
    results = [block["tool_use_id"] for block in body["messages"][2]["content"]]
    assert sorted(results) == ["toolu_1", "toolu_2"]
    assert body["tools"][0]["name"] == "shell"
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body["stream"] is True


def test_codex_reaches_openai_chat() -> None:
    """The same call becomes chat messages: one assistant's message with both calls, then a message for each result."""
    call = RESPONSES_CLIENT.read_call(json.dumps(CODEX | {"model": "gpt-5"}).encode())
    body = json.loads(OPENAI_PROVIDER.build_chat(call))
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "developer", "user", "assistant", "tool", "tool"]
    assert [one["id"] for one in body["messages"][3]["tool_calls"]] == ["toolu_1", "toolu_2"]
    assert [message["tool_call_id"] for message in body["messages"][4:]] == ["toolu_2", "toolu_1"]
    assert (body["reasoning_effort"], body["verbosity"], body["parallel_tool_calls"]) == ("medium", "medium", False)
    assert "store" not in body


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"temperature": 1.5}, "temperature"),
    ],
)
def test_what_anthropic_has_no_words_for_is_refused_in_responses_words(fields: dict[str, Any], name: str) -> None:
    """The error names the field as the client wrote it."""
    call = RESPONSES_CLIENT.read_call(json.dumps({"model": "claude-sonnet-4-5", "input": "hi"} | fields).encode())
    with pytest.raises(BadRequestError) as caught:
        ANTHROPIC_PROVIDER.build_chat(call)
    assert caught.value.param == name


def run_shell(client: openai.OpenAI, ask: Callable[[openai.OpenAI, list[Any]], Any]) -> str:
    """Ask, answer every function call and ask again."""
    conversation: list[Any] = [{"role": "user", "content": "look"}]
    first = ask(client, conversation)
    conversation += first.output
    for item in first.output:
        if item.type == "function_call":
            conversation.append({"type": "function_call_output", "call_id": item.call_id, "output": "a.py"})
    return ask(client, conversation).output_text


def ask_whole(client: openai.OpenAI, conversation: list[Any]) -> Any:
    return client.responses.create(model="claude-sonnet-4-5", input=conversation)


def ask_stream(client: openai.OpenAI, conversation: list[Any]) -> Any:
    with client.responses.stream(model="claude-sonnet-4-5", input=conversation) as stream:
        return stream.get_final_response()


@pytest.mark.parametrize("ask", [ask_whole, ask_stream])
def test_the_sdk_uses_claudes_tools(ask: Callable[[openai.OpenAI, list[Any]], Any]) -> None:
    """The SDK runs Claude's tools, and Claude sees its own turn again, signature and redacted thinking included."""
    asked: list[Any] = []
    done = MESSAGE | {"content": [{"type": "text", "text": "One file."}], "stop_reason": "end_turn"}
    with open_sdk(ANTHROPIC_PROVIDER, "messages", [MESSAGE, done], asked) as client:
        assert run_shell(client, ask) == "One file."
    _, assistant, results = asked[1]["messages"]
    assert assistant["content"] == MESSAGE["content"]
    assert [block["tool_use_id"] for block in results["content"]] == ["toolu_1", "toolu_2"]


@pytest.mark.parametrize("ask", [ask_whole, ask_stream])
def test_the_sdk_uses_the_tools_of_chat_models(ask: Callable[[openai.OpenAI, list[Any]], Any]) -> None:
    """The same loop with a provider that only has chat completions."""
    asked: list[Any] = []
    with open_sdk(OPENAI_PROVIDER, "chat", [CHAT_CALLS, CHAT], asked) as client:
        assert run_shell(client, ask) == "Hello, 世界!"
    _, assistant, *results = asked[1]["messages"]
    assert assistant["tool_calls"] == TOOL_CALLS
    assert [message["tool_call_id"] for message in results] == ["call_a", "call_b"]
