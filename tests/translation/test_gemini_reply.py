"""What Gemini answers, whole and streamed."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamFailure
from app.translation.answers import collect_parts
from app.translation.gemini import GEMINI_PROVIDER
from app.translation.gemini_reply import parse_error, read_usage
from app.wire.chat import (
    ChatReply,
    Choice,
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
from tests.translation.canonical_calls import build_call, show

USAGE = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 60,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 7,
    "toolUsePromptTokenCount": 5,
    "totalTokenCount": 132,
}
COUNTED = Usage(input_tokens=45, cache_read_tokens=60, output_tokens=20, reasoning_tokens=7)
PIECES: list[list[dict[str, Any]]] = [
    [{"text": "let me ", "thought": True}],
    [{"text": "think", "thought": True}, {"text": "Hé"}],
    [{"text": "llo \U0001f600", "thoughtSignature": "dGV4dA=="}],
    [{"text": "", "thoughtSignature": "bW9yZQ=="}],
    [
        {"functionCall": {"name": "f", "args": {"z": 1.10, "a": 9007199254740993}}, "thoughtSignature": "Y2FsbA=="},
        {"functionCall": {"id": "own", "name": "g"}},
    ],
    [{"functionCall": {"name": "f", "args": {}}}],
]
PARTS = (
    Thinking(text="let me think"),
    Text(text="Héllo \U0001f600"),
    Thinking(signature="gemini:dGV4dA=="),
    Thinking(signature="gemini:bW9yZQ=="),
    ToolUse(id="call_1", name="f", arguments='{"z":1.10,"a":9007199254740993}', signature="Y2FsbA=="),
    ToolUse(id="own", name="g", arguments="{}"),
    ToolUse(id="call_2", name="f", arguments="{}"),
)


def write(value: dict[str, Any]) -> bytes:
    """JSON whose 1.1 is written 1.10, to see that digits are kept."""
    return json.dumps(value, ensure_ascii=False).replace("1.1,", "1.10,").encode()


def build_whole(parts: list[dict[str, Any]], reason: str | None = "STOP", **more: Any) -> bytes:
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
    candidate |= {"finishReason": reason} if reason else {}
    answer = {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-2.5-pro", "responseId": "r1"}
    return write(answer | more)


def build_stream(pieces: list[list[dict[str, Any]]], reason: str = "STOP", end: bytes = b"\r\n\r\n") -> bytes:
    chunks = [build_whole(parts, None) for parts in pieces] + [build_whole([{"text": ""}], reason)]
    return b"".join(b"data: " + chunk + end for chunk in chunks)


def name_calls(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The parts with the ids that we made up in the order they come."""
    made = [part.id for part in parts if isinstance(part, ToolUse) and part.id.startswith("call_")]
    assert len(set(made)) == len(made)
    names = {name: f"call_{place}" for place, name in enumerate(made, 1)}
    return tuple(
        msgspec.structs.replace(part, id=names.get(part.id, part.id)) if isinstance(part, ToolUse) else part
        for part in parts
    )


def read(stream: bytes, cut: int | None = None) -> list[Event]:
    reader = GEMINI_PROVIDER.open_reader()
    cuts = [stream] if cut is None else [stream[:cut], stream[cut:]]
    return [event for data in cuts for event in reader.feed(data)]


def without_time(events: list[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, created=0) if isinstance(event, Start) else event for event in events]


def test_a_whole_answer_is_parts_in_order() -> None:
    """Thoughts, texts, calls and signatures stand in the order Gemini sent them; arguments keep their digits."""
    reply = GEMINI_PROVIDER.parse_chat(build_whole([part for piece in PIECES for part in piece]))
    assert name_calls(reply.choices[0].parts) == PARTS
    assert reply.choices[0].finish == "tool_use"
    assert (reply.id, reply.model, reply.usage) == ("r1", "gemini-2.5-pro", COUNTED)


def test_a_stream_is_the_same_answer_as_the_whole() -> None:
    """Collecting the events of a stream gives the parts, the ids and the usage of the whole answer."""
    events = read(build_stream(PIECES))
    reply = GEMINI_PROVIDER.parse_chat(build_whole([part for piece in PIECES for part in piece]))
    assert collect_parts(events) == reply.choices[0].parts
    assert events[-3:] == [Finished(finish="tool_use"), Used(usage=COUNTED), End()]
    start = events[0]
    assert isinstance(start, Start)
    assert start.usage == Usage(input_tokens=45, cache_read_tokens=60)
    assert (start.id, start.model) == ("r1", "gemini-2.5-pro")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_a_stream_may_be_cut_anywhere(end: bytes) -> None:
    """The events are the same whatever the cut, and each comes with the byte that completes it."""
    stream = build_stream(PIECES, end=end)
    whole = without_time(read(stream))
    for cut in range(len(stream) + 1):
        assert without_time(read(stream, cut)) == whole
    reader = GEMINI_PROVIDER.open_reader()
    single = [event for byte in stream for event in reader.feed(bytes([byte]))]
    assert without_time(single) == whole
    assert reader.finished


def test_parts_follow_each_other_and_are_counted() -> None:
    """Every part starts, grows and ends before the next, under its own index."""
    open_part, seen = None, 0
    for event in read(build_stream(PIECES)):
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


def test_what_the_model_said_comes_back_to_it_as_it_was() -> None:
    """An answer that a client sends back is in Gemini's words again, signatures at their places."""
    reply = GEMINI_PROVIDER.parse_chat(build_whole([part for piece in PIECES for part in piece]))
    call = msgspec.structs.replace(
        build_call("gemini-2.5-pro"), messages=(Message(role="assistant", parts=reply.choices[0].parts),)
    )
    ids = [part.id for part in reply.choices[0].parts if isinstance(part, ToolUse)]
    assert show(GEMINI_PROVIDER.build_chat(call))["contents"][0]["parts"] == [
        {"text": "Héllo \U0001f600"},
        {"text": "", "thoughtSignature": "dGV4dA=="},
        {"text": "", "thoughtSignature": "bW9yZQ=="},
        {
            "functionCall": {"id": ids[0], "name": "f", "args": {"z": "1.10", "a": 9007199254740993}},
            "thoughtSignature": "Y2FsbA==",
        },
        {"functionCall": {"id": "own", "name": "g", "args": {}}},
        {"functionCall": {"id": ids[2], "name": "f", "args": {}}},
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("OTHER", "content_filter"),
        ("SOMETHING_NEW", "content_filter"),
    ],
)
def test_why_an_answer_ended(reason: str, finish: str) -> None:
    """Only the two ordinary ends are ends of the answer; every other is the provider holding it back."""
    assert GEMINI_PROVIDER.parse_chat(build_whole([{"text": "a"}], reason)).choices[0].finish == finish
    assert Finished(finish=finish) in read(build_stream([[{"text": "a"}]], reason))


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"])
def test_a_broken_answer_is_an_error(reason: str) -> None:
    """What the model garbled is neither a whole answer nor a finished stream."""
    with pytest.raises(ValueError, match=reason):
        GEMINI_PROVIDER.parse_chat(build_whole([], reason))
    reader = GEMINI_PROVIDER.open_reader()
    events = reader.feed(build_stream([[{"text": "a"}]], reason))
    assert isinstance(events[-1], Failed)
    assert not reader.finished


def test_a_blocked_prompt_is_an_answer_without_words() -> None:
    """A prompt that Gemini does not take ends as filtered content, whole and streamed."""
    body = b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3,"totalTokenCount":3}}'
    reply = GEMINI_PROVIDER.parse_chat(body)
    assert reply.choices == (Choice(finish="content_filter"),)
    assert reply.usage == Usage(input_tokens=3)
    reader = GEMINI_PROVIDER.open_reader()
    events = reader.feed(b"data: " + body + b"\n\n")
    assert [type(event) for event in events] == [Start, Finished, Used, End]
    assert reader.finished


def test_several_answers_keep_their_places() -> None:
    """Candidates are choices under their own index, with ids of their own."""
    call = {"functionCall": {"name": "f", "args": {}}}
    candidates = [{"content": {"parts": [call]}, "finishReason": "STOP", "index": index} for index in (1, 0)]
    reply = GEMINI_PROVIDER.parse_chat(write({"candidates": candidates}))
    assert [choice.index for choice in reply.choices] == [1, 0]
    assert len({part.id for choice in reply.choices for part in choice.parts}) == 2
    assert reply.usage is None
    assert reply.model == ""
    assert reply.id


LOGPROBS = {
    "chosenCandidates": [{"token": "é", "logProbability": -1.5}, {"token": "b", "logProbability": -2}],
    "topCandidates": [{"candidates": [{"token": "é", "logProbability": -1.5}]}],
}
OPENAI_LOGPROBS = {
    "content": [
        {
            "token": "é",
            "logprob": "-1.5",
            "bytes": [195, 169],
            "top_logprobs": [{"token": "é", "logprob": "-1.5", "bytes": [195, 169]}],
        },
        {"token": "b", "logprob": -2, "bytes": [98], "top_logprobs": []},
    ],
    "refusal": None,
}


def test_log_probabilities_are_in_openai_form() -> None:
    """Tokens carry their probability, their bytes and the others that were likely."""
    candidate = {"content": {"parts": [{"text": "éb"}]}, "finishReason": "STOP", "logprobsResult": LOGPROBS}
    body = write({"candidates": [candidate]})
    logprobs = GEMINI_PROVIDER.parse_chat(body).choices[0].logprobs
    assert logprobs is not None
    assert show(bytes(logprobs)) == OPENAI_LOGPROBS
    deltas = [event for event in read(b"data: " + body + b"\n\n") if isinstance(event, Delta)]
    assert [show(bytes(delta.logprobs)) for delta in deltas if delta.logprobs is not None] == [OPENAI_LOGPROBS]


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (None, None),
        ({}, None),
        ({"promptTokenCount": "x"}, None),
        ({"promptTokenCount": 3}, Usage(input_tokens=3)),
        ({"promptTokenCount": 3, "totalTokenCount": 10}, Usage(input_tokens=3, output_tokens=7)),
        (
            {"promptTokenCount": 3, "candidatesTokenCount": 7, "thoughtsTokenCount": 5, "totalTokenCount": 10},
            Usage(input_tokens=3, output_tokens=2, reasoning_tokens=5),
        ),
        ({"promptTokenCount": 3, "cachedContentTokenCount": 9}, Usage(cache_read_tokens=3)),
        (
            {
                "promptTokenCount": 10,
                "cachedContentTokenCount": 4,
                "candidatesTokenCount": 6,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}, {"modality": "TEXT", "tokenCount": 5}],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}, 7],
                "serviceTier": "flex",
            },
            Usage(
                input_tokens=3, cache_read_tokens=4, input_audio_tokens=3, output_audio_tokens=6, service_tier="flex"
            ),
        ),
        (
            {
                "promptTokenCount": 600,
                "cachedContentTokenCount": 10,
                "candidatesTokenCount": 1300,
                "promptTokensDetails": [
                    {"modality": "IMAGE", "tokenCount": 516},
                    {"modality": "TEXT", "tokenCount": 84},
                ],
                "cacheTokensDetails": [{"modality": "IMAGE", "tokenCount": 6}],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
            },
            Usage(
                input_tokens=80,
                cache_read_tokens=10,
                input_image_tokens=510,
                output_tokens=10,
                output_image_tokens=1290,
            ),
        ),
        (
            {
                "promptTokenCount": 5,
                "candidatesTokenCount": 5,
                "promptTokensDetails": [{"modality": kind, "tokenCount": 4} for kind in ("IMAGE", "AUDIO")],
                "candidatesTokensDetails": [{"modality": kind, "tokenCount": 4} for kind in ("IMAGE", "AUDIO")],
            },
            Usage(input_audio_tokens=4, input_image_tokens=1, output_audio_tokens=4, output_image_tokens=1),
        ),
    ],
)
def test_no_token_is_counted_twice(raw: object, usage: Usage | None) -> None:
    """The classes do not overlap, whichever counts Gemini gives."""
    assert read_usage(raw) == usage


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("INVALID_ARGUMENT", "invalid_request_error"),
        ("UNAUTHENTICATED", "authentication_error"),
        ("PERMISSION_DENIED", "permission_error"),
        ("NOT_FOUND", "not_found_error"),
        ("RESOURCE_EXHAUSTED", "rate_limit_error"),
        ("UNAVAILABLE", "overloaded_error"),
        ("DEADLINE_EXCEEDED", "timeout_error"),
        ("INTERNAL", "api_error"),
    ],
)
def test_errors_say_their_kind(status: str, kind: str) -> None:
    """An error is told in the words every dialect knows, whole and within a stream."""
    body = write({"error": {"code": 400, "message": "so", "status": status}})
    assert parse_error(body) == Failed(message="so", kind=kind)
    reader = GEMINI_PROVIDER.open_reader()
    assert reader.feed(b"data: " + body + b"\n\n") == [Failed(message="so", kind=kind)]
    assert not reader.finished


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"<html>",
    b"{",
    b'"\xff"',
    b"{}",
    b'{"candidates": null}',
    b'{"candidates": [1]}',
    b'{"candidates": [{}]}',
    b'{"candidates": [{"finishReason": 1}]}',
    b'{"candidates": [{"index": "x", "finishReason": "STOP"}]}',
    b'{"candidates": [{"finishReason": "STOP", "content": {"parts": [1]}}]}',
    b'{"candidates": [{"finishReason": "STOP", "content": {"parts": [{"functionCall": {"name": 1}}]}}]}',
    b'{"candidates": [{"finishReason": "STOP", "logprobsResult": {"chosenCandidates": [1]}}]}',
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("body", HOSTILE)
def test_what_is_no_answer_is_a_value_error(body: bytes) -> None:
    """Bytes that are no whole answer are a ValueError and nothing else; their error has a neutral text."""
    with pytest.raises(ValueError, match=r"."):
        GEMINI_PROVIDER.parse_chat(body)
    assert parse_error(body) == Failed(message="The provider failed.")


@pytest.mark.parametrize("payload", [b"null", b"<html>", b'{"candidates": [1]}', b'{"candidates": [{"index": "x"}]}'])
def test_what_is_no_stream_is_an_upstream_failure(payload: bytes) -> None:
    """An event that cannot be read is the provider's fault, not a crash."""
    with pytest.raises(UpstreamFailure):
        GEMINI_PROVIDER.open_reader().feed(b"data: " + payload + b"\n\n")


def test_half_a_surrogate_pair_is_readable() -> None:
    """A text with half a pair is answered with a replacement character."""
    body = build_whole([{"text": "x"}]).replace(b'"x"', b'"a\\ud83d"')
    assert GEMINI_PROVIDER.parse_chat(body).choices[0].parts == (Text(text="a\ufffd"),)


def test_a_stream_that_breaks_off_is_not_finished() -> None:
    """Without a reason for its end no stream is whole; what comes after the end counts for nothing."""
    stream = build_stream(PIECES)
    reader = GEMINI_PROVIDER.open_reader()
    reader.feed(stream[:-1])
    assert not reader.finished
    assert reader.feed(stream[-1:])[-1] == End()
    assert reader.feed(stream) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "candidates",
                        "content",
                        "parts",
                        "text",
                        "functionCall",
                        "name",
                        "args",
                        "index",
                        "finishReason",
                        "usageMetadata",
                        "promptTokenCount",
                        "error",
                        "promptFeedback",
                        "thought",
                        "logprobsResult",
                        "chosenCandidates",
                        "topCandidates",
                        "token",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_an_answer_or_a_failure(value: object) -> None:
    """No JSON whatever crashes the readers."""
    body = json.dumps(value).encode()
    with contextlib.suppress(ValueError):
        assert isinstance(GEMINI_PROVIDER.parse_chat(body), ChatReply)
    with contextlib.suppress(UpstreamFailure):
        GEMINI_PROVIDER.open_reader().feed(b"data: " + body + b"\n\n")
    parse_error(body)
