"""Where the next page begins: the question's fingerprint, its range, and the place of the last line that was given."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from types import GenericAlias
from typing import Annotated, Any

import msgspec

from app.analytics.report_types import Key
from app.errors import BadRequestError

MAX_CURSOR = 8192
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Place = list[str | int | None]


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    check: str
    start: Instant
    end: Instant
    place: Place


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Cursor).decode


def write_cursor(check: str, start: datetime, end: datetime, place: Key) -> str:
    """Return the text of a cursor behind `place`."""
    return base64.urlsafe_b64encode(_encode((check, start, end, place))).decode().rstrip("=")


def read_cursor(text: str, check: str, kinds: Sequence[object]) -> tuple[datetime, datetime, Key]:
    """Return the range and the place of a cursor; BadRequestError unless it belongs to this question."""
    try:
        cursor = _decode(_unpack(text))
        place = _read_place(cursor.place, kinds)
    except (msgspec.MsgspecError, binascii.Error, UnicodeError, ValueError, RecursionError) as error:
        raise BadRequestError("The cursor is not one that was given out.", param="cursor") from error
    if cursor.check != check:
        raise BadRequestError("The cursor is from a list with other parameters.", param="cursor")
    return cursor.start, cursor.end, place


def _unpack(text: str) -> bytes:
    if len(text) > MAX_CURSOR:
        raise ValueError("too long")
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _read_place(place: Place, kinds: Sequence[object]) -> Key:
    if any(isinstance(part, str) and "\0" in part for part in place):
        raise ValueError("no text that Postgres takes")
    found: Any = msgspec.convert(place, GenericAlias(tuple, tuple(kinds)))
    return found
