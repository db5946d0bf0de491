"""Files and batches in OpenAI's words: its own types read them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from openai.types import Batch as OpenAIBatch
from openai.types import FileObject

from app.batch.types import SPAN_SECONDS, Batch, Counts, Outcome, Result, State
from app.batch.vendors.file_store import File, Usage
from app.batch.vendors.openai_shape import (
    LINE_SIZES,
    build_batch,
    build_file,
    build_page,
    find_batch_id,
    find_file_id,
    read_create,
    read_expiry,
    read_window,
    write_batch_id,
    write_file_id,
    write_line,
    write_window,
)
from app.errors import BadRequestError

ID = UUID("01a224b0-f4e0-7629-8101-3796435d5c77")
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
GOOD = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}


def make_batch(state: State = "completed", **changes: Any) -> Batch:
    """Return a batch."""
    over = state in {"completed", "failed", "cancelled", "expired"}
    values: dict[str, Any] = {
        "id": ID,
        "shape": "openai",
        "user_id": ID,
        "api_key_id": None,
        "path": "/v1/chat/completions",
        "provider": None,
        "model": None,
        "state": state,
        "counts": Counts(total=9, succeeded=4, errored=2, cancelled=1, expired=1),
        "input_file_id": ID,
        "metadata": {"a": "b"},
        "errors": None,
        "created_at": NOW,
        "deadline_at": None,
        "expires_at": NOW + timedelta(days=1),
        "started_at": NOW + timedelta(seconds=1),
        "cancel_asked_at": None,
        "finished_at": NOW + timedelta(seconds=9) if over else None,
    }
    return Batch(**{**values, **changes})


def make_result(outcome: Outcome = "succeeded", body: bytes = b"{}", **changes: Any) -> Result:
    """Return a result."""
    values: dict[str, Any] = {
        "position": 7,
        "custom_id": "a",
        "outcome": outcome,
        "status_code": 200 if outcome == "succeeded" else 400 if outcome == "errored" else None,
        "code": None,
        "body": body,
        "request_id": ID,
        "native": False,
        "cost_usd": None,
        "saved_usd": None,
        "finished_at": NOW,
    }
    return Result(**{**values, **changes})


@pytest.mark.parametrize(
    ("state", "status", "ended"),
    [
        ("validating", "validating", None),
        ("queued", "in_progress", None),
        ("processing", "in_progress", None),
        ("cancelling", "cancelling", None),
        ("completed", "completed", "completed_at"),
        ("failed", "failed", "failed_at"),
        ("cancelled", "cancelled", "cancelled_at"),
        ("expired", "expired", "expired_at"),
    ],
)
def test_states(state: State, status: str, ended: str | None) -> None:
    """Each state has OpenAI's word for it, and the time of its end stands where the SDK looks."""
    batch = OpenAIBatch.model_validate(build_batch(make_batch(state), frozenset(), None), strict=True)
    assert batch.status == status
    times = {name: getattr(batch, name) for name in ("completed_at", "failed_at", "cancelled_at", "expired_at")}
    assert times == {name: int(NOW.timestamp()) + 9 if name == ended else None for name in times}
    assert (batch.in_progress_at, batch.expires_at) == (int(NOW.timestamp()) + 1, int(NOW.timestamp()) + 86_400)


def test_what_a_batch_came_to() -> None:
    """Counts, files, use and errors are where the SDK looks for them."""
    usage = Usage(10, 4, 20, 5)
    shown = build_batch(make_batch(), frozenset({"output", "error"}), usage)
    batch = OpenAIBatch.model_validate(shown, strict=True)
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 9, "completed": 4, "failed": 4}
    assert (batch.output_file_id, batch.error_file_id) == (f"file-{ID.hex}-output", f"file-{ID.hex}-error")
    assert batch.usage is not None
    assert (batch.usage.total_tokens, batch.usage.input_tokens_details.cached_tokens) == (30, 4)
    error = {"code": "invalid_json_line", "message": "m", "param": None, "line": 3}
    failed = OpenAIBatch.model_validate(build_batch(make_batch("failed", errors=[error]), frozenset(), None))
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert failed.errors.data[0].line == 3
    assert (failed.output_file_id, failed.usage) == (None, None)
    assert build_batch(make_batch("processing"), frozenset(), usage)["usage"] is None


@pytest.mark.parametrize(
    ("seconds", "asked", "window"),
    [(86_400, False, "24h"), (86_400, True, "24h"), (3600, True, "1h"), (5400, True, "90m"), (61, True, "61s")],
)
def test_windows(seconds: int, asked: bool, window: str) -> None:
    """What a batch may take is told in hours where it can be, and read back as the same."""
    expires_at = NOW + timedelta(seconds=seconds)
    assert write_window(make_batch(expires_at=expires_at, deadline_at=expires_at if asked else None)) == window
    assert read_window(window, "", NOW) == (float(seconds), window != "24h")


def test_a_header_goes_before_the_window() -> None:
    """A deadline in our header is what counts."""
    assert read_window("24h", "90s", NOW) == (90.0, True)
    assert read_window("24h", "", NOW) == (SPAN_SECONDS, False)
    with pytest.raises(BadRequestError) as caught:
        read_window("24h", "soon", NOW)
    assert caught.value.param == "x-relay-deadline"


@pytest.mark.parametrize("kind", ["input", "output", "error"])
def test_file_ids(kind: str) -> None:
    """An id leads back to what it was made from."""
    assert find_file_id(write_file_id(ID, kind)) == (ID, kind)


@pytest.mark.parametrize(
    "text", ["", "file-", "file-6F2ksmvXxt4VdoqmHRw6kL", f"file-{ID}", f"file-{ID.hex}-x", f"file-{ID.hex}\n", ID.hex]
)
def test_ids_of_others(text: str) -> None:
    """What is none of our ids is nothing of ours."""
    assert find_file_id(text) is None
    assert find_batch_id(text.replace("file-", "batch_")) is None
    assert find_batch_id(write_batch_id(ID)) == ID


def test_files() -> None:
    """The SDK's own type reads a file; what has no name is called by its batch."""
    file = File(id=ID, kind="input", filename="a.jsonl", purpose="batch", size=5, created_at=NOW)
    shown = FileObject.model_validate(build_file(file, 30), strict=True)
    assert (shown.bytes, shown.filename, shown.expires_at) == (5, "a.jsonl", int(NOW.timestamp()) + 30 * 86_400)
    output = File(id=ID, kind="output", filename="", purpose="batch_output", size=5, created_at=NOW, expires_at=NOW)
    shown = FileObject.model_validate(build_file(output, 30), strict=True)
    assert (shown.id, shown.filename) == (f"file-{ID.hex}-output", f"batch_{ID.hex}_output.jsonl")
    assert shown.expires_at == int(NOW.timestamp())


def test_pages() -> None:
    """A page names its ends."""
    assert build_page([], more=False) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    assert build_page([{"id": "a"}, {"id": "b"}], more=True)["last_id"] == "b"


def measure(result: Result) -> int:
    """Return how long the database says that a line is (app/batch/vendors/file_store.py)."""
    custom = len(json.dumps(result.custom_id, ensure_ascii=False).encode())
    if result.outcome in {"cancelled", "expired"}:
        return LINE_SIZES[result.outcome] + custom
    request_id = 4 if result.request_id is None else 38
    return LINE_SIZES["answered"] + custom + len(str(result.status_code)) + request_id + len(result.body)


@pytest.mark.parametrize(
    ("result", "response", "error"),
    [
        (make_result(), {"status_code": 200, "request_id": str(ID), "body": {}}, None),
        (
            make_result("errored", b'{\r\n "error": {"message":"a\\nb"}\n}\n', request_id=None),
            {"status_code": 400, "request_id": None, "body": {"error": {"message": "a\nb"}}},
            None,
        ),
        (make_result("cancelled", b""), None, "batch_cancelled"),
        (make_result("expired", b"", custom_id='"\u00e9\\\t'), None, "batch_expired"),
        (make_result("parked", status_code=500), {"status_code": 500, "request_id": str(ID), "body": {}}, None),
    ],
)
def test_lines(result: Result, response: Any, error: str | None) -> None:
    """A line is one line of JSON, as long as it is said to be."""
    line = write_line(result, ID)
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    read = json.loads(line)
    assert (read["custom_id"], read["response"]) == (result.custom_id, response)
    assert (read["error"] or {}).get("code") == error
    assert read["id"] == f"batch_req_{ID.hex}00000007"
    assert len(line) == measure(result)


@pytest.mark.parametrize("body", [b"<html>\n</html>", b"\xff", b'{"a":', b""])
def test_answers_that_are_no_json(body: bytes) -> None:
    """They are in a line all the same."""
    read = json.loads(write_line(make_result("errored", body), ID))
    assert read["response"]["body"]


def test_big_numbers_stay() -> None:
    """An answer keeps the bytes that it has."""
    assert b'{"n":9007199254740993,"x": 1.10}' in write_line(make_result(body=b'{"n":9007199254740993,"x": 1.10}'), ID)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_file_id": 5}, "input_file_id"),
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"endpoint": "https://example.org/v1/chat/completions"}, "endpoint"),
        ({"metadata": {"a": 5}}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"x" * 65: "a"}}, "metadata"),
    ],
)
def test_what_cannot_be_read(change: dict[str, Any], param: str) -> None:
    """The field that does not fit is named."""
    with pytest.raises(BadRequestError) as caught:
        read_create(json.dumps({**GOOD, **change}).encode())
    assert str(caught.value.param).startswith(param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 5000, b"{}"])
def test_bodies_that_are_none(body: bytes) -> None:
    """What is no such object is a 400."""
    with pytest.raises(BadRequestError):
        read_create(body)


def test_unknown_fields_pass() -> None:
    """What OpenAI adds is no reason to refuse."""
    assert read_create(json.dumps({**GOOD, "output_expires_after": {}}).encode()).metadata is None


@pytest.mark.parametrize(
    ("anchor", "seconds", "expected"),
    [(None, None, None), ("created_at", "3600", 3600.0), ("created_at", "2592000", 2_592_000.0)],
)
def test_expiries(anchor: str | None, seconds: str | None, expected: float | None) -> None:
    """A form says how long its file is kept."""
    fields = {"expires_after[anchor]": anchor, "expires_after[seconds]": seconds}
    assert read_expiry({name: value for name, value in fields.items() if value is not None}) == expected


@pytest.mark.parametrize(
    ("anchor", "seconds"),
    [("created_at", "5"), ("created_at", "2592001"), ("created_at", "x"), ("created_at", None), (None, "3600")],
)
def test_expiries_that_cannot_be(anchor: str | None, seconds: str | None) -> None:
    """OpenAI's bounds hold."""
    fields = {"expires_after[anchor]": anchor, "expires_after[seconds]": seconds}
    with pytest.raises(BadRequestError):
        read_expiry({name: value for name, value in fields.items() if value is not None})
