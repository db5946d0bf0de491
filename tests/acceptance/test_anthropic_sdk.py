"""Anthropic's own SDK, unchanged but for its base URL and key, through the gateway."""

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

from tests.acceptance.support import fresh, get_row

WEATHER = {
    "name": "get_weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "clock", "description": "The time.", "input_schema": {"type": "object", "properties": {}}}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
MODEL = "claude-haiku-4-5"


class Verdict(BaseModel):
    answer: str
    tags: list[str]


@pytest.fixture
def client(vendors):
    with Anthropic(base_url=vendors.url, api_key=vendors.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(vendors):
    async with AsyncAnthropic(base_url=vendors.url, auth_token=vendors.key, max_retries=0) as client:
        yield client


def ask(text, **fields):
    return {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": text}], **fields}


@pytest.mark.parametrize("model", [MODEL, f"anthropic/{MODEL}"])
def test_message_whole(client, model):
    """A message arrives with its text, stop reason and usage."""
    text = fresh()
    answer = client.messages.create(**ask(text, model=model))
    assert (answer.content[0].text, answer.stop_reason) == (text, "end_turn")
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


def test_message_streamed(client):
    """The stream helper gives the text and the same final message as a whole answer."""
    text = fresh("a streamed text")
    with client.messages.stream(**ask(text)) as stream:
        assert "".join(stream.text_stream) == text
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


@pytest.mark.anyio
async def test_message_async(async_client):
    """The async client, with its key as bearer, gets messages whole and streamed."""
    text = fresh()
    whole = await async_client.messages.create(**ask(text))
    async with async_client.messages.stream(**ask(fresh(text))) as stream:
        streamed = "".join([piece async for piece in stream.text_stream])
    assert whole.content[0].text == text
    assert streamed.startswith(text)


def test_raw_events(client):
    """A raw stream has Anthropic's events in their order."""
    events = [event.type for event in client.messages.create(**ask(fresh()), stream=True)]
    assert events[0] == "message_start"
    assert events[-2:] == ["message_delta", "message_stop"]


@pytest.mark.parametrize("streamed", [False, True])
def test_tool_use(client, streamed):
    """Parallel tool uses arrive with names and inputs, whole and streamed."""
    call = ask(fresh("[[mock tool=* parallel=2]] do both"), tools=[WEATHER, CLOCK])
    if streamed:
        with client.messages.stream(**call) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(**call)
    uses = [block for block in answer.content if block.type == "tool_use"]
    assert [use.name for use in uses] == ["get_weather", "clock"]
    assert "city" in uses[0].input
    assert answer.stop_reason == "tool_use"


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking(client, streamed):
    """Thinking blocks arrive with their signature, whole and streamed."""
    call = ask(fresh("[[mock think=20]]"), max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 1024})
    if streamed:
        with client.messages.stream(**call) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(**call)
    assert answer.content[0].type == "thinking"
    assert answer.content[0].signature


def test_structured_output(client):
    """`.parse` gives an object of the asked-for class."""
    answer = client.messages.parse(**ask(fresh()), output_format=Verdict)
    assert isinstance(answer.parsed_output, Verdict)


def test_image_parts(client):
    """Content blocks with an image go up and are counted."""
    text = fresh()
    parts = [{"type": "text", "text": text}, {"type": "image", "source": PIXEL}]
    answer = client.messages.create(**ask(parts))
    assert answer.content[0].text == text
    assert answer.usage.input_tokens > 85


def test_count_tokens(client):
    """Tokens are counted by the provider."""
    counted = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "hello there"}])
    assert counted.input_tokens > 0


def test_beta_calls(client, provider):
    """Beta calls reach the same handler, and the beta header goes up verbatim."""
    text = fresh()
    answer = client.beta.messages.create(**ask(text), betas=["context-1m-2025-08-07", "something-new"])
    assert answer.content[0].text == text
    arrived = provider.last()
    assert arrived.path == "/v1/messages"
    assert arrived.headers["anthropic-beta"] == "context-1m-2025-08-07,something-new"


@pytest.mark.parametrize("base", ["", "/anthropic", "/v1/anthropic"])
def test_models(vendors, base):
    """Models are listed page by page and retrieved in Anthropic's shape, from the provider that has them."""
    with Anthropic(base_url=vendors.url + base, api_key=vendors.key, max_retries=0) as client:
        page = client.models.list(limit=1000)
        assert MODEL in [model.id for model in page]
        assert client.models.retrieve(MODEL).display_name


@pytest.mark.parametrize(
    ("text", "kind", "status"),
    [
        ("[[mock status=400]]", anthropic.BadRequestError, 400),
        ("[[mock status=403]]", anthropic.PermissionDeniedError, 403),
        ("[[mock status=404]]", anthropic.NotFoundError, 404),
        ("[[mock status=413]]", anthropic.RequestTooLargeError, 413),
        ("[[mock status=422]]", anthropic.UnprocessableEntityError, 422),
        ("[[mock status=429]]", anthropic.RateLimitError, 429),
        ("[[mock status=500]]", anthropic.InternalServerError, 500),
        ("[[mock status=503]]", anthropic.ServiceUnavailableError, 503),
        ("[[mock status=529]]", anthropic.OverloadedError, 529),
        ("[[mock status=401]]", anthropic.InternalServerError, 502),
        ("[[mock fault=html]]", anthropic.InternalServerError, 502),
        ("[[mock fault=drop]]", anthropic.InternalServerError, 502),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_error_classes(vendors, client, text, kind, status, streamed):
    """A refusal raises the SDK's own class with the provider's status, also when a stream was asked for."""
    with pytest.raises(kind) as caught:
        client.messages.create(**ask(fresh(text)), stream=streamed)
    assert caught.value.status_code == status
    assert caught.value.body["type"] == "error"
    assert get_row(vendors, caught.value.request_id)["status_code"] == status


def test_own_refusals(vendors):
    """What the gateway itself refuses raises the SDK's classes as well."""
    with Anthropic(base_url=vendors.url, api_key="rk-wrong", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            stranger.messages.create(**ask("hi"))
        assert caught.value.body["error"]["type"] == "authentication_error"
        assert caught.value.body["request_id"] == caught.value.request_id


def test_retries(vendors, provider):
    """The SDK tries again after a 529 and waits as `retry-after` says."""
    with Anthropic(base_url=vendors.url, api_key=vendors.key, max_retries=2) as client:
        text = fresh("[[mock status=529 retry_after=0.05 times=1]] again")
        assert client.messages.create(**ask(text)).content[0].text.startswith("again")
    assert provider.count() == 2


def test_raw_response(vendors, client):
    """Every answer carries one request id under both names, and its row has the same."""
    reply = client.messages.with_raw_response.create(**ask(fresh()))
    request_id = reply.headers["request-id"]
    assert request_id == reply.headers["x-request-id"]
    assert reply.parse()._request_id == request_id
    row = get_row(vendors, request_id)
    assert (row["provider"], row["model"], row["status_code"]) == ("anthropic", MODEL, 200)
    assert float(reply.headers["x-relay-cost-usd"]) == pytest.approx(float(row["estimated_cost"]))


@pytest.mark.parametrize("text", ["[[mock cut_after=3 text=lorem]]", "[[mock error_after=3 text=lorem]]"])
def test_stream_that_breaks(client, text):
    """A cut stream raises in the middle and never looks finished."""
    with pytest.raises(anthropic.APIError), client.messages.stream(**ask(fresh(text))) as stream:
        stream.get_final_message()
