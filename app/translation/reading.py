"""Typed reading of a client's JSON: what does not fit is a BadRequestError with the field's own path.

A reader takes the object, the key and the path of the object ("" at the top, else "messages[2]"). It returns None for
a field that is missing or null; `need_…` refuses those as well.
"""

import math
from collections.abc import Collection
from typing import TypeVar

import msgspec

from app.errors import BadRequestError
from app.providers.exact_json import Fields, as_list, is_fields, parse_exact, write_exact
from app.wire.chat import Json

T = TypeVar("T")

_INTEGER_LIMIT = 2**63


def read_object(body: bytes) -> Fields:
    """Return the JSON object of a body. Decimals are kept as their bytes (msgspec.Raw), integers as they are."""
    try:
        return parse_exact(body)
    except ValueError as error:
        raise BadRequestError(f"The body is not a JSON object that can be read: {error}.") from None


def refuse(path: str, message: str) -> BadRequestError:
    """Return the error for the field `path`; the message goes on after its name ("must be a string")."""
    return BadRequestError(f"{path}: {message}", param=path)


def at(path: str, key: str | int) -> str:
    """Return the path of the field or the list item `key` of what is at `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def as_object(value: object, path: str) -> Fields:
    """Return `value` when it is an object."""
    if not is_fields(value):
        raise refuse(path, "must be an object.")
    return value


def as_text(value: object, path: str) -> str:
    """Return `value` when it is a string."""
    if not isinstance(value, str):
        raise refuse(path, "must be a string.")
    return value


def as_items(value: object, path: str) -> list[object]:
    """Return `value` when it is a list."""
    items = as_list(value)
    if items is None:
        raise refuse(path, "must be a list.")
    return items


def as_json(value: object, path: str) -> Json:
    """Return `value` as the JSON it came as: key order and the digits of numbers are kept."""
    try:
        return msgspec.Raw(write_exact(value))
    except RecursionError:
        raise refuse(path, "is nested too deeply.") from None


def get_text(fields: Fields, key: str, path: str = "") -> str | None:
    """Return the string under `key`."""
    value = fields.get(key)
    return None if value is None else as_text(value, at(path, key))


def get_choice(fields: Fields, key: str, words: Collection[str], path: str = "") -> str | None:
    """Return the string under `key`, which must be one of `words`."""
    value = get_text(fields, key, path)
    if value is not None and value not in words:
        raise refuse(at(path, key), f"must be one of {', '.join(words)}.")
    return value


def get_flag(fields: Fields, key: str, path: str = "") -> bool | None:
    """Return the boolean under `key`."""
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise refuse(at(path, key), "must be true or false.")
    return value


def get_integer(fields: Fields, key: str, path: str = "", *, least: int | None = None) -> int | None:
    """Return the integer under `key`; 1.0 is one, true is not."""
    number = get_number(fields, key, path, least=least)
    if number is None:
        return None
    if number != int(number):
        raise refuse(at(path, key), "must be an integer.")
    return int(number)


def get_number(
    fields: Fields, key: str, path: str = "", *, least: float | None = None, most: float | None = None
) -> float | None:
    """Return the number under `key`, an int where it was written as one."""
    value = fields.get(key)
    if value is None:
        return None
    number = _read_number(value)
    if number is None:
        raise refuse(at(path, key), "must be a number.")
    if least is not None and number < least:
        raise refuse(at(path, key), f"must be at least {least}.")
    if most is not None and number > most:
        raise refuse(at(path, key), f"must be at most {most}.")
    return number


def _read_number(value: object) -> float | None:
    """Return a finite number; what no 64-bit number holds is none."""
    if isinstance(value, msgspec.Raw):
        number = float(bytes(value))
        return number if math.isfinite(number) else None
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _INTEGER_LIMIT:
        return None
    return value


def get_list(fields: Fields, key: str, path: str = "") -> list[object] | None:
    """Return the list under `key`."""
    value = fields.get(key)
    return None if value is None else as_items(value, at(path, key))


def get_object(fields: Fields, key: str, path: str = "") -> Fields | None:
    """Return the object under `key`."""
    value = fields.get(key)
    return None if value is None else as_object(value, at(path, key))


def get_json(fields: Fields, key: str, path: str = "") -> Json | None:
    """Return whatever JSON is under `key`."""
    value = fields.get(key)
    return None if value is None else as_json(value, at(path, key))


def need(value: T | None, key: str, path: str = "") -> T:
    """Return what a reader got from `key` unless it is None: `need(get_text(item, "id", path), "id", path)`."""
    if value is None:
        raise refuse(at(path, key), "is missing.")
    return value


def need_text(fields: Fields, key: str, path: str = "") -> str:
    """Return the string under `key`, which must be there."""
    return need(get_text(fields, key, path), key, path)


def need_list(fields: Fields, key: str, path: str = "") -> list[object]:
    """Return the list under `key`, which must be there."""
    return need(get_list(fields, key, path), key, path)


def need_object(fields: Fields, key: str, path: str = "") -> Fields:
    """Return the object under `key`, which must be there."""
    return need(get_object(fields, key, path), key, path)


def expect_only(fields: Fields, known: Collection[str], path: str = "") -> None:
    """Refuse the first field that is not `known`: within an item there is no place for what cannot be translated."""
    for key, value in fields.items():
        if key not in known and value is not None:
            raise refuse(at(path, key), "cannot be translated for the provider of this model.")


def read_extras(fields: Fields, known: Collection[str], path: str = "") -> dict[str, Json]:
    """Return the fields that are not `known` as raw JSON; a null says nothing and is left out."""
    return {
        key: as_json(value, at(path, key)) for key, value in fields.items() if key not in known and value is not None
    }
