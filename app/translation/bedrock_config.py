"""What shapes an answer, in the words of Bedrock's Converse API: inference, tools, output and model fields."""

from app.providers.exact_json import Fields, get_fields
from app.translation.anthropic_reasoning import build_reasoning
from app.translation.bedrock_contents import build_cache_point
from app.translation.refusing import refuse_field
from app.wire.chat import ChatCall, Json, Reasoning, Tool, ToolResult, ToolUse

_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_TIERS = {
    "auto": None,
    "default": "default",
    "standard_only": "default",
    "flex": "flex",
    "priority": "priority",
    "reserved": "reserved",
}
_NO_PARAMETERS = Json(b'{"type":"object","properties":{}}')


def build_config(call: ChatCall, default_max_tokens: int) -> Fields:
    """Return the fields `inferenceConfig`, `outputConfig`, `serviceTier` and those that only the model knows."""
    thinking = _build_thinking(call, default_max_tokens)
    inference: Fields = {"maxTokens": thinking.pop("max_tokens", call.max_tokens), **_build_sampling(call)}
    if call.stop:
        inference["stopSequences"] = call.stop
    output = get_fields(thinking, "output_config") | _build_format(call)
    thinking.pop("output_config", None)
    fields: Fields = {
        "inferenceConfig": {key: value for key, value in inference.items() if value is not None},
        "outputConfig": output,
        "additionalModelRequestFields": thinking | _build_top_k(call),
        "serviceTier": _build_tier(call),
    }
    if call.stop and _is_claude(call.model):
        fields["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
    return {key: value for key, value in fields.items() if value}


def _is_claude(model: str) -> bool:
    return "claude" in model


def _is_nova(model: str) -> bool:
    return "nova" in model


def _build_sampling(call: ChatCall) -> Fields:
    """Return the sampling fields; 1 is Claude's default, and its newer models take no other value."""
    fields: Fields = {}
    for ours, theirs in (("temperature", "temperature"), ("top_p", "topP")):
        value: float | None = getattr(call, ours)
        if value is not None and not 0 <= value <= 1:
            raise refuse_field(call, ours, "Bedrock takes 0 to 1.")
        if value is not None and not (value == 1 and _is_claude(call.model)):
            fields[theirs] = value
    return fields


def _build_top_k(call: ChatCall) -> Fields:
    if call.top_k is None:
        return {}
    return {"inferenceConfig": {"topK": call.top_k}} if _is_nova(call.model) else {"top_k": call.top_k}


def _build_thinking(call: ChatCall, default_max_tokens: int) -> Fields:
    """Return what the model family calls thinking, with `output_config` and (for Claude's budgets) `max_tokens`."""
    reasoning = call.reasoning
    if reasoning is None:
        return {}
    if _is_claude(call.model):
        fields = build_reasoning(call, default_max_tokens)
        keep_limit = call.max_tokens is not None or "budget_tokens" in get_fields(fields, "thinking")
        return {key: value for key, value in fields.items() if key != "max_tokens" or keep_limit}
    if reasoning.budget_tokens is not None:
        raise refuse_field(call, "reasoning", "only Claude models take a budget of thinking tokens on Bedrock.")
    effort = _find_effort(call, reasoning)
    if _is_nova(call.model):
        said: Fields = {"type": "enabled" if effort else "disabled"}
        return {"reasoningConfig": said | {"maxReasoningEffort": effort} if effort else said}
    if effort is None:
        raise refuse_field(call, "reasoning", "this model's thinking cannot be switched off on Bedrock.")
    return {"reasoning_effort": effort} if "gpt-oss" in call.model else {"output_config": {"effort": effort}}


def _find_effort(call: ChatCall, reasoning: Reasoning) -> str | None:
    """Return Bedrock's word for the effort, None for none; thinking without a word for how much is "medium"."""
    if not reasoning.enabled or reasoning.effort == "none":
        return None
    effort = reasoning.effort or "medium"
    if effort not in _EFFORTS:
        raise refuse_field(call, "reasoning", f"Bedrock has no effort `{effort}`.")
    return _EFFORTS[effort]


def _build_format(call: ChatCall) -> Fields:
    form = call.format
    if form is None or form.kind == "text":
        return {}
    if form.kind == "json_object" or form.schema is None:
        raise refuse_field(call, "format", "Bedrock has JSON answers only by a JSON schema.")
    schema: Fields = {"schema": bytes(form.schema).decode()}
    schema |= {key: value for key, value in (("name", form.name), ("description", form.description)) if value}
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}


def _build_tier(call: ChatCall) -> Fields:
    if call.service_tier is None:
        return {}
    if call.service_tier not in _TIERS:
        raise refuse_field(call, "service_tier", f"Bedrock has no tier `{call.service_tier}`.")
    tier = _TIERS[call.service_tier]
    return {"type": tier} if tier else {}


def build_tools(call: ChatCall) -> Fields:
    """Return the field `toolConfig`. Tools that may not be called are left out: Converse has no word for none."""
    if call.tools and call.parallel_tool_calls is False:
        raise refuse_field(call, "parallel_tool_calls", "Bedrock cannot be held to one tool call at a time.")
    choice = call.tool_choice
    kind = choice.kind if choice is not None else "auto"
    if kind == "none" and _tells_of_tools(call):
        raise refuse_field(call, "tool_choice", "Bedrock cannot forbid tools in a conversation that has used them.")
    if not call.tools and kind in {"any", "tool"}:
        raise refuse_field(call, "tool_choice", "there are no tools to choose from.")
    if not call.tools or kind == "none":
        return {}
    return {"toolConfig": {"tools": _build_specs(call)} | _build_choice(call)}


def _build_specs(call: ChatCall) -> list[Fields]:
    """Return the tools; a choice among some of them leaves out the others, since there is no other way to say it."""
    allowed = call.tool_choice.allowed if call.tool_choice is not None else None
    if allowed is not None and not {tool.name for tool in call.tools}.issuperset(allowed):
        raise refuse_field(call, "tool_choice", "allows a tool that is not among the tools.")
    return [
        spec
        for place, tool in enumerate(call.tools)
        for spec in _build_tool(call, place, tool)
        if allowed is None or tool.name in allowed
    ]


def _tells_of_tools(call: ChatCall) -> bool:
    return any(isinstance(part, ToolUse | ToolResult) for message in call.messages for part in message.parts)


def _build_tool(call: ChatCall, place: int, tool: Tool) -> list[Fields]:
    if tool.custom:
        error = refuse_field(call, "tools", f"Bedrock has no free-text tools such as `{tool.name}`.")
        error.param = f"{error.param}[{place}].type"
        raise error
    spec: Fields = {"name": tool.name, "inputSchema": {"json": tool.parameters or _NO_PARAMETERS}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return [{"toolSpec": spec}, *build_cache_point(call, tool.cache)]


def _build_choice(call: ChatCall) -> Fields:
    choice = call.tool_choice
    if choice is None:
        return {}
    said: Fields = {"name": choice.name} if choice.kind == "tool" else {}
    return {"toolChoice": {choice.kind: said}}
