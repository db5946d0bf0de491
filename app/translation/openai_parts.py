"""Reading the content of an OpenAI client's messages: texts, images, files, sound, refusals and cache marks."""

from collections.abc import Callable, Mapping

import msgspec

from app.providers.exact_json import Fields, as_list
from app.translation.reading import (
    as_items,
    as_object,
    as_text,
    at,
    expect_only,
    get_choice,
    get_object,
    get_text,
    need,
    need_object,
    need_text,
    refuse,
)
from app.wire.chat import Audio, Cache, Document, Image, Part, Refusal, Source, Text

PartReader = Callable[[Fields, str], Part]

_MEDIA_TYPES = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv"}


def read_content(fields: Fields, path: str, readers: Mapping[str, PartReader]) -> tuple[Part, ...]:
    """Return the parts of a message's `content`; `readers` are those of the parts that its role may have.

    A mark for the cache on the whole message counts for its last part. Answers come back with whatever the client
    and its library added to them; in what a client says itself there is no place for what nobody understands.
    """
    content = fields.get("content")
    if content is None:
        return ()
    here = at(path, "content")
    if isinstance(content, str):
        parts: list[Part] = [Text(text=content)] if content else []
    else:
        parts = [
            _read_part(item, at(here, position), readers) for position, item in enumerate(_as_items(content, here))
        ]
    cache = read_cache(fields, path)
    if cache is not None and parts and isinstance(parts[-1], Text | Image | Document):
        parts[-1] = msgspec.structs.replace(parts[-1], cache=cache)
    return tuple(parts)


def _as_items(content: object, path: str) -> list[object]:
    items = as_list(content)
    if items is None:
        raise refuse(path, "must be a string or a list of content parts.")
    return items


def _read_part(item: object, path: str, readers: Mapping[str, PartReader]) -> Part:
    part = as_object(item, path)
    kind = need_text(part, "type", path)
    reader = readers.get(kind)
    if reader is None:
        raise refuse(at(path, "type"), f"must be one of {', '.join(readers)} here.")
    if readers is not ASSISTANT:
        expect_only(part, {"type", kind, "cache_control", "prompt_cache_breakpoint"}, path)
    return reader(part, path)


def read_cache(fields: Fields, path: str) -> Cache | None:
    """Return the mark for the prompt cache: Anthropic's, as clients put it into this dialect, or OpenAI's own.

    The lifetimes of OpenAI's breakpoints are known to OpenAI only.
    """
    mark = get_object(fields, "cache_control", path)
    if mark is None:
        return Cache() if get_object(fields, "prompt_cache_breakpoint", path) is not None else None
    here = at(path, "cache_control")
    need(get_choice(mark, "type", ("ephemeral",), here), "type", here)
    return Cache(ttl=get_text(mark, "ttl", here))


def read_text(part: Fields, path: str) -> Text:
    """Return a text part."""
    return Text(text=need_text(part, "text", path), cache=read_cache(part, path))


def _read_refusal(part: Fields, path: str) -> Refusal:
    return Refusal(text=need_text(part, "refusal", path))


def _read_image(part: Fields, path: str) -> Image:
    here = at(path, "image_url")
    image = need_object(part, "image_url", path)
    expect_only(image, {"url", "detail"}, here)
    return Image(
        source=_read_url(need_text(image, "url", here), at(here, "url")),
        detail=get_text(image, "detail", here),
        cache=read_cache(part, path),
    )


def _read_url(url: str, path: str) -> Source:
    """Return the data of a data URL, else the URL."""
    if url[:5].lower() != "data:":
        return Source(url=url)
    head, comma, data = url[5:].partition(",")
    words = head.split(";")
    if not comma or words[-1].strip().lower() != "base64":
        raise refuse(path, "must be a web address or a data URL in base64.")
    return Source(data=data, media_type=words[0].strip().lower() or None)


def _read_audio(part: Fields, path: str) -> Audio:
    here = at(path, "input_audio")
    audio = need_object(part, "input_audio", path)
    expect_only(audio, {"data", "format"}, here)
    return Audio(data=need_text(audio, "data", here), format=need_text(audio, "format", here))


def _read_file(part: Fields, path: str) -> Document:
    here = at(path, "file")
    file = need_object(part, "file", path)
    expect_only(file, {"file_data", "file_id", "filename"}, here)
    name = get_text(file, "filename", here)
    data = get_text(file, "file_data", here)
    file_id = get_text(file, "file_id", here)
    if data is not None and file_id is not None:
        raise refuse(at(here, "file_id"), "cannot be given together with file_data.")
    if data is None:
        source = Source(file_id=need(file_id, "file_data", here))
    else:
        source = _read_file_data(data, name, at(here, "file_data"))
    return Document(source=source, name=name, cache=read_cache(part, path))


def _read_file_data(data: str, name: str | None, path: str) -> Source:
    """Return the bytes of a file: a data URL, or base64 alone, whose type the file's name tells."""
    if data[:5].lower() == "data:":
        return _read_url(data, path)
    ending = (name or "").rpartition(".")[2].lower()
    return Source(data=data, media_type=_MEDIA_TYPES.get(ending))


def read_texts(value: object, path: str) -> tuple[str, ...]:
    """Return a string or a list of strings."""
    if isinstance(value, str):
        return (value,)
    return tuple(as_text(item, at(path, position)) for position, item in enumerate(as_items(value, path)))


TEXT: Mapping[str, PartReader] = {"text": read_text}
USER: Mapping[str, PartReader] = {
    "text": read_text,
    "image_url": _read_image,
    "input_audio": _read_audio,
    "file": _read_file,
}
ASSISTANT: Mapping[str, PartReader] = {"text": read_text, "refusal": _read_refusal}
RESULT: Mapping[str, PartReader] = {"text": read_text, "image_url": _read_image, "file": _read_file}
