"""Anthropic's Messages API through Bedrock's InvokeModel: bodies to the byte, events out of frames."""

import json
from urllib.parse import unquote

import anthropic
import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequestError, UpstreamFailure
from app.providers.anthropic import AnthropicTap
from app.translation.anthropic import ANTHROPIC_PROVIDER
from app.translation.bedrock import BEDROCK_ANTHROPIC
from app.translation.bedrock_invoke import InvokeEvents, build_invoke_body, split_betas
from app.wire.chat import End, Failed
from tests.translation.bedrock_samples import write_chunk, write_event, write_exception

START = (
    b'{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],'
    b'"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}}'
)
EVENTS = [
    START,
    b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"H\xc3\xa9 1.10"}}',
    b'{"type":"content_block_stop","index":0}',
    b'{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}',
    b'{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\\"a\\": 1.10}"}}',
    b'{"type":"content_block_stop","index":1}',
    b'{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":9}}',
    b'{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3}}',
]
STREAM = b"".join(map(write_chunk, EVENTS))
PLAIN = b"".join(b"event: %b\ndata: %b\n\n" % (json.loads(event)["type"].encode(), event) for event in EVENTS)


def test_a_body_keeps_its_values_to_the_byte() -> None:
    """Numbers, escapes, spaces and the order of keys stay; only what Bedrock does not take goes."""
    body = (
        rb'{ "model": "claude-x", "max_tokens" : 1e2, "stream" :true, "system": [ {"type":"text", "text":"\u00e9\/"} ],'
        rb' "temperature": 1.10, "metadata": {"b":9007199254740993,"a":1.0}, "new_field": [ 1.0 , -0 ] }'
    )
    assert build_invoke_body(body) == (
        rb'{"max_tokens":1e2,"system":[ {"type":"text", "text":"\u00e9\/"} ],"temperature":1.10,'
        rb'"metadata":{"b":9007199254740993,"a":1.0},"new_field":[ 1.0 , -0 ],"anthropic_version":"bedrock-2023-05-31"}'
    )


def test_a_version_of_the_clients_own_stays() -> None:
    """A client that speaks Bedrock's form already is understood."""
    assert build_invoke_body(b'{"anthropic_version":"other"}') == b'{"anthropic_version":"other"}'


def test_betas_go_from_the_header_to_the_body() -> None:
    """The header's values join those that the body names, each once and in order."""
    betas = split_betas([b"a-1, b-2", b"c-3,", b""])
    assert betas == ["a-1", "b-2", "c-3"]
    body = build_invoke_body(b'{"anthropic_beta":["b-2","z"],"anthropic_version":"v"}', betas)
    assert json.loads(body) == {"anthropic_version": "v", "anthropic_beta": ["b-2", "z", "a-1", "c-3"]}
    assert b"anthropic_beta" not in build_invoke_body(b"{}")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'{"a":"\xff"}', b'{"anthropic_beta":"a"}', b'{"anthropic_beta":[1]}']
)
def test_a_body_that_cannot_be_read_is_a_bad_request(body: bytes) -> None:
    """Bytes that are no object are the client's mistake."""
    with pytest.raises(BadRequestError):
        build_invoke_body(body)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_body_or_a_bad_request(body: bytes) -> None:
    """No bytes whatever crash the patch."""
    try:
        built = build_invoke_body(body)
    except BadRequestError:
        return
    assert "anthropic_version" in msgspec.json.decode(built)


def test_frames_become_the_events_that_anthropic_sends() -> None:
    """Whatever the cut, the events are Anthropic's to the byte, each with the byte that completes it."""
    for cut in range(len(STREAM) + 1):
        events = InvokeEvents()
        assert events.feed(STREAM[:cut]) + events.feed(STREAM[cut:]) == PLAIN
    events = InvokeEvents()
    assert b"".join(events.feed(bytes([byte])) for byte in STREAM) == PLAIN


def test_the_tap_of_the_same_dialect_reads_them() -> None:
    """A client that speaks Anthropic's words gets them, and the usage is counted as on Anthropic's own endpoint."""
    tap = AnthropicTap()
    assert tap.feed(InvokeEvents().feed(STREAM)) == PLAIN
    facts = tap.facts()
    assert tap.finished
    assert facts.complete
    assert facts.usage is not None
    assert (facts.usage.input_tokens, facts.usage.output_tokens) == (3, 9)


def test_the_official_client_reads_them() -> None:
    """The events, as a response, are a message to the SDK."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=InvokeEvents().feed(STREAM))
    transport = httpx2.MockTransport(lambda _: answer)
    client = anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport))
    with client.messages.stream(max_tokens=9, messages=[{"role": "user", "content": "hi"}], model="m") as stream:
        message = stream.get_final_message()
    assert message.content[0].text == "Hé 1.10"
    assert message.content[1].input == {"a": 1.1}


def test_we_say_what_the_official_bedrock_client_says() -> None:
    """Anthropic's own client for Bedrock sends the same path and the same body, and reads these frames."""
    seen: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, headers={"content-type": "application/vnd.amazon.eventstream"}, content=STREAM)

    transport = httpx2.MockTransport(handle)
    client = anthropic.AnthropicBedrock(
        api_key="k", aws_region="us-east-1", http_client=httpx2.Client(transport=transport)
    )
    question = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    events = client.messages.create(model="anthropic.claude:0", extra_headers={"anthropic-beta": "b-1"}, **question)
    assert [event.type for event in events] == [json.loads(event)["type"] for event in EVENTS]
    ours = build_invoke_body(json.dumps(question | {"model": "anthropic.claude:0"}).encode(), ["b-1"])
    theirs = json.loads(seen[0].content)
    # The client names a version of 2026 that the models behind InvokeModel do not take, by Anthropic's own warning.
    assert theirs | {"anthropic_version": "bedrock-2023-05-31"} == json.loads(ours)
    assert seen[0].url.path == unquote(BEDROCK_ANTHROPIC.path("anthropic.claude:0", True))
    assert seen[0].headers["authorization"] == "Bearer k"


def test_the_reader_gives_the_events_of_anthropics_own_stream() -> None:
    """Framed or not, a stream is the same canonical events."""
    framed, plain = BEDROCK_ANTHROPIC.open_reader(), ANTHROPIC_PROVIDER.open_reader()
    events = [framed.feed(STREAM), plain.feed(PLAIN)]
    assert repr(events[0][1:]) == repr(events[1][1:])
    assert events[0][-1] == End()
    assert framed.finished


def test_an_exception_is_an_error_event() -> None:
    """What Bedrock reports within a stream is told in Anthropic's words, and the stream is not finished."""
    frame = write_exception("throttlingException", "slow down")
    assert InvokeEvents().feed(frame) == (
        b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}\n\n'
    )
    reader = BEDROCK_ANTHROPIC.open_reader()
    reader.feed(STREAM[: len(write_chunk(EVENTS[0]))])
    assert reader.feed(frame)[-1] == Failed(message="slow down", kind="rate_limit_error")
    assert not reader.finished


def test_lines_cannot_be_smuggled_into_events() -> None:
    """An event stays one event: line breaks between its fields go, a type that is no word is passed over."""
    assert InvokeEvents().feed(write_chunk(b'{"type":\n"ping"\r\n}')) == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert InvokeEvents().feed(write_chunk(b'{"type":"a\\ndata: x"}')) == b""
    assert InvokeEvents().feed(write_event("metrics", {})) == b""


@pytest.mark.parametrize(
    "frame", [write_event("chunk", {}), write_chunk(b"<html>"), write_chunk(b"[]"), write_chunk(b'"\xff"')]
)
def test_a_chunk_that_cannot_be_read_is_the_providers_fault(frame: bytes) -> None:
    """A chunk without an event in it is a failure, not a crash."""
    with pytest.raises(UpstreamFailure):
        InvokeEvents().feed(frame)


def test_a_whole_answer_is_anthropics() -> None:
    """InvokeModel answers with the message itself."""
    body = (
        b'{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"a"}],'
        b'"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}'
    )
    assert BEDROCK_ANTHROPIC.parse_chat(body).choices == ANTHROPIC_PROVIDER.parse_chat(body).choices
