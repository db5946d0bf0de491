"""A call in Anthropic's Messages dialect, read into the canonical call."""

import msgspec

from app.providers.exact_json import Fields
from app.translation.anthropic_blocks import read_cache, read_parts
from app.translation.anthropic_options import read_format, read_reasoning, read_tool_choice, read_tools
from app.translation.reading import (
    as_object,
    as_text,
    at,
    expect_only,
    get_choice,
    get_flag,
    get_integer,
    get_list,
    get_number,
    get_object,
    get_text,
    need,
    need_list,
    need_text,
    read_extras,
    read_object,
    refuse,
)
from app.wire.chat import Audio, Cache, ChatCall, Json, Message, Refusal, Role, Thinking

_KNOWN = frozenset({
    "model", "messages", "system", "tools", "tool_choice", "max_tokens", "temperature", "top_p", "top_k",
    "stop_sequences", "thinking", "output_config", "metadata", "service_tier", "stream", "cache_control",
})  # fmt: skip
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_SYSTEM_KINDS = frozenset({"text"})
_NAMES = {
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "format": "output_config.format",
    "reasoning": "thinking",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}


def read_call(body: bytes) -> ChatCall:
    """Return the call that a Messages body asks for. Raises BadRequestError naming the field that does not fit."""
    fields = read_object(body)
    user, metadata = _read_metadata(fields)
    tool_choice, parallel = read_tool_choice(fields)
    reasoning = read_reasoning(fields)
    effort_only = reasoning is not None and fields.get("thinking") is None
    return ChatCall(
        model=need_text(fields, "model"),
        messages=_read_messages(fields),
        tools=read_tools(fields),
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        max_tokens=need(get_integer(fields, "max_tokens", least=0), "max_tokens"),
        temperature=get_number(fields, "temperature", least=0, most=1),
        top_p=get_number(fields, "top_p", least=0, most=1),
        top_k=get_integer(fields, "top_k", least=0),
        stop=_read_stop(fields),
        format=read_format(fields),
        reasoning=reasoning,
        user=user,
        metadata=metadata,
        service_tier=get_text(fields, "service_tier"),
        stream=get_flag(fields, "stream") or False,
        include_usage=True,
        extras=_read_extras(fields),
        names=_NAMES | {"reasoning": "output_config.effort"} if effort_only else _NAMES,
    )


def _read_messages(fields: Fields) -> tuple[Message, ...]:
    items = need_list(fields, "messages")
    if not items:
        raise refuse("messages", "must hold at least one message.")
    turns = [
        _read_message(as_object(item, at("messages", index)), at("messages", index)) for index, item in enumerate(items)
    ]
    system = read_parts(fields.get("system"), "system", _SYSTEM_KINDS)
    messages = (Message(role="system", parts=system), *turns) if system else tuple(turns)
    mark = read_cache(fields)
    return messages if mark is None else _mark_last(messages, mark)


def _read_message(message: Fields, path: str) -> Message:
    expect_only(message, {"role", "content"}, path)
    role = _ROLES[need(get_choice(message, "role", _ROLES, path), "role", path)]
    here = at(path, "content")
    return Message(
        role=role, parts=read_parts(message.get("content"), here, _SYSTEM_KINDS if role == "system" else None)
    )


def _mark_last(messages: tuple[Message, ...], mark: Cache) -> tuple[Message, ...]:
    """Mark the last block that can be marked: what `cache_control` beside `messages` stands for."""
    *before, last = messages
    if not last.parts or isinstance(last.parts[-1], Thinking | Refusal | Audio) or last.parts[-1].cache is not None:
        return messages
    part = msgspec.structs.replace(last.parts[-1], cache=mark)
    return (*before, msgspec.structs.replace(last, parts=(*last.parts[:-1], part)))


def _read_stop(fields: Fields) -> tuple[str, ...]:
    items = get_list(fields, "stop_sequences") or []
    return tuple(as_text(item, at("stop_sequences", index)) for index, item in enumerate(items))


def _read_metadata(fields: Fields) -> tuple[str | None, Json | None]:
    """Return the user's identifier and, as JSON, whatever else the metadata hold."""
    metadata = get_object(fields, "metadata") or {}
    others = read_extras(metadata, {"user_id"}, "metadata")
    return get_text(metadata, "user_id", "metadata"), msgspec.Raw(msgspec.json.encode(others)) if others else None


def _read_extras(fields: Fields) -> dict[str, Json]:
    """Return the fields without a canonical meaning; one that only names the default says nothing."""
    extras = read_extras(fields, _KNOWN)
    if fields.get("speed") == "standard":
        del extras["speed"]
    if "context_management" in extras and _keeps_everything(fields):
        del extras["context_management"]
    return extras


def _keeps_everything(fields: Fields) -> bool:
    """Return whether the context management edits nothing, as the one that Claude Code sends with every call."""
    rules = as_object(fields["context_management"], "context_management")
    edits = get_list(rules, "edits", "context_management") or []
    return rules.keys() <= {"edits"} and all(_keeps_all(as_object(edit, "context_management.edits")) for edit in edits)


def _keeps_all(edit: Fields) -> bool:
    return str(edit.get("type")).startswith("clear_thinking_") and edit.get("keep") == "all"
