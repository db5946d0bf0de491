"""A conversation in Gemini's words: contents with parts, and the system instruction."""

import base64

from app.providers.exact_json import Fields
from app.translation.gemini_marks import SIGNATURE, UNSIGNED, is_gemini, is_older_generation
from app.translation.turns import Turn, build_arguments, find_media_type, refuse_part, split_system
from app.wire.chat import Audio, ChatCall, Document, Image, Part, Refusal, Source, Text, Thinking, ToolResult, ToolUse

_SOUNDS = {"wav", "mp3", "aac", "ogg", "flac", "aiff"}
_ADDRESSES = ("https://", "http://", "gs://")
_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
}


def build_contents(call: ChatCall) -> Fields:
    """Return the fields `contents` and `systemInstruction`."""
    system, turns = split_system(call)
    contents: list[Fields] = []
    asked: list[ToolUse] = []
    for turn in turns:
        if turn.role == "system":
            raise refuse_part(call, "Gemini takes system and developer messages only before the first turn.")
        if turn.role == "assistant":
            asked = [part for part in turn.parts if isinstance(part, ToolUse)] or asked
            role, parts = "model", _build_model_parts(call, turn)
        else:
            role, parts = "user", _build_user_parts(call, turn, asked)
        if parts:
            contents.append({"role": role, "parts": parts})
    fields: Fields = {"contents": contents}
    if system:
        fields["systemInstruction"] = {"parts": [{"text": text.text} for text in system]}
    return fields


def _build_user_parts(call: ChatCall, turn: Turn, asked: list[ToolUse]) -> list[Fields]:
    """Return the parts of a user's turn: results in the order of the calls, as Gemini pairs them."""
    places = {use.id: place for place, use in enumerate(asked)}
    names = {use.id: use.name for use in asked}
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    results.sort(key=lambda result: places.get(result.tool_use_id, len(places)))
    built = [_build_result(call, result, names.get(result.tool_use_id, result.tool_use_id)) for result in results]
    return built + [_build_part(call, part) for part in turn.parts if not isinstance(part, ToolResult)]


def _build_model_parts(call: ChatCall, turn: Turn) -> list[Fields]:
    """Return the parts of a model's turn. Of calls made at once only the first has a signature."""
    built: list[Fields] = []
    unsigned = None if is_older_generation(call.model) else UNSIGNED
    for part in turn.parts:
        if isinstance(part, Thinking):
            built += _build_thought(part)
        elif isinstance(part, ToolUse):
            built.append(_build_call(call, part, part.signature or unsigned))
            unsigned = None
        else:
            built.append(_build_part(call, part))
    return built


def _build_thought(part: Thinking) -> list[Fields]:
    """Return a thought that Gemini signed; it does not read others back, nor those of other providers."""
    if part.signature is None or not is_gemini(part.signature):
        return []
    signed: Fields = {"text": part.text, "thoughtSignature": part.signature.removeprefix(SIGNATURE)}
    return [signed | {"thought": True}] if part.text else [signed]


def _build_call(call: ChatCall, use: ToolUse, signature: str | None) -> Fields:
    fields: Fields = {"functionCall": {"id": use.id, "name": use.name, "args": build_arguments(call, use)}}
    if signature:
        fields["thoughtSignature"] = signature
    return fields


def _build_result(call: ChatCall, result: ToolResult, name: str) -> Fields:
    texts: list[str] = []
    media: list[Fields] = []
    for part in result.parts:
        if isinstance(part, Text):
            texts.append(part.text)
        elif isinstance(part, Document) and part.source.text is not None:
            texts.append(part.source.text)
        else:
            media.append(_build_part(call, part))
    said = texts[0] if len(texts) == 1 else texts or ""
    response: Fields = {"id": result.tool_use_id, "name": name}
    response["response"] = {"error" if result.is_error else "output": said}
    return {"functionResponse": response | {"parts": media} if media else response}


def _build_part(call: ChatCall, part: Part) -> Fields:
    if isinstance(part, Text | Refusal):
        return {"text": part.text}
    if isinstance(part, Image):
        return _build_source(call, part.source)
    if isinstance(part, Document):
        return _build_document(call, part)
    if isinstance(part, Audio):
        if part.format not in _SOUNDS:
            raise refuse_part(call, f"Gemini takes no sound of the format `{part.format}`.")
        return {"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}
    raise refuse_part(call, "Gemini takes tool calls and thinking only from the model, results only from the user.")


def _build_document(call: ChatCall, part: Document) -> Fields:
    if part.citations:
        raise refuse_part(call, "Gemini has no citations of documents.")
    if part.context is not None:
        raise refuse_part(call, "Gemini has no context of documents.")
    if part.source.text is not None:
        data = base64.b64encode(part.source.text.encode()).decode()
        return {"inlineData": {"mimeType": part.source.media_type or "text/plain", "data": data}}
    return _build_source(call, part.source)


def _build_source(call: ChatCall, source: Source) -> Fields:
    if source.data is not None:
        return {"inlineData": {"mimeType": find_media_type(call, source), "data": source.data}}
    address = source.url or source.file_id or ""
    if not address.startswith(_ADDRESSES):
        raise refuse_part(call, "Gemini reads files only from an https: or gs: address or as data.")
    file: Fields = {"fileUri": address}
    ending = address.partition("?")[0].rpartition(".")[2].lower()
    media_type = source.media_type or _MEDIA_TYPES.get(ending)
    if media_type:
        file["mimeType"] = media_type
    return {"fileData": file}
