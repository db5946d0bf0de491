"""Files and batches in OpenAI's words: what is read of a request, and how they are shown."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from app.batch.deadlines import UNITS, read_span
from app.batch.intake import LATER
from app.batch.reading import NO_NUL
from app.batch.types import OPEN, SPAN_SECONDS, Batch, Result, State
from app.batch.vendors.file_store import File, Usage
from app.errors import BadRequestError, build_misfit
from app.providers.endpoints import ENDPOINTS

USUAL_WINDOW = "24h"
ENDPOINT_PATHS = frozenset(f"/v1{one.path.removeprefix('/v1')}" for one in ENDPOINTS.values() if one.name in LATER)
MESSAGES = {
    "cancelled": ("batch_cancelled", "This request was not executed: the batch was cancelled."),
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
}
NO_WORDS = b'{"error":{"message":"The request failed.","type":"api_error","param":null,"code":null}}'

EXPIRY = "expires_after"
LEAST_KEPT, MOST_KEPT = 3600, 2_592_000

_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_FILE_ID = re.compile(r"file-([0-9a-f]{32})(?:-(output|error))?")
_BATCH_ID = re.compile(r"batch_([0-9a-f]{32})")
_STATUS: Mapping[State, str] = {
    "validating": "validating",
    "queued": "in_progress",
    "processing": "in_progress",
    "cancelling": "cancelling",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "expired": "expired",
}
_Key = Annotated[str, Meta(max_length=64, pattern=NO_NUL)]
_Value = Annotated[str, Meta(max_length=512, pattern=NO_NUL)]


class CreateBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch is made of."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Annotated[dict[_Key, _Value], Meta(max_length=16)] | None = None


_decode_create = msgspec.json.Decoder(CreateBatch).decode
_encode = msgspec.json.Encoder().encode


def read_create(body: bytes) -> CreateBatch:
    """Return what a batch is to be made of. Raises BadRequestError naming the field that does not fit."""
    try:
        asked = _decode_create(body)
    except msgspec.ValidationError as error:
        raise build_misfit(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError("The body is not valid JSON.") from error
    if asked.endpoint not in ENDPOINT_PATHS:
        known = ", ".join(sorted(ENDPOINT_PATHS))
        raise BadRequestError(f"The endpoint of a batch is one of {known}.", param="endpoint", code="invalid_value")
    return asked


def read_window(window: str, header: str, now: datetime) -> tuple[float, bool]:
    """Return how many seconds a batch may take, and whether somebody asked for that; a header goes before the body."""
    if header:
        return read_span(header, now, "x-relay-deadline"), True
    if window == USUAL_WINDOW:
        return SPAN_SECONDS, False
    return read_span(window, now, "completion_window"), True


def write_window(batch: Batch) -> str:
    """Return how long a batch may take, in the largest unit that has no fraction."""
    if batch.deadline_at is None:
        return USUAL_WINDOW
    seconds = round((batch.expires_at - batch.created_at).total_seconds())
    unit = "h" if seconds % 3600 == 0 else "m" if seconds % 60 == 0 else "s"
    return f"{seconds // round(UNITS[unit])}{unit}"


def read_expiry(fields: Mapping[str, str]) -> float | None:
    """Return after how many seconds a file is to be gone; None when its form does not say. Raises BadRequestError."""
    anchor, seconds = fields.get(f"{EXPIRY}[anchor]"), fields.get(f"{EXPIRY}[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise BadRequestError("The anchor of an expiry is created_at.", param=f"{EXPIRY}.anchor")
    if seconds is None or not _NUMBER.fullmatch(seconds) or not LEAST_KEPT <= int(seconds) <= MOST_KEPT:
        raise BadRequestError(f"A file is kept for {LEAST_KEPT} to {MOST_KEPT} seconds.", param=f"{EXPIRY}.seconds")
    return float(seconds)


def write_file_id(file_id: UUID, kind: str) -> str:
    """Return the id that a file goes by; those of a batch go by the batch's."""
    return f"file-{file_id.hex}" if kind == "input" else f"file-{file_id.hex}-{kind}"


def find_file_id(text: str) -> tuple[UUID, str] | None:
    """Return whose id it is and the kind of file; None when it is no id of ours."""
    found = _FILE_ID.fullmatch(text)
    return None if found is None else (UUID(found[1]), found[2] or "input")


def write_batch_id(batch_id: UUID) -> str:
    """Return the id that a batch goes by."""
    return f"batch_{batch_id.hex}"


def find_batch_id(text: str) -> UUID | None:
    """Return whose id it is; None when it is no id of ours."""
    found = _BATCH_ID.fullmatch(text)
    return None if found is None else UUID(found[1])


def build_file(file: File, keep_days: int) -> dict[str, Any]:
    """Return a file as it is shown; `keep_days` after its making it is gone."""
    gone_at = file.created_at + timedelta(days=keep_days)
    if file.expires_at is not None:
        gone_at = min(gone_at, file.expires_at)
    return {
        "id": write_file_id(file.id, file.kind),
        "object": "file",
        "bytes": file.size,
        "created_at": _stamp(file.created_at),
        "expires_at": _stamp(gone_at),
        "filename": file.filename or f"{write_batch_id(file.id)}_{file.kind}.jsonl",
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def build_batch(batch: Batch, outputs: frozenset[str], usage: Usage | None) -> dict[str, Any]:
    """Return a batch as it is shown; `outputs` are the files that it came to."""
    files = {kind: write_file_id(batch.id, kind) if kind in outputs else None for kind in ("output", "error")}
    ended = {state: batch.finished_at if batch.state == state else None for state in _STATUS}
    counts = batch.counts
    return {
        "id": write_batch_id(batch.id),
        "object": "batch",
        "endpoint": batch.path,
        "model": batch.model,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": write_file_id(batch.input_file_id, "input") if batch.input_file_id is not None else "",
        "completion_window": write_window(batch),
        "status": _STATUS[batch.state],
        "output_file_id": files["output"],
        "error_file_id": files["error"],
        "created_at": _stamp(batch.created_at),
        "in_progress_at": _stamp(batch.started_at),
        "expires_at": _stamp(batch.expires_at),
        "finalizing_at": _stamp(ended["completed"]),
        "completed_at": _stamp(ended["completed"]),
        "failed_at": _stamp(ended["failed"]),
        "expired_at": _stamp(ended["expired"]),
        "cancelling_at": _stamp(batch.cancel_asked_at),
        "cancelled_at": _stamp(ended["cancelled"]),
        "request_counts": {"total": counts.total, "completed": counts.succeeded, "failed": counts.failed},
        "usage": build_usage(usage) if usage is not None and batch.state not in OPEN else None,
        "metadata": batch.metadata,
    }


def build_usage(usage: Usage) -> dict[str, Any]:
    """Return what the requests of a batch used."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def build_page(objects: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Return a page of a list."""
    first, last = (objects[0]["id"], objects[-1]["id"]) if objects else (None, None)
    return {"object": "list", "data": objects, "first_id": first, "last_id": last, "has_more": more}


def write_line(result: Result, batch_id: UUID) -> bytes:
    """Return one line of the file that a result stands in."""
    head = b'{"id":"batch_req_%b%08x","custom_id":%b,"response":' % (
        batch_id.hex.encode(),
        result.position,
        _encode(result.custom_id),
    )
    unsaid = MESSAGES.get(result.outcome)
    if unsaid is not None:
        return head + b'null,"error":%b}\n' % _encode({"code": unsaid[0], "message": unsaid[1]})
    status = b"%d" % (result.status_code or 500)
    request_id = _encode(None if result.request_id is None else str(result.request_id))
    body = write_body(result.body)
    return head + b'{"status_code":%b,"request_id":%b,"body":%b},"error":null}\n' % (status, request_id, body)


def write_body(body: bytes) -> bytes:
    """Return an answer as a part of a line: the bytes that it has, but for its line ends, which are but white space.

    What is no JSON becomes a text.
    """
    try:
        msgspec.json.decode(body or NO_WORDS)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _encode(body.decode("utf-8", "replace"))
    return (body or NO_WORDS).replace(b"\n", b" ").replace(b"\r", b" ")


def measure_lines() -> Mapping[str, int]:
    """Return how many bytes the lines of the files of batches have apart from what differs in each."""
    now, nobody = datetime.now(UTC), UUID(int=0)
    result = Result(
        position=0, custom_id="", outcome="errored", status_code=200, code=None, body=b"0", request_id=None,
        native=False, cost_usd=None, saved_usd=None, finished_at=now,
    )  # fmt: skip
    bare = {
        kind: len(write_line(msgspec.structs.replace(result, outcome=outcome), nobody)) - len(b'""')
        for kind, outcome in (("answered", "errored"), ("cancelled", "cancelled"), ("expired", "expired"))
    }
    return {**bare, "answered": bare["answered"] - len(b"200" + b"null" + b"0")}


LINE_SIZES = measure_lines()


def _stamp(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())
