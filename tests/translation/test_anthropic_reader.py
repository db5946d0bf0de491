"""Messages streams of providers, read into canonical events."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamFailure
from app.mock.messages_stream import write_events
from app.translation.anthropic import ANTHROPIC_PROVIDER
from app.wire.chat import (
    Choice,
    Delta,
    End,
    Event,
    Failed,
    Finished,
    PartEnd,
    PartStart,
    Start,
    Text,
    Thinking,
    ToolUse,
    Used,
)
from app.wire.usage import Usage
from tests.providers.samples import named
from tests.translation.anthropic_samples import PARTS, STREAM, USAGE, WHOLE, collect, without_time

START: dict[str, Any] = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 5, "output_tokens": 1}},
}
END: tuple[dict[str, Any], ...] = (
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
)


def read(*pieces: bytes) -> tuple[list[Event], bool]:
    reader = ANTHROPIC_PROVIDER.open_reader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return without_time(events), reader.finished


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any], end: bool = True) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [{"type": "content_block_start", "index": index, "content_block": content}]
    events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [*events, {"type": "content_block_stop", "index": index}] if end else events


def read_blocks(*blocks: list[dict[str, Any]]) -> list[Event]:
    events, finished = read(named(START, *(event for one in blocks for event in one), *END))
    assert finished
    return events[1:-3]


def test_a_stream_says_what_the_whole_answer_says() -> None:
    """Collected, the events of a stream are the parts, the finish and the usage of the same answer as a whole."""
    events, finished = read(STREAM)
    assert finished
    assert collect(events) == (Choice(parts=PARTS, finish="tool_use"), USAGE)
    assert isinstance(events[0], Start)
    assert (events[0].id, events[0].model) == ("msg_01", "claude-sonnet-5")
    assert [type(event) for event in events[-3:]] == [Finished, Used, End]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_stream_may_be_cut_anywhere(size: int) -> None:
    """Pieces of any size give the same events."""
    assert read(*(STREAM[at : at + size] for at in range(0, len(STREAM), size))) == read(STREAM)


def test_a_stream_may_be_cut_at_every_position() -> None:
    """Wherever a stream is cut in two, its events are the same."""
    whole = read(STREAM)
    assert all(read(STREAM[:at], STREAM[at:]) == whole for at in range(len(STREAM)))


@pytest.mark.parametrize("chars", [1, 5])
def test_the_mocks_stream_is_read(chars: int) -> None:
    """Pings, empty fragments and pieces of arguments say what the whole message says."""
    shown = [block for block in WHOLE["content"] if block["type"] != "redacted_thinking"]
    events, finished = read(*write_events(WHOLE | {"content": shown}, chars))
    assert finished
    assert collect(events) == (Choice(parts=(PARTS[0], *PARTS[2:]), finish="tool_use"), USAGE)


def test_the_parts_are_counted_without_unknown_blocks() -> None:
    """A block of an unknown type and its deltas are skipped; the parts after it are numbered without a gap."""
    events = read_blocks(
        block(0, {"type": "made_up"}, {"type": "made_up_delta", "text": "x"}),
        block(1, {"type": "text", "text": ""}, {"type": "citations_delta"}, {"type": "text_delta", "text": "a"}),
        block(2, {"type": "server_tool_use", "id": "s", "name": "w", "input": {}}),
        block(3, {"type": "text", "text": "b"}),
    )
    assert events == [
        PartStart(index=0, part=Text(text="")),
        Delta(index=0, text="a"),
        PartEnd(index=0),
        PartStart(index=1, part=Text(text="b")),
        PartEnd(index=1),
    ]


def test_a_tools_input_comes_in_fragments_or_at_once() -> None:
    """Fragments are passed on as they are; input that came with the start counts when no fragment follows."""
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.10}}
    fragments = [{"type": "input_json_delta", "partial_json": text} for text in ("", '{"x"', ": 2.50}")]
    events = read_blocks(block(0, use, *fragments), block(1, use))
    started = ToolUse(id="a", name="f", arguments="")
    assert events == [
        PartStart(index=0, part=started),
        Delta(index=0, text='{"x"'),
        Delta(index=0, text=": 2.50}"),
        PartEnd(index=0),
        PartStart(index=1, part=started),
        Delta(index=1, text='{"x":1.1}'),
        PartEnd(index=1),
    ]


def test_a_signature_may_come_at_the_start_or_at_the_end() -> None:
    """Both places of a thought's signature are read; hidden thoughts are one part."""
    events = read_blocks(
        block(0, {"type": "thinking", "thinking": "", "signature": "s0"}),
        block(1, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": "s1"}),
        block(2, {"type": "redacted_thinking", "data": "r"}),
    )
    assert [event for event in events if not isinstance(event, PartEnd)] == [
        PartStart(index=0, part=Thinking(signature="s0")),
        PartStart(index=1, part=Thinking()),
        Delta(index=1, signature="s1"),
        PartStart(index=2, part=Thinking(redacted="r")),
    ]


def test_what_is_open_ends_with_the_message() -> None:
    """A provider that forgets to close a block or to say why it ended is understood."""
    events, finished = read(named(START, *block(0, {"type": "text", "text": "a"}, end=False), END[1]))
    assert finished
    assert events[2:] == [PartEnd(index=0), Finished(finish="stop"), End()]


def test_usage_grows() -> None:
    """Counts of later events replace earlier ones, and those they leave out stay."""
    more = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 2, "cache_read_input_tokens": 9}}
    events, _ = read(named(START, more, *END))
    assert [event.usage for event in events if isinstance(event, Start | Used)] == [
        Usage(input_tokens=5, output_tokens=1),
        Usage(input_tokens=5, output_tokens=2, cache_read_tokens=9),
        Usage(input_tokens=5, output_tokens=3, cache_read_tokens=9),
    ]


def test_an_error_ends_a_stream_unfinished() -> None:
    """An error event is told, nothing after it counts, and the stream never looks complete."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events, finished = read(named(START, error, *END))
    assert events[1:] == [Failed(message="Overloaded", kind="overloaded_error")]
    assert not finished


def test_a_stream_that_breaks_off_is_not_finished() -> None:
    """Without message_stop there is no end, wherever the bytes stop."""
    marker = STREAM.index(b"event: message_stop")
    for at in range(0, marker, 11):
        events, finished = read(STREAM[:at])
        assert not finished
        assert not any(isinstance(event, End) for event in events)


def test_nothing_counts_after_the_end() -> None:
    """A stream has one end."""
    assert read(STREAM, STREAM) == read(STREAM)


@pytest.mark.parametrize(
    "event",
    [
        b"data: {nonsense\n\n",
        b"data: [DONE]\n\n",
        b'data: {"type":"content_block_delta","index":"0"}\n\n',
        b'data: {"type":"content_block_delta","index":7,"delta":{"type":"text_delta","text":"a"}}\n\n',
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":7}}\n\n',
        b"data: \xff\n\n",
    ],
)
def test_what_is_no_messages_stream_fails(event: bytes) -> None:
    """Events that are none of this dialect are a failure of the provider, not of the gateway."""
    with pytest.raises(UpstreamFailure) as failure:
        read(named(START), event)
    assert (failure.value.kind, failure.value.answered) == ("protocol", True)


def test_unknown_events_are_skipped() -> None:
    """Pings and events that are not known yet say nothing."""
    assert read(named({"type": "ping"}, {"type": "made_up", "x": 1}) + b": comment\n\n" + STREAM) == read(STREAM)


@given(st.binary())
def test_any_bytes_are_events_or_an_upstream_failure(data: bytes) -> None:
    """No bytes make the reader fail in another way, and none of them finish a stream."""
    reader = ANTHROPIC_PROVIDER.open_reader()
    with contextlib.suppress(UpstreamFailure):
        reader.feed(data + b"\n\n")
    assert not reader.finished
