"""Anthropic's messages, driven with Anthropic's own SDK."""

import anthropic as sdk
import pytest
from anthropic import Anthropic
from anyio import to_thread
from pydantic import BaseModel

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "Hello, relay!"}]
TOOL = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Verdict(BaseModel):
    answer: str
    sure: bool


async def test_a_message_is_echoed_with_its_usage(claude):
    """Fields, ids and usage are Anthropic's."""
    answer = await claude.messages.create(model="claude-haiku-4-5", max_tokens=100, messages=HELLO)
    assert answer.content[0].text == "Hello, relay!"
    assert answer.id.startswith("msg_01")
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 4)
    assert answer.usage.service_tier == "standard"
    assert answer.usage.cache_creation.ephemeral_5m_input_tokens == 0
    assert answer._request_id.startswith("req_")


async def test_the_sync_client_works_too(mock):
    """A blocking client reaches the mock from a thread."""

    def call():
        with Anthropic(api_key="k", base_url=mock.url, max_retries=0) as client:
            return client.messages.create(model="mock/echo", max_tokens=9, messages=HELLO).content[0].text

    assert await to_thread.run_sync(call) == "Hello, relay!"


async def test_the_stream_has_every_event_in_order(claude):
    """message_start, blocks with a ping after the first start, message_delta, message_stop."""
    stream = await claude.messages.create(model="echo", max_tokens=100, messages=HELLO, stream=True)
    events = [event async for event in stream]
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[0].message.usage.input_tokens == 7
    assert events[-2].usage.output_tokens == 4
    assert events[-2].delta.stop_reason == "end_turn"


async def test_a_ping_is_in_the_bytes(http):
    """Pings, which the SDK hides, are really sent."""
    body = {"model": "echo", "max_tokens": 9, "messages": HELLO, "stream": True}
    answer = await http.post("/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"})
    assert b'event: ping\ndata: {"type": "ping"}\n\n' in answer.content
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_tools_whole_and_streamed(claude):
    """tool_use has an object as input; in a stream it arrives as partial JSON."""
    ask = {"model": "echo", "max_tokens": 100, "tools": [TOOL]}
    forced = await claude.messages.create(messages=HELLO, tool_choice={"type": "any"}, **ask)
    assert forced.stop_reason == "tool_use"
    assert forced.content[0].input == {"city": "city"}
    wished = [{"role": "user", "content": "go [[mock tool=get_weather parallel=2]]"}]
    async with claude.messages.stream(messages=wished, **ask) as stream:
        final = await stream.get_final_message()
    assert [block.input for block in final.content] == [{"city": "city"}] * 2
    result = {"type": "tool_result", "tool_use_id": forced.content[0].id, "content": "sunny"}
    turns = [*HELLO, {"role": "assistant", "content": forced.content}, {"role": "user", "content": [result]}]
    last = await claude.messages.create(messages=turns, **ask)
    assert last.content[0].text == "sunny"


async def test_blocks_of_every_kind_are_read(claude):
    """Text blocks are echoed, images count 85 tokens, tool results with blocks are read."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
    turn = {"role": "user", "content": [image, {"type": "text", "text": "look"}]}
    answer = await claude.messages.create(model="echo", max_tokens=9, messages=[turn])
    assert (answer.content[0].text, answer.usage.input_tokens) == ("look", 89)
    use = {"type": "tool_use", "id": "t", "name": "get_weather", "input": {"city": "x"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "rain"}]}
    turns = [*HELLO, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    answer = await claude.messages.create(model="echo", max_tokens=9, messages=turns, tools=[TOOL])
    assert answer.content[0].text == "rain"
    none = await claude.messages.create(
        model="tool", max_tokens=9, messages=HELLO, tools=[TOOL], tool_choice={"type": "none"}
    )
    assert none.stop_reason == "end_turn"


async def test_thinking_comes_first_and_signed(claude):
    """A thinking block precedes the text, with a signature, whole and streamed; `omitted` hides its text."""
    ask = {"model": "claude-haiku-4-5", "max_tokens": 2000, "messages": HELLO}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    async with claude.messages.stream(thinking=thinking, **ask) as stream:
        final = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[0].thinking
    assert final.content[0].signature
    assert final.usage.output_tokens == 20
    hidden = await claude.messages.create(thinking={"type": "adaptive", "display": "omitted"}, **ask)
    assert hidden.content[0].thinking == ""


async def test_ends_by_limit_sequence_and_wish(claude):
    """max_tokens, stop_sequence and any reason a directive asks for."""
    cut = await claude.messages.create(model="story", max_tokens=3, messages=HELLO)
    assert cut.stop_reason == "max_tokens"
    stopped = await claude.messages.create(model="echo", max_tokens=9, messages=HELLO, stop_sequences=["!", ","])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", ",")
    wish = [{"role": "user", "content": "hi [[mock stop=refusal]]"}]
    refused = await claude.messages.create(model="echo", max_tokens=9, messages=wish)
    assert refused.stop_reason == "refusal"


async def test_structured_output(claude):
    """output_config.format is answered with JSON of the schema."""
    answer = await claude.messages.parse(model="echo", max_tokens=99, messages=HELLO, output_format=Verdict)
    assert answer.parsed_output == Verdict(answer="answer", sure=True)


async def test_prompt_caching_writes_then_reads(claude):
    """A marked prefix is written at first and read the second time; the three input classes are disjoint."""
    mark = {"type": "ephemeral"}
    system = [{"type": "text", "text": "x" * 400, "cache_control": mark}]
    ask = {"model": "echo", "max_tokens": 9, "messages": HELLO, "system": system}
    first = (await claude.messages.create(**ask)).usage
    second = (await claude.messages.create(**ask)).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (100, 0)
    assert first.cache_creation.ephemeral_5m_input_tokens == 100
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 100)
    assert first.input_tokens == second.input_tokens == 7
    system[0] = {"type": "text", "text": "y" * 400, "cache_control": {**mark, "ttl": "1h"}}
    third = (await claude.messages.create(**ask)).usage
    assert third.cache_creation.ephemeral_1h_input_tokens == 100


async def test_count_tokens_is_what_a_message_is_billed(claude):
    """Counting gives the input tokens of the same message, tools included."""
    ask = {"model": "echo", "messages": HELLO, "system": "Be kind.", "tools": [TOOL]}
    counted = await claude.messages.count_tokens(**ask)
    made = await claude.messages.create(max_tokens=9, **ask)
    assert counted.input_tokens == made.usage.input_tokens > 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "first message"),
        ({"model": None}, "model"),
        ({"tools": [{"name": "x"}]}, "tools.0.custom.input_schema"),
        ({"tool_choice": {"type": "tool", "name": "x"}}, "Tool choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "budget_tokens"),
    ],
)
async def test_bad_messages_are_refused_in_anthropics_shape(http, change, message):
    """A 400 is `{"type": "error", ...}` whose message starts with the field's path."""
    body = {"model": "echo", "max_tokens": 100, "messages": HELLO} | change
    body = {key: value for key, value in body.items() if value is not None}
    answer = await http.post("/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"})
    error = answer.json()
    assert answer.status_code == 400
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert message in error["error"]["message"]
    assert error["request_id"] == answer.headers["request-id"]


async def test_the_version_header_is_required(http):
    """Without anthropic-version a message is refused, as by the vendor."""
    answer = await http.post("/v1/messages", json={"model": "echo", "max_tokens": 9, "messages": HELLO})
    assert answer.status_code == 400
    assert "anthropic-version" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("status-401", sdk.AuthenticationError),
        ("status-403", sdk.PermissionDeniedError),
        ("nope", sdk.NotFoundError),
        ("status-429", sdk.RateLimitError),
        ("status-500", sdk.InternalServerError),
        ("status-529", sdk.OverloadedError if hasattr(sdk, "OverloadedError") else sdk.InternalServerError),
    ],
)
async def test_statuses_raise_the_sdks_classes(claude, model, error):
    """Every status becomes the error class its SDK knows."""
    with pytest.raises(error):
        await claude.messages.create(model=model, max_tokens=9, messages=HELLO)


async def test_an_error_event_raises_in_the_middle_of_a_stream(claude):
    """`error-stream` sends an error event; the SDK raises on it."""
    stream = await claude.messages.create(model="error-stream", max_tokens=99, messages=HELLO, stream=True)
    with pytest.raises(sdk.APIStatusError, match="overloaded_error"):
        _ = [event async for event in stream]
