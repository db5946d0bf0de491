"""Reading the tools of an OpenAI client and which of them shall be called."""

from app.providers.exact_json import Fields
from app.translation.openai_parts import read_cache
from app.translation.reading import (
    as_json,
    as_object,
    at,
    expect_only,
    get_choice,
    get_flag,
    get_list,
    get_object,
    get_text,
    need,
    need_list,
    need_object,
    need_text,
    refuse,
)
from app.wire.chat import Grammar, Json, Tool, ToolChoice


def read_tools(fields: Fields) -> tuple[Tool, ...]:
    """Return the tools, or the functions of the deprecated form."""
    tools = get_list(fields, "tools") or []
    functions = get_list(fields, "functions") or []
    if tools and functions:
        raise refuse("functions", "cannot be given together with tools.")
    read = [_read_tool(as_object(item, path), path) for item, path in _place(tools, "tools")]
    return (*read, *(_read_function(as_object(item, path), path) for item, path in _place(functions, "functions")))


def _place(items: list[object], path: str) -> list[tuple[object, str]]:
    return [(item, at(path, position)) for position, item in enumerate(items)]


def _read_tool(tool: Fields, path: str) -> Tool:
    kind = need_text(tool, "type", path)
    if kind in {"function", "custom"}:
        expect_only(tool, {"type", kind, "cache_control"}, path)
    if kind == "function":
        return _read_function(need_object(tool, "function", path), at(path, "function"), (tool, path))
    if kind == "custom":
        return _read_custom(need_object(tool, "custom", path), at(path, "custom"), (tool, path))
    raise refuse(at(path, "type"), "must be function or custom; tools that a provider runs are not translated.")


def _read_function(function: Fields, path: str, outer: tuple[Fields, str] | None = None) -> Tool:
    expect_only(function, {"name", "description", "parameters", "strict", "cache_control"}, path)
    return Tool(
        name=need_text(function, "name", path),
        description=get_text(function, "description", path),
        parameters=_get_schema(function, "parameters", path),
        strict=get_flag(function, "strict", path),
        cache=(read_cache(*outer) if outer else None) or read_cache(function, path),
    )


def _get_schema(fields: Fields, key: str, path: str) -> Json | None:
    schema = get_object(fields, key, path)
    return None if schema is None else as_json(schema, at(path, key))


def _read_custom(custom: Fields, path: str, outer: tuple[Fields, str]) -> Tool:
    expect_only(custom, {"name", "description", "format"}, path)
    return Tool(
        name=need_text(custom, "name", path),
        description=get_text(custom, "description", path),
        custom=True,
        grammar=_read_grammar(custom, path),
        cache=read_cache(*outer),
    )


def _read_grammar(custom: Fields, path: str) -> Grammar | None:
    form = get_object(custom, "format", path)
    if form is None:
        return None
    here = at(path, "format")
    if need(get_choice(form, "type", ("text", "grammar"), here), "type", here) == "text":
        return None
    grammar, place = need_object(form, "grammar", here), at(here, "grammar")
    return Grammar(syntax=need_text(grammar, "syntax", place), definition=need_text(grammar, "definition", place))


def read_tool_choice(fields: Fields) -> ToolChoice | None:
    """Return which tool shall be called; `function_call` is the deprecated form of `tool_choice`."""
    choice, function = fields.get("tool_choice"), fields.get("function_call")
    if choice is not None:
        return _read_choice(choice)
    if function is None:
        return None
    if isinstance(function, str):
        return _read_word(function, "function_call", ("none", "auto"))
    return ToolChoice(kind="tool", name=need_text(as_object(function, "function_call"), "name", "function_call"))


def _read_word(word: str, path: str, words: tuple[str, ...]) -> ToolChoice:
    if word not in words:
        raise refuse(path, f"must be one of {', '.join(words)}, or an object.")
    return ToolChoice(kind="any" if word == "required" else "none" if word == "none" else "auto")


def _read_choice(value: object) -> ToolChoice:
    if isinstance(value, str):
        return _read_word(value, "tool_choice", ("none", "auto", "required"))
    choice = as_object(value, "tool_choice")
    kind = need_text(choice, "type", "tool_choice")
    if kind == "allowed_tools":
        return _read_allowed(need_object(choice, kind, "tool_choice"), "tool_choice.allowed_tools")
    return ToolChoice(kind="tool", name=_read_name(choice, "tool_choice"))


def _read_name(choice: Fields, path: str) -> str:
    """Return the name of a function or custom tool that is pointed at."""
    kind = need(get_choice(choice, "type", ("function", "custom"), path), "type", path)
    return need_text(need_object(choice, kind, path), "name", at(path, kind))


def _read_allowed(allowed: Fields, path: str) -> ToolChoice:
    mode = need(get_choice(allowed, "mode", ("auto", "required"), path), "mode", path)
    tools = _place(need_list(allowed, "tools", path), at(path, "tools"))
    return ToolChoice(
        kind="any" if mode == "required" else "auto",
        allowed=tuple(_read_name(as_object(item, here), here) for item, here in tools),
    )
