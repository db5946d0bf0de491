"""Building the body of an OpenAI chat completion from a call."""

import re
from collections.abc import Callable
from hashlib import sha256

from app.providers.exact_json import Fields, write_exact
from app.translation.openai_turns import build_messages
from app.translation.reading import refuse
from app.translation.refusing import refuse_field
from app.wire.chat import ChatCall, Format, Reasoning, Tool, ToolChoice

LimitField = Callable[[str], str]
"""Says in which field a model takes its limit of output tokens."""

_REASONING_MODEL = re.compile(r"(?:.*/)?(?:ft:)?(?:o[1-9]|gpt-(?:[5-9]|[1-9]\d)|codex-)")
_LONGEST_USER = 64
"""OpenAI refuses names of users of more characters, Claude Code's are longer."""

_OWN = frozenset({
    "prediction", "web_search_options", "store", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
    "safety_identifier", "moderation",
})  # fmt: skip
# They are about book-keeping only, and no other vendor keeps such books.
_HINTS = frozenset({"client_metadata", "diagnostics", "user_profile_id"})
_DEFAULTS = {"modalities": b'["text"]'}
_TIERS = {"standard_only": "default"}
_BUDGETS = ((2048, "low"), (8192, "medium"))


def name_limit_field(model: str) -> str:
    """Return `max_completion_tokens` for OpenAI's reasoning models, `max_tokens` for all others."""
    return "max_completion_tokens" if _REASONING_MODEL.match(model) else "max_tokens"


def build_chat(call: ChatCall, limit_field: LimitField = name_limit_field) -> bytes:
    """Return the body; BadRequestError names the client's field that Chat Completions has no words for."""
    _check(call)
    body: Fields = {"model": call.model, "messages": build_messages(call)}
    body |= _build_tools(call)
    options: Fields = {
        limit_field(call.model): call.max_tokens,
        "temperature": call.temperature,
        "top_p": call.top_p,
        "stop": list(call.stop) or None,
        "n": call.n,
        "seed": call.seed,
        "frequency_penalty": call.frequency_penalty,
        "presence_penalty": call.presence_penalty,
        "logit_bias": call.logit_bias,
        "logprobs": call.logprobs,
        "top_logprobs": call.top_logprobs,
        "response_format": _build_format(call.format),
        "verbosity": call.verbosity,
        "reasoning_effort": _build_effort(call.reasoning),
        "user": _shorten_user(call.user),
        "metadata": call.metadata,
        "service_tier": _build_tier(call.service_tier),
    }
    body |= {key: value for key, value in options.items() if value is not None}
    body |= {key: value for key, value in call.extras.items() if key in _OWN}
    if call.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return write_exact(body)


def _check(call: ChatCall) -> None:
    if call.top_k is not None:
        raise refuse_field(call, "top_k", "OpenAI's Chat Completions has no such field.")
    if call.temperature is not None and not 0 <= call.temperature <= 2:
        raise refuse_field(call, "temperature", "must be between 0 and 2 for this provider.")
    for key, value in call.extras.items():
        if key not in _OWN and key not in _HINTS and bytes(value) != _DEFAULTS.get(key):
            raise refuse(key, "has no meaning for a provider of OpenAI's Chat Completions.")


def _build_tier(tier: str | None) -> str | None:
    """Return the service tier; "auto" is what OpenAI does unasked, and not every vendor knows the field."""
    return None if tier is None or tier == "auto" else _TIERS.get(tier, tier)


def _shorten_user(user: str | None) -> str | None:
    if user is None or len(user) <= _LONGEST_USER:
        return user
    return sha256(user.encode()).hexdigest()


def _build_effort(reasoning: Reasoning | None) -> str | None:
    """Return the effort that was asked for, or the one that a budget comes nearest to.

    Thinking that is switched off without a word for it, or left to the model, says nothing: models that do not reason
    refuse the field.
    """
    if reasoning is None:
        return None
    if reasoning.effort is not None or not reasoning.enabled or reasoning.budget_tokens is None:
        return reasoning.effort
    budget = reasoning.budget_tokens
    return next((effort for most, effort in _BUDGETS if budget <= most), "high")


def _build_format(form: Format | None) -> Fields | None:
    if form is None:
        return None
    if form.kind != "json_schema":
        return {"type": form.kind}
    said: Fields = {
        "name": form.name or "answer",
        "description": form.description,
        "schema": form.schema,
        "strict": form.strict,
    }
    return {"type": "json_schema", "json_schema": _drop_none(said)}


def _drop_none(fields: Fields) -> Fields:
    return {key: value for key, value in fields.items() if value is not None}


def _build_tools(call: ChatCall) -> Fields:
    """Return the fields about tools. Without tools OpenAI refuses the others, which then say nothing anyway."""
    choice = call.tool_choice
    if not call.tools:
        forced = choice is not None and choice.kind in {"any", "tool"}
        return {"tool_choice": _build_choice(choice, call.tools)} if forced and choice is not None else {}
    return _drop_none(
        {
            "tools": [_build_tool(tool) for tool in call.tools],
            "tool_choice": None if choice is None else _build_choice(choice, call.tools),
            "parallel_tool_calls": call.parallel_tool_calls,
        }
    )


def _build_tool(tool: Tool) -> Fields:
    kind = "custom" if tool.custom else "function"
    said: Fields = {"name": tool.name, "description": tool.description}
    if tool.grammar is not None:
        grammar: Fields = {"syntax": tool.grammar.syntax, "definition": tool.grammar.definition}
        said["format"] = {"type": "grammar", "grammar": grammar}
    elif not tool.custom:
        said |= {"parameters": tool.parameters, "strict": tool.strict}
    return {"type": kind, kind: _drop_none(said)}


def _build_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> object:
    custom = {tool.name for tool in tools if tool.custom}
    mode = "required" if choice.kind == "any" else choice.kind
    if choice.allowed is not None and choice.kind in {"auto", "any"}:
        allowed = [_point_at(name, custom) for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
    if choice.kind == "tool":
        return _point_at(choice.name or "", custom)
    return mode


def _point_at(name: str, custom: set[str]) -> Fields:
    kind = "custom" if name in custom else "function"
    return {"type": kind, kind: {"name": name}}
