"""OpenAI's chat completions, driven with OpenAI's own SDK."""

import json

import openai as sdk
import pytest
from pydantic import BaseModel

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "Hello, relay!"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
            "required": ["city", "days"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


class Verdict(BaseModel):
    answer: str
    score: float
    tags: list[str]


@pytest.mark.parametrize("model", ["echo", "mock/echo", "gpt-4o", "llama-3.3-70b", "org/qwen2"])
async def test_echo_answers_with_the_users_text(openai, model):
    """`echo`, with or without prefix, and every real-looking name answer with the last user message."""
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    answer = await openai.chat.completions.create(model=model, messages=messages)
    assert answer.choices[0].message.content == "Hello, relay!"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == model.removeprefix("mock/")
    assert answer.id.startswith("chatcmpl-")
    assert answer.system_fingerprint


async def test_usage_is_one_token_per_four_characters(openai):
    """Output is characters / 4 rounded up; input the same plus three a message; details are there."""
    answer = await openai.chat.completions.create(model="echo", messages=HELLO)
    assert answer.usage.completion_tokens == 4
    assert answer.usage.prompt_tokens == 7
    assert answer.usage.total_tokens == 11
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


async def test_a_stream_has_role_deltas_finish_and_no_usage_unasked(openai):
    """Without include_usage no chunk has a usage field at all."""
    stream = await openai.chat.completions.create(model="echo", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello, relay!"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)


async def test_include_usage_adds_one_last_chunk_without_choices(openai):
    """The last chunk carries the usage; all others say `usage: null`."""
    stream = await openai.chat.completions.create(
        model="tokens-9", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 9
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in chunks[:-1])


async def test_n_answers_in_whole_and_in_stream(openai):
    """`n` choices come with their own index; usage counts them all."""
    answer = await openai.chat.completions.create(model="echo", messages=HELLO, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 12
    stream = await openai.chat.completions.create(model="echo", messages=HELLO, n=2, stream=True)
    assert {chunk.choices[0].index async for chunk in stream} == {0, 1}


async def test_limits_and_stop_sequences_end_an_answer(openai):
    """A token limit ends with `length`, a stop sequence with `stop` and without the sequence."""
    cut = await openai.chat.completions.create(model="story", messages=HELLO, max_completion_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    assert len(cut.choices[0].message.content) == 20
    stopped = await openai.chat.completions.create(model="echo", messages=HELLO, stop=[","])
    assert stopped.choices[0].message.content == "Hello"
    assert stopped.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"tool_choice": "required"}, "hi"),
        ({"tool_choice": {"type": "function", "function": {"name": "get_weather"}}}, "hi"),
        ({}, "please call get weather for Paris"),
        ({}, "hi [[mock tool=get_weather]]"),
    ],
)
async def test_a_tool_is_called_when_forced_named_or_wished(openai, extra, text):
    """The call's arguments are JSON that satisfies the tool's schema."""
    messages = [{"role": "user", "content": text}]
    answer = await openai.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER, CLOCK], **extra)
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "city", "days": 3}


async def test_tools_alone_do_not_make_a_call_and_a_result_ends_the_loop(openai):
    """Tools that nobody asks for stay unused; after a tool's result the model answers with text."""
    answer = await openai.chat.completions.create(model="echo", messages=HELLO, tools=[WEATHER])
    assert answer.choices[0].message.content == "Hello, relay!"
    ask = {"role": "user", "content": "get_weather now"}
    call = await openai.chat.completions.create(model="echo", messages=[ask], tools=[WEATHER])
    message = call.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    last = await openai.chat.completions.create(model="echo", messages=[ask, message, result], tools=[WEATHER])
    assert last.choices[0].message.content == "sunny"


async def test_parallel_calls_stream_with_their_own_index(openai):
    """`parallel=2` calls two tools; fragments carry the index of their call and add up to JSON."""
    messages = [{"role": "user", "content": "go [[mock tool=* parallel=2]]"}]
    async with openai.chat.completions.stream(model="gpt-4o", messages=messages, tools=[WEATHER, CLOCK]) as stream:
        async for _ in stream:
            pass
        answer = await stream.get_final_completion()
    calls = answer.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "clock"]
    assert json.loads(calls[0].function.arguments) == {"city": "city", "days": 3}
    single = await openai.chat.completions.create(
        model="gpt-4o", messages=messages, tools=[WEATHER, CLOCK], parallel_tool_calls=False
    )
    assert len(single.choices[0].message.tool_calls) == 1


async def test_structured_output_parses(openai):
    """A json_schema format is answered with JSON that the SDK parses into the model."""
    answer = await openai.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Verdict)
    assert answer.choices[0].message.parsed == Verdict(answer="answer", score=1, tags=["tags"])


async def test_json_object_needs_the_word_json(openai):
    """json_object answers JSON, and is refused when no message mentions it."""
    form = {"type": "json_object"}
    messages = [{"role": "user", "content": "in json please"}]
    answer = await openai.chat.completions.create(model="echo", messages=messages, response_format=form)
    assert json.loads(answer.choices[0].message.content) == {"answer": "in json please"}
    with pytest.raises(sdk.BadRequestError, match="json"):
        await openai.chat.completions.create(model="echo", messages=HELLO, response_format=form)


async def test_content_parts_are_read(openai):
    """Text parts are echoed and any other part counts 85 tokens."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "look"}, image]}]
    answer = await openai.chat.completions.create(model="echo", messages=messages)
    assert (answer.choices[0].message.content, answer.usage.prompt_tokens) == ("look", 89)


async def test_logprobs_cover_every_token(openai):
    """Log probabilities come for each token with as many alternatives as asked."""
    answer = await openai.chat.completions.create(model="echo", messages=HELLO, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert "".join(token.token for token in content) == "Hello, relay!"
    assert all(len(token.top_logprobs) == 2 for token in content)


async def test_reasoning_and_cached_tokens_are_in_the_details(openai):
    """Reasoning is part of the output tokens, cached tokens part of the prompt."""
    messages = [{"role": "user", "content": "hi [[mock think=20 cached=100]]"}]
    answer = await openai.chat.completions.create(model="gpt-5", messages=messages)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 20
    assert answer.usage.completion_tokens == 21
    assert answer.usage.prompt_tokens_details.cached_tokens == 100
    assert answer.usage.prompt_tokens >= 100
    thought = await openai.chat.completions.create(model="reason", messages=HELLO)
    assert thought.usage.completion_tokens_details.reasoning_tokens == 16


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": HELLO}, "model", "missing_required_parameter"),
        ({"model": "echo"}, "messages", "missing_required_parameter"),
        ({"model": "echo", "messages": []}, "messages", "invalid_type"),
        ({"model": 5, "messages": HELLO}, "model", "invalid_type"),
        ({"model": "echo", "messages": [{"role": "king", "content": "x"}]}, "messages[0].role", "invalid_type"),
        ({"model": "echo", "messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        ({"model": "echo", "messages": HELLO, "temperature": 3}, "temperature", "invalid_type"),
        ({"model": "echo", "messages": HELLO, "stream_options": {}}, "stream_options", None),
        ({"model": "echo", "messages": HELLO, "tool_choice": "some"}, "tool_choice", "invalid_value"),
        ({"model": "echo", "messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", None),
        ({"model": "echo", "messages": HELLO, "stop": list("abcde")}, "stop", "array_above_max_length"),
        (
            {"model": "echo", "messages": HELLO, "response_format": {"type": "json_schema"}},
            "response_format.json_schema.name",
            "missing_required_parameter",
        ),
    ],
)
async def test_bad_calls_are_refused_naming_the_parameter(http, body, param, code):
    """A 400 in OpenAI's shape names the parameter; code is a string or null."""
    answer = await http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert (error["param"], error["code"]) == (param, code)


async def test_an_unknown_model_is_a_404(openai):
    """The SDK raises NotFoundError with the code model_not_found."""
    with pytest.raises(sdk.NotFoundError) as caught:
        await openai.chat.completions.create(model="no-such-model", messages=HELLO)
    assert caught.value.code == "model_not_found"


async def test_text_completions(openai):
    """The older API answers whole, as a stream, with echo, several prompts and its limit of 16 tokens."""
    answer = await openai.completions.create(model="echo", prompt=["one", "two"], echo=True, logprobs=1)
    assert [choice.text for choice in answer.choices] == ["oneone", "twotwo"]
    assert answer.choices[0].logprobs.tokens == ["oneo", "ne"]
    cut = await openai.completions.create(model="story", prompt="x")
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 16
    stream = await openai.completions.create(
        model="echo", prompt="hello", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "hello"
    assert chunks[-1].usage.completion_tokens == 2
