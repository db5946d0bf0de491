"""Anthropic's own SDK talks to OpenAI's models: the provider only ever sees Chat Completions."""

import json

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

from tests.acceptance.support import fresh, wait_for_row

MODEL = "gpt-4o"
WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}


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


def sent(provider):
    """Return the one body that arrived, which came to OpenAI's path without anything of Anthropic's."""
    [arrived] = provider.arrivals()
    assert (arrived.path, arrived.query) == ("/v1/chat/completions", "")
    assert arrived.headers["authorization"] == "Bearer sk-openai-of-the-house"
    assert not [name for name in arrived.names if name.startswith("anthropic-") or name == "x-api-key"]
    return json.loads(arrived.body)


@pytest.mark.parametrize("model", [MODEL, f"openai/{MODEL}"])
def test_whole(client, provider, model):
    """A chat completion is a message with its text, stop reason and usage."""
    text = fresh()
    answer = client.messages.create(**ask(text, model=model))
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", MODEL)
    assert (answer.content[0].text, answer.stop_reason) == (text, "end_turn")
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    assert (sent(provider)["model"], sent(provider)["max_tokens"]) == (MODEL, 200)


def test_reasoning_model_limit(client, provider):
    """OpenAI's reasoning models get the limit in the field that they take."""
    client.messages.create(**ask(fresh(), model="gpt-5"))
    assert sent(provider)["max_completion_tokens"] == 200
    assert "max_tokens" not in sent(provider)


def test_streamed(client, provider):
    """The stream has Anthropic's events in order, the text, and the same final message as a whole answer."""
    text = fresh("a streamed text")
    with client.messages.stream(**ask(text)) as stream:
        kinds = [event.type for event in stream if event.type != "text"]
        final = stream.get_final_message()
    assert (kinds[0], kinds[1], kinds[-3:]) == (
        "message_start",
        "content_block_start",
        ["content_block_stop", "message_delta", "message_stop"],
    )
    assert (final.content[0].text, final.stop_reason) == (text, "end_turn")
    assert final.usage.output_tokens > 0
    assert final.usage.input_tokens > 0
    assert sent(provider)["stream_options"] == {"include_usage": True}


@pytest.mark.anyio
async def test_async(async_client):
    """The async client, with its key as bearer, gets messages whole and streamed."""
    text = fresh()
    whole = await async_client.messages.create(**ask(text))
    async with async_client.messages.stream(**ask(fresh(text))) as stream:
        streamed = "".join([piece async for piece in stream.text_stream])
    assert whole.content[0].text == text
    assert streamed.startswith(text)


def test_usage(client):
    """Cached tokens are apart from the input tokens, as Anthropic counts them, whole and streamed."""
    text = fresh("[[mock cached=4]] a text that is counted")
    whole = client.messages.create(**ask(text))
    with client.messages.stream(**ask(text), extra_headers={"x-aihub-cache": "bypass"}) as stream:
        streamed = stream.get_final_message()
    assert whole.usage.cache_read_input_tokens == 4
    assert whole.usage.input_tokens > 0
    assert (streamed.usage.input_tokens, streamed.usage.output_tokens) == (
        whole.usage.input_tokens,
        whole.usage.output_tokens,
    )
    assert streamed.usage.cache_read_input_tokens == 4


def test_multi_turn_with_system(client, provider):
    """System blocks lead the messages, the turns keep their order, and marks for a cache are hints."""
    marked = {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}
    turns = [
        {"role": "user", "content": fresh("one")},
        {"role": "assistant", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": [{"type": "text", "text": "three", "cache_control": {"type": "ephemeral"}}]},
    ]
    answer = client.messages.create(model=MODEL, max_tokens=50, system=[marked], messages=turns)
    assert answer.content[0].text == "three"
    messages = sent(provider)["messages"]
    assert [one["role"] for one in messages] == ["system", "user", "assistant", "user"]
    assert "cache_control" not in json.dumps(messages)


def test_options(client, provider):
    """Stop sequences, sampling and the user's id go up in OpenAI's fields."""
    call = ask(fresh(), stop_sequences=["END"], metadata={"user_id": "u-1"})
    client.messages.create(**call, extra_body={"temperature": 0.5, "top_p": 0.9})
    body = sent(provider)
    assert (body["stop"], body["temperature"], body["top_p"], body["user"]) == (["END"], 0.5, 0.9, "u-1")


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_tokens"), ("content_filter", "refusal"), ("stop", "end_turn")]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_stop_reasons(client, finish, reason, streamed):
    """OpenAI's finish reasons are Anthropic's stop reasons."""
    call = ask(fresh(f"[[mock stop={finish}]] end"))
    if streamed:
        with client.messages.stream(**call) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(**call)
    assert answer.stop_reason == reason


@pytest.mark.parametrize("streamed", [False, True])
def test_refusal(client, provider, streamed):
    """The words of a refusal are text, and the stop reason says that it is one."""
    said = {"role": "assistant", "content": None, "refusal": "I will not."}
    head = {"id": "chatcmpl-1", "created": 1, "model": MODEL}
    if streamed:
        chunks = [
            {**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": said}]},
            {
                **head,
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            },
        ]
        lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
        provider.answer_next(*lines, b"data: [DONE]\n\n", headers={"content-type": "text/event-stream"})
        with client.messages.stream(**ask(fresh())) as stream:
            answer = stream.get_final_message()
    else:
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        provider.answer_next(json.dumps({**head, "object": "chat.completion", "choices": [choice]}).encode())
        answer = client.messages.create(**ask(fresh()))
    assert (answer.content[0].text, answer.stop_reason) == ("I will not.", "refusal")


@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_tool_use(client, streamed):
    """Parallel calls arrive as blocks with ids, names and inputs; streamed, one block after the other."""
    call = ask(fresh("[[mock tool=* parallel=2]] do both"), tools=[WEATHER, CLOCK])
    if streamed:
        with client.messages.stream(**call) as stream:
            events = [event for event in stream if event.type.startswith("content_block_")]
            answer = stream.get_final_message()
        assert [event.index for event in events] == sorted(event.index for event in events)
    else:
        answer = client.messages.create(**call)
    uses = [block for block in answer.content if block.type == "tool_use"]
    assert [use.name for use in uses] == ["get_weather", "clock"]
    assert "city" in uses[0].input
    assert uses[1].input == {}
    assert len({use.id for use in uses}) == 2
    assert answer.stop_reason == "tool_use"


def test_tool_results_in_any_order(client, provider):
    """The answer goes back as it came with its results in another order; OpenAI gets a message for each."""
    first = ask(fresh("[[mock tool=* parallel=2]] do both"), tools=[WEATHER, CLOCK])
    answer = client.messages.create(**first)
    uses = [block for block in answer.content if block.type == "tool_use"]
    provider.reset()
    results = [
        {"type": "tool_result", "tool_use_id": uses[1].id, "content": "noon"},
        {"type": "tool_result", "tool_use_id": uses[0].id, "is_error": True, "content": "no such city"},
        {"type": "text", "text": "go on"},
    ]
    turns = [*first["messages"], {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    assert client.messages.create(**first | {"messages": turns}).content
    [_, said, *told, last] = sent(provider)["messages"]
    ids = [one["id"] for one in said["tool_calls"]]
    assert {one["tool_call_id"] for one in told} == set(ids)
    assert all(one["role"] == "tool" for one in told)
    assert (last["role"], last["content"]) == ("user", "go on")


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        ({"type": "auto"}, "auto", None),
        ({"type": "any"}, "required", None),
        ({"type": "none"}, "none", None),
        (
            {"type": "tool", "name": "clock", "disable_parallel_tool_use": True},
            {"type": "function", "function": {"name": "clock"}},
            False,
        ),
    ],
)
def test_tool_choice(client, provider, choice, expected, parallel):
    """Every form of tool_choice has its word at OpenAI."""
    client.messages.create(**ask(fresh(), tools=[WEATHER, CLOCK], tool_choice=choice))
    body = sent(provider)
    assert (body["tool_choice"], body.get("parallel_tool_calls")) == (expected, parallel)


def test_structured_output(client, provider):
    """`.parse` gives an object of the class, asked for by response_format."""
    answer = client.messages.parse(**ask(fresh()), output_format=Verdict)
    assert isinstance(answer.parsed_output, Verdict)
    form = sent(provider)["response_format"]
    assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)


def test_structured_output_streamed(client):
    """The stream helper parses the object while it comes."""
    with client.messages.stream(**ask(fresh()), output_format=Verdict) as stream:
        assert isinstance(stream.get_final_message().parsed_output, Verdict)


def test_images_and_documents(client, provider):
    """Image and document blocks become OpenAI's parts."""
    text = fresh()
    parts = [
        {"type": "text", "text": text},
        {"type": "image", "source": PIXEL},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": PDF, "title": "a.pdf"},
    ]
    assert client.messages.create(**ask(parts)).content[0].text == text
    arrived = sent(provider)["messages"][0]["content"]
    assert [one["type"] for one in arrived] == ["text", "image_url", "image_url", "file"]
    assert arrived[1]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
    assert arrived[3]["file"]["file_data"] == "data:application/pdf;base64,JVBERi0="


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [({"type": "enabled", "budget_tokens": 2048}, "low"), ({"type": "adaptive"}, None), ({"type": "disabled"}, None)],
)
def test_thinking(client, provider, thinking, effort):
    """A budget of thinking is an effort; adaptive and disabled thinking say nothing to OpenAI."""
    client.messages.create(**ask(fresh(), model="gpt-5", max_tokens=4000, thinking=thinking))
    assert sent(provider).get("reasoning_effort") == effort


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_that_is_shown(client, provider, streamed):
    """Reasoning that a compatible vendor shows is a thinking block, and comes back without harm."""
    head = {"id": "chatcmpl-1", "created": 1, "model": MODEL}
    deltas = [{"role": "assistant", "reasoning_content": "hm, "}, {"reasoning_content": "so"}, {"content": "42"}]
    if streamed:
        chunks = [{**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
        provider.answer_next(*lines, b"data: [DONE]\n\n", headers={"content-type": "text/event-stream"})
        with client.messages.stream(**ask(fresh())) as stream:
            answer = stream.get_final_message()
    else:
        message = {"role": "assistant", "reasoning_content": "hm, so", "content": "42"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        provider.answer_next(json.dumps({**head, "choices": choices}).encode())
        answer = client.messages.create(**ask(fresh()))
    assert [(block.type, getattr(block, "thinking", None)) for block in answer.content] == [
        ("thinking", "hm, so"),
        ("text", None),
    ]
    provider.reset()
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer.content}]
    client.messages.create(**ask("q") | {"messages": [*turns, {"role": "user", "content": fresh()}]})
    assert sent(provider)["messages"][1]["content"] == "42"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"extra_body": {"top_k": 40}}, "top_k"),
        ({"extra_body": {"mcp_servers": [{"name": "x"}]}}, "mcp_servers"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"extra_body": {"container": "c"}}, "container"),
        ({"extra_body": {"frobnicate": 1}}, "frobnicate"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_no_words_for_it(vendors, client, provider, fields, param, streamed):
    """What OpenAI has no words for is Anthropic's 400 naming the field, and nothing is sent to the provider."""
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**ask(fresh(), **fields), stream=streamed)
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert param in caught.value.body["error"]["message"]
    assert provider.count() == 0
    assert wait_for_row(vendors, caught.value.request_id)["status_code"] == 400


@pytest.mark.parametrize(
    ("text", "kind", "status", "name"),
    [
        ("[[mock status=400]]", anthropic.BadRequestError, 400, "invalid_request_error"),
        ("[[mock status=403]]", anthropic.PermissionDeniedError, 403, "permission_error"),
        ("[[mock status=404]]", anthropic.NotFoundError, 404, "not_found_error"),
        ("[[mock status=413]]", anthropic.RequestTooLargeError, 413, "request_too_large"),
        ("[[mock status=429 retry_after=0.2]]", anthropic.RateLimitError, 429, "rate_limit_error"),
        ("[[mock status=500]]", anthropic.InternalServerError, 500, "api_error"),
        ("[[mock status=503]]", anthropic.ServiceUnavailableError, 503, "api_error"),
        ("[[mock status=529]]", anthropic.OverloadedError, 529, "overloaded_error"),
        ("[[mock status=401]]", anthropic.InternalServerError, 502, "api_error"),
        ("[[mock fault=html]]", anthropic.InternalServerError, 502, "api_error"),
        ("[[mock fault=garbage]]", anthropic.InternalServerError, 502, "api_error"),
        ("[[mock fault=drop]]", anthropic.InternalServerError, 502, "api_error"),
        ("[[mock fault=redirect]]", anthropic.InternalServerError, 502, "api_error"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_error_classes(vendors, client, text, kind, status, name, streamed):
    """OpenAI's refusals raise Anthropic's classes with a body of Anthropic's shape, also before a stream begins."""
    with pytest.raises(kind) as caught:
        client.messages.create(**ask(fresh(text)), stream=streamed)
    error = caught.value
    assert (error.status_code, error.body["type"], error.body["error"]["type"]) == (status, "error", name)
    assert error.body["request_id"] == error.request_id
    if status == 429:
        assert error.response.headers["retry-after"] == "0.2"
    assert wait_for_row(vendors, error.request_id)["status_code"] == status


@pytest.mark.parametrize("how", ["cut_after=3", "error_after=3", "end_after=3", "no_done", "fault=cut_json"])
def test_stream_that_breaks(vendors, client, provider, how):
    """A stream that ends early raises in Anthropic's SDK, and is not kept."""
    call = ask(fresh(f"[[mock {how} text=lorem]]"))
    for _ in range(2):
        reply = client.messages.with_raw_response.create(**call, stream=True)
        with pytest.raises(anthropic.APIError):
            list(reply.parse())
        assert wait_for_row(vendors, reply.headers["request-id"])["error_type"] is not None
    assert provider.count() == 2


def test_count_tokens(client, provider):
    """Only a provider of Anthropic's dialect counts tokens: for other models the answer is a clear 400."""
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    assert "openai" in caught.value.body["error"]["message"]
    assert provider.count() == 0
