"""Content of Anthropic's Messages API as a client sends it, read into canonical parts."""

from collections.abc import Callable

from app.providers.exact_json import Fields, as_list
from app.translation.anthropic_ids import read_id
from app.translation.anthropic_signatures import sign_calls
from app.translation.reading import (
    as_json,
    as_object,
    at,
    expect_only,
    get_choice,
    get_flag,
    get_object,
    get_text,
    need,
    need_object,
    need_text,
    refuse,
)
from app.wire.chat import Cache, Document, Image, Part, Source, Text, Thinking, ToolResult, ToolUse


def read_parts(value: object, path: str, kinds: frozenset[str] | None = None) -> tuple[Part, ...]:
    """Return the parts of a content: a string or blocks (of the types `kinds`); null is nothing."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (Text(text=value),)
    items = as_list(value)
    if items is None:
        raise refuse(path, "must be a string or a list of content blocks.")
    places = [at(path, index) for index in range(len(items))]
    return sign_calls(
        _read_block(as_object(item, place), place, kinds) for item, place in zip(items, places, strict=True)
    )


def read_cache(fields: Fields, path: str = "") -> Cache | None:
    """Return the cache mark of a block, of a tool or of the whole call."""
    mark = get_object(fields, "cache_control", path)
    if mark is None:
        return None
    here = at(path, "cache_control")
    expect_only(mark, {"type", "ttl"}, here)
    need(get_choice(mark, "type", ["ephemeral"], here), "type", here)
    return Cache(ttl=get_text(mark, "ttl", here))


def _read_block(block: Fields, path: str, kinds: frozenset[str] | None) -> Part:
    kind = need_text(block, "type", path)
    reader = _BLOCKS.get(kind)
    if reader is None or (kinds is not None and kind not in kinds):
        raise refuse(at(path, "type"), f"a block of type {kind!r} cannot be translated for the provider of this model.")
    known, read = reader
    expect_only(block, known, path)
    return read(block, path)


def _read_text(block: Fields, path: str) -> Text:
    """Citations say where a text came from; the text is whole without them."""
    return Text(text=need_text(block, "text", path), cache=read_cache(block, path))


def _read_image(block: Fields, path: str) -> Image:
    here = at(path, "transformations")
    changes = get_object(block, "transformations", path) or {}
    if get_choice(changes, "oversized_image", ["downsize", "error"], here) == "error":
        raise refuse(at(here, "oversized_image"), "only 'downsize' can be translated for the provider of this model.")
    expect_only(changes, {"oversized_image"}, here)
    kind, source = _read_source(need_object(block, "source", path), at(path, "source"))
    if kind not in {"base64", "url", "file"}:
        raise refuse(at(path, "source.type"), "must be one of base64, url, file.")
    return Image(source=source, cache=read_cache(block, path))


def _read_document(block: Fields, path: str) -> Document:
    here = at(path, "citations")
    citations = get_object(block, "citations", path) or {}
    expect_only(citations, {"enabled"}, here)
    _, source = _read_source(need_object(block, "source", path), at(path, "source"))
    return Document(
        source=source,
        name=get_text(block, "title", path),
        context=get_text(block, "context", path),
        citations=get_flag(citations, "enabled", here),
        cache=read_cache(block, path),
    )


def _read_source(source: Fields, path: str) -> tuple[str, Source]:
    """Return the type of a source and what it says."""
    kind = need_text(source, "type", path)
    reader = _SOURCES.get(kind)
    if reader is None:
        raise refuse(at(path, "type"), f"must be one of {', '.join(_SOURCES)}.")
    known, read = reader
    expect_only(source, {"type", *known}, path)
    return kind, read(source, path)


def _read_base64(source: Fields, path: str) -> Source:
    return Source(data=need_text(source, "data", path), media_type=need_text(source, "media_type", path))


def _read_url(source: Fields, path: str) -> Source:
    return Source(url=need_text(source, "url", path))


def _read_file(source: Fields, path: str) -> Source:
    return Source(file_id=need_text(source, "file_id", path))


def _read_plain(source: Fields, path: str) -> Source:
    return Source(text=need_text(source, "data", path), media_type=get_text(source, "media_type", path))


def _read_content(source: Fields, path: str) -> Source:
    """The blocks of a document mark where citations may point; as one text they say the same."""
    parts = read_parts(source.get("content"), at(path, "content"), frozenset({"text"}))
    return Source(text="\n".join(part.text for part in parts if isinstance(part, Text)), media_type="text/plain")


def _read_tool_use(block: Fields, path: str) -> ToolUse:
    caller = get_object(block, "caller", path) or {}
    if get_text(caller, "type", at(path, "caller")) not in {None, "direct"}:
        raise refuse(at(path, "caller.type"), "only 'direct' can be translated for the provider of this model.")
    arguments = as_json(need_object(block, "input", path), at(path, "input"))
    return ToolUse(
        id=read_id(need_text(block, "id", path)),
        name=need_text(block, "name", path),
        arguments=bytes(arguments).decode(),
        cache=read_cache(block, path),
    )


def _read_tool_result(block: Fields, path: str) -> ToolResult:
    return ToolResult(
        tool_use_id=read_id(need_text(block, "tool_use_id", path)),
        parts=read_parts(block.get("content"), at(path, "content"), _RESULT_KINDS),
        is_error=get_flag(block, "is_error", path) or False,
        cache=read_cache(block, path),
    )


def _read_thinking(block: Fields, path: str) -> Thinking:
    return Thinking(text=need_text(block, "thinking", path), signature=get_text(block, "signature", path) or None)


def _read_redacted(block: Fields, path: str) -> Thinking:
    return Thinking(redacted=need_text(block, "data", path))


_RESULT_KINDS = frozenset({"text", "image", "document"})

_BLOCKS: dict[str, tuple[set[str], Callable[[Fields, str], Part]]] = {
    "text": ({"type", "text", "citations", "cache_control"}, _read_text),
    "image": ({"type", "source", "transformations", "cache_control"}, _read_image),
    "document": ({"type", "source", "title", "context", "citations", "cache_control"}, _read_document),
    "tool_use": ({"type", "id", "name", "input", "caller", "cache_control"}, _read_tool_use),
    "tool_result": ({"type", "tool_use_id", "content", "is_error", "cache_control"}, _read_tool_result),
    "thinking": ({"type", "thinking", "signature"}, _read_thinking),
    "redacted_thinking": ({"type", "data"}, _read_redacted),
}

_SOURCES: dict[str, tuple[set[str], Callable[[Fields, str], Source]]] = {
    "base64": ({"data", "media_type"}, _read_base64),
    "url": ({"url"}, _read_url),
    "file": ({"file_id"}, _read_file),
    "text": ({"data", "media_type"}, _read_plain),
    "content": ({"content"}, _read_content),
}
