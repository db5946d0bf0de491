"""OpenAI's own SDK talks to Claude by the Responses API, with nothing stored anywhere."""

import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.acceptance.support import fresh, wait_for_row

MODEL = "claude-sonnet-4-6"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": False}
CLOCK = {"type": "function", "name": "clock", "parameters": {"type": "object", "properties": {}}, "strict": False}


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


def sent(provider):
    [arrived] = provider.arrivals()
    assert arrived.path == "/v1/messages"
    return json.loads(arrived.body)


def test_whole(vendors, client, provider):
    """An answer of Claude is a response object with its text, usage and a recorded row."""
    text = fresh()
    reply = client.responses.with_raw_response.create(
        model=MODEL, input=text, instructions="be brief", max_output_tokens=77, metadata={"a": "b"}
    )
    answer = reply.parse()
    assert (answer.output_text, answer.status, answer.model) == (text, "completed", MODEL)
    assert (answer.instructions, answer.metadata, answer.max_output_tokens) == ("be brief", {"a": "b"}, 77)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    body = sent(provider)
    assert (body["system"][0]["text"], body["max_tokens"]) == ("be brief", 77)
    row = wait_for_row(vendors, reply.headers["x-request-id"])
    assert (row["endpoint"], row["provider"], row["model"]) == ("responses", "anthropic", MODEL)
    assert row["input_tokens"] == answer.usage.input_tokens


def test_streamed(client, provider):
    """The stream helper sees the events in their order and the same final response."""
    text = fresh("a streamed text")
    with client.responses.stream(model=MODEL, input=text) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text
    assert final.output_text == text
    assert final.usage.output_tokens > 0
    assert sent(provider)["stream"] is True


@pytest.mark.anyio
async def test_async(async_client):
    """The async client gets whole and streamed responses."""
    text = fresh()
    whole = await async_client.responses.create(model=MODEL, input=text)
    stream = await async_client.responses.create(model=MODEL, input=fresh(text), stream=True)
    kinds = [event.type async for event in stream]
    assert whole.output_text == text
    assert kinds[-1] == "response.completed"


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_and_thinking_over_turns(client, provider, streamed):
    """Parallel calls and sealed reasoning go back as items, and Claude gets its signature and both results."""
    call = {
        "model": MODEL,
        "input": [{"role": "user", "content": fresh("[[mock think=8 tool=* parallel=2]] do both")}],
        "tools": [WEATHER, CLOCK],
        "reasoning": {"effort": "medium", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    if streamed:
        with client.responses.stream(**call) as stream:
            events = list(stream)
            answer = stream.get_final_response()
        pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
        assert "".join(pieces) == "".join(item.arguments for item in answer.output if item.type == "function_call")
    else:
        answer = client.responses.create(**call)
    assert [item.type for item in answer.output] == ["reasoning", "function_call", "function_call"]
    assert answer.output[0].summary[0].text
    calls = answer.output[1:]
    assert [one.name for one in calls] == ["get_weather", "clock"]
    assert "city" in json.loads(calls[0].arguments)
    provider.reset()
    results = [{"type": "function_call_output", "call_id": one.call_id, "output": one.name} for one in calls]
    back = [*call["input"], *[item.model_dump(exclude_none=True) for item in answer.output], *reversed(results)]
    again = client.responses.create(**call | {"input": back})
    assert again.status == "completed"
    [_, said, told] = sent(provider)["messages"]
    assert [block["type"] for block in said["content"]] == ["thinking", "tool_use", "tool_use"]
    assert said["content"][0]["signature"]
    assert {block["tool_use_id"] for block in told["content"]} == {one["id"] for one in said["content"][1:]}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "name": "clock"}, {"type": "tool", "name": "clock"}),
    ],
)
def test_tool_choice(client, provider, choice, expected):
    """Every form of tool_choice has its word at Anthropic."""
    client.responses.create(model=MODEL, input=fresh(), tools=[WEATHER, CLOCK], tool_choice=choice)
    assert sent(provider)["tool_choice"] == expected


def test_structured_output(client, provider):
    """`.parse` gives an object of the class."""
    answer = client.responses.parse(model=MODEL, input=fresh(), text_format=Verdict)
    assert isinstance(answer.output_parsed, Verdict)
    assert sent(provider)["output_config"]["format"]["type"] == "json_schema"


def test_images_and_files(client, provider):
    """Input images and files become Anthropic's blocks."""
    text = fresh()
    parts = [
        {"type": "input_text", "text": text},
        {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
    ]
    answer = client.responses.create(model=MODEL, input=[{"role": "user", "content": parts}])
    assert answer.output_text == text
    assert [one["type"] for one in sent(provider)["messages"][0]["content"]] == ["text", "image", "document"]


@pytest.mark.parametrize("streamed", [False, True])
def test_length_limit(client, streamed):
    """An answer that met its limit is incomplete, and says why."""
    call = {"model": MODEL, "input": fresh("[[mock stop=max_tokens]] a"), "stream": streamed}
    answer = client.responses.create(**call)
    if streamed:
        last = list(answer)[-1]
        assert last.type == "response.incomplete"
        answer = last.response
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"truncation": "auto"}, "truncation"),
        ({"temperature": 1.5}, "temperature"),
    ],
)
def test_no_words_for_it(client, provider, fields, param):
    """What cannot be said to Anthropic is a 400 naming the field, and nothing is sent."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input=fresh(), **fields)
    assert caught.value.param == param
    assert provider.count() == 0


@pytest.mark.parametrize(
    ("text", "kind", "status"),
    [
        ("[[mock status=400]]", openai.BadRequestError, 400),
        ("[[mock status=429]]", openai.RateLimitError, 429),
        ("[[mock status=529]]", openai.InternalServerError, 503),
        ("[[mock fault=drop]]", openai.InternalServerError, 502),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_error_classes(client, text, kind, status, streamed):
    """Refusals raise OpenAI's classes before anything of a stream."""
    with pytest.raises(kind) as caught:
        client.responses.create(model=MODEL, input=fresh(text), stream=streamed)
    assert caught.value.status_code == status
    assert isinstance(caught.value.code, str)


@pytest.mark.parametrize("how", ["cut_after=4", "error_after=4", "no_done"])
def test_stream_that_breaks(client, provider, how):
    """A stream that ends early raises in the SDK and never says that it is complete; it is not kept."""
    for _ in range(2):
        seen = []
        stream = client.responses.create(model=MODEL, input=f"[[mock {how} text=lorem]] {how}", stream=True)
        with pytest.raises(openai.APIError):
            seen.extend(event.type for event in stream)
        assert seen[:2] == ["response.created", "response.in_progress"]
        assert "response.completed" not in seen
    assert provider.count() == 2
