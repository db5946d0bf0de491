"""The vendors' own SDKs read the streams that we write."""

import copy
from collections.abc import Callable

import anthropic
import httpx2
import openai
import pytest

from app.providers.endpoints import ENDPOINTS
from tests.providers.samples import CHAT, CHAT_TOOLS, COMPLETION, MESSAGE, RESPONSE, compact


def write_stream(endpoint: str, body: bytes) -> bytes:
    write = ENDPOINTS[endpoint].write_stream
    assert write is not None
    return write(body, True)


def answer(stream: bytes) -> httpx2.MockTransport:
    headers = {"content-type": "text/event-stream"}
    return httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=stream))


@pytest.fixture
def open_openai() -> Callable[[bytes], openai.OpenAI]:
    def build(stream: bytes) -> openai.OpenAI:
        return openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=answer(stream)))

    return build


def test_the_openai_sdk_reads_the_chat_stream(open_openai: Callable[[bytes], openai.OpenAI]) -> None:
    """The SDK's own accumulator arrives at the message that the stream was made from."""
    body = CHAT | {"choices": copy.deepcopy(CHAT_TOOLS["choices"][:1])}
    body["choices"][0]["message"]["tool_calls"].pop()
    with open_openai(write_stream("chat", compact(body))) as client:
        tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("add", "sub")]
        with client.chat.completions.stream(model="m", messages=[], tools=tools) as stream:
            final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("call_a", "add", '{"a":1}'),
        ("call_b", "sub", ""),
    ]
    assert (final.choices[0].finish_reason, final.usage.total_tokens) == ("tool_calls", 140)
    with open_openai(write_stream("chat", compact(CHAT))) as client:
        chunks = list(client.chat.completions.create(model="m", messages=[], stream=True))
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == "Hello, 世界!"


def test_the_openai_sdk_reads_the_completion_stream(open_openai: Callable[[bytes], openai.OpenAI]) -> None:
    """Legacy completions parse as well."""
    with open_openai(write_stream("completions", compact(COMPLETION))) as client:
        chunks = list(client.completions.create(model="m", prompt="p", stream=True))
    assert "".join(c.choices[0].text for c in chunks if c.choices and c.choices[0].index == 0) == "one two"
    assert chunks[-1].usage.total_tokens == 7


def test_the_openai_sdk_reads_the_responses_stream(open_openai: Callable[[bytes], openai.OpenAI]) -> None:
    """The SDK follows every event of the stream to the same final response, and the numbers run without a gap."""
    client = open_openai(write_stream("responses", compact(RESPONSE)))
    with client, client.responses.stream(model="m", input="x") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text == "It is 2."
    assert final.usage.total_tokens == 80
    assert {
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.annotation.added",
        "response.output_text.done",
        "response.refusal.delta",
        "response.refusal.done",
        "response.content_part.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    } <= {event.type for event in events}


def test_the_anthropic_sdk_reads_the_message_stream() -> None:
    """The SDK's own accumulator arrives at the message that the stream was made from."""
    body = MESSAGE | {"content": MESSAGE["content"][:-1]}
    transport = answer(write_stream("messages", compact(body)))
    client = anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport))
    with client, client.messages.stream(model="m", max_tokens=1, messages=[]) as stream:
        final = stream.get_final_message()
    told = final.model_dump(exclude_unset=True)
    assert told["content"] == body["content"]
    assert {key: told["usage"][key] for key in body["usage"]} == body["usage"]
    assert (told["stop_reason"], told["id"], told["model"]) == ("tool_use", "msg_01", body["model"])
