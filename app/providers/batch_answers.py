"""What vendors say of batches, in one form for all of them: how one stands, and what came of one of its requests."""

import re
from typing import Literal, TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")

RemoteState = Literal["working", "ended", "failed"]
ResultKind = Literal["answered", "refused", "failed", "expired", "cancelled"]

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_CUSTOM_ID = re.compile(r"([0-9a-f]{32})-(0|[1-9][0-9]{0,8})", re.ASCII)
_NEWLINES = re.compile(rb"[\r\n]")


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as its vendor tells of it. `files` are those that its results are in, where the vendor has files.

    `total` is how many requests it has, None when that is not told; `mark` what we wrote into its metadata; `created`
    is in seconds since the epoch.
    """

    id: str
    state: RemoteState = "working"
    files: tuple[str, ...] = ()
    total: int | None = None
    mark: str | None = None
    created: float | None = None
    error: str | None = None


class RemoteResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one request. `body` is the answer, or the error as the vendor says it.

    "refused": the request cannot be answered; "failed": the vendor failed, and another try may help.
    """

    custom_id: str
    kind: ResultKind
    status: int = 0
    body: bytes = b""
    request_id: str | None = None


def build_custom_id(batch_id: UUID, position: int) -> str:
    """Return the name of a request in a vendor's batch: at most 64 letters, digits and hyphens."""
    return f"{batch_id.hex}-{position}"


def read_custom_id(text: str) -> tuple[UUID, int] | None:
    """Return which request a name means; None for a name that is not of ours."""
    found = _CUSTOM_ID.fullmatch(text)
    return (UUID(found[1]), int(found[2])) if found is not None else None


def read_id(value: object) -> str | None:
    """Return an id that may stand in an address; None for anything else."""
    return value if isinstance(value, str) and _ID.fullmatch(value) and value.strip(".") else None


def is_kind(kind: object, name: str, *, of: str, prefix: str) -> bool:
    """Return whether an object is of a kind, by what it says of itself, else by how its id begins."""
    return kind == of or (kind is None and name.startswith(prefix))


def read_text(value: object, most: int) -> str | None:
    """Return a text, cut to `most` characters; None for what is none."""
    return value[:most] if isinstance(value, str) and value else None


def compact(body: bytes) -> bytes:
    """Return a JSON text without raw newlines, which a file of lines cannot have."""
    return msgspec.json.format(body, indent=-1) if _NEWLINES.search(body) else body


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """Return what a decoder reads; None for bytes that it cannot read."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None
