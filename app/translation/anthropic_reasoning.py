"""How much to think and how long to answer, in the words that a Claude model of its generation takes."""

from app.providers.exact_json import Fields
from app.translation.anthropic_models import thinks_adaptively
from app.translation.anthropic_turns import is_own_thinking
from app.translation.refusing import refuse_field
from app.translation.turns import split_system
from app.wire.chat import ChatCall, Reasoning, Thinking, ToolUse

_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32000}
_LEAST_BUDGET = 1024
_DISPLAYS = {"omitted": "omitted", **dict.fromkeys(("auto", "concise", "detailed", "summarized"), "summarized")}


def build_reasoning(call: ChatCall, default_max_tokens: int) -> Fields:
    """Return `max_tokens` and, as far as the call speaks of thinking, `thinking` and `output_config`.

    Where the call sets no limit, room for the answer is left beside the budget.
    """
    limit = default_max_tokens if call.max_tokens is None else call.max_tokens
    reasoning = call.reasoning
    if reasoning is None:
        return {"max_tokens": limit}
    effort = _read_effort(call, reasoning)
    if call.names.get("reasoning") == "output_config.effort":
        return {"max_tokens": limit, "output_config": {"effort": effort}}
    if not reasoning.enabled or reasoning.effort == "none":
        return {"max_tokens": limit, "thinking": {"type": "disabled"}, **_say_effort(effort)}
    if reasoning.budget_tokens is not None:
        thinking = _build_manual(call, limit, reasoning.budget_tokens, reasoning)
        return {**thinking, **_say_effort(effort)}
    if reasoning.adaptive or thinks_adaptively(call.model):
        adaptive: Fields = {"type": "adaptive", **_say_display(call, reasoning)}
        return {"max_tokens": limit, "thinking": adaptive, **_say_effort(effort)}
    return _build_budget(call, limit, reasoning)


def _read_effort(call: ChatCall, reasoning: Reasoning) -> str | None:
    if reasoning.effort is None or reasoning.effort == "none":
        return None
    if reasoning.effort not in _EFFORTS:
        raise refuse_field(call, "reasoning", f"an effort must be one of {', '.join(_EFFORTS)} or none.")
    return _EFFORTS[reasoning.effort]


def _say_effort(effort: str | None) -> Fields:
    return {} if effort is None else {"output_config": {"effort": effort}}


def _say_display(call: ChatCall, reasoning: Reasoning) -> Fields:
    if reasoning.summary is None:
        return {}
    if reasoning.summary not in _DISPLAYS:
        raise refuse_field(call, "reasoning", f"a summary must be one of {', '.join(_DISPLAYS)}.")
    return {"display": _DISPLAYS[reasoning.summary]}


def _build_manual(call: ChatCall, limit: int, budget: int, reasoning: Reasoning) -> Fields:
    room = limit + budget if call.max_tokens is None else limit
    thinking: Fields = {"type": "enabled", "budget_tokens": budget, **_say_display(call, reasoning)}
    return {"max_tokens": room, "thinking": thinking}


def _build_budget(call: ChatCall, limit: int, reasoning: Reasoning) -> Fields:
    """Return the budget that an effort stands for on a model that takes no effort."""
    if _has_lost_thoughts(call):
        return {"max_tokens": limit}
    budget = _BUDGETS[reasoning.effort or "medium"]
    if call.max_tokens is None:
        return _build_manual(call, limit, budget, reasoning)
    if call.max_tokens <= _LEAST_BUDGET:
        raise refuse_field(call, "max_tokens", f"must be over {_LEAST_BUDGET} where this model shall think.")
    return _build_manual(call, limit, min(budget, max(call.max_tokens - _LEAST_BUDGET, _LEAST_BUDGET)), reasoning)


def _has_lost_thoughts(call: ChatCall) -> bool:
    """Return whether the last answer called tools and came back without its thoughts.

    With a budget the API refuses such a turn; a client that does not keep thoughts could never answer a tool call.
    """
    _, turns = split_system(call)
    last = next((turn for turn in reversed(turns) if turn.role == "assistant"), None)
    if last is None or any(isinstance(part, Thinking) and is_own_thinking(part) for part in last.parts):
        return False
    return any(isinstance(part, ToolUse) for part in last.parts)
