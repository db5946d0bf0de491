"""Anthropic's message batches: how one stands, and the lines of its results."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from app.providers.batch_answers import Remote, RemoteResult, RemoteState, decode, is_kind, read_id, read_text

_STATES: dict[str, RemoteState] = {"in_progress": "working", "canceling": "working", "ended": "ended"}
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_REFUSED = frozenset({400, 404, 413})
"""Statuses that are about the request itself."""


class _Batch(msgspec.Struct):
    id: Any = None
    type: Any = None
    processing_status: Any = None
    request_counts: Any = None
    created_at: Any = None


class _Page(msgspec.Struct):
    data: list[msgspec.Raw] = []


class _Outcome(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Line(msgspec.Struct):
    custom_id: str
    result: _Outcome


class _ErrorKind(msgspec.Struct):
    type: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ErrorKind
    request_id: Any = None


_batches = msgspec.json.Decoder(_Batch)
_pages = msgspec.json.Decoder(_Page)
_lines = msgspec.json.Decoder(_Line)
_errors = msgspec.json.Decoder(_ErrorBody)


def read_anthropic_batch(body: bytes) -> Remote | None:
    """Return how a batch stands; None for bytes that are none, and for one whose status is not known."""
    found = decode(_batches, body)
    name = read_id(found.id) if found is not None else None
    if found is None or name is None or not is_kind(found.type, name, of="message_batch", prefix="msgbatch"):
        return None
    status = found.processing_status
    state = _STATES.get(status) if isinstance(status, str) else None
    if state is None:
        return None
    return Remote(
        id=name,
        state=state,
        total=_sum_counts(found.request_counts),
        created=_read_instant(found.created_at),
    )


def read_anthropic_batches(body: bytes) -> list[Remote]:
    """Return the batches of a page of them, as far as they can be read."""
    page = decode(_pages, body)
    found = [read_anthropic_batch(bytes(raw)) for raw in page.data] if page is not None else []
    return [one for one in found if one is not None]


def read_anthropic_result(line: bytes) -> RemoteResult | None:
    """Return what one line of the results says came of a request."""
    found = decode(_lines, line)
    if found is None:
        return None
    match found.result.type:
        case "succeeded":
            body = bytes(found.result.message)
            return RemoteResult(custom_id=found.custom_id, kind="answered", status=200, body=body)
        case "errored":
            return _read_error(found.custom_id, bytes(found.result.error))
        case "canceled":
            return RemoteResult(custom_id=found.custom_id, kind="cancelled")
        case "expired":
            return RemoteResult(custom_id=found.custom_id, kind="expired")
        case _:
            return RemoteResult(custom_id=found.custom_id, kind="failed")


def _read_error(custom_id: str, body: bytes) -> RemoteResult:
    error = decode(_errors, body)
    status = _STATUSES.get(error.error.type, 500) if error is not None else 500
    return RemoteResult(
        custom_id=custom_id,
        kind="refused" if status in _REFUSED else "failed",
        status=status,
        body=body,
        request_id=read_text(error.request_id, 128) if error is not None else None,
    )


def _sum_counts(counts: Any) -> int | None:
    try:
        return sum(int(counts[name]) for name in _COUNTS)
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


def _read_instant(value: Any) -> float | None:
    try:
        instant = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp()
