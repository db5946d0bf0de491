"""Conversations as providers with alternating turns want them."""

import pytest

from app.errors import BadRequestError
from app.translation.refusing import refuse_fields
from app.translation.turns import build_arguments, find_media_type, split_system
from app.wire.chat import Message, Source, Text, ToolResult, ToolUse
from tests.translation.canonical_calls import build_call

CALL = build_call("m", '{"names": {"messages": "input"}}')


def build(*messages: Message) -> list[tuple[str, list[str]]]:
    call = build_call("m")
    _, turns = split_system(type(call)(model="m", messages=messages))
    return [(turn.role, [getattr(part, "text", type(part).__name__) for part in turn.parts]) for turn in turns]


def test_neighbours_join_and_results_come_first() -> None:
    """Turns alternate, a user's results stand before what else was said, and empty texts beside others go."""
    assert build(
        Message(role="assistant", parts=(Text(text=""), ToolUse(id="a", name="f", arguments=""))),
        Message(role="assistant", parts=(Text(text=""),)),
        Message(role="user", parts=(Text(text="x"), ToolResult(tool_use_id="a"))),
        Message(role="user", parts=(Text(text="y"), ToolResult(tool_use_id="b"))),
        Message(role="developer", parts=(Text(text="s"),)),
        Message(role="user", parts=(Text(text=""),)),
    ) == [
        ("assistant", ["ToolUse"]),
        ("user", ["ToolResult", "ToolResult", "x", "y"]),
        ("system", ["s"]),
        ("user", [""]),
    ]


def test_only_leading_system_messages_are_the_systems() -> None:
    """System messages in front are texts in order, without the empty ones; later ones keep their place."""
    messages = [("system", "a"), ("developer", "b"), ("system", ""), ("user", "c"), ("system", "d")]
    call = build_call("m")
    texts, turns = split_system(
        type(call)(model="m", messages=tuple(Message(role=role, parts=(Text(text=text),)) for role, text in messages))
    )
    assert [text.text for text in texts] == ["a", "b"]
    assert [turn.role for turn in turns] == ["user", "system"]


@pytest.mark.parametrize("arguments", ["[]", "1", "{", '{"a":"\\ud83d"}', "nul"])
def test_arguments_must_be_an_object(arguments: str) -> None:
    """What a tool cannot take is refused under the client's name for the messages."""
    with pytest.raises(BadRequestError) as caught:
        build_arguments(CALL, ToolUse(id="a", name="f", arguments=arguments))
    assert caught.value.param == "input"


def test_arguments_stay_as_they_are() -> None:
    """Arguments keep their bytes; none are an empty object."""
    text = '{ "b": 1.10, "a": [ 9007199254740993 ] }'
    assert bytes(build_arguments(CALL, ToolUse(id="a", name="f", arguments=f" {text}\n"))) == text.encode()
    assert bytes(build_arguments(CALL, ToolUse(id="a", name="f", arguments=" "))) == b"{}"


@pytest.mark.parametrize(
    ("source", "media_type"),
    [
        (Source(data="x", media_type="Image/PNG"), "image/png"),
        (Source(data="iVBORw0KGgoAAA"), "image/png"),
        (Source(data="UklGRg"), "image/webp"),
        (Source(data="JVBERi0xLjc"), "application/pdf"),
    ],
)
def test_data_says_what_it_is(source: Source, media_type: str) -> None:
    """The type is the one that was said, else the one the first bytes show."""
    assert find_media_type(CALL, source) == media_type


def test_data_that_does_not_say_what_it_is_is_refused() -> None:
    """Nothing is guessed."""
    with pytest.raises(BadRequestError):
        find_media_type(CALL, Source(data="AAAA"))


def test_a_field_is_refused_by_the_clients_name() -> None:
    """A value that asks for what happens anyway is no reason; any other is named as the client wrote it."""
    call = build_call("m", '{"n": 1, "seed": 3, "names": {"seed": "random_seed"}, "extras": {"store": true}}')
    refuse_fields(call, "P", ["n", "logprobs"])
    with pytest.raises(BadRequestError, match="random_seed: P has no such parameter") as caught:
        refuse_fields(call, "P", ["n", "seed"])
    assert caught.value.param == "random_seed"
