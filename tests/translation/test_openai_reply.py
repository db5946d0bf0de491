"""Whole chat completions: reading a provider's, writing a client's."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from app.translation.openai import OPENAI_CLIENT, OPENAI_PROVIDER
from app.wire.chat import (
    ChatCall,
    ChatReply,
    Choice,
    Message,
    Refusal,
    Text,
    Thinking,
    ToolUse,
)
from app.wire.usage import Usage
from tests.translation.openai_samples import LOGPROBS, USAGE, build_call, write_whole

parse = OPENAI_PROVIDER.parse_chat
CALL = ChatCall(model="m", messages=(Message(role="user", parts=(Text(text="hi"),)),))
FUNCTIONS = msgspec.structs.replace(CALL, names={"tools": "functions"})


def write(reply: ChatReply, call: ChatCall = CALL) -> dict[str, Any]:
    return json.loads(OPENAI_CLIENT.write_reply(reply, call))


def build_reply(*parts: Any, finish: Any = "stop", **fields: Any) -> ChatReply:
    choice = Choice(parts=parts, finish=finish)
    return ChatReply(**({"id": "msg_1", "model": "claude", "created": 7, "choices": (choice,)} | fields))


def read_parts(message: dict[str, Any], finish: str = "stop") -> Choice:
    return parse(write_whole((message, finish))).choices[0]


@pytest.mark.parametrize(
    ("message", "finish", "parts", "expected"),
    [
        ({"content": "a"}, "stop", (Text(text="a"),), "stop"),
        ({"content": ""}, "stop", (), "stop"),
        ({"content": "a"}, "length", (Text(text="a"),), "length"),
        ({"content": None}, "content_filter", (), "content_filter"),
        ({"content": None, "refusal": "no"}, "stop", (Refusal(text="no"),), "refusal"),
        ({"content": "a", "refusal": "no"}, "length", (Text(text="a"), Refusal(text="no")), "length"),
        ({"content": [{"type": "text", "text": "a"}]}, "stop", (Text(text="a"),), "stop"),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, "stop", (Refusal(text="no"),), "refusal"),
        ({"reasoning_content": "hm", "content": "a"}, "stop", (Thinking(text="hm"), Text(text="a")), "stop"),
        ({"reasoning": "hm", "content": "a"}, "stop", (Thinking(text="hm"), Text(text="a")), "stop"),
        (
            {"reasoning_content": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
            "stop",
            (Thinking(text="hm", signature="s"),),
            "stop",
        ),
        (
            {"content": None, "audio": {"id": "1", "data": "AAAA", "expires_at": 1, "transcript": "a"}},
            "stop",
            (Text(text="a"),),
            "stop",
        ),
        ({"content": "a", "annotations": [{"type": "url_citation"}]}, "stop", (Text(text="a"),), "stop"),
        ({"content": "a"}, "max_tokens", (Text(text="a"),), "length"),
        ({"content": "a"}, "eos", (Text(text="a"),), "stop"),
    ],
)
def test_an_answer_is_read(message: dict[str, Any], finish: str, parts: tuple[Any, ...], expected: str) -> None:
    """Texts, refusals and thinking become parts in order; the finish reason follows from the words and the parts."""
    choice = read_parts(message, finish)
    assert (choice.parts, choice.finish) == (parts, expected)


@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
def test_calls_make_an_answer_a_tool_use(finish: str) -> None:
    """A forced call ends with `stop` at OpenAI; the client still has to run the tool. Arguments keep their text."""
    calls = [
        build_call(0, "f", '{"n": 9007199254740993, "x": 1.10}'),
        {"id": "2", "type": "custom", "custom": {"name": "g", "input": "free"}},
        {**build_call(2, "h", ""), "extra_content": {"google": {"thought_signature": "s"}}},
    ]
    choice = read_parts({"content": None, "tool_calls": calls}, finish)
    assert choice.finish == "tool_use"
    assert choice.parts == (
        ToolUse(id="call_0", name="f", arguments='{"n": 9007199254740993, "x": 1.10}'),
        ToolUse(id="2", name="g", arguments="free", custom=True),
        ToolUse(id="call_2", name="h", arguments="{}", signature="s"),
    )


def test_a_call_in_the_deprecated_form_gets_an_id() -> None:
    """`function_call` is a tool call like any other."""
    choice = read_parts({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call")
    assert isinstance(use := choice.parts[0], ToolUse)
    assert (use.name, use.arguments, choice.finish) == ("f", "{}", "tool_use")
    assert use.id.startswith("call_")


def test_every_choice_is_read_with_its_logprobs() -> None:
    """N answers stay n answers; log probabilities travel as they came."""
    reply = parse(write_whole(({"content": "a"}, "stop"), ({"content": "b"}, "length"), logprobs=LOGPROBS))
    assert [(choice.index, choice.finish) for choice in reply.choices] == [(0, "stop"), (1, "length")]
    assert json.loads(bytes(reply.choices[1].logprobs or b"")) == LOGPROBS
    written = write(reply)
    assert [choice["logprobs"] for choice in written["choices"]] == [LOGPROBS, LOGPROBS]


def test_usage_is_split_into_classes_and_put_together_again() -> None:
    """Cached and reasoning tokens are parts of OpenAI's sums and classes of their own here."""
    reply = parse(write_whole(({"content": "a"}, "stop")))
    assert reply.usage == Usage(input_tokens=15, cache_read_tokens=5, output_tokens=5, reasoning_tokens=4)
    assert write(reply)["usage"] == USAGE


def test_written_cache_tokens_are_part_of_the_prompt() -> None:
    """Anthropic counts them apart, OpenAI's clients expect them in `prompt_tokens`."""
    usage = Usage(
        input_tokens=1, cache_read_tokens=2, cache_write_5m_tokens=3, cache_write_1h_tokens=4, output_tokens=5
    )
    written = write(build_reply(Text(text="a"), usage=usage))["usage"]
    assert (written["prompt_tokens"], written["completion_tokens"], written["total_tokens"]) == (10, 5, 15)
    assert written["prompt_tokens_details"] == {"cached_tokens": 2, "audio_tokens": 0, "cache_write_tokens": 7}


def test_missing_heads_are_filled_in() -> None:
    """An answer without id, date and model is an answer all the same."""
    body = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
    reply = parse(json.dumps(body).encode())
    assert reply.id.startswith("chatcmpl-")
    assert reply.created > 1_700_000_000
    assert (reply.model, reply.usage) == ("", None)
    assert "usage" not in write(reply)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {"content": "a"}}]}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": null}]}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": "error"}]}',
        b'{"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": "a", "thinking_blocks": [1]}, "finish_reason": "stop"}]}',
        b'{"error": {"message": "no"}, "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]',
        b'{"choices": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_whole_answer_is_a_value_error(body: bytes) -> None:
    """Broken, empty and failed answers are told apart from answers."""
    with pytest.raises(ValueError, match=r"."):
        parse(body)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(["choices", "message", "content", "tool_calls", "function", "arguments", "finish_reason"]), x
), max_leaves=12))  # fmt: skip
def test_any_json_is_an_answer_or_a_value_error(value: Any) -> None:
    """Whatever a provider sends, reading fails in one way only."""
    try:
        parse(json.dumps(value).encode())
    except ValueError:
        return


def test_half_a_character_does_not_make_an_answer_unreadable() -> None:
    """A lone surrogate becomes the replacement character."""
    body = b'{"choices": [{"message": {"content": "a\\ud83d"}, "finish_reason": "stop"}]}'
    assert parse(body).choices[0].parts == (Text(text="a\ufffd"),)


SIGNED = (Thinking(text="hm", signature="s"), Thinking(redacted="r"), Text(text="a"), Text(text="b"))


def test_an_answer_in_all_its_parts_is_written() -> None:
    """Texts are joined, thinking is shown and kept with its signature, calls follow."""
    use = ToolUse(id="toolu_1", name="f", arguments='{"n":1.10}', signature="g")
    body = write(build_reply(*SIGNED, use, ToolUse(id="2", name="g", arguments="x", custom=True), finish="tool_use"))
    assert body["choices"] == [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "logprobs": None,
            "message": {
                "role": "assistant",
                "content": "ab",
                "refusal": None,
                "reasoning_content": "hm",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "r"},
                ],
                "tool_calls": [
                    {
                        "id": "toolu_1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"n":1.10}'},
                        "extra_content": {"google": {"thought_signature": "g"}},
                    },
                    {"id": "2", "type": "custom", "custom": {"name": "g", "input": "x"}},
                ],
            },
        }
    ]
    assert (body["id"], body["model"], body["created"]) == ("msg_1", "claude", 7)


@pytest.mark.parametrize(
    ("finish", "parts", "reason"),
    [
        ("stop", (Text(text="a"),), "stop"),
        ("stop_sequence", (Text(text="a"),), "stop"),
        ("length", (), "length"),
        ("pause", (), "length"),
        ("tool_use", (ToolUse(id="1", name="f", arguments="{}"),), "tool_calls"),
        ("content_filter", (), "content_filter"),
        ("refusal", (), "content_filter"),
        ("refusal", (Refusal(text="no"),), "stop"),
    ],
)
def test_every_end_has_its_finish_reason(finish: str, parts: tuple[Any, ...], reason: str) -> None:
    """A refusal in words is an ordinary end at OpenAI; one without words is a filter's."""
    choice = write(build_reply(*parts, finish=finish))["choices"][0]
    assert choice["finish_reason"] == reason
    assert choice["message"]["refusal"] == ("no" if parts and isinstance(parts[0], Refusal) else None)


@pytest.mark.parametrize(
    ("tier", "written"), [("standard", "default"), ("flex", "flex"), ("batch", None), (None, None)]
)
def test_the_service_tier_is_told_in_openais_words(tier: str | None, written: str | None) -> None:
    """A tier that OpenAI has no word for is left out."""
    assert write(build_reply(Text(text="a"), service_tier=tier)).get("service_tier") == written


def test_who_asked_with_functions_is_answered_with_a_function_call() -> None:
    """The deprecated form goes both ways."""
    use = ToolUse(id="1", name="f", arguments="{}")
    choice = write(build_reply(use, use, finish="tool_use"), FUNCTIONS)["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]


@pytest.mark.parametrize(
    "parts",
    [
        SIGNED[:3],
        (Refusal(text="no"),),
        (ToolUse(id="1", name="f", arguments='{"a":1.10}'), ToolUse(id="2", name="g", arguments="x", custom=True)),
        (Thinking(text="hm"), Text(text="a"), ToolUse(id="1", name="f", arguments="{}", signature="s")),
    ],
)
def test_an_answer_written_and_read_again_says_the_same(parts: tuple[Any, ...]) -> None:
    """Nothing is lost between two gateways that speak this dialect."""
    finish = "tool_use" if isinstance(parts[-1], ToolUse) else "refusal" if isinstance(parts[0], Refusal) else "stop"
    reply = build_reply(*parts, finish=finish, usage=Usage(input_tokens=3, output_tokens=2))
    assert parse(OPENAI_CLIENT.write_reply(reply, CALL)) == reply


def test_the_official_sdk_reads_what_is_written_and_sends_the_thinking_back() -> None:
    """An unchanged client that appends the answer to its messages returns the signatures."""
    use = ToolUse(id="1", name="f", arguments="{}")
    body = OPENAI_CLIENT.write_reply(build_reply(*SIGNED[:3], use, finish="tool_use", usage=Usage()), CALL)
    answer = ChatCompletion.model_validate_json(body, strict=False)
    echoed = answer.choices[0].message.model_dump()
    messages = [{"role": "user", "content": "hi"}, echoed, {"role": "tool", "tool_call_id": "1", "content": "x"}]
    call = OPENAI_CLIENT.read_call(json.dumps({"model": "m", "messages": messages}).encode())
    assert call.messages[1].parts == (*SIGNED[:3], use)
