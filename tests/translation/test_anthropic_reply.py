"""Whole Messages answers, read and written."""

from typing import Any

import anthropic.types
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadGatewayError
from app.providers.exact_json import parse_exact
from app.translation.anthropic import ANTHROPIC_CLIENT, ANTHROPIC_PROVIDER
from app.wire.chat import ChatReply, Choice, Finish, Part, Refusal, Text, Thinking, ToolUse
from app.wire.usage import Usage
from tests.providers.samples import compact
from tests.translation.anthropic_samples import BODY, PARTS, USAGE, WHOLE

CALL = ANTHROPIC_CLIENT.read_call(
    b'{"model":"openai/gpt","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":true}'
)


def write(*parts: Part, finish: Finish = "stop", **fields: Any) -> dict[str, Any]:
    choices = (Choice(parts=parts, finish=finish),)
    return parse_exact(
        ANTHROPIC_CLIENT.write_reply(ChatReply(id="chatcmpl-1", model="", created=1, choices=choices, **fields), CALL)
    )


def test_an_answer_is_read() -> None:
    """Every kind of block, the reason it ended and the tokens come through; digits of a tool's input stay."""
    reply = ANTHROPIC_PROVIDER.parse_chat(BODY)
    assert (reply.id, reply.model, reply.usage, reply.service_tier) == ("msg_01", "claude-sonnet-5", USAGE, "standard")
    assert reply.choices == (Choice(parts=PARTS, finish="tool_use"),)


def test_an_answer_is_written_as_it_was_read() -> None:
    """What parse_chat reads, write_reply says in the same words, and the SDK takes it for a message."""
    written = ANTHROPIC_CLIENT.write_reply(ANTHROPIC_PROVIDER.parse_chat(BODY), CALL)
    assert parse_exact(written) == WHOLE
    anthropic.types.Message.model_validate_json(written)


@pytest.mark.parametrize(
    ("reason", "finish", "back"),
    [
        ("end_turn", "stop", "end_turn"),
        ("max_tokens", "length", "max_tokens"),
        ("model_context_window_exceeded", "length", "max_tokens"),
        ("stop_sequence", "stop_sequence", "stop_sequence"),
        ("tool_use", "tool_use", "tool_use"),
        ("pause_turn", "pause", "pause_turn"),
        ("refusal", "refusal", "refusal"),
        ("something_new", "stop", "end_turn"),
        (None, "stop", "end_turn"),
    ],
)
def test_every_stop_reason_has_its_finish(reason: str | None, finish: str, back: str) -> None:
    """The reasons an answer ends for are told in canonical words and back."""
    body = compact(WHOLE | {"stop_reason": reason, "stop_sequence": "END" if reason == "stop_sequence" else None})
    reply = ANTHROPIC_PROVIDER.parse_chat(body)
    written = parse_exact(ANTHROPIC_CLIENT.write_reply(reply, CALL))
    assert (reply.choices[0].finish, written["stop_reason"]) == (finish, back)
    assert written["stop_sequence"] == ("END" if reason == "stop_sequence" else None)


def test_what_has_no_part_is_left_out() -> None:
    """Blocks of unknown types are skipped, and citations are not needed to read a text."""
    blocks = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
        {"type": "made_up", "text": "b"},
    ]
    reply = ANTHROPIC_PROVIDER.parse_chat(compact(WHOLE | {"content": blocks}))
    assert reply.choices[0].parts == (Text(text="a"),)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>",
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        b'{"content":null}',
        b'{"content":[1]}',
        b'{"content":[{"text":"a"}]}',
        b'{"content":[{"type":"text","text":1}]}',
        b'{"content":' + b"[" * 100_000,
        b'{"content":[],"id":"\xff"}',
    ],
)
def test_what_is_no_answer_is_a_value_error(body: bytes) -> None:
    """Nothing that is no whole message is taken for one."""
    with pytest.raises(ValueError):  # noqa: PT011 - the contract names no more than this
        ANTHROPIC_PROVIDER.parse_chat(body)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_an_answer_or_a_value_error(body: bytes) -> None:
    """No bytes make the parser fail in another way."""
    with pytest.raises(ValueError):  # noqa: PT011 - the contract names no more than this
        ANTHROPIC_PROVIDER.parse_chat(body)


def test_half_a_surrogate_pair_does_not_lose_an_answer() -> None:
    """A text with a broken escape is still a text."""
    reply = ANTHROPIC_PROVIDER.parse_chat(b'{"content":[{"type":"text","text":"a\\ud800b"}],"stop_reason":"end_turn"}')
    assert reply.choices[0].parts == (Text(text="a\ufffdb"),)


def test_another_vendors_answer_is_a_message() -> None:
    """The client's model stands in for a missing one, cached input is told apart, ids are ones Anthropic takes."""
    usage = Usage(
        input_tokens=40,
        cache_read_tokens=60,
        input_audio_tokens=2,
        output_tokens=10,
        reasoning_tokens=30,
        web_searches=1,
    )
    parts = (
        Thinking(text="hm"),
        Text(text=""),
        Text(text="a"),
        ToolUse(id="f:0", name="f", arguments=' {"x": 1.10}\n'),
    )
    written = write(*parts, finish="tool_use", usage=usage, service_tier="default")
    assert (written["id"], written["model"], written["stop_reason"]) == ("chatcmpl-1", "openai/gpt", "tool_use")
    *before, call = written["content"]
    assert before == [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "a"}]
    assert (call["id"], bytes(call["input"]["x"])) == ("relay_Zjow", b"1.10")
    assert written["usage"] == {
        "input_tokens": 42,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 60,
        "output_tokens": 40,
        "output_tokens_details": {"thinking_tokens": 30},
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
    }


def test_an_answer_without_usage_still_has_the_field() -> None:
    """The SDK demands counts; unknown ones are 0."""
    written = write(Text(text="a"))
    assert written["usage"] == {"input_tokens": 0, "output_tokens": 0}
    anthropic.types.Message.model_validate(written)


@pytest.mark.parametrize(
    ("parts", "finish", "reason"),
    [
        ((Refusal(text="no"),), "stop", "refusal"),
        ((Refusal(text="no"),), "length", "max_tokens"),
        ((Text(text="n"),), "content_filter", "refusal"),
        ((), "stop", "end_turn"),
    ],
)
def test_a_refusal_ends_as_one(parts: tuple[Part, ...], finish: Finish, reason: str) -> None:
    """OpenAI's refusals stop like any answer and its filter has a word of its own: here both are a refusal."""
    written = write(*parts, finish=finish)
    assert written["stop_reason"] == reason
    assert [block["type"] for block in written["content"]] == ["text"] * len(parts)


def test_arguments_that_are_no_object_cannot_be_told() -> None:
    """Broken arguments are the provider's failure; those that the limit of tokens cut off are left out."""
    broken = ToolUse(id="a", name="f", arguments='{"x": ')
    with pytest.raises(BadGatewayError):
        write(broken, finish="tool_use")
    written = write(Text(text="a"), broken, finish="length")
    assert (written["stop_reason"], [block["type"] for block in written["content"]]) == ("max_tokens", ["text"])


def test_a_calls_signature_comes_back_with_the_next_turn() -> None:
    """A client that sends the blocks back as it got them brings a tool call's signature to its provider."""
    use = ToolUse(id="a", name="f", arguments='{"x":1}', signature="sig==")
    written = write(Text(text="a"), use, finish="tool_use")
    assert [block["type"] for block in written["content"]] == ["text", "thinking", "tool_use"]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": written["content"]}]}
    call = ANTHROPIC_CLIENT.read_call(msgspec.json.encode(body))
    assert call.messages[0].parts == (Text(text="a"), use)
