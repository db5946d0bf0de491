"""What shapes an answer, in Gemini's words: generationConfig, tools and toolConfig."""

import msgspec

from app.providers.exact_json import Fields
from app.translation.gemini_marks import is_older_generation
from app.translation.refusing import refuse_field
from app.wire.chat import ChatCall, Format, Json, Reasoning, Tool, ToolChoice

_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}
"""Google's own table of its OpenAI-compatible endpoint for models that count thinking in tokens (Gemini 2.5)."""

_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH", "max": "XHIGH"}

_TIERS = {"auto": None, "default": "standard", "standard_only": "standard", "flex": "flex", "priority": "priority"}

_LIMITS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "n": (1, 8),
    "seed": (-(2**31), 2**31 - 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "top_logprobs": (0, 20),
}
_SAME = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
_MOST_STOPS = 5


def build_generation(call: ChatCall) -> Fields:
    """Return the fields of `generationConfig`."""
    _check_limits(call)
    config: Fields = {theirs: value for ours, theirs in _SAME.items() if (value := getattr(call, ours)) is not None}
    if call.stop:
        config["stopSequences"] = call.stop
    if call.logprobs:
        config["responseLogprobs"] = True
        if call.top_logprobs:
            config["logprobs"] = call.top_logprobs
    if call.format is not None:
        config |= _build_format(call, call.format)
    if call.reasoning is not None:
        thinking = _build_thinking(call, call.reasoning)
        config |= {"thinkingConfig": thinking} if thinking else {}
    return config


def _check_limits(call: ChatCall) -> None:
    for field, (least, most) in _LIMITS.items():
        value: float | None = getattr(call, field)
        if value is not None and not least <= value <= most:
            raise refuse_field(call, field, f"Gemini takes {least} to {most}.")
    if len(call.stop) > _MOST_STOPS:
        raise refuse_field(call, "stop", f"Gemini takes at most {_MOST_STOPS} stop sequences.")
    if call.stream and call.n is not None and call.n > 1:
        raise refuse_field(call, "n", "Gemini does not tell when a stream of several answers is complete.")


def _build_format(call: ChatCall, form: Format) -> Fields:
    if form.kind == "text":
        return {}
    fields: Fields = {"responseMimeType": "application/json"}
    if form.schema is not None:
        fields["responseJsonSchema"] = _describe(call, form.schema, form.description)
    return fields


def _describe(call: ChatCall, schema: Json, description: str | None) -> object:
    """Return the schema with the format's description, which Gemini has no other place for."""
    if not description:
        return schema
    try:
        fields = msgspec.json.decode(schema, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise refuse_field(call, "format", "the schema must be an object.") from None
    return {"description": description, **fields}


def _build_thinking(call: ChatCall, reasoning: Reasoning) -> Fields:
    if not reasoning.enabled:
        return {"thinkingBudget": 0}
    shown = reasoning.summary is not None or reasoning.budget_tokens is not None or reasoning.adaptive
    fields: Fields = {"includeThoughts": True} if shown and reasoning.summary != "omitted" else {}
    by_level = not is_older_generation(call.model)
    if reasoning.budget_tokens is not None:
        fields["thinkingBudget"] = reasoning.budget_tokens
    elif reasoning.effort is not None:
        fields |= _build_effort(call, reasoning.effort, by_level=by_level)
    elif reasoning.adaptive and not by_level:
        fields["thinkingBudget"] = -1
    return fields


def _build_effort(call: ChatCall, effort: str, *, by_level: bool) -> Fields:
    if effort == "none":
        return {"thinkingBudget": 0}
    if effort not in _LEVELS:
        raise refuse_field(call, "reasoning", f"Gemini has no effort `{effort}`.")
    return {"thinkingLevel": _LEVELS[effort]} if by_level else {"thinkingBudget": _BUDGETS[effort]}


def build_tools(call: ChatCall) -> Fields:
    """Return the fields `tools` and `toolConfig`."""
    if call.tools and call.parallel_tool_calls is False:
        raise refuse_field(call, "parallel_tool_calls", "Gemini cannot be held to one tool call at a time.")
    fields: Fields = {}
    if call.tools:
        declared = [_build_tool(call, place, tool) for place, tool in enumerate(call.tools)]
        fields["tools"] = [{"functionDeclarations": declared}]
    config = _build_choice(call.tool_choice, strict=any(tool.strict for tool in call.tools))
    return fields | {"toolConfig": {"functionCallingConfig": config}} if config else fields


def _build_tool(call: ChatCall, place: int, tool: Tool) -> Fields:
    if tool.custom:
        error = refuse_field(call, "tools", f"Gemini has no free-text tools such as `{tool.name}`.")
        error.param = f"{error.param}[{place}].type"
        raise error
    fields: Fields = {"name": tool.name}
    if tool.description is not None:
        fields["description"] = tool.description
    if tool.parameters is not None:
        fields["parametersJsonSchema"] = tool.parameters
    return fields


def _build_choice(choice: ToolChoice | None, *, strict: bool) -> Fields:
    """Return how tools are called; VALIDATED is Gemini's word for free choice with arguments held to their schema."""
    if choice is None:
        return {"mode": "VALIDATED"} if strict else {}
    if choice.kind == "tool":
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    if choice.allowed is None:
        return {"mode": "VALIDATED" if strict and choice.kind == "auto" else choice.kind.upper()}
    mode = "VALIDATED" if choice.kind == "auto" else choice.kind.upper()
    return {"mode": mode, "allowedFunctionNames": choice.allowed}


def build_tier(call: ChatCall) -> Fields:
    """Return the field `serviceTier`."""
    if call.service_tier is None:
        return {}
    if call.service_tier not in _TIERS:
        raise refuse_field(call, "service_tier", f"Gemini has no tier `{call.service_tier}`.")
    tier = _TIERS[call.service_tier]
    return {"serviceTier": tier} if tier else {}
