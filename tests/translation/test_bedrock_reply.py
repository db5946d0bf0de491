"""What Bedrock's Converse API answers, whole and streamed."""

import base64
import contextlib
import itertools
import json
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequestError, UpstreamFailure
from app.translation.answers import collect_parts
from app.translation.bedrock import BEDROCK_CONVERSE
from app.translation.bedrock_reply import parse_error, read_usage
from app.wire.chat import (
    ChatReply,
    Delta,
    End,
    Event,
    Failed,
    Finished,
    Message,
    PartEnd,
    PartStart,
    Start,
    Text,
    Thinking,
    ToolUse,
    Used,
)
from app.wire.usage import Usage
from tests.translation.bedrock_samples import write_event, write_exception, write_frame, write_header
from tests.translation.canonical_calls import build_call, list_rows, show

MODEL = "us.anthropic.claude-opus-4-6-v1"
USAGE = {
    "inputTokens": 10,
    "outputTokens": 20,
    "totalTokens": 100,
    "cacheReadInputTokens": 30,
    "cacheWriteInputTokens": 40,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 15}, {"ttl": "5m", "inputTokens": 25}],
}
COUNTED = Usage(
    input_tokens=10, cache_read_tokens=30, cache_write_5m_tokens=25, cache_write_1h_tokens=15, output_tokens=20
)
CONTENT = [
    {"reasoningContent": {"reasoningText": {"text": "let me think", "signature": "c2ln"}}},
    {"reasoningContent": {"redactedContent": "cmVk"}},
    {"text": "Héllo \U0001f600"},
    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"z": 1, "a": 9007199254740993}}},
    {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
]
PARTS = (
    Thinking(text="let me think", signature="c2ln"),
    Thinking(redacted="cmVk"),
    Text(text="Héllo \U0001f600"),
    ToolUse(id="t1", name="f", arguments='{"z":1,"a":9007199254740993}'),
    ToolUse(id="t2", name="g", arguments="{}"),
)


def write_delta(index: int, **delta: Any) -> bytes:
    return write_event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})


def write_stop(index: int) -> bytes:
    return write_event("contentBlockStop", {"contentBlockIndex": index})


def write_use(index: int, name: str, tool: str) -> bytes:
    start = {"toolUse": {"toolUseId": name, "name": tool}}
    return write_event("contentBlockStart", {"contentBlockIndex": index, "start": start})


FRAMES = [
    write_event("messageStart", {"role": "assistant"}),
    write_delta(0, reasoningContent={"text": "let me "}),
    write_delta(0, reasoningContent={"text": "think"}),
    write_delta(0, reasoningContent={"signature": "c2ln"}),
    write_stop(0),
    write_delta(1, reasoningContent={"redactedContent": "cmVk"}),
    write_stop(1),
    write_delta(2, text="Hé"),
    write_delta(2, text="llo \U0001f600"),
    write_stop(2),
    write_use(3, "t1", "f"),
    write_delta(3, toolUse={"input": ""}),
    write_delta(3, toolUse={"input": '{"z":1,"a":'}),
    write_delta(3, toolUse={"input": "9007199254740993}"}),
    write_stop(3),
    write_use(4, "t2", "g"),
    write_delta(4, toolUse={"input": "{}"}),
    write_stop(4),
    write_event("messageStop", {"stopReason": "tool_use"}),
    write_event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}),
]


def build_whole(content: list[dict[str, Any]], reason: str = "end_turn", **more: Any) -> bytes:
    answer = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": reason, "usage": USAGE}
    return json.dumps(answer | more).encode()


def read(stream: bytes, *cuts: int) -> list[Event]:
    reader = BEDROCK_CONVERSE.open_reader()
    places = [0, *cuts, len(stream)]
    return [event for start, end in itertools.pairwise(places) for event in reader.feed(stream[start:end])]


def unnamed(events: list[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, id="", created=0) if isinstance(event, Start) else event for event in events]


def test_a_whole_answer_is_parts_in_order() -> None:
    """Reasoning, texts and calls stand in the order they came; arguments keep their digits and their order."""
    body = build_whole(CONTENT, "tool_use", serviceTier={"type": "flex"}).replace(b'"z": 1', b'"z": 1.10')
    reply = BEDROCK_CONVERSE.parse_chat(body)
    parts = tuple(
        msgspec.structs.replace(part, arguments=part.arguments.replace("1.10", "1"))
        if isinstance(part, ToolUse)
        else part
        for part in reply.choices[0].parts
    )
    assert parts == PARTS
    assert '"z":1.10' in reply.choices[0].parts[3].arguments
    assert (reply.choices[0].finish, reply.usage, reply.service_tier) == ("tool_use", COUNTED, "flex")
    assert reply.id.startswith("msg_")
    assert reply.model == ""


def test_a_stream_is_the_same_answer_as_the_whole() -> None:
    """Collecting the events of a stream gives the parts and the usage of the whole answer."""
    events = read(b"".join(FRAMES))
    assert collect_parts(events) == BEDROCK_CONVERSE.parse_chat(build_whole(CONTENT)).choices[0].parts == PARTS
    assert events[-3:] == [Finished(finish="tool_use"), Used(usage=COUNTED), End()]


def test_a_stream_may_be_cut_anywhere() -> None:
    """The events are the same whatever the cut, and each comes with the byte that completes it."""
    stream = b"".join(FRAMES)
    whole = unnamed(read(stream))
    for cut in range(len(stream) + 1):
        assert unnamed(read(stream, cut)) == whole
    assert unnamed(read(stream, *range(1, len(stream)))) == whole


def test_parts_follow_each_other_and_are_counted() -> None:
    """Every part starts, grows and ends before the next, under its own index."""
    open_part, seen = None, 0
    for event in read(b"".join(FRAMES)):
        if isinstance(event, PartStart):
            assert open_part is None
            assert event.index == seen
            open_part, seen = seen, seen + 1
        elif isinstance(event, Delta):
            assert event.index == open_part
        elif isinstance(event, PartEnd):
            assert event.index == open_part
            open_part = None
    assert (open_part, seen) == (None, len(PARTS))


def test_a_stream_is_finished_by_its_metadata_alone() -> None:
    """A stream that breaks off before is not whole; what comes after counts for nothing."""
    reader = BEDROCK_CONVERSE.open_reader()
    reader.feed(b"".join(FRAMES[:-1]))
    assert not reader.finished
    assert reader.feed(FRAMES[-1])[-1] == End()
    assert reader.finished
    assert reader.feed(b"".join(FRAMES)) == []


def test_what_the_model_said_comes_back_to_it_as_it_was() -> None:
    """An answer that a client sends back is in Converse's words again."""
    reply = BEDROCK_CONVERSE.parse_chat(build_whole(CONTENT))
    message = Message(role="assistant", parts=reply.choices[0].parts)
    body = BEDROCK_CONVERSE.build_chat(msgspec.structs.replace(build_call(MODEL), messages=(message,)))
    assert show(body)["messages"] == [{"role": "assistant", "content": CONTENT}]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop_sequence"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "content_filter"),
    ],
)
def test_why_an_answer_ended(reason: str, finish: str) -> None:
    """A reason nobody knows is the provider holding the answer back, never an ordinary end."""
    fields = {"additionalModelResponseFields": {"stop_sequence": "END"}}
    choice = BEDROCK_CONVERSE.parse_chat(build_whole([{"text": "a"}], reason, **fields)).choices[0]
    assert (choice.finish, choice.stop_sequence) == (finish, "END")
    events = read(write_event("messageStop", {"stopReason": reason} | fields))
    assert events == [Finished(finish=finish, stop_sequence="END")]


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_broken_answer_is_an_error(reason: str) -> None:
    """What the model garbled is neither a whole answer nor a finished stream."""
    with pytest.raises(ValueError, match=reason):
        BEDROCK_CONVERSE.parse_chat(build_whole([], reason))
    reader = BEDROCK_CONVERSE.open_reader()
    assert isinstance(reader.feed(write_event("messageStop", {"stopReason": reason}))[0], Failed)
    with pytest.raises(UpstreamFailure):
        reader.feed(FRAMES[-1])
    assert not reader.finished


def test_cited_content_is_text() -> None:
    """The words of an answer with citations are all there; what nobody can show is left out."""
    content = [{"citationsContent": {"content": [{"text": "a"}, {}], "citations": []}}, {"image": {"format": "png"}}]
    assert BEDROCK_CONVERSE.parse_chat(build_whole(content)).choices[0].parts == (Text(text="a"),)
    events = read(write_delta(0, citation={"title": "t"}) + write_delta(0, text="a"))
    assert collect_parts(events) == (Text(text="a"),)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (None, None),
        ({}, None),
        ({"inputTokens": -1}, None),
        ({"inputTokens": 3}, Usage(input_tokens=3)),
        (
            {"inputTokens": 3, "outputTokens": 4, "cacheWriteInputTokens": 5},
            Usage(input_tokens=3, output_tokens=4, cache_write_5m_tokens=5),
        ),
        (
            {"inputTokens": 3, "cacheDetails": [{"ttl": "1h", "inputTokens": 2}]},
            Usage(input_tokens=3, cache_write_1h_tokens=2),
        ),
    ],
)
def test_no_token_is_counted_twice(raw: object, usage: Usage | None) -> None:
    """The classes do not overlap, whichever counts Bedrock gives."""
    assert read_usage(raw) == usage


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("validationException", "invalid_request_error"),
        ("accessDeniedException", "permission_error"),
        ("expiredTokenException", "authentication_error"),
        ("resourceNotFoundException", "not_found_error"),
        ("throttlingException", "rate_limit_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("modelTimeoutException", "timeout_error"),
        ("modelStreamErrorException", "api_error"),
    ],
)
def test_errors_say_their_kind(name: str, kind: str) -> None:
    """An error is told in the words every dialect knows: whole, as an exception and as an error within a stream."""
    known = Failed(message="so", kind=kind)
    assert parse_error(b'{"message": "so"}', name[0].upper() + name[1:] + ":http://internal.amazon.com/") == known
    assert read(write_exception(name, "so")) == [known]
    lines = {":message-type": b"error", ":error-code": name.encode(), ":error-message": b"so"}
    headers = b"".join(write_header(key, value) for key, value in lines.items())
    assert read(write_frame(b"", headers)) == [known]


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"<html>",
    b"{}",
    b'{"output": null, "stopReason": "end_turn"}',
    b'{"output": {"message": {}}}',
    b'{"output": {"message": {"content": [1]}}, "stopReason": "end_turn"}',
    b'{"output": {"message": {"content": [{"toolUse": {}}]}}, "stopReason": "end_turn"}',
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("body", HOSTILE)
def test_what_is_no_answer_is_a_value_error(body: bytes) -> None:
    """Bytes that are no whole answer are a ValueError and nothing else; their error has a neutral text."""
    with pytest.raises(ValueError, match=r"."):
        BEDROCK_CONVERSE.parse_chat(body)
    assert parse_error(body) == Failed(message="The provider failed.")


@pytest.mark.parametrize(
    "frame",
    [
        FRAMES[-1],
        write_event("messageStop", {}),
        write_delta(0, toolUse={"input": "{}"}),
        write_event("contentBlockStart", {"start": {"toolUse": {"name": "f"}}}),
        write_frame(b"[", write_header(":event-type", b"messageStart")),
        write_frame(b"1", write_header(":event-type", b"new")),
    ],
)
def test_what_is_no_stream_is_an_upstream_failure(frame: bytes) -> None:
    """An event that cannot be read is the provider's fault, not a crash."""
    with pytest.raises(UpstreamFailure):
        read(frame)


def test_events_that_are_new_are_passed_over() -> None:
    """What Bedrock may add one day disturbs nothing."""
    assert read(write_event("newEvent", {}) + write_delta(0, image={"source": {}}) + write_stop(7)) == []
    assert read(write_event("contentBlockStart", {"start": {"image": {"format": "png"}}})) == []


_KEYS = [
    "output", "message", "content", "text", "toolUse", "toolUseId", "name", "input", "stopReason", "usage", "delta",
    "inputTokens", "cacheDetails", "reasoningContent", "reasoningText", "signature", "start", "citationsContent",
]  # fmt: skip
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(_KEYS), inner),
    max_leaves=12,
)


@given(_json, st.sampled_from(["messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata"]))
def test_any_json_is_an_answer_or_a_failure(value: object, name: str) -> None:
    """No JSON whatever crashes the readers."""
    body = json.dumps(value).encode()
    with contextlib.suppress(ValueError):
        assert isinstance(BEDROCK_CONVERSE.parse_chat(body), ChatReply)
    with contextlib.suppress(UpstreamFailure):
        read(write_frame(body, write_header(":event-type", name.encode())))
    parse_error(body)


@pytest.fixture(scope="module")
def shape() -> Shape:
    """AWS's own description of a Converse request."""
    description = (
        botocore.session.Session().get_component("data_loader").load_service_model("bedrock-runtime", "service-2")
    )
    return ServiceModel(description).operation_model("Converse").input_shape


def decode_bytes(value: Any) -> Any:
    """The body as an SDK takes it, base64 decoded."""
    if isinstance(value, dict):
        return {
            key: base64.b64decode(inner) if key in {"bytes", "redactedContent"} else decode_bytes(inner)
            for key, inner in value.items()
        }
    return [decode_bytes(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("field", "sample", "outcome"), list_rows("to-bedrock.md"))
def test_every_body_is_one_that_aws_describes(shape: Shape, field: str, sample: str, outcome: str) -> None:
    """No body has a field, a type or a missing part that AWS's description of the service does not allow."""
    with contextlib.suppress(BadRequestError):
        call = build_call(MODEL, sample)
        body = decode_bytes(json.loads(BEDROCK_CONVERSE.build_chat(call)))
        report = ParamValidator().validate(body | {"modelId": call.model}, shape)
        assert not report.has_errors(), report.generate_report()
        assert set(body) <= set(shape.members)
