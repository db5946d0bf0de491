"""OpenAI's own SDK, unchanged but for its base URL and key, through the gateway."""

import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.acceptance.support import fresh, get_row

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
IMAGE = "data:image/png;base64,iVBORw0KGgo="


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


def user(text):
    return [{"role": "user", "content": text}]


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_chat_whole(client):
    """A chat answer arrives with its text, finish reason and usage."""
    text = fresh()
    answer = client.chat.completions.create(model="gpt-4o", messages=user(text))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (text, "stop")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o"])
def test_chat_streamed(client, model):
    """A streamed chat has all chunks, and no chunk speaks of usage that was not asked for."""
    text = fresh("a streamed text")
    chunks = list(client.chat.completions.create(model=model, messages=user(text), stream=True))
    assert text_of(chunks) == text
    assert all(chunk.usage is None and "usage" not in chunk.model_fields_set for chunk in chunks)
    assert all(chunk.choices for chunk in chunks)


def test_chat_streamed_with_usage(client):
    """With include_usage the last chunk carries the usage and no choice."""
    options = {"include_usage": True}
    stream = client.chat.completions.create(model="gpt-4o", messages=user(fresh()), stream=True, stream_options=options)
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


@pytest.mark.anyio
async def test_chat_async(async_client):
    """The async client chats whole and streamed."""
    text = fresh()
    whole = await async_client.chat.completions.create(model="gpt-4o", messages=user(text))
    stream = await async_client.chat.completions.create(model="gpt-4o", messages=user(fresh(text)), stream=True)
    chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content == text
    assert text_of(chunks).startswith(text)


@pytest.mark.parametrize("streamed", [False, True])
def test_several_choices(client, streamed):
    """Several choices arrive apart, whole and streamed."""
    text = fresh()
    answer = client.chat.completions.create(model="gpt-4o", messages=user(text), n=3, stream=streamed)
    if streamed:
        chunks = list(answer)
        texts = [text_of([c for c in chunks if c.choices and c.choices[0].index == i]) for i in range(3)]
    else:
        texts = [choice.message.content for choice in answer.choices]
    assert texts == [text] * 3


def test_tool_calls_whole(client):
    """Parallel tool calls arrive with ids, names and arguments that fit the schema."""
    text = fresh("[[mock tool=* parallel=2]] do both")
    answer = client.chat.completions.create(model="gpt-4o", messages=user(text), tools=[WEATHER, CLOCK])
    calls = answer.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "clock"]
    assert "city" in json.loads(calls[0].function.arguments)
    assert len({call.id for call in calls}) == 2
    assert answer.choices[0].finish_reason == "tool_calls"


def test_tool_calls_streamed(client):
    """The fragments of streamed parallel tool calls put together are the calls; `index` counts the tools."""
    text = fresh("[[mock tool=* parallel=2]] do both")
    with client.chat.completions.stream(
        model="gpt-4o",
        messages=user(text),
        tools=[
            {**WEATHER, "function": {**WEATHER["function"], "strict": True}},
            {**CLOCK, "function": {**CLOCK["function"], "strict": True}},
        ],
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "clock"]
    assert "city" in json.loads(calls[0].function.arguments)
    assert [event.index for event in events if event.type == "tool_calls.function.arguments.done"] == [0, 1]


def test_tool_result_round_trip(client):
    """A tool's result goes up in a second call and is answered."""
    first = client.chat.completions.create(model="gpt-4o", messages=user(fresh("get_weather")), tools=[WEATHER])
    call = first.choices[0].message.tool_calls[0]
    history = [*user("get_weather"), first.choices[0].message.model_dump(exclude_none=True)]
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    second = client.chat.completions.create(model="gpt-4o", messages=[*history, result], tools=[WEATHER])
    assert second.choices[0].message.content == "sunny"


def test_structured_output(client):
    """`.parse` gives an object of the asked-for class, from chat and from responses."""
    parsed = client.chat.completions.parse(model="gpt-4o", messages=user(fresh()), response_format=Verdict)
    assert isinstance(parsed.choices[0].message.parsed, Verdict)
    response = client.responses.parse(model="gpt-4o", input=fresh(), text_format=Verdict)
    assert isinstance(response.output_parsed, Verdict)


def test_image_parts(client):
    """Content parts with an image go up and are counted."""
    text = fresh()
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == text
    assert answer.usage.prompt_tokens > 85


def test_legacy_completions(client):
    """Legacy completions work whole and streamed."""
    text = fresh()
    whole = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=text)
    stream = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=fresh(text), stream=True)
    assert whole.choices[0].text == text
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices).startswith(text)


def test_embeddings(client, provider):
    """The SDK's base64 embeddings and plain floats are the same vectors; order is kept."""
    texts = [fresh("one"), fresh("two")]
    packed = client.embeddings.create(model="text-embedding-3-small", input=texts)
    plain = client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
    assert [item.index for item in plain.data] == [0, 1]
    assert len(plain.data[0].embedding) == 1536
    for left, right in zip(packed.data, plain.data, strict=True):
        assert left.embedding == pytest.approx(right.embedding, abs=1e-6)
    assert provider.count() == 2
    assert plain.usage.prompt_tokens > 0


def test_embeddings_with_dimensions(client):
    """The number of dimensions goes up."""
    answer = client.embeddings.create(model="text-embedding-3-small", input=fresh(), dimensions=8)
    assert len(answer.data[0].embedding) == 8


def test_responses(client):
    """The Responses API answers whole and streamed, and a stored response can be read and deleted."""
    text = fresh()
    whole = client.responses.create(model="gpt-4o", input=text)
    with client.responses.stream(model="gpt-4o", input=fresh(text)) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert whole.output_text == text
    assert final.output_text.startswith(text)
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.usage.total_tokens > 0
    assert client.responses.retrieve(whole.id).id == whole.id
    client.responses.delete(whole.id)


def test_models(client):
    """Models can be listed and retrieved."""
    names = [model.id for model in client.models.list()]
    assert "gpt-4o" in names
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"


@pytest.mark.parametrize(
    ("text", "kind", "status"),
    [
        ("[[mock status=400]]", openai.BadRequestError, 400),
        ("[[mock status=403]]", openai.PermissionDeniedError, 403),
        ("[[mock status=404]]", openai.NotFoundError, 404),
        ("[[mock status=409]]", openai.ConflictError, 409),
        ("[[mock status=413]]", openai.APIStatusError, 413),
        ("[[mock status=422]]", openai.UnprocessableEntityError, 422),
        ("[[mock status=429]]", openai.RateLimitError, 429),
        ("[[mock status=500]]", openai.InternalServerError, 500),
        ("[[mock status=503]]", openai.InternalServerError, 503),
        ("[[mock status=529]]", openai.InternalServerError, 503),
        ("[[mock status=401]]", openai.InternalServerError, 502),
        ("[[mock fault=html]]", openai.InternalServerError, 502),
        ("[[mock fault=drop]]", openai.InternalServerError, 502),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_error_classes(vendors, client, text, kind, status, streamed):
    """A refusal raises the SDK's own class with the provider's status, also when a stream was asked for."""
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model="gpt-4o", messages=user(fresh(text)), stream=streamed)
    assert caught.value.status_code == status
    assert caught.value.body["message"]
    row = get_row(vendors, caught.value.request_id)
    assert row["status_code"] == status
    assert row["error_type"]


def test_own_refusals(vendors, client):
    """What the gateway itself refuses raises the SDK's classes as well."""
    with OpenAI(base_url=f"{vendors.url}/v1", api_key="rk-wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            stranger.chat.completions.create(model="gpt-4o", messages=user("hi"))
        assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody-knows-it/at-all", messages=user("hi"))
    assert caught.value.status_code == 404


def test_retries(vendors, provider):
    """The SDK's retries work: it waits as `retry-after` says, and its count of tries is recorded."""
    with OpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key, max_retries=2) as client:
        text = fresh("[[mock status=429 retry_after=0.05 times=2]] again")
        reply = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=user(text))
    assert reply.parse().choices[0].message.content.startswith("again")
    assert provider.count() == 3
    assert get_row(vendors, reply.headers["x-request-id"])["retry_count"] == 2


def test_no_retry_of_a_refusal(vendors, provider):
    """A 400 is not tried again."""
    with OpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key) as client, pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-4o", messages=user(fresh("[[mock status=400]]")))
    assert provider.count() == 1


def test_timeout(vendors, provider):
    """A client whose patience ends leaves, and the provider's answer is given up."""
    with OpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key, max_retries=0, timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model="gpt-4o", messages=user(fresh("[[mock delay_ms=5000]]")))
        provider.wait_for(lambda stats: stats["aborted"] == 1, seconds=1.5)


def test_raw_response(vendors, client):
    """Every answer carries one request id under both names, and its row has the same."""
    reply = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=user(fresh()))
    request_id = reply.headers["x-request-id"]
    assert reply.request_id == request_id == reply.headers["request-id"]
    assert reply.parse()._request_id == request_id
    row = get_row(vendors, request_id)
    assert (row["provider"], row["model"], row["status_code"]) == ("openai", "gpt-4o", 200)
    assert reply.headers["x-relay-provider"] == "openai"
    assert reply.headers["x-relay-model"] == "gpt-4o"
    assert reply.headers["x-relay-attempts"] == "1"
    assert float(reply.headers["x-relay-overhead-ms"]) >= 0
    assert float(reply.headers["x-relay-cost-usd"]) == pytest.approx(float(row["estimated_cost"]))


def test_reasoning(client):
    """Tokens of reasoning are part of what the client sees."""
    answer = client.chat.completions.create(model="gpt-4o", messages=user(fresh("[[mock think=20]]")))
    assert answer.usage.completion_tokens_details.reasoning_tokens == 20


def test_stream_that_breaks(client):
    """A cut stream raises in the middle and never looks finished."""
    stream = client.chat.completions.create(
        model="gpt-4o", messages=user(fresh("[[mock cut_after=3 text=lorem]]")), stream=True
    )
    with pytest.raises(openai.APIError):
        list(stream)
