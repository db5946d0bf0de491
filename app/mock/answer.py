"""The mock's one decision: what the model says to a call, whichever API asked."""

import re
from typing import Any

import msgspec

from app.mock import text as texts
from app.mock.behaviour import Behaviour
from app.mock.directives import strip_directives
from app.mock.errors import MockError
from app.mock.schema import Schema, build_value
from app.mock.state import State
from app.mock.text import count_tokens, fill_text

AUTO, NONE, ANY = "auto", "none", "required"


class Tool(msgspec.Struct, frozen=True):
    """A function the client offers."""

    name: str
    schema: Schema


class ToolCall(msgspec.Struct, frozen=True):
    """A function the model calls: its name and its arguments as JSON."""

    id: str
    name: str
    arguments: str


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the model sees it; `choice` is auto, none, required or the name of the tool that must be called."""

    model: str
    text: str
    behaviour: Behaviour
    tools: tuple[Tool, ...] = ()
    choice: str = AUTO
    parallel: bool = True
    after_tool: bool = False
    schema: Schema | None = None
    limit: int | None = None
    stops: tuple[str, ...] = ()
    think: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says; `finish` is stop, length, stop_sequence, tools, or whatever a directive set."""

    text: str = ""
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str = "stop"
    forced: str | None = None
    stop_sequence: str | None = None
    output_tokens: int = 0
    reasoning_tokens: int = 0


def build_answer(ask: Ask, state: State) -> Answer:
    """Return the answer to `ask`: tool calls if it asks for them, else a text."""
    wish = ask.behaviour
    reasoning = wish.think if wish.think is not None else 16 * ask.think
    thought = fill_text(texts.THOUGHT, reasoning * texts.CHARS_PER_TOKEN) if reasoning else ""
    calls = _choose_calls(ask, state)
    if calls:
        spent = sum(count_tokens(len(call.name) + len(call.arguments)) for call in calls)
        return Answer(
            thought=thought,
            calls=calls,
            finish="tools",
            forced=wish.stop,
            output_tokens=spent + reasoning,
            reasoning_tokens=reasoning,
        )
    return _cut(_find_text(ask), thought, reasoning, ask)


def _find_text(ask: Ask) -> str:
    wish = ask.behaviour
    if ask.schema is not None:
        return msgspec.json.encode(build_value(ask.schema)).decode()
    if wish.tokens is not None:
        return fill_text(texts.LOREM, wish.tokens * texts.CHARS_PER_TOKEN)
    if wish.big is not None:
        return fill_text(texts.LOREM, wish.big)
    if wish.text is not None:
        return texts.TEXTS.get(wish.text, wish.text)
    return strip_directives(ask.text)


def _cut(text: str, thought: str, reasoning: int, ask: Ask) -> Answer:
    """End `text` at the first stop sequence and at the token limit, whichever comes first."""
    finish, sequence = "stop", None
    for stop in ask.stops:
        head, found, _ = text.partition(stop)
        if found:
            text, finish, sequence = head, "stop_sequence", stop
    if ask.limit is not None:
        room = max(0, ask.limit - reasoning) * texts.CHARS_PER_TOKEN
        if len(text) > room:
            text, finish, sequence = text[:room], "length", None
        reasoning = min(reasoning, ask.limit)
    return Answer(
        text=text,
        thought=thought[: reasoning * texts.CHARS_PER_TOKEN],
        finish=finish,
        forced=ask.behaviour.stop,
        stop_sequence=sequence,
        output_tokens=count_tokens(len(text)) + reasoning,
        reasoning_tokens=reasoning,
    )


def _choose_calls(ask: Ask, state: State) -> tuple[ToolCall, ...]:
    tools = _choose_tools(ask)
    if not tools:
        return ()
    count = max(1, ask.behaviour.parallel) if ask.parallel else 1
    chosen = [tools[index % len(tools)] for index in range(count)]
    return tuple(
        ToolCall(
            id=state.new_id(""),
            name=tool.name,
            arguments=msgspec.json.encode(build_value(tool.schema)).decode(),
        )
        for tool in chosen
    )


def _choose_tools(ask: Ask) -> list[Tool]:
    """Return the tools to call: those forced, wished for by a directive, or named in the message."""
    if not ask.tools or ask.choice == NONE:
        return []
    if ask.choice not in {AUTO, ANY}:
        return [tool for tool in ask.tools if tool.name == ask.choice]
    wished = ask.behaviour.tool
    if wished is not None and not ask.after_tool:
        named = [tool for tool in ask.tools if wished in {tool.name, "*"}]
        if not named:
            raise MockError(f"The mock directive asks for the tool {wished!r}, which was not sent.")
        return named
    named = [] if ask.after_tool else [tool for tool in ask.tools if _names(ask.text, tool.name)]
    return named or (list(ask.tools[:1]) if ask.choice == ANY else [])


def _names(text: str, tool: str) -> bool:
    words = r"[ _-]".join(re.escape(word) for word in re.split(r"[ _-]", tool))
    return re.search(rf"\b{words}\b", text, re.IGNORECASE) is not None


def find_choice(tools: tuple[Tool, ...], name: Any) -> str:
    """Return `name` if it is one of `tools`, the answer to a forced choice; else a refusal."""
    if name not in {tool.name for tool in tools}:
        raise MockError(f"Tool choice {name!r} is not among the tools.", param="tool_choice")
    return str(name)
