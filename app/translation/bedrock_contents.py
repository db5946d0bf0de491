"""A conversation in the words of Bedrock's Converse API: system blocks and messages of content blocks."""

import base64
import hashlib
import re

from app.providers.exact_json import Fields
from app.translation.anthropic_models import refuses_later_system
from app.translation.gemini_marks import is_gemini
from app.translation.turns import Turn, build_arguments, find_media_type, read_texts, refuse_part, split_system
from app.wire.chat import (
    Audio,
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

_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_SOUNDS = {"mp3", "opus", "wav", "aac", "flac", "ogg", "m4a", "pcm", "webm"}
_CACHE_LIFETIMES = {"5m", "1h"}
_TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9()\[\]-]+")
_LONGEST_NAME = 180


def build_contents(call: ChatCall) -> Fields:
    """Return the fields `messages` and `system`."""
    system, turns = split_system(call)
    builder = _Builder(call)
    fields: Fields = {"messages": [message for turn in turns if (message := builder.build_turn(turn))["content"]]}
    blocks = [block for text in system for block in builder.build_text(text)]
    return fields | {"system": blocks} if blocks else fields


def build_cache_point(call: ChatCall, cache: Cache | None) -> list[Fields]:
    """Return the cache point after what was marked, for the models that have a prompt cache."""
    if cache is None or not takes_cache_points(call.model):
        return []
    point: Fields = {"type": "default"}
    if cache.ttl in _CACHE_LIFETIMES:
        point["ttl"] = cache.ttl
    return [{"cachePoint": point}]


def takes_cache_points(model: str) -> bool:
    """Return whether a model has a prompt cache. An inference profile's ARN does not tell its model: then yes."""
    return "claude" in model or "nova" in model or ("arn:" in model and "-profile/" in model)


def find_tool_id(identifier: str) -> str:
    """Return the id itself where Converse takes its form, else one that always stands for it."""
    if _TOOL_ID.fullmatch(identifier):
        return identifier
    return "id-" + hashlib.sha256(identifier.encode("utf-8", "replace")).hexdigest()[:40]


class _Builder:
    """Builds the blocks of one call; documents are counted because no two may have one name."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call
        self._names: set[str] = set()

    def build_turn(self, turn: Turn) -> Fields:
        if turn.role == "system":
            read_texts(self._call, turn.parts, "system messages")
            if refuses_later_system(self._call.model):
                raise refuse_part(self._call, "this model takes system messages only before the first turn.")
        return {"role": turn.role, "content": [block for part in turn.parts for block in self._build(part)]}

    def build_text(self, part: Text) -> list[Fields]:
        return [{"text": part.text}, *build_cache_point(self._call, part.cache)]

    def _build(self, part: Part) -> list[Fields]:
        if isinstance(part, Text):
            return self.build_text(part)
        if isinstance(part, ToolUse):
            use = {"toolUseId": find_tool_id(part.id), "name": part.name, "input": build_arguments(self._call, part)}
            return [{"toolUse": use}, *build_cache_point(self._call, part.cache)]
        if isinstance(part, ToolResult):
            return [self._build_result(part), *build_cache_point(self._call, part.cache)]
        if isinstance(part, Thinking):
            return _build_thinking(part)
        if isinstance(part, Image | Document):
            return [self._build_file(part), *build_cache_point(self._call, part.cache)]
        return [self._build_rest(part)]

    def _build_rest(self, part: Audio | Refusal) -> Fields:
        if isinstance(part, Refusal):
            return {"text": part.text}
        if part.format not in _SOUNDS:
            raise refuse_part(self._call, f"Bedrock takes no sound of the format `{part.format}`.")
        return {"audio": {"format": part.format, "source": {"bytes": part.data}}}

    def _build_result(self, part: ToolResult) -> Fields:
        """Return a result. Its content takes no cache points: a mark inside of it counts for the whole."""
        content = [block for inner in part.parts for block in self._build(inner) if "cachePoint" not in block]
        result: Fields = {"toolUseId": find_tool_id(part.tool_use_id), "content": content}
        return {"toolResult": result | {"status": "error"} if part.is_error else result}

    def _build_file(self, part: Image | Document) -> Fields:
        if isinstance(part, Image):
            media_type = self._find_type(part.source)
            if media_type not in _IMAGES:
                raise refuse_part(self._call, f"Bedrock takes no image of the type `{media_type}`.")
            return {"image": {"format": _IMAGES[media_type], "source": self._build_source(part.source)}}
        return {"document": self._build_document(part)}

    def _build_document(self, part: Document) -> Fields:
        media_type = "text/plain" if part.source.text is not None else self._find_type(part.source)
        if media_type not in _DOCUMENTS:
            raise refuse_part(self._call, f"Bedrock takes no document of the type `{media_type}`.")
        fields: Fields = {
            "format": _DOCUMENTS[media_type],
            "name": self._find_name(part.name),
            "source": self._build_source(part.source),
        }
        if part.context is not None:
            fields["context"] = part.context
        if part.citations is not None:
            fields["citations"] = {"enabled": part.citations}
        return fields

    def _find_type(self, source: Source) -> str:
        if source.url is not None and source.media_type is None:
            ending = source.url.rpartition(".")[2].lower()
            endings = {form: media_type for media_type, form in (_DOCUMENTS | _IMAGES).items()}
            return endings.get("jpeg" if ending == "jpg" else ending, "unknown")
        return find_media_type(self._call, source)

    def _find_name(self, name: str | None) -> str:
        """Return a name of the characters that Converse allows, which no other document of the call has."""
        plain = _NOT_IN_NAMES.sub(" ", name or "").strip()[:_LONGEST_NAME] or "document"
        free, number = plain, 1
        while free in self._names:
            number += 1
            free = f"{plain} {number}"
        self._names.add(free)
        return free

    def _build_source(self, source: Source) -> Fields:
        if source.data is not None:
            return {"bytes": source.data}
        if source.text is not None:
            return {"bytes": base64.b64encode(source.text.encode()).decode()}
        if source.url is not None and source.url.startswith("s3://"):
            return {"s3Location": {"uri": source.url}}
        raise refuse_part(self._call, "Bedrock reads files only as data or from an s3: address.")


def _build_thinking(part: Thinking) -> list[Fields]:
    """Return reasoning that its provider can check; unsigned reasoning and that of Gemini is nothing to it."""
    if part.redacted is not None:
        return [{"reasoningContent": {"redactedContent": part.redacted}}]
    if part.signature is None or is_gemini(part.signature):
        return []
    return [{"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}]
