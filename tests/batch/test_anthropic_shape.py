"""Message batches in Anthropic's words: its own types read them."""

import json
from datetime import timedelta
from typing import Any

import pytest
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse

from app.batch.reading import UnfitRequestError
from app.batch.types import Counts, Outcome, State
from app.batch.vendors.anthropic_shape import (
    build_batch,
    build_page,
    check_head,
    find_id,
    read_item,
    write_id,
    write_line,
)
from app.errors import BadRequestError
from tests.batch.test_openai_shape import ID, NOW, make_batch, make_result

BASE = b"http://gateway/anthropic/v1"
MESSAGE = (
    b'{"id":"m","type":"message","role":"assistant","model":"x","content":[],"stop_reason":"end_turn",\n'
    b'"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}'
)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("validating", "in_progress"),
        ("queued", "in_progress"),
        ("processing", "in_progress"),
        ("cancelling", "canceling"),
        ("completed", "ended"),
        ("cancelled", "ended"),
        ("expired", "ended"),
        ("failed", "ended"),
    ],
)
def test_states(state: State, status: str) -> None:
    """Each state has Anthropic's word for it; the results have an address once there is an end."""
    shown = MessageBatch.model_validate(build_batch(make_batch(state), BASE))
    assert (shown.processing_status, shown.type) == (status, "message_batch")
    ended = status == "ended"
    assert shown.results_url == (f"{BASE.decode()}/messages/batches/{write_id(ID)}/results" if ended else None)
    assert shown.ended_at == (NOW + timedelta(seconds=9) if ended else None)
    assert shown.created_at == NOW
    assert build_batch(make_batch(state), BASE)["created_at"] == "2026-07-01T12:00:00Z"


def test_counts() -> None:
    """They add up to the number of requests."""
    counts = Counts(total=20, succeeded=4, errored=3, cancelled=2, expired=1)
    shown = build_batch(make_batch("cancelling", counts=counts, cancel_asked_at=NOW), BASE)
    assert shown["request_counts"] == {"processing": 10, "succeeded": 4, "errored": 3, "canceled": 2, "expired": 1}
    assert shown["cancel_initiated_at"] == "2026-07-01T12:00:00Z"


def test_pages() -> None:
    """A page names its ends."""
    assert build_page([], more=False) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert build_page([{"id": "a"}, {"id": "b"}], more=True)["first_id"] == "a"


@pytest.mark.parametrize("text", ["", "msgbatch_", "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d", f"msgbatch_{ID}", ID.hex])
def test_ids(text: str) -> None:
    """An id leads back to its batch; what is none of ours leads nowhere."""
    assert find_id(text) is None
    assert find_id(write_id(ID)) == ID


@pytest.mark.parametrize(
    ("outcome", "body", "kind", "error"),
    [
        ("succeeded", MESSAGE, "succeeded", None),
        (
            "errored",
            b'{"type":"error",\n"error":{"type":"rate_limit_error","message":"slow"},"request_id":"r"}',
            "errored",
            ("rate_limit_error", "slow"),
        ),
        ("parked", b'{"error":{"message":"parked","type":"api_error"}}', "errored", ("api_error", "parked")),
        ("errored", b"<html>", "errored", ("api_error", "The request failed.")),
        ("errored", b"", "errored", ("api_error", "The request failed.")),
        ("cancelled", b"", "canceled", None),
        ("expired", b"", "expired", None),
    ],
)
def test_lines(outcome: Outcome, body: bytes, kind: str, error: tuple[str, str] | None) -> None:
    """A line is one line of JSON that the SDK reads."""
    line = write_line(make_result(outcome, body))
    assert line.count(b"\n") == 1
    read: Any = MessageBatchIndividualResponse.model_validate_json(line)
    assert (read.custom_id, read.result.type) == ("a", kind)
    if error is not None:
        assert (read.result.error.error.type, read.result.error.error.message) == error
    if kind == "succeeded":
        assert read.result.message.stop_reason == "end_turn"


def test_requests() -> None:
    """A request is a call with the bytes of its params."""
    item = read_item(b'{"custom_id":"a-1","params":{"model":"m","n":9007199254740993}}', 0, "/v1/x/v1/messages")
    assert (item.custom_id, item.path, item.body) == ("a-1", "/v1/x/v1/messages", b'{"model":"m","n":9007199254740993}')


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"custom_id":"","params":{}}',
        b'{"custom_id":"a b","params":{}}',
        b'{"custom_id":"a\\n","params":{}}',
        b'{"custom_id":5,"params":{}}',
        b'{"custom_id":"a","params":[]}',
        b'{"custom_id":"a","params":null}',
        b'{"custom_id":"a","params":{}',
    ],
)
def test_requests_that_are_none(data: bytes) -> None:
    """They are refused, naming which."""
    with pytest.raises(UnfitRequestError, match=r"^requests\.3"):
        read_item(data, 3, "/v1/messages")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"requests":5}', b'{"requests":[]'])
def test_heads_that_are_none(data: bytes) -> None:
    """A body without a list of requests is a 400."""
    with pytest.raises(BadRequestError):
        check_head(data, 1)


def test_heads() -> None:
    """A body has a list, and something in it."""
    check_head(json.dumps({"requests": [], "else": 1}).encode(), 1)
    with pytest.raises(BadRequestError, match="at least one"):
        check_head(b'{"requests":[]}', 0)
