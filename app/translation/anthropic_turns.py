"""Canonical messages as Anthropic's `system` and turns of content blocks."""

from base64 import b64decode
from collections.abc import Sequence
from functools import singledispatch

from app.providers.exact_json import Fields
from app.translation.anthropic_ids import write_id
from app.translation.anthropic_models import refuses_later_system
from app.translation.gemini_marks import is_gemini
from app.translation.turns import Turn, build_arguments, find_media_type, read_texts, refuse_part, split_system
from app.wire.chat import (
    Cache,
    ChatCall,
    Document,
    Image,
    Part,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)

_PDF = "application/pdf"
_IMAGE_NAMES = {"image/jpg": "image/jpeg"}


def build_system_and_turns(call: ChatCall) -> tuple[list[Fields], list[Fields]]:
    """Return the `system` blocks the conversation begins with and its turns.

    Neighbours of one role are one turn, in which a user's tool results come first. What is empty is left out: it says
    nothing, and the API takes neither empty texts nor empty turns.
    """
    texts, turns = split_system(call)
    built = [_build_turn(call, turn) for turn in turns]
    spoken = [turn for turn in built if turn["content"]]
    if not spoken:
        raise refuse_part(call, "there must be a message of the user or the assistant that says something.")
    return _build_parts(call, texts), spoken


def build_cache(cache: Cache | None) -> Fields | None:
    """Return a cache mark."""
    if cache is None:
        return None
    return {"type": "ephemeral"} if cache.ttl is None else {"type": "ephemeral", "ttl": cache.ttl}


def is_own_thinking(part: Thinking) -> bool:
    """Return whether a thought may be Claude's own; the API refuses those of others and those without a signature."""
    return part.redacted is not None or (part.signature is not None and not is_gemini(part.signature))


def _build_turn(call: ChatCall, turn: Turn) -> Fields:
    if turn.role == "system":
        read_texts(call, turn.parts, "system messages")
        if refuses_later_system(call.model):
            raise refuse_part(call, "this model takes system messages only before all others.")
    return {"role": turn.role, "content": _build_parts(call, turn.parts)}


def _build_parts(call: ChatCall, parts: Sequence[Part]) -> list[Fields]:
    blocks: list[Fields] = []
    for part in parts:
        block = _build_block(part, call)
        cache = part.cache if isinstance(part, _CAN_BE_MARKED) else None
        if block is not None:
            blocks.append(block if cache is None else block | {"cache_control": build_cache(cache)})
    return blocks


_CAN_BE_MARKED = Text | Image | Document | ToolUse | ToolResult


@singledispatch
def _build_block(part: Part, call: ChatCall) -> Fields | None:
    """Return the block of a part, None for one that says nothing."""
    raise refuse_part(call, f"{type(part).__name__.lower()} has no counterpart in Anthropic's Messages API.")


@_build_block.register
def _(part: Text, _call: ChatCall) -> Fields | None:
    return {"type": "text", "text": part.text} if part.text else None


@_build_block.register
def _(part: Refusal, _call: ChatCall) -> Fields | None:
    return {"type": "text", "text": part.text} if part.text else None


@_build_block.register
def _(part: Thinking, _call: ChatCall) -> Fields | None:
    if not is_own_thinking(part):
        return None
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


@_build_block.register
def _(part: ToolUse, call: ChatCall) -> Fields | None:
    arguments = build_arguments(call, part)
    return {"type": "tool_use", "id": write_id(part.id), "name": part.name, "input": arguments}


@_build_block.register
def _(part: ToolResult, call: ChatCall) -> Fields | None:
    block: Fields = {"type": "tool_result", "tool_use_id": write_id(part.tool_use_id)}
    content = _build_parts(call, part.parts)
    if content:
        block["content"] = content
    if part.is_error:
        block["is_error"] = True
    return block


@_build_block.register
def _(part: Image, call: ChatCall) -> Fields | None:
    return {"type": "image", "source": _build_reference(part.source) or _build_image_data(call, part.source)}


@_build_block.register
def _(part: Document, call: ChatCall) -> Fields | None:
    block: Fields = {"type": "document", "source": _build_reference(part.source) or _build_file_data(call, part.source)}
    named = {"title": part.name, "context": part.context}
    block |= {key: value for key, value in named.items() if value is not None}
    if part.citations is not None:
        block["citations"] = {"enabled": part.citations}
    return block


def _build_reference(source: Source) -> Fields | None:
    """Return a source that says where the bytes are, None for one that holds them."""
    if source.url is not None:
        return {"type": "url", "url": source.url}
    return None if source.file_id is None else {"type": "file", "file_id": source.file_id}


def _build_image_data(call: ChatCall, source: Source) -> Fields:
    media_type = find_media_type(call, source)
    return {"type": "base64", "media_type": _IMAGE_NAMES.get(media_type, media_type), "data": source.data or ""}


def _build_file_data(call: ChatCall, source: Source) -> Fields:
    """Return the source of a document: a PDF as it is, text as text."""
    text = source.text
    if text is None:
        media_type = find_media_type(call, source)
        if media_type == _PDF:
            return {"type": "base64", "media_type": _PDF, "data": source.data or ""}
        if not media_type.startswith("text/"):
            raise refuse_part(call, f"a file of type {media_type} has no counterpart in Anthropic's Messages API.")
        text = _decode(call, source)
    return {"type": "text", "media_type": "text/plain", "data": text}


def _decode(call: ChatCall, source: Source) -> str:
    try:
        return b64decode(source.data or "", validate=True).decode()
    except ValueError:
        raise refuse_part(call, "a text file must be base64 of UTF-8.") from None
