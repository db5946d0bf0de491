"""What OpenAI calls why an answer ended, what it used and how it was served: for answers to OpenAI's clients."""

from app.providers.exact_json import Fields
from app.wire.chat import ChatCall, Finish
from app.wire.usage import Usage

_FINISHES: dict[Finish, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "length",
}
_TIERS = {"standard": "default", "priority": "priority", "default": "default", "flex": "flex", "scale": "scale"}


def wants_function_call(call: ChatCall) -> bool:
    """Return whether the client asked in the deprecated form and reads no other."""
    return call.names.get("tools") == "functions"


def write_finish(finish: Finish, call: ChatCall, *, refused: bool) -> str:
    """Return the finish reason; a refusal in words is an ordinary end, one without words a filter's."""
    if finish == "refusal" and refused:
        return "stop"
    if finish == "tool_use" and wants_function_call(call):
        return "function_call"
    return _FINISHES[finish]


def write_usage(usage: Usage) -> Fields:
    """Return the token counts: cached, written and reasoning tokens are parts of the sums."""
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    prompt = usage.total_input_tokens
    completion = usage.total_output_tokens
    details: Fields = {"cached_tokens": usage.cache_read_tokens, "audio_tokens": usage.input_audio_tokens}
    if written:
        details["cache_write_tokens"] = written
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
        },
    }


def write_tier(tier: str | None) -> str | None:
    """Return how a call was served, where OpenAI has a word for it."""
    return None if tier is None else _TIERS.get(tier)
