"""OpenAI's own SDK talks to Claude by chat completions: the provider only ever sees Anthropic's Messages."""

import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.acceptance.support import fresh, wait_for_row

MODEL = "claude-sonnet-4-6"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
PIXEL = "iVBORw0KGgo="


class Verdict(BaseModel):
    answer: str
    tags: list[str]


@pytest.fixture
def client(vendors):
    with OpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(vendors):
    async with AsyncOpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key, max_retries=0) as client:
        yield client


def ask(text, **fields):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


def sent(provider):
    """Return the one body that arrived, which came to Anthropic's path with Anthropic's headers."""
    [arrived] = provider.arrivals()
    assert (arrived.path, arrived.query) == ("/v1/messages", "")
    assert arrived.headers["x-api-key"] == "sk-ant-of-the-house"
    assert arrived.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in arrived.headers
    return json.loads(arrived.body)


@pytest.mark.parametrize("model", [MODEL, f"anthropic/{MODEL}"])
def test_whole(client, provider, model):
    """A chat answer of Claude is a chat completion; without a limit Anthropic gets the default one."""
    text = fresh()
    answer = client.chat.completions.create(**ask(text, model=model))
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (text, "stop")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    body = sent(provider)
    assert (body["model"], body["max_tokens"]) == (MODEL, 4096)
    assert "stream_options" not in body


def test_streamed(client, provider):
    """Chunks hold the text and end with a finish reason; usage that was not asked for does not appear."""
    text = fresh("a streamed text")
    chunks = list(client.chat.completions.create(**ask(text), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert sent(provider)["stream"] is True


def test_streamed_usage(client):
    """The usage chunk comes last, once, and says what the whole answer would."""
    text = fresh("[[mock cached=30 cache_write=12]] count me")
    stream = client.chat.completions.create(**ask(text), stream=True, stream_options={"include_usage": True})
    *chunks, last = list(stream)
    whole = client.chat.completions.create(**ask(text), extra_headers={"x-aihub-cache": "bypass"})
    assert (last.choices, last.usage.total_tokens) == ([], whole.usage.total_tokens)
    assert last.usage.prompt_tokens_details.cached_tokens == 30
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens > 42
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.anyio
async def test_async(async_client):
    """The async client gets whole and streamed answers."""
    text = fresh()
    whole = await async_client.chat.completions.create(**ask(text))
    stream = await async_client.chat.completions.create(**ask(fresh(text)), stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert whole.choices[0].message.content == text
    assert "".join(pieces).startswith(text)


def test_multi_turn_with_system(client, provider):
    """Leading system and developer messages become the system prompt, the other turns keep their order."""
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": "and kind"},
        {"role": "user", "content": fresh("one")},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages)
    assert answer.choices[0].message.content == "three"
    body = sent(provider)
    assert [block["text"] for block in body["system"]] == ["be brief", "and kind"]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


def test_options(client, provider):
    """The limit, stop words, temperature and user go up in Anthropic's fields."""
    call = ask(fresh(), max_completion_tokens=50, stop="END", temperature=0.25, user="u-1", n=1)
    client.chat.completions.create(**call)
    body = sent(provider)
    assert (body["max_tokens"], body["stop_sequences"], body["temperature"]) == (50, ["END"], 0.25)
    assert body["metadata"] == {"user_id": "u-1"}
    assert "n" not in body


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_tokens", "length"), ("stop_sequence", "stop"), ("refusal", "content_filter")]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_finish_reasons(client, reason, finish, streamed):
    """Anthropic's stop reasons are OpenAI's finish reasons, a refusal without words a content filter."""
    answer = client.chat.completions.create(**ask(fresh(f"[[mock stop={reason}]] end")), stream=streamed)
    last = list(answer)[-1] if streamed else answer
    assert last.choices[0].finish_reason == finish


@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_tool_calls(client, streamed):
    """Parallel calls arrive with ids, names and whole arguments; streamed, each fragment has its call's index."""
    call = ask(fresh("[[mock tool=* parallel=2]] do both"), tools=[WEATHER, CLOCK])
    if streamed:
        with client.chat.completions.stream(**call) as stream:
            indexes = [
                part.index
                for event in stream
                if event.type == "chunk"
                for choice in event.chunk.choices
                for part in choice.delta.tool_calls or []
            ]
            answer = stream.get_final_completion()
        assert indexes == sorted(indexes)
        assert set(indexes) == {0, 1}
    else:
        answer = client.chat.completions.create(**call)
    calls = answer.choices[0].message.tool_calls
    assert [one.function.name for one in calls] == ["get_weather", "clock"]
    assert "city" in json.loads(calls[0].function.arguments)
    assert json.loads(calls[1].function.arguments) == {}
    assert len({one.id for one in calls}) == 2
    assert answer.choices[0].finish_reason == "tool_calls"


def test_tool_results_in_any_order(client, provider):
    """The answer goes back as it came, its results in another order, and Claude gets them in one turn."""
    first = ask(fresh("[[mock tool=* parallel=2]] do both"), tools=[WEATHER, CLOCK])
    message = client.chat.completions.create(**first).choices[0].message
    provider.reset()
    results = [{"role": "tool", "tool_call_id": one.id, "content": one.function.name} for one in message.tool_calls]
    turns = [*first["messages"], message.model_dump(exclude_none=True), *reversed(results)]
    answer = client.chat.completions.create(model=MODEL, messages=turns, tools=[WEATHER, CLOCK])
    assert answer.choices[0].message.content
    [_, said, back] = sent(provider)["messages"]
    uses = [block for block in said["content"] if block["type"] == "tool_use"]
    assert {block["tool_use_id"] for block in back["content"]} == {use["id"] for use in uses}
    assert uses[1]["input"] == {}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "clock"}}, {"type": "tool", "name": "clock"}),
    ],
)
def test_tool_choice(client, provider, choice, expected):
    """Every form of tool_choice has its word at Anthropic."""
    client.chat.completions.create(**ask(fresh(), tools=[WEATHER, CLOCK], tool_choice=choice))
    assert sent(provider)["tool_choice"] == expected


def test_one_call_at_a_time(client, provider):
    """parallel_tool_calls=False forbids parallel use at Anthropic."""
    client.chat.completions.create(**ask(fresh(), tools=[WEATHER], parallel_tool_calls=False))
    assert sent(provider)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_structured_output(client, provider):
    """`.parse` gives an object of the class, asked for by output_config."""
    answer = client.chat.completions.parse(**ask(fresh()), response_format=Verdict)
    assert isinstance(answer.choices[0].message.parsed, Verdict)
    form = sent(provider)["output_config"]["format"]
    assert form["type"] == "json_schema"
    assert set(form["schema"]["properties"]) == {"answer", "tags"}


def test_structured_output_streamed(client):
    """The stream helper parses the object while it comes."""
    with client.chat.completions.stream(**ask(fresh()), response_format=Verdict) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Verdict)


def test_images_and_files(client, provider):
    """Images by data and by URL and a PDF become Anthropic's blocks."""
    text = fresh()
    parts = [
        {"type": "text", "text": text},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    assert client.chat.completions.create(**ask(parts)).choices[0].message.content == text
    blocks = sent(provider)["messages"][0]["content"]
    assert [block["type"] for block in blocks] == ["text", "image", "image", "document"]
    assert blocks[1]["source"] == {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert blocks[2]["source"] == {"type": "url", "url": "https://example.com/a.png"}
    assert blocks[3]["source"]["media_type"] == "application/pdf"


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_over_turns(client, provider, streamed):
    """Thoughts are shown as reasoning_content; sent back in thinking_blocks they keep Claude's signature."""
    call = ask(fresh("[[mock think=8 tool=clock]] think"), reasoning_effort="high", tools=[CLOCK])
    if streamed:
        with client.chat.completions.stream(**call) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**call).choices[0].message
    body = sent(provider)
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    said = message.model_dump(exclude_none=True)
    [block] = said["thinking_blocks"]
    assert said["reasoning_content"] == block["thinking"] != ""
    provider.reset()
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "noon"}
    client.chat.completions.create(**call | {"messages": [*call["messages"], said, result]})
    thought = sent(provider)["messages"][1]["content"][0]
    assert thought == {"type": "thinking", "thinking": block["thinking"], "signature": block["signature"]}


def test_cache_control(client, provider):
    """cache_control on a part goes up, and what it wrote and read is in the usage."""
    call = {"model": MODEL, "messages": [{"role": "user", "content": []}]}
    marked = {"type": "text", "text": fresh("a long prefix " * 40), "cache_control": {"type": "ephemeral"}}
    call["messages"][0]["content"] = [marked, {"type": "text", "text": "q"}]
    client.chat.completions.create(**call)
    assert sent(provider)["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    answer = client.chat.completions.create(**call, extra_headers={"x-aihub-cache": "bypass"})
    assert answer.usage.prompt_tokens_details.cached_tokens > 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 7}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"temperature": 1.5}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"extra_body": {"frobnicate": 1}}, "frobnicate"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_no_words_for_it(vendors, client, provider, fields, param, streamed):
    """What Anthropic has no words for is OpenAI's 400 naming the field, and nothing is sent to the provider."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ask(fresh(), **fields), stream=streamed)
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
    assert param in caught.value.message
    assert provider.count() == 0
    assert wait_for_row(vendors, caught.value.request_id)["status_code"] == 400


@pytest.mark.parametrize(
    ("text", "kind", "status"),
    [
        ("[[mock status=400]]", openai.BadRequestError, 400),
        ("[[mock status=403]]", openai.PermissionDeniedError, 403),
        ("[[mock status=404]]", openai.NotFoundError, 404),
        ("[[mock status=413]]", openai.APIStatusError, 413),
        ("[[mock status=429 retry_after=0.2]]", openai.RateLimitError, 429),
        ("[[mock status=500]]", openai.InternalServerError, 500),
        ("[[mock status=529]]", openai.InternalServerError, 503),
        ("[[mock status=401]]", openai.InternalServerError, 502),
        ("[[mock fault=html]]", openai.InternalServerError, 502),
        ("[[mock fault=garbage]]", openai.InternalServerError, 502),
        ("[[mock fault=null]]", openai.InternalServerError, 502),
        ("[[mock fault=drop]]", openai.InternalServerError, 502),
        ("[[mock fault=redirect]]", openai.InternalServerError, 502),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_error_classes(vendors, client, text, kind, status, streamed):
    """Anthropic's refusals raise OpenAI's classes with a body of OpenAI's shape, before a stream begins as well."""
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**ask(fresh(text)), stream=streamed)
    assert caught.value.status_code == status
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    assert isinstance(caught.value.code, str)
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "0.2"
    assert wait_for_row(vendors, caught.value.request_id)["status_code"] == status


@pytest.mark.parametrize("how", ["cut_after=3", "error_after=3", "end_after=3", "no_done", "fault=cut_json"])
def test_stream_that_breaks(vendors, client, provider, how):
    """A stream that ends early raises in OpenAI's SDK, and is not kept."""
    call = ask(fresh(f"[[mock {how} text=lorem]]"))
    for _ in range(2):
        reply = client.chat.completions.with_raw_response.create(**call, stream=True)
        with pytest.raises(openai.APIError):
            list(reply.parse())
        row = wait_for_row(vendors, reply.headers["x-request-id"])
        assert row["error_type"] is not None
        assert reply.headers["x-aihub-cache-status"] == "miss"
    assert provider.count() == 2
