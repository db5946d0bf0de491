"""The canonical call as a body of Anthropic's Messages API; what has no words there is refused or known as a hint."""

from collections.abc import Callable

import msgspec

from app.errors import BadRequestError
from app.providers.exact_json import Fields, get_fields, parse_exact, write_exact
from app.translation.anthropic_reasoning import build_reasoning
from app.translation.anthropic_turns import build_cache, build_system_and_turns
from app.translation.refusing import refuse_field, refuse_fields
from app.wire.chat import ChatCall, Json, Tool

DEFAULT_MAX_TOKENS = 4096
_LEAST_MAX_TOKENS = 256

_PROVIDER = "Anthropic's Messages API"
_FOREIGN = (
    "n", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "verbosity",
)  # fmt: skip
# Anthropic's own top-level fields without a canonical meaning: they go through as they came.
_OWN = frozenset({
    "cache_control", "container", "context_management", "diagnostics", "inference_geo", "mcp_servers", "speed",
    "thinking", "user_profile_id",
})  # fmt: skip


def build_chat_with(default_max_tokens: int = DEFAULT_MAX_TOKENS) -> Callable[[ChatCall], bytes]:
    """Return a `build_chat` that asks for `default_max_tokens` (256 at least) where the call names no limit."""
    limit = max(default_max_tokens, _LEAST_MAX_TOKENS)

    def build_chat(call: ChatCall) -> bytes:
        return write_exact(build_body(call, limit))

    return build_chat


def build_body(call: ChatCall, default_max_tokens: int = DEFAULT_MAX_TOKENS) -> Fields:
    """Return the body. Raises BadRequestError naming the client's field that cannot be said in this dialect."""
    others = {field: value for field, value in call.extras.items() if field not in _OWN}
    refuse_fields(msgspec.structs.replace(call, extras=others), _PROVIDER, _FOREIGN)
    body: Fields = {"model": call.model, **build_reasoning(call, default_max_tokens)}
    system, turns = build_system_and_turns(call)
    _add(body, "system", system)
    body["messages"] = turns
    _add(body, "tools", _build_tools(call))
    _add(body, "tool_choice", _build_tool_choice(call))
    _add(body, "stop_sequences", list(call.stop))
    _add(body, "metadata", _build_metadata(call))
    _add(body, "service_tier", _build_tier(call))
    _add_sampling(body, call)
    _add_format(body, call)
    _add_extras(body, call)
    if call.stream:
        body["stream"] = True
    return body


def _add(body: Fields, key: str, value: object) -> None:
    if value:
        body[key] = value


def _add_sampling(body: Fields, call: ChatCall) -> None:
    """Add the sampling fields; 1 is the default of the first two, and newer models take no other value."""
    for field, value in (("temperature", call.temperature), ("top_p", call.top_p)):
        if value is not None and not 0 <= value <= 1:
            raise refuse_field(call, field, f"must be between 0 and 1 for {_PROVIDER}.")
        if value is not None and value != 1:
            body[field] = value
    if call.top_k is not None:
        body["top_k"] = call.top_k


def _build_tools(call: ChatCall) -> list[Fields]:
    """Return the tools; a choice among some of them leaves out the others, since there is no other way to say it."""
    allowed = call.tool_choice.allowed if call.tool_choice is not None else None
    names = {tool.name for tool in call.tools}
    if allowed is not None and not names.issuperset(allowed):
        raise refuse_field(call, "tool_choice", "allows a tool that is not among the tools.")
    return [_build_tool(call, tool) for tool in call.tools if allowed is None or tool.name in allowed]


def _build_tool(call: ChatCall, tool: Tool) -> Fields:
    if tool.custom:
        raise refuse_field(call, "tools", f"the free-text tool `{tool.name}` has no counterpart in {_PROVIDER}.")
    built: Fields = {"name": tool.name}
    _add(built, "description", tool.description)
    built["input_schema"] = _build_schema(call, tool)
    _add(built, "strict", tool.strict)
    _add(built, "cache_control", build_cache(tool.cache))
    return built


def _build_schema(call: ChatCall, tool: Tool) -> object:
    """Return the schema of a tool's input, which must name its type."""
    if tool.parameters is None:
        return {"type": "object", "properties": {}}
    fields = _parse_schema(call, "tools", tool.parameters)
    if "type" in fields:
        return tool.parameters
    whole: Fields = {"type": "object", "properties": {}}
    return whole | fields


def _parse_schema(call: ChatCall, field: str, schema: Json) -> Fields:
    try:
        return parse_exact(bytes(schema))
    except ValueError:
        raise refuse_field(call, field, "a schema must be a JSON object.") from None


def _build_tool_choice(call: ChatCall) -> Fields:
    """Return the choice; that calls come one at a time is said within it."""
    single = call.parallel_tool_calls is False and bool(call.tools)
    choice = call.tool_choice
    if choice is None:
        return {"type": "auto", "disable_parallel_tool_use": True} if single else {}
    built: Fields = {"type": choice.kind}
    _add(built, "name", choice.name)
    if single and choice.kind != "none":
        built["disable_parallel_tool_use"] = True
    return built


def _build_metadata(call: ChatCall) -> Fields:
    """Return who the call is for: OpenAI's `safety_identifier` means the same as Anthropic's `user_id`."""
    if call.user is not None:
        return {"user_id": call.user}
    identifier = call.extras.get("safety_identifier")
    return {} if identifier is None else {"user_id": identifier}


def _build_tier(call: ChatCall) -> str | None:
    tier = call.service_tier
    if tier is None or tier == "auto":
        return tier
    if tier in {"default", "standard_only"}:
        return "standard_only"
    raise refuse_field(call, "service_tier", f"only 'auto' and 'default' have counterparts in {_PROVIDER}.")


def _add_format(body: Fields, call: ChatCall) -> None:
    wanted = call.format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_object" or wanted.schema is None:
        raise refuse_field(call, "format", f"only a JSON schema has a counterpart in {_PROVIDER}.")
    schema: object = wanted.schema
    if wanted.description is not None:
        described: Fields = {"description": wanted.description}
        schema = described | _parse_schema(call, "format", wanted.schema)
    effort = get_fields(body, "output_config")
    body["output_config"] = effort | {"format": {"type": "json_schema", "schema": schema}}


def _add_extras(body: Fields, call: ChatCall) -> None:
    for field, value in call.extras.items():
        if field in _OWN and field in body:
            raise BadRequestError(f"{field}: is said in another field already.", param=field)
        if field in _OWN:
            body[field] = value
