"""JSON that comes out as it went in: every number keeps its digits, every failure is a ValueError."""

import re
from typing import TypeGuard, TypeVar, cast

import msgspec

T = TypeVar("T")
Fields = dict[str, object]

# Half of a surrogate pair alone is allowed by RFC 8259's grammar; msgspec refuses it.
_ESCAPE = re.compile(rb"\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL)


class Text:
    """A string that is still growing; it becomes one string when it is written."""

    __slots__ = ("parts",)

    def __init__(self, *parts: str) -> None:
        self.parts = list(parts)

    def __str__(self) -> str:
        return "".join(self.parts)


_exact = msgspec.json.Decoder(float_hook=msgspec.Raw)
_encode = msgspec.json.Encoder(enc_hook=str).encode


def parse_exact(data: bytes) -> Fields:
    """Return the JSON object in `data`; decimals are kept as their bytes, integers have any size."""
    fields = _parse(_exact, data)
    if not is_fields(fields):
        raise ValueError("not a JSON object")
    return fields


def write_exact(value: object) -> bytes:
    """Return `value` as compact JSON without line breaks."""
    return _encode(value)


def parse_typed(decoder: "msgspec.json.Decoder[T]", data: bytes) -> T:
    """Decode `data` for reading only: a lone surrogate does not make an answer unreadable."""
    try:
        return _parse(decoder, data)
    except ValueError:
        if b"\\u" not in data:
            raise
        return _parse(decoder, _ESCAPE.sub(_replace_surrogate, data))


def _replace_surrogate(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if len(escape[0]) > 2 else escape[0]


def _parse(decoder: "msgspec.json.Decoder[T]", data: bytes) -> T:
    try:
        str(data, "utf-8")  # msgspec does not look into the strings it skips
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def is_fields(value: object) -> TypeGuard[Fields]:
    """Return whether `value` is a JSON object."""
    return isinstance(value, dict)


def get_fields(fields: Fields, key: str) -> Fields:
    """Return the object under `key`, an empty one when there is none."""
    value = fields.get(key)
    return value if is_fields(value) else {}


def as_list(value: object) -> list[object] | None:
    """Return `value` when it is a JSON list."""
    return cast("list[object]", value) if isinstance(value, list) else None


def get_items(fields: Fields, key: str) -> list[Fields]:
    """Return the objects of the list under `key`, none when there is no list; ValueError for any other item."""
    items = as_list(fields.get(key))
    if items is None:
        return []
    if not all(is_fields(item) for item in items):
        raise ValueError(f"{key} holds more than objects")
    return cast("list[Fields]", items)


def get_index(fields: Fields, key: str = "index") -> int:
    """Return the position under `key`, 0 when none is given."""
    value = fields.get(key, 0)
    if not isinstance(value, int):
        raise ValueError(f"{key} is not an integer")  # noqa: TRY004 - bad input from outside, not a wrong call
    return value
