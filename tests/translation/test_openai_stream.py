"""Streams of chat completion chunks: reading a provider's, writing a client's."""

import json
from typing import Any

import httpx
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import OverloadedError, UpstreamFailure
from app.providers.protocol import StreamReader
from app.translation.openai import OPENAI_CLIENT, OPENAI_PROVIDER
from app.wire.chat import (
    ChatCall,
    Delta,
    End,
    Event,
    Failed,
    Finished,
    Message,
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
from tests.translation.openai_samples import (
    LOGPROBS,
    add_arguments,
    build_call,
    collect,
    in_choice,
    read_stream,
    write_chunks,
    write_whole,
)

ROLE: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
ARGUMENTS = '{"n": 9007199254740993, "é": 1.10}'
CALL = ChatCall(model="m", messages=(Message(role="user", parts=(Text(text="hi"),)),), stream=True)
WITH_USAGE = msgspec.structs.replace(CALL, include_usage=True)
FUNCTIONS = msgspec.structs.replace(CALL, names={"tools": "functions"})

# Name -> the stream and the whole answer that say the same.
SAME: dict[str, tuple[bytes, bytes]] = {
    "text": (
        write_chunks(ROLE, {"content": "Hé"}, {"content": "llo \U0001f600"}, in_choice({}, "stop")),
        write_whole(({"content": "Héllo \U0001f600"}, "stop")),
    ),
    "thinking": (
        write_chunks(ROLE, {"reasoning_content": "h"}, {"reasoning": "m"}, {"content": "a"}, in_choice({}, "length")),
        write_whole(({"reasoning_content": "hm", "content": "a"}, "length")),
    ),
    "signed thinking": (
        write_chunks(
            {"reasoning_content": "h"},
            {"reasoning_content": "m"},
            {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "hm", "signature": "s"}]},
            {"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "r"}]},
            {"content": "a"},
            in_choice({}, "stop"),
        ),
        write_whole(
            (
                {"thinking_blocks": [{"thinking": "hm", "signature": "s"}, {"data": "r"}], "content": "a"},
                "stop",
            )
        ),
    ),
    "refusal": (
        write_chunks(ROLE, {"refusal": "n"}, {"refusal": "o"}, in_choice({}, "stop")),
        write_whole(({"content": None, "refusal": "no"}, "stop")),
    ),
    "text and tools": (
        write_chunks(
            {**ROLE, "content": "a"},
            {"tool_calls": [build_call(0, "f", "")]},
            add_arguments(0, ARGUMENTS[:9]),
            add_arguments(0, ARGUMENTS[9:]),
            {"tool_calls": [build_call(1, "g", "{}")]},
            in_choice({}, "tool_calls"),
        ),
        write_whole(
            ({"content": "a", "tool_calls": [build_call(0, "f", ARGUMENTS), build_call(1, "g", "{}")]}, "tool_calls")
        ),
    ),
    "interleaved tools": (
        write_chunks(
            {"tool_calls": [build_call(0, "f", '{"a":')]},
            {"tool_calls": [build_call(1, "g", '{"b":')]},
            add_arguments(0, "1}"),
            add_arguments(1, "2}"),
            in_choice({}, "stop"),
        ),
        write_whole(
            ({"tool_calls": [build_call(0, "f", '{"a":1}'), build_call(1, "g", '{"b":2}')]}, "tool_calls"),
        ),
    ),
    "custom tool": (
        write_chunks(
            {"tool_calls": [{"index": 0, "id": "1", "type": "custom", "custom": {"name": "f", "input": ""}}]},
            {"tool_calls": [{"index": 0, "custom": {"input": "free"}}]},
            in_choice({}, "tool_calls"),
        ),
        write_whole(({"tool_calls": [{"id": "1", "custom": {"name": "f", "input": "free"}}]}, "tool_calls")),
    ),
    "two choices": (
        write_chunks(
            in_choice({"content": "a"}),
            in_choice({"content": "x"}, index=1),
            in_choice({"content": "b"}),
            in_choice({}, "stop"),
            in_choice({"content": "y"}, "length", index=1),
        ),
        write_whole(({"content": "ab"}, "stop"), ({"content": "xy"}, "length")),
    ),
    "logprobs": (
        write_chunks(
            in_choice(ROLE, logprobs=None),
            in_choice({"content": "Hé"}, logprobs=LOGPROBS),
            in_choice({}, "stop", logprobs=None),
        ),
        write_whole(({"content": "Hé"}, "stop"), logprobs=LOGPROBS),
    ),
}


def read(stream: bytes, cut: int | None = None) -> tuple[list[Event], StreamReader]:
    reader = OPENAI_PROVIDER.open_reader()
    size = cut or len(stream) or 1
    events = [event for start in range(0, len(stream), size) for event in reader.feed(stream[start : start + size])]
    return events, reader


@pytest.mark.parametrize("name", SAME)
def test_a_stream_says_what_the_whole_answer_says(name: str) -> None:
    """Collected, the events of a stream are the reply that the whole answer is."""
    stream, whole = SAME[name]
    events, reader = read(stream)
    assert reader.finished
    expected, collected = OPENAI_PROVIDER.parse_chat(whole), collect(events)
    for mine, theirs in zip(collected.choices, expected.choices, strict=True):
        assert json.loads(bytes(mine.logprobs or b"0")) == json.loads(bytes(theirs.logprobs or b"0"))
    strip = [msgspec.structs.replace(choice, logprobs=None) for choice in collected.choices]
    assert strip == [msgspec.structs.replace(choice, logprobs=None) for choice in expected.choices]
    assert msgspec.structs.replace(collected, choices=()) == msgspec.structs.replace(expected, choices=())


@pytest.mark.parametrize("name", SAME)
def test_the_cut_of_the_bytes_does_not_matter(name: str) -> None:
    """Cut anywhere, once or into single bytes, a stream gives the same events."""
    stream = SAME[name][0]
    expected, _ = read(stream)
    for cut in range(len(stream)):
        reader = OPENAI_PROVIDER.open_reader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == expected
    assert read(stream, 1)[0] == expected


@pytest.mark.parametrize("name", SAME)
def test_events_keep_the_grammar(name: str) -> None:
    """Start, then parts that begin, go on and end, a finish for every choice, and one end."""
    events, _ = read(SAME[name][0])
    assert isinstance(events[0], Start)
    assert [event for event in events if isinstance(event, End)] == [events[-1]]
    open_parts: set[tuple[int, int]] = set()
    finished: set[int] = set()
    for event in events:
        match event:
            case PartStart():
                assert (event.choice, event.index) not in open_parts
                assert event.choice not in finished
                open_parts.add((event.choice, event.index))
            case Delta():
                assert (event.choice, event.index) in open_parts
            case PartEnd():
                open_parts.remove((event.choice, event.index))
            case Finished():
                assert not [part for part in open_parts if part[0] == event.choice]
                finished.add(event.choice)
            case _:
                pass
    assert not open_parts


def test_text_is_passed_on_chunk_by_chunk() -> None:
    """Nothing waits for what follows."""
    reader = OPENAI_PROVIDER.open_reader()
    events = reader.feed(write_chunks({"content": "a"}, usage=None, done=False))
    assert events[1:] == [PartStart(index=0, part=Text(text="")), Delta(index=0, text="a")]
    assert reader.feed(write_chunks({"content": "b"}, usage=None, done=False)) == [Delta(index=0, text="b")]


def test_a_call_ends_when_the_next_begins() -> None:
    """A complete call is closed at once, so that writers that cannot interleave need not hold the next one back."""
    reader = OPENAI_PROVIDER.open_reader()
    pieces = [{"tool_calls": [build_call(0, "f", "{}")]}, {"tool_calls": [build_call(1, "g", "")]}]
    events = reader.feed(write_chunks(*pieces, usage=None, done=False))
    assert events.index(PartEnd(index=0)) < events.index(
        PartStart(index=1, part=ToolUse(id="call_1", name="g", arguments=""))
    )


@pytest.mark.parametrize(
    "calls",
    [
        [{"index": 0, "id": "1"}, {"index": 0, "id": "2"}],
        [{"id": "1"}, {"id": "2"}],
        [{"index": 0}, {"index": 1}],
    ],
    ids=["one number", "no numbers", "no ids"],
)
def test_calls_are_told_apart_without_numbers_or_ids(calls: list[dict[str, Any]]) -> None:
    """Compatible vendors number all calls alike, or leave out the number or the id."""
    pieces = [{"tool_calls": [{**call, "function": {"name": "f", "arguments": "{}"}}]} for call in calls]
    events, reader = read(write_chunks(*pieces, in_choice({}, "tool_calls")))
    uses = [part for part in collect(events).choices[0].parts if isinstance(part, ToolUse)]
    assert [use.arguments for use in uses] == ["{}", "{}"]
    assert uses[0].id != uses[1].id
    assert reader.finished
    assert len([event for event in events if isinstance(event, PartEnd)]) == 2


def test_fragments_without_number_and_id_belong_to_the_last_call() -> None:
    """A fragment that names no call goes on with the one before."""
    pieces = [
        {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"function": {"arguments": "}"}}]},
        {"tool_calls": [{"id": "1", "function": {"arguments": " "}}]},
    ]
    events, _ = read(write_chunks(*pieces, in_choice({}, "tool_calls")))
    assert collect(events).choices[0].parts == (ToolUse(id="1", name="f", arguments="{} "),)


def test_a_late_fragment_of_an_ended_call_breaks_the_stream() -> None:
    """What cannot be put where it belongs is no such stream; blanks are."""
    first = [{"tool_calls": [build_call(0, "f", "{}")]}, {"tool_calls": [build_call(1, "g", "")]}]
    assert read(write_chunks(*first, add_arguments(0, "\n"), in_choice({}, "tool_calls")))[1].finished
    with pytest.raises(UpstreamFailure):
        read(write_chunks(*first, add_arguments(0, "1")))


def test_the_deprecated_form_is_read() -> None:
    """`function_call` fragments are a tool call."""
    pieces = [{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}]
    choice = collect(read(write_chunks(*pieces, in_choice({}, "function_call")))[0]).choices[0]
    assert isinstance(use := choice.parts[0], ToolUse)
    assert (use.name, use.arguments, choice.finish) == ("f", "{}", "tool_use")


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"data: [DONE]\n\n",
        write_chunks({"content": "a"}, in_choice({}, "stop"), done=False),
        write_chunks({"content": "a"}),
        write_chunks(in_choice({"content": "a"}, "stop"), in_choice({"content": "b"}, index=1)),
        write_chunks({"content": "a"}, in_choice({}, "error")),
        write_chunks({"content": "a"}, in_choice({}, "stop"))[:-1],
    ],
    ids=["nothing", "only the mark", "no mark", "no finish", "one of two", "error", "half a mark"],
)
def test_a_stream_that_breaks_off_is_not_finished(stream: bytes) -> None:
    """Only the end mark after a finish reason of every choice ends a stream."""
    events, reader = read(stream)
    assert not reader.finished
    assert not [event for event in events if isinstance(event, End)]


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        ({"message": "slow down", "code": "rate_limit_exceeded"}, Failed(message="slow down", kind="rate_limit_error")),
        ({"message": "x", "type": "overloaded_error"}, Failed(message="x", kind="overloaded_error")),
        ({"message": "x", "code": 502}, Failed(message="x")),
        ("x", Failed(message="x")),
        ({}, None),
        ([1], Failed(message="The provider reports an error.")),
    ],
)
def test_an_error_within_the_stream_is_an_event(error: Any, failed: Failed | None) -> None:
    """An error in any shape ends the stream; nothing after it is read."""
    chunk = b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    events, reader = read(write_chunks({"content": "a"}, done=False) + chunk + write_chunks(in_choice({}, "stop")))
    assert [event for event in events if isinstance(event, Failed)] == ([failed] if failed else [])
    assert reader.finished == (failed is None)


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"[]",
        b'{"choices": 7}',
        b'{"choices": [{"delta": {"content": 7}}]}',
        b"\xff",
        b'{"choices": ' * 9999,
    ],
)
def test_garbage_is_an_upstream_failure(data: bytes) -> None:
    """What is no chunk is a broken answer of the provider."""
    with pytest.raises(UpstreamFailure) as caught:
        OPENAI_PROVIDER.open_reader().feed(b"data: " + data + b"\n\n")
    assert caught.value.answered


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_are_events_or_an_upstream_failure(pieces: list[bytes]) -> None:
    """Whatever arrives, reading fails in one way only."""
    reader = OPENAI_PROVIDER.open_reader()
    try:
        for piece in pieces:
            reader.feed(b"data: " + piece + b"\n\n")
    except UpstreamFailure:
        return


def test_comments_filters_and_empty_chunks_are_passed_over() -> None:
    """Keep-alive comments, Azure's first chunk about filters and chunks after the end say nothing."""
    azure = b'data: {"id":"","model":"","created":0,"choices":[],"prompt_filter_results":[]}\n\n'
    stream = b": ping\n\n" + azure + write_chunks({"content": "a"}, in_choice({}, "stop"), in_choice({"content": "b"}))
    events, reader = read(stream + b"data: nonsense\n\n")
    assert reader.finished
    assert events[0] == Start(id="chatcmpl-1", model="gpt-4o", created=1700000000)
    assert collect(events).choices[0].parts == (Text(text="a"),)


EVENTS: list[Event] = [
    Start(id="msg_1", model="claude", created=7, usage=Usage(input_tokens=3)),
    PartStart(index=0, part=Thinking()),
    Delta(index=0, text="h"),
    Delta(index=0, text="m"),
    Delta(index=0, signature="s"),
    PartEnd(index=0),
    PartStart(index=1, part=Thinking(redacted="r")),
    PartEnd(index=1),
    PartStart(index=2, part=Text(text="")),
    Delta(index=2, text="a", logprobs=msgspec.Raw(b'{"content":[],"refusal":null}')),
    PartEnd(index=2),
    PartStart(index=3, part=ToolUse(id="toolu_1", name="f", arguments="", signature="g")),
    Delta(index=3, text='{"n":'),
    PartStart(index=4, part=ToolUse(id="2", name="g", arguments="", custom=True)),
    Delta(index=4, text="free"),
    Delta(index=3, text="1.10}"),
    PartEnd(index=3),
    PartEnd(index=4),
    Finished(finish="tool_use"),
    Used(usage=Usage(input_tokens=3, cache_read_tokens=2, output_tokens=4)),
    End(),
]


def write(events: list[Event], call: ChatCall = WITH_USAGE) -> list[bytes]:
    writer = OPENAI_CLIENT.open_writer(call)
    return [writer.write(event) for event in events]


def test_a_stream_is_written_event_by_event() -> None:
    """Each event is said at once; tools are counted alone; usage comes last and once."""
    written = write(EVENTS)
    chunks = read_stream(b"".join(written))
    deltas = [choice["delta"] for chunk in chunks[:-1] for choice in chunk["choices"]]
    signature = {"google": {"thought_signature": "g"}}
    assert deltas == [
        {"role": "assistant"},
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "hm", "signature": "s"}]},
        {"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "r"}]},
        {"content": "a"},
        {"tool_calls": [{**build_call(0, "f", "", "toolu_1"), "extra_content": signature}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"n":'}}]},
        {"tool_calls": [{"index": 1, "id": "2", "type": "custom", "custom": {"name": "g", "input": ""}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": "free"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1.10}"}}]},
        {},
    ]
    assert chunks[5]["choices"][0]["logprobs"] == {"content": [], "refusal": None}
    assert [choice["finish_reason"] for chunk in chunks[:-1] for choice in chunk["choices"]][-2:] == [
        None,
        "tool_calls",
    ]
    assert {(chunk["id"], chunk["model"], chunk["created"], chunk["object"]) for chunk in chunks[:-1]} == {
        ("msg_1", "claude", 7, "chat.completion.chunk")
    }
    assert [chunk["usage"] is None for chunk in chunks[:-1]] == [True] * (len(chunks) - 2) + [False]
    assert (chunks[-2]["choices"], chunks[-2]["usage"]["prompt_tokens"], chunks[-1]) == ([], 5, "[DONE]")
    assert all(written[at] for at, event in enumerate(EVENTS) if isinstance(event, Delta) and event.text)


@pytest.mark.parametrize(("custom", "arguments"), [(False, "{}"), (True, "")])
def test_a_call_without_arguments_is_an_empty_object(custom: bool, arguments: str) -> None:
    """Clients parse the arguments: a provider that streams none of them has called with none."""
    use = ToolUse(id="1", name="f", arguments="", custom=custom)
    events: list[Event] = [EVENTS[0], PartStart(index=0, part=use), Delta(index=0, text=""), PartEnd(index=0)]
    written = b"".join(write([*events, Finished(finish="tool_use"), End()]))
    (part,) = collect(read(written)[0]).choices[0].parts
    assert part == ToolUse(id="1", name="f", arguments=arguments, custom=custom)


def test_usage_is_for_those_who_asked() -> None:
    """Without `include_usage` no chunk mentions usage."""
    assert all("usage" not in chunk for chunk in read_stream(b"".join(write(EVENTS, CALL))))


def test_unknown_usage_is_not_invented() -> None:
    """A provider that reports nothing leaves the usage chunk out."""
    events: list[Event] = [Start(id="1", model="m", created=1), Finished(finish="stop"), End()]
    chunks = read_stream(b"".join(write(events)))
    assert all(chunk["choices"] for chunk in chunks[:-1])
    assert chunks[-1] == "[DONE]"


def test_a_writer_ends_once() -> None:
    """After the end, or an error, nothing more is written."""
    writer = OPENAI_CLIENT.open_writer(CALL)
    assert writer.write(End()).endswith(b"data: [DONE]\n\n")
    assert writer.write(End()) + writer.write(Finished(finish="stop")) + writer.fail(OverloadedError("x")) == b""
    writer = OPENAI_CLIENT.open_writer(CALL)
    failed = writer.write(EVENTS[0]) + writer.fail(OverloadedError("busy")) + writer.write(End())
    chunks = read_stream(failed)
    assert chunks[-1]["error"] == {
        "message": "busy",
        "type": "overloaded_error",
        "param": None,
        "code": "upstream_overloaded",
    }
    assert len(chunks) == 2


def test_a_providers_error_is_written_in_this_dialect() -> None:
    """The kind of the failure is the type of the error."""
    (chunk,) = read_stream(write([Failed(message="slow", kind="rate_limit_error")])[0])
    assert (chunk["error"]["type"], chunk["error"]["message"]) == ("rate_limit_error", "slow")


def test_refusals_and_choices_are_written() -> None:
    """A refusal has its own field; every choice begins with the role."""
    events: list[Event] = [
        Start(id="1", model="m", created=1),
        PartStart(index=0, part=Refusal(text="n")),
        Delta(index=0, text="o"),
        PartEnd(index=0),
        Finished(finish="refusal"),
        PartStart(index=0, part=Text(text="b"), choice=1),
        PartEnd(index=0, choice=1),
        Finished(finish="refusal", choice=1),
        End(),
    ]
    choices = [choice for chunk in read_stream(b"".join(write(events, CALL)))[:-1] for choice in chunk["choices"]]
    assert [(choice["index"], choice["delta"], choice["finish_reason"]) for choice in choices] == [
        (0, {"role": "assistant"}, None),
        (0, {"refusal": "n"}, None),
        (0, {"refusal": "o"}, None),
        (0, {}, "stop"),
        (1, {"role": "assistant"}, None),
        (1, {"content": "b"}, None),
        (1, {}, "content_filter"),
    ]


def test_who_asked_with_functions_gets_a_function_call() -> None:
    """The deprecated form knows one call; others are not put into it."""
    events: list[Event] = [EVENTS[0], *EVENTS[11:19], End()]
    choices = [choice for chunk in read_stream(b"".join(write(events, FUNCTIONS)))[:-1] for choice in chunk["choices"]]
    assert [choice["delta"] for choice in choices[1:]] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"n":'}},
        {"function_call": {"arguments": "1.10}"}},
        {},
    ]
    assert choices[-1]["finish_reason"] == "function_call"


@pytest.mark.parametrize("name", SAME)
def test_a_stream_read_written_and_read_again_says_the_same(name: str) -> None:
    """Nothing is lost between two gateways that speak this dialect."""
    events, _ = read(SAME[name][0])
    again, reader = read(b"".join(write(events)))
    assert reader.finished
    assert msgspec.json.encode(collect(again)) == msgspec.json.encode(collect(events))


def open_sdk(stream: bytes) -> openai.OpenAI:
    """The official SDK over a transport that answers with `stream`."""
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, content=stream))
    return openai.OpenAI(
        api_key="k", base_url="http://x/v1", http_client=httpx.Client(transport=transport), max_retries=0
    )


def test_the_official_sdk_collects_the_stream_and_sends_the_thinking_back() -> None:
    """The SDK's own accumulation gives an assistant's message with tool calls and signatures that is read again."""
    events = [event for event in EVENTS if getattr(event, "index", 0) != 4]
    with (
        open_sdk(b"".join(write(events))) as client,
        client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "hi"}]) as stream,
    ):
        answer = stream.get_final_completion()
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9
    assert answer.choices[0].finish_reason == "tool_calls"
    echoed = answer.choices[0].message.model_dump()
    call = OPENAI_CLIENT.read_call(json.dumps({"model": "m", "messages": [echoed]}).encode())
    assert call.messages[0].parts == (
        Thinking(text="hm", signature="s"),
        Thinking(redacted="r"),
        Text(text="a"),
        ToolUse(id="toolu_1", name="f", arguments='{"n":1.10}', signature="g"),
    )


def test_the_official_sdk_raises_on_an_error_within_the_stream() -> None:
    """An error event is an exception at the client, not a short answer."""
    writer = OPENAI_CLIENT.open_writer(CALL)
    body = writer.write(EVENTS[0]) + writer.fail(OverloadedError("busy"))
    with open_sdk(body) as client, pytest.raises(openai.APIError, match="busy"):
        list(client.chat.completions.create(model="m", messages=[], stream=True))
