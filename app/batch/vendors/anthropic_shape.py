"""Message batches in Anthropic's words: what is read of a request, and how they are shown."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from app.batch.reading import AnthropicRequest, UnfitRequestError, read_struct
from app.batch.types import OPEN, Batch, Item, Result
from app.errors import BadRequestError, Dialect, RelayError, write_error

_ID = re.compile(r"msgbatch_([0-9a-f]{32})")
_UNDONE: Mapping[str, bytes] = {"cancelled": b"canceled", "expired": b"expired"}
FAILED = "The request failed."


class _Head(msgspec.Struct):
    requests: list[msgspec.Raw]


class _Error(msgspec.Struct):
    message: str = FAILED


class _Body(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)
    type: str = ""


_decode_head = msgspec.json.Decoder(_Head)
_decode_request = msgspec.json.Decoder(AnthropicRequest)
_decode_body = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder().encode


def read_item(data: bytes, number: int, path: str) -> Item:
    """Return one request of a body as a call to `path`. Raises UnfitRequestError naming it."""
    found: AnthropicRequest = read_struct(_decode_request, data, f"requests.{number}: ")
    if not bytes(found.params).lstrip().startswith(b"{"):
        raise UnfitRequestError(f"requests.{number}.params: this is not an object.", param="params")
    return Item(custom_id=found.custom_id, path=path, body=bytes(found.params))


def check_head(data: bytes, total: int) -> None:
    """Raise BadRequestError unless `data`, the body without its requests, is whole, and there were any."""
    read_struct(_decode_head, data, "")
    if not total:
        raise BadRequestError("requests: a batch has at least one request.", param="requests")


def write_id(batch_id: UUID) -> str:
    """Return the id that a batch goes by."""
    return f"msgbatch_{batch_id.hex}"


def find_id(text: str) -> UUID | None:
    """Return whose id it is; None when it is no id of ours."""
    found = _ID.fullmatch(text)
    return None if found is None else UUID(found[1])


def build_batch(batch: Batch, base: bytes) -> dict[str, Any]:
    """Return a batch as it is shown; `base` is the gateway's address as the client knows it."""
    counts, ended = batch.counts, batch.state not in OPEN
    status = "ended" if ended else "canceling" if batch.state == "cancelling" else "in_progress"
    batch_id = write_id(batch.id)
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": counts.total - counts.done,
            "succeeded": counts.succeeded,
            "errored": counts.errored,
            "canceled": counts.cancelled,
            "expired": counts.expired,
        },
        "created_at": _stamp(batch.created_at),
        "expires_at": _stamp(batch.expires_at),
        "ended_at": _stamp(batch.finished_at),
        "cancel_initiated_at": _stamp(batch.cancel_asked_at),
        "archived_at": None,
        "results_url": f"{base.decode('latin-1')}/messages/batches/{batch_id}/results" if ended else None,
    }


def build_page(batches: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Return a page of a list."""
    first, last = (batches[0]["id"], batches[-1]["id"]) if batches else (None, None)
    return {"data": batches, "has_more": more, "first_id": first, "last_id": last}


def write_line(result: Result) -> bytes:
    """Return one line of the results."""
    return b'{"custom_id":%b,"result":{"type":%b}}\n' % (_encode(result.custom_id), _write_result(result))


def _write_result(result: Result) -> bytes:
    undone = _UNDONE.get(result.outcome)
    if undone is not None:
        return b'"%b"' % undone
    good = result.outcome == "succeeded"
    body = result.body if good else write_failure(result.body)
    body = body.replace(b"\n", b" ").replace(b"\r", b" ")  # white space wherever it stands in JSON
    return (b'"succeeded","message":%b' if good else b'"errored","error":%b') % body


def write_failure(body: bytes) -> bytes:
    """Return what went wrong in Anthropic's shape: the bytes that came where they have it already."""
    try:
        found = _decode_body(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = _Body()
    if found.type == "error":
        return body
    return write_error(RelayError(found.error.message), Dialect.ANTHROPIC)


def _stamp(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
