"""Reading the messages of an OpenAI client: tool messages become results in a user's turn, functions become tools."""

from collections.abc import Callable, Mapping

from app.providers.exact_json import Fields
from app.translation.openai_parts import ASSISTANT, RESULT, TEXT, USER, PartReader, read_cache, read_content
from app.translation.openai_thinking import read_thinking
from app.translation.reading import (
    as_object,
    at,
    expect_only,
    get_choice,
    get_list,
    get_object,
    get_text,
    need,
    need_list,
    need_object,
    need_text,
    refuse,
)
from app.wire.chat import Message, Part, Refusal, Role, Thinking, ToolResult, ToolUse


def read_messages(fields: Fields) -> tuple[Message, ...]:
    """Return the conversation."""
    items = need_list(fields, "messages")
    if not items:
        raise refuse("messages", "must hold at least one message.")
    conversation = _Conversation()
    for position, item in enumerate(items):
        path = at("messages", position)
        conversation.add(as_object(item, path), path)
    return conversation.end()


_SAID = {"role", "content", "name", "cache_control"}


class _Conversation:
    """The messages so far; results of tools that follow one another wait here to become one turn.

    Calls of the deprecated `function_call` have no id: they get one, and the next message of that function answers it.
    """

    __slots__ = ("_asked", "_functions", "_messages", "_results")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._results: list[ToolResult] = []
        self._functions = 0
        self._asked: dict[str, str] = {}

    def add(self, message: Fields, path: str) -> None:
        """Read the next message."""
        role = need_text(message, "role", path)
        reader = _READERS.get(role)
        if reader is None:
            raise refuse(at(path, "role"), f"must be one of {', '.join(_READERS)}.")
        if role not in {"tool", "function"}:
            self._flush()
        reader(self, message, path)

    def end(self) -> tuple[Message, ...]:
        """Return all messages."""
        self._flush()
        return tuple(self._messages)

    def _flush(self) -> None:
        if self._results:
            self._messages.append(Message(role="user", parts=tuple(self._results)))
            self._results.clear()

    def _put(self, role: Role, parts: tuple[Part, ...], message: Fields, path: str) -> None:
        self._messages.append(Message(role=role, parts=parts, name=get_text(message, "name", path)))

    def add_system(self, message: Fields, path: str) -> None:
        """Read a system message."""
        self._put("system", _read_said(message, path, TEXT), message, path)

    def add_developer(self, message: Fields, path: str) -> None:
        """Read a developer message."""
        self._put("developer", _read_said(message, path, TEXT), message, path)

    def add_user(self, message: Fields, path: str) -> None:
        """Read a user message."""
        self._put("user", _read_said(message, path, USER), message, path)

    def add_assistant(self, message: Fields, path: str) -> None:
        """Read an answer and the calls in it."""
        if message.get("audio") is not None:
            raise refuse(at(path, "audio"), "an earlier answer in sound is known to the provider that gave it only.")
        refusal = get_text(message, "refusal", path)
        parts: list[Part] = [*_read_thinking(message, path), *read_content(message, path, ASSISTANT)]
        if refusal:
            parts.append(Refusal(text=refusal))
        for position, item in enumerate(get_list(message, "tool_calls", path) or ()):
            here = at(at(path, "tool_calls"), position)
            parts.append(_read_call(as_object(item, here), here))
        function = get_object(message, "function_call", path)
        if function is not None:
            parts.append(self._read_function_call(function, at(path, "function_call")))
        self._put("assistant", tuple(parts), message, path)

    def _read_function_call(self, function: Fields, path: str) -> ToolUse:
        name = need_text(function, "name", path)
        self._functions += 1
        call_id = f"call_function_{self._functions}"
        self._asked[name] = call_id
        return ToolUse(id=call_id, name=name, arguments=_read_arguments(function, path))

    def add_tool(self, message: Fields, path: str) -> None:
        """Read the result of a tool."""
        expect_only(message, _SAID | {"tool_call_id"}, path)
        self._results.append(
            ToolResult(
                tool_use_id=need_text(message, "tool_call_id", path),
                parts=read_content({"content": message.get("content")}, path, RESULT),
                cache=read_cache(message, path),
            )
        )

    def add_function(self, message: Fields, path: str) -> None:
        """Read the result of a function, in the deprecated form."""
        expect_only(message, _SAID, path)
        name = need_text(message, "name", path)
        call_id = self._asked.pop(name, None) or f"call_function_{name}"
        self._results.append(ToolResult(tool_use_id=call_id, parts=read_content(message, path, TEXT)))


_READERS: dict[str, Callable[[_Conversation, Fields, str], None]] = {
    "system": _Conversation.add_system,
    "developer": _Conversation.add_developer,
    "user": _Conversation.add_user,
    "assistant": _Conversation.add_assistant,
    "tool": _Conversation.add_tool,
    "function": _Conversation.add_function,
}


def _read_said(message: Fields, path: str, readers: Mapping[str, PartReader]) -> tuple[Part, ...]:
    expect_only(message, _SAID, path)
    need(message.get("content"), "content", path)
    return read_content(message, path, readers)


def _read_thinking(message: Fields, path: str) -> list[Thinking]:
    try:
        return read_thinking(message)
    except ValueError:
        raise refuse(at(path, "thinking_blocks"), "must be the blocks that came with the answer.") from None


def _read_call(call: Fields, path: str) -> ToolUse:
    """Return a call of a function or of a custom tool."""
    kind = get_choice(call, "type", ("function", "custom"), path) or "function"
    here = at(path, kind)
    said = need_object(call, kind, path)
    custom = kind == "custom"
    return ToolUse(
        id=need_text(call, "id", path),
        name=need_text(said, "name", here),
        arguments=need_text(said, "input", here) if custom else _read_arguments(said, here),
        custom=custom,
        signature=_read_signature(call, path),
        cache=read_cache(call, path),
    )


def _read_arguments(function: Fields, path: str) -> str:
    """Return the arguments as they were written; a function without any may say nothing."""
    arguments = need_text(function, "arguments", path)
    return arguments if arguments.strip() else "{}"


def _read_signature(call: Fields, path: str) -> str | None:
    """Return the thought signature where Google's OpenAI endpoint puts it."""
    extra = get_object(call, "extra_content", path)
    if extra is None:
        return None
    here = at(path, "extra_content")
    google = get_object(extra, "google", here)
    return None if google is None else get_text(google, "thought_signature", at(here, "google"))
