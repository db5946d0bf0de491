"""What Bedrock's Converse API answers: content blocks, why they ended, tokens and errors."""

import time

from app.providers.exact_json import Fields, get_fields, get_items, is_fields
from app.providers.usage import read_count, read_tier
from app.translation.answers import need_text, read_answer, write_arguments
from app.translation.bedrock_frames import Frame
from app.wire.chat import ChatReply, Choice, Failed, Finish, Part, Text, Thinking, ToolUse
from app.wire.ids import make_uuid7
from app.wire.usage import Usage

_FINISHES: dict[str, Finish] = {
    "end_turn": "stop",
    "tool_use": "tool_use",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_BROKEN = {"malformed_model_output", "malformed_tool_use"}

_KINDS = {
    "validationexception": "invalid_request_error",
    "accessdeniedexception": "permission_error",
    "unrecognizedclientexception": "authentication_error",
    "expiredtokenexception": "authentication_error",
    "resourcenotfoundexception": "not_found_error",
    "throttlingexception": "rate_limit_error",
    "servicequotaexceededexception": "rate_limit_error",
    "serviceunavailableexception": "overloaded_error",
    "modelnotreadyexception": "overloaded_error",
    "modeltimeoutexception": "timeout_error",
}
"""Bedrock's exceptions (in lower case, as responses and frames differ in it) in Anthropic's words."""


def parse_chat(body: bytes) -> ChatReply:
    """Return a whole answer. Converse tells neither its id nor its model: the id is ours, the model is ""."""
    fields = read_answer(body)
    reason, usage = need_text(fields, "stopReason"), read_usage(fields.get("usage"))
    message = get_fields(get_fields(fields, "output"), "message")
    if "content" not in message:
        raise ValueError("no message")
    if (broken := find_breakage(reason)) is not None:
        raise ValueError(broken)
    parts = [part for block in get_items(message, "content") for part in _read_block(block)]
    choice = Choice(parts=tuple(parts), finish=read_finish(reason), stop_sequence=read_stop_sequence(fields))
    return ChatReply(
        id=make_id(),
        model="",
        created=int(time.time()),
        choices=(choice,),
        usage=usage,
        service_tier=read_service_tier(fields),
    )


def make_id() -> str:
    """Return an id for an answer that has none."""
    return f"msg_{make_uuid7().hex}"


def find_breakage(reason: str) -> str | None:
    """Return what to say of an answer that ended because the model's output broke."""
    return f"The model's answer broke off: {reason}." if reason in _BROKEN else None


def read_finish(reason: str) -> Finish:
    """Return why an answer ended; for a reason we do not know, the provider held it back."""
    return _FINISHES.get(reason, "content_filter")


def read_stop_sequence(fields: Fields) -> str | None:
    """Return the stop sequence that Claude met; Converse tells it only among the model's own fields."""
    return read_tier(get_fields(fields, "additionalModelResponseFields").get("stop_sequence"))


def read_service_tier(fields: Fields) -> str | None:
    """Return the tier that served the call."""
    return read_tier(get_fields(fields, "serviceTier").get("type"))


def _read_block(block: Fields) -> list[Part]:
    text, use, reasoning = block.get("text"), block.get("toolUse"), block.get("reasoningContent")
    if isinstance(text, str):
        return [Text(text=text)]
    if is_fields(use):
        return [read_use(use, write_arguments(use.get("input")))]
    if is_fields(reasoning):
        return [_read_reasoning(reasoning)]
    cited = get_items(get_fields(block, "citationsContent"), "content")
    return [Text(text=text) for item in cited if isinstance(text := item.get("text"), str)]


def read_use(use: Fields, arguments: str) -> ToolUse:
    """Return a tool call; ValueError without its id or its name."""
    return ToolUse(id=need_text(use, "toolUseId"), name=need_text(use, "name"), arguments=arguments)


def _read_reasoning(reasoning: Fields) -> Thinking:
    shown = get_fields(reasoning, "reasoningText")
    text = shown.get("text")
    return Thinking(
        text=text if isinstance(text, str) else "",
        signature=read_tier(shown.get("signature")),
        redacted=read_tier(reasoning.get("redactedContent")),
    )


def read_usage(raw: object) -> Usage | None:
    """Return the token classes; the input's count leaves out what was read from or written to the cache."""
    if not is_fields(raw) or (fresh := read_count(raw.get("inputTokens"))) is None:
        return None
    written = read_count(raw.get("cacheWriteInputTokens")) or 0
    long = sum(
        read_count(detail.get("inputTokens")) or 0
        for detail in get_items(raw, "cacheDetails")
        if detail.get("ttl") == "1h"
    )
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=read_count(raw.get("cacheReadInputTokens")) or 0,
        cache_write_5m_tokens=max(written - long, 0),
        cache_write_1h_tokens=long,
        output_tokens=read_count(raw.get("outputTokens")) or 0,
    )


def parse_error(body: bytes, name: str = "") -> Failed:
    """Return what an error says; `name` is its `x-amzn-errortype`. Never raises."""
    try:
        fields = read_answer(body)
    except ValueError:
        fields = {}
    message = fields.get("message") or fields.get("Message")
    said = message if isinstance(message, str) else "The provider failed."
    return Failed(message=said, kind=_KINDS.get(name.partition(":")[0].lower(), "api_error"))


def find_failure(frame: Frame) -> Failed | None:
    """Return the failure that a frame tells, None for an ordinary event."""
    kind = frame.find(":message-type")
    if kind == "exception":
        return parse_error(frame.payload, frame.find(":exception-type"))
    if kind == "error":
        code = frame.find(":error-code").lower()
        said = frame.find(":error-message") or "The provider failed."
        return Failed(message=said, kind=_KINDS.get(code, "api_error"))
    return None
