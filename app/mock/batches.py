"""OpenAI's batches: every line of the input file is answered by the same code as a direct call."""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from app.mock import chat, completions, embeddings, responses
from app.mock.asgi import Reply, Request, build_json
from app.mock.calls import read_json
from app.mock.chaos import Fate, Job, find_delay, is_lost
from app.mock.errors import MockError, Vendor, build_openai_error
from app.mock.files import build_page, find_file, store_file
from app.mock.models import paginate
from app.mock.state import State

ENDPOINTS: dict[str, Callable[[Request, State], Reply]] = {
    "/v1/chat/completions": chat.handle,
    "/v1/completions": completions.handle,
    "/v1/embeddings": embeddings.handle,
    "/v1/responses": responses.handle,
}


class BatchBody(msgspec.Struct):
    """A request for a batch."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


class Line(msgspec.Struct):
    """One line of a batch's input file."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class FileJob(Job):
    """A batch under way, with what it asks."""

    lines: list[Line]


_decoder = msgspec.json.Decoder(BatchBody)
_UNDONE: dict[Fate, tuple[str, str]] = {
    "expire": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancel": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}
_line_decoder = msgspec.json.Decoder(Line)


def create(request: Request, state: State) -> Reply:
    """Answer POST /v1/batches."""
    body = read_json(request, _decoder)
    if body.endpoint not in ENDPOINTS:
        raise MockError(f"Invalid value: {body.endpoint!r}.", param="endpoint", kind="invalid_value")
    if body.completion_window != "24h":
        raise MockError("Invalid value: 'completion_window' must be '24h'.", param="completion_window")
    _, content = find_file(body.input_file_id, state)
    now = int(time.time())
    names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    batch: dict[str, Any] = {
        "id": state.new_id("batch_"),
        "object": "batch",
        "endpoint": body.endpoint,
        "errors": None,
        "input_file_id": body.input_file_id,
        "completion_window": body.completion_window,
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        "expires_at": now + 86_400,
        **{f"{name}_at": None for name in names},
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": body.metadata,
    }
    lines, errors = _read_lines(content, body.endpoint)
    if errors:
        batch |= {"status": "failed", "failed_at": now, "errors": {"object": "list", "data": errors}}
        lines = []
    begun = time.time()
    wait = max(find_delay(content), state.chaos.delay_ms) / 1000
    job = FileJob(batch=batch, begun_at=begun, ready_at=begun + wait, lines=lines)
    if not is_lost(content):
        state.batches.put(batch["id"], job)
    return build_json(batch)


def _read_lines(content: bytes, endpoint: str) -> tuple[list[Line], list[dict[str, Any]]]:
    lines: list[Line] = []
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, raw in enumerate(content.splitlines(), 1):
        if not raw.strip():
            continue
        try:
            line = _line_decoder.decode(raw)
        except msgspec.DecodeError as error:
            errors.append({"code": "invalid_json_line", "line": number, "message": str(error), "param": None})
            continue
        code = "duplicate_custom_id" if line.custom_id in seen else None
        code = "mismatched_endpoint" if line.url != endpoint else code
        if code:
            errors.append({"code": code, "line": number, "message": f"Line {number} is refused.", "param": None})
        seen.add(line.custom_id)
        lines.append(line)
    if not lines and not errors:
        errors.append({"code": "empty_file", "line": None, "message": "The file is empty.", "param": None})
    return lines, errors


def _advance(job: FileJob, request: Request, state: State) -> dict[str, Any]:
    """Bring the batch to where it is by now."""
    batch, now = job.batch, int(time.time())
    if batch["status"] in {"validating", "in_progress", "cancelling"}:
        batch["request_counts"] = {"total": len(job.lines), "completed": 0, "failed": 0}
        if batch["status"] != "cancelling":
            batch |= {"status": "in_progress", "in_progress_at": batch["in_progress_at"] or now}
        if job.is_over(state.chaos):
            _complete(job, request, state)
    return batch


def _complete(job: FileJob, request: Request, state: State) -> None:
    batch, now = job.batch, int(time.time())
    good: list[bytes] = []
    bad: list[bytes] = []
    fates: list[Fate] = [job.find_fate(bytes(line.body)) for line in job.lines]
    for line, fate in zip(job.lines, fates, strict=True):
        if fate == "omit":
            continue
        done = {"id": state.new_id("batch_req_"), "custom_id": line.custom_id}
        answer = _build_answer(line, fate, request, state)
        fine = answer["response"] is not None and answer["response"]["status_code"] == 200
        (good if fine else bad).append(msgspec.json.encode(done | answer) + b"\n")
    for field, lines in (("output_file_id", good), ("error_file_id", bad)):
        if lines:
            name = f"{batch['id']}_{field.removesuffix('_file_id')}.jsonl"
            batch[field] = store_file(state, name, "batch_output", b"".join(lines))["id"]
    counts = {"total": len(job.lines), "completed": len(good), "failed": len(bad)}
    status = "cancelled" if job.stopped_at is not None else "expired" if "expire" in fates else "completed"
    batch |= {"status": status, "finalizing_at": now, f"{status}_at": now, "request_counts": counts}


def _build_answer(line: Line, fate: Fate, request: Request, state: State) -> dict[str, Any]:
    """Return what a line of the results says beside the name of its request."""
    if fate in _UNDONE:
        code, message = _UNDONE[fate]
        return {"response": None, "error": {"code": code, "message": message}}
    if fate == "fail":
        error = MockError("The mock fails on purpose.", status=500)
        status, body = 500, build_openai_error(error)
    else:
        status, body = _answer(line, request, state)
    response = {"status_code": status, "request_id": state.new_id("req_"), "body": body}
    return {"response": response, "error": None}


def _answer(line: Line, request: Request, state: State) -> tuple[int, msgspec.Raw | dict[str, Any]]:
    inner = msgspec.structs.replace(request, method="POST", path=line.url, body=bytes(line.body), vendor=Vendor.OPENAI)
    try:
        return 200, msgspec.Raw(ENDPOINTS[line.url](inner, state).body)
    except MockError as error:
        return error.status, build_openai_error(error)


def _find_job(request: Request, state: State) -> FileJob:
    key = request.get_segment(2)
    if key not in state.batches:
        raise MockError(f"No batch found with id '{key}'.", status=404, kind="not_found")
    return state.batches[key]


def get(request: Request, state: State) -> Reply:
    """Answer GET /v1/batches/{id}."""
    return build_json(_advance(_find_job(request, state), request, state))


def list_batches(request: Request, state: State) -> Reply:
    """Answer GET /v1/batches, newest first."""
    ids, has_more = paginate(list(reversed(state.batches)), request)
    batches = [_advance(state.batches[key], request, state) for key in ids]
    return build_json(build_page(batches, has_more))


def cancel(request: Request, state: State) -> Reply:
    """Answer POST /v1/batches/{id}/cancel."""
    job = _find_job(request, state)
    batch = _advance(job, request, state)
    if batch["status"] not in {"validating", "in_progress"}:
        raise MockError(f"Cannot cancel a batch with status '{batch['status']}'.", status=409)
    job.stopped_at = time.time()
    batch |= {"status": "cancelling", "cancelling_at": int(job.stopped_at)}
    return build_json(batch)
