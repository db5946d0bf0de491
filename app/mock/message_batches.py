"""Anthropic's message batches: every request is answered by the same code as a direct call."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.mock import messages
from app.mock.asgi import Reply, Request, build_json
from app.mock.calls import read_json
from app.mock.chaos import Fate, Job, find_delay, is_lost
from app.mock.errors import MockError, build_anthropic_error
from app.mock.models import paginate
from app.mock.state import State


class Entry(msgspec.Struct):
    """One request of a batch."""

    custom_id: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    params: msgspec.Raw


class BatchBody(msgspec.Struct):
    """A request for a batch."""

    requests: Annotated[list[Entry], Meta(min_length=1)]


class MessageJob(Job):
    """A batch under way and, once it has ended, its results."""

    entries: list[Entry]
    results: bytes = b""


_decoder = msgspec.json.Decoder(BatchBody)


def _stamp(delay: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) + delay).isoformat().replace("+00:00", "Z")


def _count(processing: int = 0, **ended: int) -> dict[str, int]:
    return {"processing": processing, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0, **ended}


def create(request: Request, state: State) -> Reply:
    """Answer POST /v1/messages/batches."""
    messages.check_version(request)
    body = read_json(request, _decoder)
    if len({entry.custom_id for entry in body.requests}) < len(body.requests):
        raise MockError("requests: custom_id must be unique within a batch")
    batch: dict[str, Any] = {
        "id": state.new_id("msgbatch_01"),
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": _count(len(body.requests)),
        "ended_at": None,
        "created_at": _stamp(),
        "expires_at": _stamp(timedelta(days=1)),
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
    }
    begun = time.time()
    wait = max(find_delay(request.body), state.chaos.delay_ms) / 1000
    if not is_lost(request.body):
        job = MessageJob(batch=batch, begun_at=begun, ready_at=begun + wait, entries=body.requests)
        state.message_batches.put(batch["id"], job)
    return build_json(batch)


def _advance(job: MessageJob, request: Request, state: State) -> dict[str, Any]:
    """End the batch if it is time, or if it was cancelled."""
    if job.batch["processing_status"] == "ended" or not job.is_over(state.chaos):
        return job.batch
    fates: list[tuple[Entry, Fate]] = [(entry, job.find_fate(bytes(entry.params))) for entry in job.entries]
    kept = [(entry, _build_result(entry, fate, request, state)) for entry, fate in fates if fate != "omit"]
    results = [result for _, result in kept]
    ended: dict[str, int] = {}
    for result in results:
        ended[result["type"]] = ended.get(result["type"], 0) + 1
    rows = [msgspec.json.encode({"custom_id": entry.custom_id, "result": result}) for entry, result in kept]
    job.results = b"\n".join(reversed(rows)) + b"\n"
    host = request.headers.get(b"host", b"localhost").decode("latin-1")
    job.batch |= {
        "processing_status": "ended",
        "request_counts": _count(**ended),
        "ended_at": _stamp(),
        "results_url": f"http://{host}/v1/messages/batches/{job.batch['id']}/results",
    }
    return job.batch


def _build_result(entry: Entry, fate: Fate, request: Request, state: State) -> dict[str, Any]:
    """Return the outcome of one request."""
    if fate in {"expire", "cancel"}:
        return {"type": "expired" if fate == "expire" else "canceled"}
    if fate == "fail":
        error = MockError("The mock fails on purpose.", status=500)
        return {"type": "errored", "error": build_anthropic_error(error, request.id)}
    return _answer(entry, request, state)


def _answer(entry: Entry, request: Request, state: State) -> dict[str, Any]:
    params = msgspec.json.decode(entry.params)
    params["stream"] = False  # a batch has nobody to stream to
    body = msgspec.json.encode(params)
    inner = msgspec.structs.replace(request, method="POST", path="/v1/messages", body=body)
    try:
        reply = messages.handle(inner, state)
    except MockError as error:
        return {"type": "errored", "error": build_anthropic_error(error, request.id)}
    message = msgspec.json.decode(reply.body)
    message["usage"]["service_tier"] = "batch"
    return {"type": "succeeded", "message": message}


def _find_job(request: Request, state: State) -> MessageJob:
    messages.check_version(request)
    key = request.get_segment(3)
    if key not in state.message_batches:
        raise MockError(f"Message batch {key} not found.", status=404)
    return state.message_batches[key]


def get(request: Request, state: State) -> Reply:
    """Answer GET /v1/messages/batches/{id}."""
    return build_json(_advance(_find_job(request, state), request, state))


def list_batches(request: Request, state: State) -> Reply:
    """Answer GET /v1/messages/batches, newest first."""
    messages.check_version(request)
    ids, has_more = paginate(list(reversed(state.message_batches)), request)
    batches = [_advance(state.message_batches[key], request, state) for key in ids]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return build_json({"data": batches, "has_more": has_more, "first_id": first, "last_id": last})


def cancel(request: Request, state: State) -> Reply:
    """Answer POST /v1/messages/batches/{id}/cancel."""
    job = _find_job(request, state)
    batch = _advance(job, request, state)
    if batch["processing_status"] == "ended":
        raise MockError(f"Message batch {batch['id']} has already ended.")
    job.stopped_at = time.time()
    batch |= {"processing_status": "canceling", "cancel_initiated_at": _stamp()}
    return build_json(batch)


def delete(request: Request, state: State) -> Reply:
    """Answer DELETE /v1/messages/batches/{id}; only one that has ended."""
    batch = _advance(_find_job(request, state), request, state)
    if batch["processing_status"] != "ended":
        raise MockError(f"Message batch {batch['id']} is still in progress.")
    del state.message_batches[batch["id"]]
    return build_json({"id": batch["id"], "type": "message_batch_deleted"})


def get_results(request: Request, state: State) -> Reply:
    """Answer GET /v1/messages/batches/{id}/results: JSON lines, not in the order of the requests."""
    job = _find_job(request, state)
    if _advance(job, request, state)["processing_status"] != "ended":
        raise MockError(f"Message batch {job.batch['id']} has not ended yet.")
    return Reply(headers=((b"content-type", b"application/x-jsonl"),), body=job.results)
