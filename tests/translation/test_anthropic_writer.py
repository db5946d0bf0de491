"""Canonical events, written as a Messages stream."""

from typing import Any

import anthropic
import httpx2
import msgspec
import pytest

from app.errors import BadGatewayError, OverloadedError
from app.providers.protocol import StreamWriter
from app.translation.anthropic import ANTHROPIC_CLIENT, ANTHROPIC_PROVIDER
from app.translation.openai import OPENAI_PROVIDER
from app.wire.chat import (
    Delta,
    End,
    Event,
    Failed,
    Finished,
    PartEnd,
    PartStart,
    Refusal,
    Start,
    Text,
    Thinking,
    ToolUse,
    Used,
)
from app.wire.usage import Usage
from tests.providers.samples import sse
from tests.translation.anthropic_samples import STREAM, WHOLE, read_events, without_time

CALL = ANTHROPIC_CLIENT.read_call(
    b'{"model":"openai/gpt","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":true}'
)
START = Start(id="chatcmpl-1", model="", created=1)
ENDING: tuple[Event, ...] = (Finished(finish="stop"), End())


def write(*events: Event, writer: StreamWriter | None = None) -> list[tuple[str, dict[str, Any]]]:
    writer = writer or ANTHROPIC_CLIENT.open_writer(CALL)
    return read_events(b"".join(writer.write(event) for event in events))


def open_sdk(stream: bytes) -> anthropic.Anthropic:
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=stream))
    return anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0)


def accumulate(stream: bytes) -> Any:
    with open_sdk(stream) as client, client.messages.stream(model="m", max_tokens=9, messages=[]) as events:
        return events.get_final_message()


def test_the_sdk_arrives_at_the_same_message() -> None:
    """A stream that is read and written again is the same message for the SDK's own accumulator."""
    reader, writer = ANTHROPIC_PROVIDER.open_reader(), ANTHROPIC_CLIENT.open_writer(CALL)
    stream = b"".join(writer.write(event) for event in reader.feed(STREAM))
    message = msgspec.convert(accumulate(stream).model_dump(exclude_none=True), dict[str, Any])
    expected = {key: value for key, value in WHOLE.items() if value is not None}
    inner = expected["content"][3]["input"]["a"]
    assert [block["type"] for block in message["content"]] == [block["type"] for block in expected["content"]]
    assert message["content"][3]["input"] == {"z": 9007199254740993, "a": inner}
    assert {key: message[key] for key in ("id", "model", "stop_reason")} == {
        key: expected[key] for key in ("id", "model", "stop_reason")
    }
    for key in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"):
        assert message["usage"][key] == expected["usage"][key]
    assert without_time(ANTHROPIC_PROVIDER.open_reader().feed(stream)) == without_time(
        ANTHROPIC_PROVIDER.open_reader().feed(STREAM)
    )


def test_a_stream_has_its_events_in_order() -> None:
    """Start, then per block start, deltas, stop; then the reason with the usage in all, and one stop."""
    usage = Usage(input_tokens=4, cache_read_tokens=6, output_tokens=2)
    events = write(
        START,
        PartStart(index=0, part=Text(text="a")),
        Delta(index=0, text="b"),
        Delta(index=0, logprobs=msgspec.Raw(b"{}")),
        PartEnd(index=0),
        Finished(finish="stop_sequence", stop_sequence="END"),
        Used(usage=usage),
        End(),
    )
    head = {"id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "openai/gpt", "content": []}
    first = head | {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 0, "output_tokens": 0}}
    counts = {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 6,
        "output_tokens": 2,
    }
    assert events == [
        ("message_start", {"message": first}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "a"}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "b"}}),
        ("content_block_stop", {"index": 0}),
        (
            "message_delta",
            {"delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}, "usage": counts},
        ),
        ("message_stop", {}),
    ]


def test_the_start_tells_the_input_that_is_known() -> None:
    """Input counts that a provider says first are in message_start, output counts never are."""
    start = Start(id="m", model="m", created=1, usage=Usage(input_tokens=4, cache_write_1h_tokens=3, output_tokens=1))
    [(_, fields), *_, (_, end), _] = write(start, *ENDING)
    counts = {
        "input_tokens": 4,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 3},
    }
    assert fields["message"]["usage"] == counts | {"output_tokens": 0}
    assert end["usage"] == counts | {"output_tokens": 1}


def test_interleaved_calls_are_written_one_after_the_other() -> None:
    """What comes for a call while another is open waits; the open one is written at once, the others in order."""
    writer = ANTHROPIC_CLIENT.open_writer(CALL)
    for event in (START, PartStart(index=0, part=ToolUse(id="a", name="f", arguments=""))):
        assert writer.write(event)
    assert writer.write(Delta(index=0, text='{"x"'))
    assert not writer.write(PartStart(index=1, part=ToolUse(id="b", name="g", arguments="")))
    assert not writer.write(PartStart(index=2, part=ToolUse(id="c", name="h", arguments="")))
    assert not writer.write(Delta(index=2, text="{}"))
    assert not writer.write(Delta(index=1, text='{"y"'))
    assert writer.write(Delta(index=0, text=":1}"))
    assert not writer.write(PartEnd(index=2))
    rest = write(
        PartEnd(index=0),
        Delta(index=1, text=":2}"),
        PartEnd(index=1),
        Finished(finish="tool_use"),
        End(),
        writer=writer,
    )
    told = [
        (name, fields.get("index"), (fields.get("delta") or {}).get("partial_json"))
        for name, fields in rest
        if name.startswith("content")
    ]
    assert told == [
        ("content_block_stop", 0, None),
        ("content_block_start", 1, None),
        ("content_block_delta", 1, '{"y"'),
        ("content_block_delta", 1, ":2}"),
        ("content_block_stop", 1, None),
        ("content_block_start", 2, None),
        ("content_block_delta", 2, "{}"),
        ("content_block_stop", 2, None),
    ]


def test_an_openai_stream_with_interleaved_calls_reaches_the_sdk() -> None:
    """Fragments of two calls that OpenAI mixes are two whole blocks for Anthropic's SDK."""

    def call(index: int, arguments: str, **head: object) -> dict[str, Any]:
        return {"index": index, "function": {"arguments": arguments} | head, **({"id": f"c{index}"} if head else {})}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt",
            "choices": [choice],
        }

    usage = {"prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}}
    stream = sse(
        chunk({"role": "assistant", "content": "I look."}),
        chunk({"tool_calls": [call(0, "", name="f"), call(1, "", name="g")]}),
        chunk({"tool_calls": [call(1, '{"y"'), call(0, '{"x":')]}),
        chunk({"tool_calls": [call(0, "1}")]}),
        chunk({"tool_calls": [call(1, ":2}")]}),
        chunk({}, "tool_calls"),
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt",
            "choices": [],
            "usage": usage,
        },
    )
    reader, writer = OPENAI_PROVIDER.open_reader(), ANTHROPIC_CLIENT.open_writer(CALL)
    message = accumulate(b"".join(writer.write(event) for event in reader.feed(stream)))
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "c0", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "c1", "name": "g", "input": {"y": 2}},
    ]
    assert (message.stop_reason, message.usage.input_tokens) == ("tool_use", 6)
    assert (message.usage.cache_read_input_tokens, message.usage.output_tokens) == (4, 7)


def test_a_signature_is_the_last_delta_of_a_thought() -> None:
    """Wherever it comes from, the signature is told once, just before the block stops."""
    events = write(
        START,
        PartStart(index=0, part=Thinking(text="a", signature="s0")),
        Delta(index=0, text="b", signature="s1"),
        Delta(index=0, text="c"),
        PartEnd(index=0),
        PartStart(index=1, part=Thinking(text="unsigned")),
        PartEnd(index=1),
        PartStart(index=2, part=Thinking(redacted="r")),
        PartEnd(index=2),
        *ENDING,
    )
    assert [fields.get("delta") or fields.get("content_block") for name, fields in events[1:-2]] == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "a"},
        {"type": "thinking_delta", "thinking": "b"},
        {"type": "thinking_delta", "thinking": "c"},
        {"type": "signature_delta", "signature": "s1"},
        None,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "unsigned"},
        None,
        {"type": "redacted_thinking", "data": "r"},
        None,
    ]


def test_a_calls_signature_has_a_block_of_its_own() -> None:
    """The block that carries a tool call's signature comes before it, and the numbers have no gap."""
    use = ToolUse(id="a", name="f", arguments="{}", signature="sig")
    events = write(START, PartStart(index=0, part=use), PartEnd(index=0), *ENDING)
    assert [(name, fields["index"]) for name, fields in events if "index" in fields] == [
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
    ]
    assert events[2][1]["delta"] == {"type": "signature_delta", "signature": "tool_use.sig"}


def test_a_streamed_refusal_ends_as_one() -> None:
    """OpenAI's refusal is text that ends with this dialect's own reason."""
    events = write(
        START, PartStart(index=0, part=Refusal(text="")), Delta(index=0, text="no"), PartEnd(index=0), *ENDING
    )
    assert events[2][1]["delta"] == {"type": "text_delta", "text": "no"}
    assert events[-2][1]["delta"] == {"stop_reason": "refusal", "stop_sequence": None}


def test_only_the_first_choice_is_written() -> None:
    """A message is one answer."""
    events = write(
        START,
        PartStart(index=0, part=Text(text="x"), choice=1),
        Delta(index=0, text="y", choice=1),
        Finished(finish="length", choice=1),
        *ENDING,
    )
    assert [name for name, _ in events] == ["message_start", "message_delta", "message_stop"]
    assert events[1][1]["delta"]["stop_reason"] == "end_turn"


def test_the_end_closes_what_is_open() -> None:
    """Parts that nobody ended, and those that still wait for them, are whole blocks before the end."""
    events = write(
        START,
        PartStart(index=0, part=Text(text="a")),
        PartStart(index=1, part=ToolUse(id="a", name="f", arguments="{}")),
        Delta(index=9, text="of no part"),
        *ENDING,
    )
    assert [name for name, _ in events].count("content_block_stop") == 2
    assert events[-3][1] == {"index": 1}


@pytest.mark.parametrize("begun", [True, False])
def test_a_failure_ends_the_stream_once(begun: bool) -> None:
    """An error is the last event, whoever tells it; nothing is written after an end, not even an error."""
    for error in (Failed(message="Overloaded", kind="overloaded_error"), OverloadedError("Overloaded")):
        writer = ANTHROPIC_CLIENT.open_writer(CALL)
        if begun:
            writer.write(START)
        last = writer.write(error) if isinstance(error, Failed) else writer.fail(error)
        [(name, fields)] = read_events(last)
        assert (name, fields["error"]) == ("error", {"type": "overloaded_error", "message": "Overloaded"})
        assert not any(writer.write(event) for event in ENDING)
        assert writer.fail(BadGatewayError("late")) == b""
    writer = ANTHROPIC_CLIENT.open_writer(CALL)
    assert [name for name, _ in write(START, *ENDING, *ENDING, writer=writer)].count("message_stop") == 1
    assert writer.fail(BadGatewayError("late")) == b""


def test_the_sdk_raises_on_an_error_in_the_stream() -> None:
    """A failure in the middle is an exception for the SDK's caller, with the provider's words."""
    writer = ANTHROPIC_CLIENT.open_writer(CALL)
    stream = writer.write(START) + writer.fail(BadGatewayError("broke off"))
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        accumulate(stream)
