"""A canonical reply as the response object of OpenAI's Responses API."""

from typing import NamedTuple

from app.providers.exact_json import Fields, write_exact
from app.translation.responses_output import Output, Said
from app.wire.chat import ChatCall, ChatReply, Choice, Finish, Text
from app.wire.ids import make_uuid7
from app.wire.usage import Usage

_PREFIX = "resp_"
_TIERS = {"standard": "default"}
_KNOWN_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
# What a response says of a call that did not say it; the numbers a provider takes by default are its own affair.
_UNSAID: Fields = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}


class Head(NamedTuple):
    """What stays the same in every event of an answer."""

    id: str
    model: str
    created: int

    @property
    def stem(self) -> str:
        """The id without its prefix."""
        return self.id.removeprefix(_PREFIX)


def build_head(reply_id: str, model: str, created: int) -> Head:
    """Return the head of an answer; its id is the provider's behind Responses' own prefix."""
    name = reply_id or make_uuid7().hex
    return Head(name if name.startswith(_PREFIX) else _PREFIX + name, model, created)


def build_response(call: ChatCall, head: Head, status: str, **said: object) -> Fields:
    """Return the response object: its head, what is `said` of it, and what it repeats of the call."""
    response: Fields = {
        "id": head.id,
        "object": "response",
        "created_at": head.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": head.model or call.model,
        "output": [],
        "previous_response_id": None,
        "service_tier": None,
        "store": False,
        "usage": None,
    }
    return response | _UNSAID | call.echo | said


def build_end(
    call: ChatCall, head: Head, finish: Finish, output: Output, usage: Usage | None, tier: str | None
) -> Fields:
    """Return the response object of an answer that has ended by itself."""
    status, reason = find_status(finish, refused=output.refused)
    return build_response(
        call,
        head,
        status,
        incomplete_details=None if status == "completed" else {"reason": reason},
        output=output.items,
        usage=_build_usage(usage),
        service_tier=_find_tier(tier or (usage.service_tier if usage is not None else None)),
    )


def find_status(finish: Finish, *, refused: bool) -> tuple[str, str | None]:
    """Return the status of an answer and why it is incomplete; a refusal in words is a complete answer."""
    match finish:
        case "length":
            return "incomplete", "max_output_tokens"
        case "content_filter":
            return "incomplete", "content_filter"
        case "refusal":
            return ("completed", None) if refused else ("incomplete", "content_filter")
        case "pause":
            return "incomplete", None
        case _:
            return "completed", None


def _find_tier(tier: str | None) -> str | None:
    tier = _TIERS.get(tier or "", tier)
    return tier if tier in _KNOWN_TIERS else None


def _build_usage(usage: Usage | None) -> Fields | None:
    """Return the token counts in Responses' way: cached and written tokens are part of the input."""
    if usage is None:
        return None
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    given = usage.total_input_tokens
    made = usage.total_output_tokens
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": written},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": given + made,
    }


def write_reply(reply: ChatReply, call: ChatCall) -> bytes:
    """Return the bytes of the response object; Responses has one choice only."""
    head = build_head(reply.id, reply.model, reply.created)
    choice = reply.choices[0] if reply.choices else Choice()
    output = Output(head.stem)
    logprobs = choice.logprobs
    for part in choice.parts:
        if not isinstance(part, Said):
            continue
        output.add(part, logprobs if isinstance(part, Text) else None)
        logprobs = None if isinstance(part, Text) else logprobs
    status, _ = find_status(choice.finish, refused=output.refused)
    output.finish(status)
    return write_exact(build_end(call, head, choice.finish, output, reply.usage, reply.service_tier))
