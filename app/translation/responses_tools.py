"""Tools and the choice of them in a Responses call."""

from collections.abc import Callable

from app.providers.exact_json import Fields
from app.translation.reading import (
    as_json,
    as_object,
    at,
    get_choice,
    get_flag,
    get_list,
    get_object,
    get_text,
    need,
    need_list,
    need_text,
    refuse,
)
from app.translation.responses_fields import allow_only, read_cache
from app.wire.chat import Grammar, Tool, ToolChoice

_DIRECT = {"async": (False,), "defer_loading": (False,), "allowed_callers": (["direct"],)}


def read_tools(fields: Fields) -> tuple[Tool, ...]:
    """Return the tools; one that OpenAI runs itself is refused."""
    return tuple(_read_tool(tool, at("tools", place)) for place, tool in enumerate(get_list(fields, "tools") or ()))


def _read_tool(value: object, path: str) -> Tool:
    tool = as_object(value, path)
    reader = _READERS.get(need_text(tool, "type", path))
    if reader is None:
        raise refuse(
            at(path, "type"), f"{tool['type']!r} is a tool of OpenAI's own; here are function and custom tools."
        )
    return reader(tool, path)


def _read_function(tool: Fields, path: str) -> Tool:
    name = need_text(tool, "name", path)
    allow_only(tool, path, ("type", "name", "description", "parameters", "strict", "cache_control"), _DIRECT)
    parameters: Fields = get_object(tool, "parameters", path) or {"type": "object", "properties": {}}
    return Tool(
        name=name,
        description=get_text(tool, "description", path),
        parameters=as_json(parameters, at(path, "parameters")),
        strict=get_flag(tool, "strict", path),
        cache=read_cache(tool, path),
    )


def _read_custom(tool: Fields, path: str) -> Tool:
    allow_only(tool, path, ("type", "name", "description", "format", "cache_control"), _DIRECT)
    return Tool(
        name=need_text(tool, "name", path),
        description=get_text(tool, "description", path),
        custom=True,
        grammar=_read_grammar(tool, at(path, "format")),
        cache=read_cache(tool, path),
    )


def _read_grammar(tool: Fields, path: str) -> Grammar | None:
    form = as_object(tool.get("format") or {"type": "text"}, path)
    kind = need_text(form, "type", path)
    if kind == "text":
        allow_only(form, path, ("type",))
        return None
    if kind != "grammar":
        raise refuse(at(path, "type"), "must be one of text, grammar.")
    allow_only(form, path, ("type", "syntax", "definition"))
    return Grammar(syntax=need_text(form, "syntax", path), definition=need_text(form, "definition", path))


_READERS: dict[str, Callable[[Fields, str], Tool]] = {"function": _read_function, "custom": _read_custom}
_WORDS = {"auto": ToolChoice(kind="auto"), "required": ToolChoice(kind="any"), "none": ToolChoice(kind="none")}


def read_tool_choice(fields: Fields) -> ToolChoice | None:
    """Return the choice in any of its forms."""
    value = fields.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _WORDS:
            raise refuse("tool_choice", f"must be one of {', '.join(_WORDS)}, or an object.")
        return _WORDS[value]
    choice = as_object(value, "tool_choice")
    if choice.get("type") == "allowed_tools":
        return _read_allowed(choice)
    return ToolChoice(kind="tool", name=_read_name(choice, "tool_choice"))


def _read_allowed(choice: Fields) -> ToolChoice:
    path = "tool_choice"
    allow_only(choice, path, ("type", "mode", "tools"))
    mode = need(get_choice(choice, "mode", ("auto", "required"), path), "mode", path)
    here = at(path, "tools")
    names = tuple(
        _read_name(as_object(tool, at(here, place)), at(here, place))
        for place, tool in enumerate(need_list(choice, "tools", path))
    )
    return ToolChoice(kind="auto" if mode == "auto" else "any", allowed=names)


def _read_name(tool: Fields, path: str) -> str:
    """Return the name of the function or custom tool that is meant."""
    if need_text(tool, "type", path) not in _READERS:
        raise refuse(
            at(path, "type"), f"{tool['type']!r} is a tool of OpenAI's own; here are function and custom tools."
        )
    allow_only(tool, path, ("type", "name"))
    return need_text(tool, "name", path)
