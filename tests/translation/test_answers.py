"""What the readers of providers' answers share."""

from typing import Any

import msgspec
import pytest

from app.translation.answers import PartFeed, collect_parts, need_text, read_answer, write_arguments
from app.wire.chat import Delta, PartEnd, PartStart, Refusal, Text, Thinking, ToolResult, ToolUse


def test_an_answer_keeps_the_digits_of_its_numbers() -> None:
    """What is read and written again is the same JSON, however large or precise its numbers."""
    text = '{"a":1.10,"b":9007199254740993,"c":1e400,"d":123456789012345678901234567890}'
    assert write_arguments(read_answer(text.encode())) == text


@pytest.mark.parametrize("body", [b"", b"1", b"[]", b"{", b'{"a":"\xff"}'])
def test_what_is_no_object_is_a_value_error(body: bytes) -> None:
    """An answer is a JSON object."""
    with pytest.raises(ValueError, match=r"."):
        read_answer(body)


def test_arguments_that_are_nested_too_deeply_are_a_value_error() -> None:
    """No depth of nesting crashes the writer; what is no object is an empty one."""
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="recursion"):
        write_arguments(deep)
    assert write_arguments([1]) == "{}"


def test_a_text_that_must_be_there_is_there_or_a_value_error() -> None:
    """A missing word is the provider's fault."""
    assert need_text({"a": "b"}, "a") == "b"
    with pytest.raises(ValueError, match="a is no string"):
        need_text({"a": 1}, "a")


def test_one_part_is_open_at_a_time() -> None:
    """A piece of another kind ends the part before it; nothing is said of nothing."""
    feed = PartFeed()
    assert feed.add_text("") == feed.add_thinking("") == feed.end() == []
    events = feed.add_thinking("a") + feed.add_thinking("b") + feed.add_text("c")
    assert events == [
        PartStart(index=0, part=Thinking()),
        Delta(index=0, text="a"),
        Delta(index=0, text="b"),
        PartEnd(index=0),
        PartStart(index=1, part=Text(text="")),
        Delta(index=1, text="c"),
    ]
    assert feed.sign("s") == [
        PartEnd(index=1),
        PartStart(index=2, part=Thinking()),
        Delta(index=2, signature="s"),
        PartEnd(index=2),
    ]
    use = ToolUse(id="t", name="f", arguments="")
    assert feed.start_use(use) + feed.add_arguments("") + feed.add_arguments("{}") + feed.end() == [
        PartStart(index=3, part=use),
        Delta(index=3, text="{}"),
        PartEnd(index=3),
    ]
    with pytest.raises(ValueError, match="without their tool call"):
        feed.add_arguments("{}")


def test_log_probabilities_come_even_without_text() -> None:
    """A piece of text that is empty still tells its probabilities."""
    logprobs = msgspec.Raw(b"{}")
    assert PartFeed().add_text("", logprobs)[-1] == Delta(index=0, logprobs=logprobs)


def test_parts_are_collected_from_their_pieces() -> None:
    """Every kind of part that a stream has grows by its pieces; another kind cannot."""
    events = [
        PartStart(index=0, part=Refusal(text="n")),
        Delta(index=0, text="o"),
        PartEnd(index=0),
        PartStart(index=1, part=Thinking(text="a", signature="s")),
        Delta(index=1, text="b"),
        PartEnd(index=1),
    ]
    assert collect_parts(events) == (Refusal(text="no"), Thinking(text="ab", signature="s"))
    with pytest.raises(ValueError, match="does not grow"):
        collect_parts([PartStart(index=0, part=ToolResult(tool_use_id="t")), Delta(index=0, text="x")])
