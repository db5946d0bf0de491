"""A stored whole answer as a stream and back: nothing is lost."""

import json
from decimal import Decimal

import pytest

from app.providers.endpoints import ENDPOINTS
from app.providers.sse import read_event, split_events
from tests.providers.samples import (
    CHAT,
    CHAT_STREAM,
    CHAT_TOOLS,
    COMPLETION,
    MESSAGE,
    MESSAGE_STREAM,
    RESPONSE,
    RESPONSE_STREAM,
    chunk,
    compact,
    delta,
    named,
    sse,
)

WHOLE = {
    "chat": ("chat", CHAT),
    "chat with tools, two choices": ("chat", CHAT_TOOLS),
    "completions": ("completions", COMPLETION),
    "responses": ("responses", RESPONSE),
    "messages": ("messages", MESSAGE),
}


def write_stream(endpoint: str, body: bytes, usage: bool = True) -> bytes:
    write = ENDPOINTS[endpoint].write_stream
    assert write is not None
    return write(body, usage)


def write_whole(endpoint: str, events: bytes) -> bytes:
    write = ENDPOINTS[endpoint].write_whole
    assert write is not None
    return write(events)


def read_chunks(stream: bytes) -> list[dict[str, object]]:
    data = [read_event(raw).data for raw in split_events(stream)]
    return [json.loads(one) for one in data if one and one != b"[DONE]"]


@pytest.mark.parametrize("name", WHOLE)
def test_whole_to_stream_and_back(name: str) -> None:
    """An answer that becomes a stream and is joined again says the same, unknown fields included."""
    endpoint, body = WHOLE[name]
    assert json.loads(write_whole(endpoint, write_stream(endpoint, compact(body)))) == body


@pytest.mark.parametrize("name", WHOLE)
def test_the_tap_reads_in_the_stream_what_the_whole_says(name: str) -> None:
    """Facts of a written stream are the facts of the answer it was made from."""
    endpoint, body = WHOLE[name]
    tap = ENDPOINTS[endpoint].open_tap(False)
    stream = write_stream(endpoint, compact(body))
    assert tap.feed(stream) == stream
    facts, whole = tap.facts(), ENDPOINTS[endpoint].read_facts(compact(body))
    assert (facts.usage, facts.model, facts.complete) == (whole.usage, whole.model, True)


NUMBERS = (
    b'{"big":9007199254740993,"huge":123456789012345678901234567890,'
    b'"money":1.10,"tiny":1e-7,"long":0.1000000000000000055}'
)


@pytest.mark.parametrize("name", WHOLE)
def test_numbers_keep_their_digits(name: str) -> None:
    """Integers beyond 2^53 and decimals survive both directions digit by digit."""
    endpoint, body = WHOLE[name]
    exact = compact(body)[:-1] + b',"x_numbers":' + NUMBERS + b"}"
    stream = write_stream(endpoint, exact)
    assert NUMBERS in stream
    assert NUMBERS in write_whole(endpoint, stream)
    known = json.loads(write_whole(endpoint, stream), parse_float=Decimal)
    assert known == json.loads(exact, parse_float=Decimal)


def test_usage_goes_only_to_those_who_ask() -> None:
    """With usage: null on every chunk and one chunk at the end; without: not a word of it."""
    asked = read_chunks(write_stream("chat", compact(CHAT), usage=True))
    assert [one["usage"] for one in asked] == [None] * (len(asked) - 1) + [CHAT["usage"]]
    assert asked[-1]["choices"] == []
    silent = write_stream("chat", compact(CHAT), usage=False)
    assert b"usage" not in silent
    hide = ENDPOINTS["chat"].hide_usage
    assert hide(write_stream("chat", compact(CHAT), usage=True)) == silent


def test_a_chat_stream_keeps_the_dialect_s_order() -> None:
    """The role comes first, tool calls are numbered, the finish reason comes alone."""
    chunks = [one["choices"][0] for one in read_chunks(write_stream("chat", compact(CHAT_TOOLS)))]
    first = [one for one in chunks if one["index"] == 0]
    assert first[0]["delta"] == {"role": "assistant", "content": None, "refusal": None}
    assert [one["delta"]["tool_calls"][0]["index"] for one in first[1:-1]] == [0, 0, 1, 1, 2]
    assert first[-1] == {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    assert {one["finish_reason"] for one in first[:-1]} == {None}


def test_a_real_chat_stream_becomes_whole() -> None:
    """Deltas are joined; comments, padding and the null usage leave no trace."""
    whole = json.loads(write_whole("chat", CHAT_STREAM))
    assert whole["object"] == "chat.completion"
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": 'Zażółć "usage":{"a":1} 🎉 [DONE] "error": "finish_reason":"stop"',
                "refusal": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert whole["usage"]["total_tokens"] == 140
    assert "usage" not in json.loads(write_whole("chat", chunk(delta(b"{}", b'"stop"')) + b"data: [DONE]\n\n"))


def test_fragments_are_joined_by_their_index() -> None:
    """Tool calls that come interleaved, repeated names, reasoning, log probabilities and filter results add up."""
    parts = [
        {"role": "assistant", "content": None, "reasoning_details": [{"index": 0, "type": "r", "text": "a"}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"'}}]},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": 'x":1}'}}]},
        {
            "tool_calls": [{"index": 1, "function": {"arguments": "{}"}}],
            "reasoning_details": [{"index": 0, "text": "b"}],
        },
    ]
    chunks = [{"choices": [{"index": 0, "delta": part, "logprobs": {"content": [n]}}]} for n, part in enumerate(parts)]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls", "content_filter_results": {"a": 1}}]}
    choice = json.loads(write_whole("chat", sse(*chunks, end)))["choices"][0]
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "reasoning_details": [{"index": 0, "type": "r", "text": "ab"}],
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert choice["logprobs"] == {"content": [0, 1, 2, 3, 4]}
    assert (choice["finish_reason"], choice["content_filter_results"]) == ("tool_calls", {"a": 1})


def test_a_real_message_stream_becomes_whole() -> None:
    """Text deltas are joined, the last totals win, pings and comments leave no trace."""
    whole = json.loads(write_whole("messages", MESSAGE_STREAM))
    assert whole["content"] == [{"type": "text", "text": "message_stop error \n żółw"}]
    assert (whole["stop_reason"], whole["usage"]["output_tokens"], whole["usage"]["input_tokens"]) == (
        "max_tokens",
        15,
        25,
    )


def test_unknown_deltas_of_a_message_are_kept() -> None:
    """Strings of a delta we do not know grow, other values replace; extra fields of message_delta stay."""
    start = {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 1}}}
    stream = named(
        start,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "vendor", "note": "a"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "vendor_delta", "note": "b", "n": 1}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "vendor_delta", "note": "c", "n": 2}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "context_management": {"edits": []}},
        {"type": "message_stop"},
    )
    assert json.loads(write_whole("messages", stream)) == {
        "id": "m",
        "content": [{"type": "vendor", "note": "abc", "n": 2}],
        "usage": {"input_tokens": 1},
        "stop_reason": "end_turn",
        "context_management": {"edits": []},
    }


def test_the_final_response_is_taken_as_it_is() -> None:
    """A Responses stream ends with the whole answer: its bytes are the answer, field order and spaces included."""
    odd = b'{"status": "completed", "output": [],  "n": 1.10}'
    event = b'event: response.completed\ndata: {"type":"response.completed","response":' + odd + b"}\n\n"
    assert write_whole("responses", b": ping\n\n" + event) == odd


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled", None])
def test_a_response_that_has_not_ended_is_no_stream(status: object) -> None:
    """Only an answer that has come to its end can be replayed."""
    with pytest.raises(ValueError, match="not ended"):
        write_stream("responses", compact(RESPONSE | {"status": status}))


@pytest.mark.parametrize(
    ("endpoint", "stream"),
    [
        ("chat", CHAT_STREAM[:-14]),
        ("chat", b""),
        ("chat", sse({"error": {"message": "m"}})),
        ("chat", sse(b"not json")),
        ("chat", sse({"choices": [{"index": "x"}]})),
        ("chat", sse({"choices": [1]})),
        ("completions", b": ping\n\n"),
        ("messages", MESSAGE_STREAM[:-40]),
        ("messages", named({"type": "message_stop"})),
        ("messages", named({"type": "error", "error": {}})),
        ("messages", named({"type": "content_block_start", "index": 1, "content_block": {}})),
        ("messages", named({"type": "content_block_delta", "index": 0, "delta": {}})),
        ("responses", RESPONSE_STREAM[: RESPONSE_STREAM.index(b"event: response.completed")]),
        ("responses", named({"type": "response.failed", "response": RESPONSE})),
    ],
)
def test_what_is_no_whole_stream_becomes_no_answer(endpoint: str, stream: bytes) -> None:
    """A truncated, failed or unreadable stream is refused with ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is msgspec's or ours, the type is the contract
        write_whole(endpoint, stream)


def test_tool_calls_without_input_and_text_without_citations() -> None:
    """Small shapes survive as well: null citations, an unsigned thought, a block without its usual field."""
    content = [
        {"type": "text", "text": "", "citations": None},
        {"type": "thinking", "thinking": "hm"},
        {"type": "tool_use", "id": "t", "name": "n"},
    ]
    body = {"type": "message", "content": content, "stop_reason": "end_turn", "usage": {"output_tokens": 1}}
    assert json.loads(write_whole("messages", write_stream("messages", compact(body)))) == body


def test_open_reasoning_is_streamed_part_by_part() -> None:
    """Models that show their reasoning have it as content of the reasoning item."""
    item = {"id": "rs", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "so"}]}
    stream = write_stream("responses", compact(RESPONSE | {"output": [item]}))
    assert b'"type":"response.reasoning_text.delta"' in stream
    assert b'"delta":"so"' in stream
    assert stream.count(b'"type":"response.reasoning_text.done"') == 1
