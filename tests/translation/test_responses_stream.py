"""Streamed Responses answers."""

import json
from typing import Any

import httpx2
import openai
import pydantic
import pytest

from app.errors import BadGatewayError, BadRequestError, RelayError, UpstreamTimeoutError
from app.providers import responses_stream
from app.providers.responses import ResponsesTap
from app.translation.responses import RESPONSES_CLIENT
from app.wire.chat import (
    ChatReply,
    Delta,
    End,
    Event,
    Failed,
    Finished,
    PartEnd,
    PartStart,
    Start,
    Text,
    ToolUse,
    Used,
)
from app.wire.usage import Usage
from tests.translation.responses_samples import (
    CALL,
    CALLS,
    REPLIES,
    build_reply,
    list_events,
    open_sdk,
    read_stream,
    write_reply,
    write_stream,
)

START = Start(id="x", model="m", created=1)
BEGUN = [START, PartStart(index=0, part=Text(text="")), Delta(index=0, text="Hel")]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
def test_a_stream_ends_with_the_whole_answer(reply: ChatReply, size: int) -> None:
    """However an answer is cut, its last event carries the very response object of the unstreamed answer."""
    events = read_stream(write_stream(list_events(reply, size)))
    whole = write_reply(reply)
    assert events[-1]["response"] == whole
    assert events[-1]["type"] == f"response.{whole['status']}"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
def test_the_events_are_those_of_the_whole_answer(reply: ChatReply) -> None:
    """Types, places and contents are the same as when the whole answer is replayed as a stream from the cache."""
    ours = read_stream(write_stream(list_events(reply, 10**6)))
    body = RESPONSES_CLIENT.write_reply(reply, CALL)
    replayed = read_stream(responses_stream.write_stream(body, True))
    kept = [event for event in replayed if event.get("delta") != ""]
    known = {event["item"]["id"] for event in ours if event["type"] == "response.output_item.added"}
    assert known == {item["id"] for item in json.loads(body)["output"]}
    if not any(item["type"] == "custom_tool_call" for item in json.loads(body)["output"]):
        assert [strip(event) for event in ours] == [strip(event) for event in kept]


def strip(event: dict[str, Any]) -> dict[str, Any]:
    """An event without its number and without the state of what is still growing."""
    left = {key: value for key, value in event.items() if key not in {"sequence_number", "response"}}
    if event["type"] in {"response.output_item.added", "response.content_part.added"}:
        left.pop("item", None)
        left.pop("part", None)
    return left


def test_every_event_is_written_at_once() -> None:
    """A delta is in the client's hands before the next one has come."""
    writer = RESPONSES_CLIENT.open_writer(CALL)
    written = [[event["type"] for event in read_stream(writer.write(event))] for event in BEGUN]
    assert written == [
        ["response.created", "response.in_progress"],
        ["response.output_item.added", "response.content_part.added"],
        ["response.output_text.delta"],
    ]


def test_tool_calls_that_come_interleaved_are_told_one_after_the_other() -> None:
    """What comes of later calls while the first is open waits; the answer is the same as in order."""
    first, second = CALLS
    third = ToolUse(id="toolu_3", name="add", arguments='{"c":3}')
    mixed: list[Event] = [START]
    for index, use in enumerate((first, second, third)):
        mixed.append(PartStart(index=index, part=ToolUse(id=use.id, name=use.name, arguments="")))
    for place in range(40):
        for index, use in enumerate((first, second, third)):
            if place < len(use.arguments):
                mixed.append(Delta(index=index, text=use.arguments[place]))
    mixed += [PartEnd(index=2), PartEnd(index=1), PartEnd(index=0), Finished(finish="tool_use"), End()]
    events = read_stream(write_stream(mixed))
    assert [event["output_index"] for event in events if "output_index" in event] == sorted(
        event["output_index"] for event in events if "output_index" in event
    )
    got = [(item["call_id"], item["arguments"]) for item in events[-1]["response"]["output"]]
    assert got == [(use.id, use.arguments) for use in (first, second, third)]
    early = read_stream(write_stream(mixed[:6]))
    assert [event["delta"] for event in early if event["type"].endswith("arguments.delta")] == ["{"]


def test_a_reader_that_leaves_ends_out_is_understood() -> None:
    """Parts that were never ended end with their choice, and a stream that ends is finished, exactly once."""
    many = [START, *(PartStart(index=n, part=ToolUse(id=f"c{n}", name="f", arguments="{}")) for n in range(2000))]
    stream = write_stream([*many, End(), End(), Delta(index=0, text="x"), Failed(message="no")])
    events = read_stream(stream)
    assert len(events[-1]["response"]["output"]) == 2000
    assert [event["type"] for event in events].count("response.completed") == 1
    assert events[-1]["type"] == "response.completed"


def test_events_that_fit_nowhere_change_nothing() -> None:
    """Other choices, parts that never began and what comes after the finish are left out."""
    odd: list[Event] = [
        *BEGUN,
        Delta(index=7, text="?"),
        PartEnd(index=7),
        Delta(index=0, text="?", choice=1),
        Finished(finish="length", choice=1),
        PartEnd(index=0),
        Delta(index=0, text="?"),
        Finished(finish="stop"),
        PartStart(index=1, part=Text(text="?")),
        Finished(finish="length"),
        Used(usage=Usage(input_tokens=1)),
        Used(usage=Usage(input_tokens=2, output_tokens=3)),
        End(),
    ]
    response = read_stream(write_stream(odd))[-1]["response"]
    assert [item["content"][0]["text"] for item in response["output"]] == ["Hel"]
    assert (response["status"], response["usage"]["total_tokens"]) == ("completed", 5)


def test_usage_at_the_start_counts_until_more_is_known() -> None:
    """A provider that tells the input first and nothing later is believed."""
    events = [Start(id="x", model="m", created=1, usage=Usage(input_tokens=9)), End()]
    assert read_stream(write_stream(events))[-1]["response"]["usage"]["input_tokens"] == 9


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (BadGatewayError("It broke.", code="upstream_disconnected"), "server_error", "upstream_disconnected"),
        (UpstreamTimeoutError("Too slow."), "server_error", "upstream_timeout"),
        (BadRequestError("Bad.", param="input"), "invalid_prompt", None),
    ],
)
def test_a_failure_ends_the_stream_in_the_apis_words(error: RelayError, code: str, told: str | None) -> None:
    """An `error` event makes the SDK raise, `response.failed` tells why, and what was open is not in the output."""
    writer = RESPONSES_CLIENT.open_writer(CALL)
    for event in list_events(REPLIES["texts"]):
        if isinstance(event, Finished):
            break
        writer.write(event)
    raised, failed = read_stream(writer.fail(error))
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": code, "message": error.message}
    assert failed["response"]["output"] == []
    assert (raised["type"], raised["code"], raised["error"]["type"]) == ("error", told, error.openai_type)
    assert failed["sequence_number"] == raised["sequence_number"] + 1
    assert writer.fail(error) == writer.write(End()) == b""


def test_a_failure_before_anything_is_only_that() -> None:
    """A stream that fails before it began is one `error` event: the gateway may still try another provider."""
    writer = RESPONSES_CLIENT.open_writer(CALL)
    events = read_stream(writer.fail(BadGatewayError("It broke.")))
    assert [event["type"] for event in events] == ["error"]


def test_a_failure_that_the_provider_tells_is_told() -> None:
    """A provider's error within the stream ends it in the same way, by its kind."""
    failed = read_stream(write_stream([*BEGUN, Failed(message="Slow down.", kind="rate_limit_error"), End()]))[-1]
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}


def test_the_tap_reads_our_streams() -> None:
    """The gateway's own tap of this dialect finds the end, the usage and the failure."""
    tap = ResponsesTap()
    assert tap.feed(write_stream(list_events(REPLIES["tools"])))
    assert (tap.finished, tap.failed, tap.facts().complete) == (True, False, True)
    broken = ResponsesTap()
    broken.feed(write_stream([*BEGUN, Failed(message="no")]))
    assert broken.failed


@pytest.mark.parametrize("name", REPLIES.keys())
def test_the_sdk_follows_the_stream(name: str) -> None:
    """The helper of the official SDK accumulates every complete answer to the same response."""
    reply = REPLIES[name]
    with open_sdk(lambda _: reply) as client, client.responses.stream(model="m", input="x") as stream:
        events = list(stream)
        if events[-1].type == "response.completed":
            final = stream.get_final_response().to_dict()
            assert [item["id"] for item in final["output"]] == [item["id"] for item in write_reply(reply)["output"]]
    assert events[-1].type == f"response.{write_reply(reply)['status']}"
    with open_sdk(lambda _: reply) as client:
        raw = list(client.responses.create(model="m", input="x", stream=True))
    assert [event.type for event in raw] == [event.type for event in events]
    for event in raw:
        type(event).model_validate(event.to_dict())


class Sum(pydantic.BaseModel):
    total: int


def test_the_sdk_parses_a_streamed_object() -> None:
    """`responses.stream` with `text_format` finds the object, and tool arguments are followed fragment by fragment."""
    client = open_sdk(lambda _: build_reply(Text(text='{"total": 3}')))
    with client, client.responses.stream(model="m", input="x", text_format=Sum) as stream:
        assert stream.get_final_response().output_parsed == Sum(total=3)
    with open_sdk(lambda _: REPLIES["tools"]) as client, client.responses.stream(model="m", input="x") as stream:
        last = [e for e in stream if e.type == "response.function_call_arguments.delta" and e.output_index == 2][-1]
    assert last.snapshot == CALLS[0].arguments


def test_the_sdk_raises_on_a_failure() -> None:
    """A stream that fails is an exception with our message for whoever only reads deltas."""
    stream = write_stream([*BEGUN, Failed(message="Gone.")])
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=stream))
    seen: list[str] = []
    with openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=transport)) as client:
        with pytest.raises(openai.APIError, match="Gone"):
            seen.extend(event.type for event in client.responses.create(model="m", input="x", stream=True))
        with client.responses.stream(model="m", input="x") as helper, pytest.raises(openai.APIError, match="Gone"):
            helper.get_final_response()
    assert seen[-1] == "response.output_text.delta"
