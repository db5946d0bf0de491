"""OpenAI's batches: how one stands, and the lines of the files that its results are in."""

from typing import Any

import msgspec

from app.providers.batch_answers import (
    Remote,
    RemoteResult,
    RemoteState,
    ResultKind,
    decode,
    is_kind,
    read_id,
    read_text,
)
from app.providers.exact_json import is_fields

_STATES: dict[str, RemoteState] = {
    "validating": "working",
    "in_progress": "working",
    "finalizing": "working",
    "cancelling": "working",
    "completed": "ended",
    "expired": "ended",
    "cancelled": "ended",
    "failed": "failed",
}
_CODES: dict[str, ResultKind] = {"batch_expired": "expired", "batch_cancelled": "cancelled"}
_AGAIN = frozenset({401, 402, 403, 408, 409, 425, 429})
"""Statuses that say nothing against the request itself."""


class _File(msgspec.Struct):
    id: Any = None
    object: Any = None


class _Batch(msgspec.Struct):
    id: Any = None
    object: Any = None
    status: Any = None
    output_file_id: Any = None
    error_file_id: Any = None
    request_counts: Any = None
    metadata: Any = None
    created_at: Any = None
    errors: Any = None


class _Page(msgspec.Struct):
    data: list[msgspec.Raw] = []


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw()
    request_id: Any = None


class _Error(msgspec.Struct):
    code: Any = None


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


_files = msgspec.json.Decoder(_File)
_batches = msgspec.json.Decoder(_Batch)
_pages = msgspec.json.Decoder(_Page)
_lines = msgspec.json.Decoder(_Line)


def read_file_id(body: bytes) -> str | None:
    """Return the id of a file that was uploaded; None for bytes that tell of none."""
    found = decode(_files, body)
    name = read_id(found.id) if found is not None else None
    if found is None or name is None or not is_kind(found.object, name, of="file", prefix="file"):
        return None
    return name


def read_openai_batch(body: bytes) -> Remote | None:
    """Return how a batch stands; None for bytes that are none, and for one whose status is not known."""
    found = decode(_batches, body)
    name = read_id(found.id) if found is not None else None
    if found is None or name is None or not is_kind(found.object, name, of="batch", prefix="batch"):
        return None
    state = _STATES.get(found.status) if isinstance(found.status, str) else None
    if state is None:
        return None
    total = found.request_counts.get("total") if is_fields(found.request_counts) else None
    mark = found.metadata.get("relaycore_batch") if is_fields(found.metadata) else None
    files = (read_id(found.output_file_id), read_id(found.error_file_id))
    return Remote(
        id=name,
        state=state,
        files=tuple(one for one in files if one is not None),
        total=total if isinstance(total, int) and total > 0 else None,
        mark=read_text(mark, 64),
        created=float(found.created_at) if isinstance(found.created_at, int | float) else None,
        error=_find_error(found.errors),
    )


def read_openai_batches(body: bytes) -> list[Remote]:
    """Return the batches of a page of them, as far as they can be read."""
    page = decode(_pages, body)
    found = [read_openai_batch(bytes(raw)) for raw in page.data] if page is not None else []
    return [one for one in found if one is not None]


def read_openai_result(line: bytes) -> RemoteResult | None:
    """Return what one line of a file says came of a request."""
    found = decode(_lines, line)
    if found is None:
        return None
    response = found.response
    if response is None or not 100 <= response.status_code <= 599:
        code = found.error.code if found.error is not None else None
        kind = _CODES.get(code, "failed") if isinstance(code, str) else "failed"
        return RemoteResult(custom_id=found.custom_id, kind=kind)
    return RemoteResult(
        custom_id=found.custom_id,
        kind=_judge(response.status_code),
        status=response.status_code,
        body=bytes(response.body),
        request_id=read_text(response.request_id, 128),
    )


def _judge(status: int) -> ResultKind:
    if status == 200:
        return "answered"
    return "refused" if 400 <= status < 500 and status not in _AGAIN else "failed"


def _find_error(errors: Any) -> str | None:
    try:
        return read_text(errors["data"][0]["code"], 200)
    except (TypeError, KeyError, IndexError):
        return None
