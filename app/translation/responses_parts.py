"""Content parts of Responses items in canonical words."""

from collections.abc import Callable, Collection

from app.providers.exact_json import Fields
from app.translation.reading import (
    as_items,
    as_object,
    as_text,
    at,
    get_choice,
    get_text,
    need_object,
    need_text,
    refuse,
)
from app.translation.responses_fields import CACHE_FIELDS, allow_only, read_cache
from app.wire.chat import Audio, Document, Image, Part, Refusal, Source, Text

INPUT_PARTS = ("input_text", "input_image", "input_file", "input_audio")
OUTPUT_PARTS = ("output_text", "refusal", "input_text")
RESULT_PARTS = ("input_text", "input_image", "input_file")


def read_parts(value: object, path: str, kinds: Collection[str]) -> tuple[Part, ...]:
    """Return the parts of a content: a string is one text, a list holds parts of `kinds`."""
    if isinstance(value, str):
        return (Text(text=value),)
    if value is None:
        raise refuse(path, "is missing.")
    return tuple(_read_part(item, at(path, place), kinds) for place, item in enumerate(as_items(value, path)))


def _read_part(value: object, path: str, kinds: Collection[str]) -> Part:
    fields = as_object(value, path)
    kind = need_text(fields, "type", path)
    if kind not in kinds:
        raise refuse(at(path, "type"), f"must be one of {', '.join(kinds)}.")
    return _READERS[kind](fields, path)


def _read_text(fields: Fields, path: str) -> Text:
    allow_only(fields, path, ("type", "text", "annotations", "logprobs", *CACHE_FIELDS))
    return Text(text=need_text(fields, "text", path), cache=read_cache(fields, path))


def _read_refusal(fields: Fields, path: str) -> Refusal:
    allow_only(fields, path, ("type", "refusal"))
    return Refusal(text=need_text(fields, "refusal", path))


def _read_image(fields: Fields, path: str) -> Image:
    allow_only(fields, path, ("type", "image_url", "file_id", "detail", *CACHE_FIELDS))
    name, value = _find_only(fields, path, ("image_url", "file_id"))
    return Image(
        source=Source(file_id=value) if name == "file_id" else _read_url(value, at(path, name)),
        detail=get_choice(fields, "detail", ("auto", "low", "high", "original"), path),
        cache=read_cache(fields, path),
    )


def _read_file(fields: Fields, path: str) -> Document:
    allow_only(fields, path, ("type", "file_data", "file_url", "file_id", "filename", "detail", *CACHE_FIELDS))
    name, value = _find_only(fields, path, ("file_data", "file_url", "file_id"))
    filename = get_text(fields, "filename", path)
    if name == "file_id":
        source = Source(file_id=value)
    elif name == "file_url" or value[:5].lower() == "data:":
        source = _read_url(value, at(path, name))
    else:
        is_pdf = filename is not None and filename.lower().endswith(".pdf")
        source = Source(data=value, media_type="application/pdf" if is_pdf else None)
    return Document(source=source, name=filename, cache=read_cache(fields, path))


def _read_audio(fields: Fields, path: str) -> Audio:
    allow_only(fields, path, ("type", "input_audio"))
    audio, here = need_object(fields, "input_audio", path), at(path, "input_audio")
    allow_only(audio, here, ("data", "format"))
    return Audio(data=need_text(audio, "data", here), format=need_text(audio, "format", here))


def _find_only(fields: Fields, path: str, names: Collection[str]) -> tuple[str, str]:
    """Return the name and the text of the one field of `names` that is there."""
    found = [name for name in names if fields.get(name) is not None]
    if len(found) != 1:
        raise refuse(path, f"must have exactly one of {', '.join(names)}.")
    return found[0], as_text(fields[found[0]], at(path, found[0]))


def _read_url(url: str, path: str) -> Source:
    """Return where a URL points; a data URL (RFC 2397) brings its bytes along, in base64."""
    if url[:5].lower() != "data:":
        return Source(url=url)
    head, comma, data = url[5:].partition(",")
    media_type, _, coding = head.rpartition(";")
    if not comma or coding.strip().lower() != "base64":
        raise refuse(path, "must be a data URL in base64 (data:<media type>;base64,<data>).")
    return Source(data=data, media_type=media_type.partition(";")[0].strip().lower() or None)


_READERS: dict[str, Callable[[Fields, str], Part]] = {
    "input_text": _read_text,
    "output_text": _read_text,
    "refusal": _read_refusal,
    "input_image": _read_image,
    "input_file": _read_file,
    "input_audio": _read_audio,
}
