"""Tools, the choice among them, thinking and the form of the answer, as a Messages client asks for them."""

from typing import Literal

from app.providers.exact_json import Fields
from app.translation.anthropic_blocks import read_cache
from app.translation.reading import (
    as_json,
    as_object,
    at,
    expect_only,
    get_choice,
    get_flag,
    get_integer,
    get_list,
    get_object,
    get_text,
    need,
    need_object,
    need_text,
    refuse,
)
from app.wire.chat import Format, Reasoning, Tool, ToolChoice

# eager_input_streaming only says how finely the arguments are streamed.
_TOOL = {"type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming"}
_CHOICES: dict[str, Literal["auto", "any", "none", "tool"]] = {
    "auto": "auto",
    "any": "any",
    "none": "none",
    "tool": "tool",
}
_THINKING = ("enabled", "adaptive", "disabled")


def read_tools(fields: Fields) -> tuple[Tool, ...]:
    """Return the tools; one that Anthropic runs or defines itself has no counterpart elsewhere."""
    items = get_list(fields, "tools") or []
    return tuple(
        _read_tool(as_object(item, at("tools", index)), at("tools", index)) for index, item in enumerate(items)
    )


def _read_tool(tool: Fields, path: str) -> Tool:
    kind = get_text(tool, "type", path)
    if kind not in {None, "custom"}:
        raise refuse(at(path, "type"), f"a tool of type {kind!r} cannot be translated for the provider of this model.")
    expect_only({key: value for key, value in tool.items() if not _says_nothing(key, value)}, _TOOL, path)
    schema = need_object(tool, "input_schema", path)
    return Tool(
        name=need_text(tool, "name", path),
        description=get_text(tool, "description", path),
        parameters=as_json(schema, at(path, "input_schema")),
        strict=get_flag(tool, "strict", path),
        cache=read_cache(tool, path),
    )


def _says_nothing(key: str, value: object) -> bool:
    """Return whether a tool's field names its default."""
    return (key == "defer_loading" and value is False) or (key == "allowed_callers" and value == ["direct"])


def read_tool_choice(fields: Fields) -> tuple[ToolChoice | None, bool | None]:
    """Return the choice of tools and whether several may be called at once."""
    choice = get_object(fields, "tool_choice")
    if choice is None:
        return None, None
    expect_only(choice, {"type", "name", "disable_parallel_tool_use"}, "tool_choice")
    kind = _CHOICES[need(get_choice(choice, "type", _CHOICES, "tool_choice"), "type", "tool_choice")]
    name = need_text(choice, "name", "tool_choice") if kind == "tool" else None
    single = get_flag(choice, "disable_parallel_tool_use", "tool_choice")
    return ToolChoice(kind=kind, name=name), None if single is None else not single


def read_reasoning(fields: Fields) -> Reasoning | None:
    """Return how much to think: `thinking` and `output_config.effort` together."""
    thinking = get_object(fields, "thinking")
    config = _read_config(fields)
    effort = get_text(config, "effort", "output_config")
    if thinking is None:
        return None if effort is None else Reasoning(effort=effort)
    expect_only(thinking, {"type", "budget_tokens", "display"}, "thinking")
    kind = need(get_choice(thinking, "type", _THINKING, "thinking"), "type", "thinking")
    budget = get_integer(thinking, "budget_tokens", "thinking", least=1)
    return Reasoning(
        enabled=kind != "disabled",
        adaptive=kind == "adaptive",
        effort=effort,
        budget_tokens=need(budget, "budget_tokens", "thinking") if kind == "enabled" else None,
        summary=get_choice(thinking, "display", ["summarized", "omitted"], "thinking"),
    )


def read_format(fields: Fields) -> Format | None:
    """Return the form of the answer."""
    here = "output_config.format"
    wanted = get_object(_read_config(fields), "format", "output_config")
    if wanted is None:
        return None
    expect_only(wanted, {"type", "schema", "name"}, here)
    need(get_choice(wanted, "type", ["json_schema"], here), "type", here)
    schema = as_json(need_object(wanted, "schema", here), at(here, "schema"))
    return Format(kind="json_schema", name=get_text(wanted, "name", here), schema=schema, strict=True)


def _read_config(fields: Fields) -> Fields:
    config = get_object(fields, "output_config") or {}
    expect_only(config, {"effort", "format"}, "output_config")
    return config
