"""A whole Messages answer: read from a provider into the canonical reply, written from it for a client."""

import time

import msgspec

from app.errors import BadGatewayError
from app.providers.exact_json import Fields, parse_exact, parse_typed, write_exact
from app.providers.usage import read_anthropic_usage
from app.translation.anthropic_ids import read_id, write_id
from app.translation.anthropic_signatures import carry_signature
from app.wire.chat import ChatCall, ChatReply, Choice, Finish, Part, Refusal, Text, Thinking, ToolUse
from app.wire.usage import Usage

_FINISHES: dict[str | None, Finish] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "pause_turn": "pause",
    "refusal": "refusal",
}
_REASONS: dict[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "pause": "pause_turn",
    "refusal": "refusal",
    "content_filter": "refusal",
}
_TIERS = {"default": "standard", "standard": "standard", "priority": "priority", "batch": "batch"}


class Block(msgspec.Struct, frozen=True):
    """A content block of an answer, whatever its type."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    data: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct, frozen=True):
    content: list[Block]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: object = None


_decoder = msgspec.json.Decoder(_Answer)


def parse_chat(body: bytes) -> ChatReply:
    """Return the reply. Raises ValueError for bytes that are no whole message."""
    answer = parse_typed(_decoder, body)
    usage = read_anthropic_usage(answer.usage)
    parts = (read_block(block) for block in answer.content)
    choice = Choice(
        parts=tuple(part for part in parts if part is not None),
        finish=read_finish(answer.stop_reason),
        stop_sequence=answer.stop_sequence,
    )
    return ChatReply(
        id=answer.id,
        model=answer.model,
        created=int(time.time()),
        choices=(choice,),
        usage=usage,
        service_tier=None if usage is None else usage.service_tier,
    )


def read_finish(reason: str | None) -> Finish:
    """Return why an answer ended; a reason that is not known yet counts as its natural end."""
    return _FINISHES.get(reason, "stop")


def read_block(block: Block) -> Text | ToolUse | Thinking | None:
    """Return the part of a block, None for a type without a canonical meaning."""
    if block.type == "text":
        return Text(text=block.text)
    if block.type == "tool_use":
        return ToolUse(id=read_id(block.id), name=block.name, arguments=read_input(block.input))
    if block.type == "thinking":
        return Thinking(text=block.thinking, signature=block.signature or None)
    if block.type == "redacted_thinking":
        return Thinking(redacted=block.data or "")
    return None


def read_input(raw: msgspec.Raw) -> str:
    """Return the input of a tool call as the text it came as."""
    return bytes(raw).decode() or "{}"


def write_reply(reply: ChatReply, call: ChatCall) -> bytes:
    """Return the reply as a message: its first choice, since this dialect knows no others."""
    choice = reply.choices[0] if reply.choices else Choice()
    blocks = [block for part in choice.parts for block in _write_part(part, choice.finish)]
    message = open_message(reply.id, reply.model or call.model)
    message |= {
        "content": blocks,
        "stop_reason": write_reason(choice.finish, refused=any(isinstance(part, Refusal) for part in choice.parts)),
        "stop_sequence": choice.stop_sequence,
        "usage": write_usage(reply.usage, reply.service_tier),
    }
    return write_exact(message)


def open_message(identifier: str, model: str) -> Fields:
    """Return a message that has neither content nor an end."""
    return {
        "id": identifier,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def write_reason(finish: Finish, *, refused: bool) -> str:
    """Return the stop reason; an answer that refuses ends with no other, whatever its provider calls that."""
    return "refusal" if refused and finish == "stop" else _REASONS[finish]


def write_usage(usage: Usage | None, tier: str | None = None) -> Fields:
    """Return the token counts; this dialect tells input that a cache gave or took apart from the rest."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    counts: Fields = {
        "input_tokens": usage.input_tokens + usage.input_audio_tokens + usage.input_image_tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.total_output_tokens,
    }
    if written:
        counts["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if usage.web_searches:
        counts["server_tool_use"] = {"web_search_requests": usage.web_searches}
    known = _TIERS.get(tier or usage.service_tier or "")
    return counts if known is None else counts | {"service_tier": known}


def _write_part(part: Part, finish: Finish) -> list[Fields]:
    if isinstance(part, Text | Refusal):
        return [{"type": "text", "text": part.text}] if part.text else []
    if isinstance(part, Thinking):
        return [write_thinking(part)]
    return _write_tool_use(part, finish) if isinstance(part, ToolUse) else []


def write_thinking(part: Thinking) -> Fields:
    """Return the block of a thought; one that nobody signed has an empty signature."""
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature or ""}


def _write_tool_use(part: ToolUse, finish: Finish) -> list[Fields]:
    """Return the blocks of a tool call; one that was cut off by the limit of tokens cannot be told."""
    text = part.arguments.strip() or "{}"
    try:
        parse_exact(text.encode())
    except ValueError:
        if finish == "length":
            return []
        raise BadGatewayError(
            "The provider's answer calls a tool with arguments that are no JSON object.", code="upstream_protocol"
        ) from None
    block: Fields = {
        "type": "tool_use",
        "id": write_id(part.id),
        "name": part.name,
        "input": msgspec.Raw(text.encode()),
    }
    carried = carry_signature(part)
    return [block] if carried is None else [write_thinking(carried), block]
