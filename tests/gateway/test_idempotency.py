"""What becomes of an Idempotency-Key when its call has ended, one way or another."""

import uuid

import pytest

from app.analytics.types import RequestRow
from app.cache.idempotent import MAX_KEPT_BYTES, IdempotentCalls, Replay
from app.cache.idempotent_store import Started
from app.errors import RelayError
from app.gateway.idempotency import Capture, judge_outcome

pytestmark = pytest.mark.anyio

OUTCOMES = [
    # what the client was sent, tries at providers, what went wrong -> what becomes of the key
    (200, 1, None, "keep"),
    (200, 0, None, "keep"),
    (200, 2, "upstream_disconnected", "keep"),
    (400, 1, "upstream_refused", "keep"),
    (404, 1, "upstream_refused", "keep"),
    (500, 3, "upstream_refused", "keep"),
    (502, 1, "upstream_invalid_answer", "keep"),
    (502, 1, "upstream_disconnected", "keep"),
    (504, 1, "upstream_timeout", "keep"),
    (429, 1, "upstream_refused", "free"),
    (503, 2, "upstream_overloaded", "free"),
    (529, 1, "upstream_overloaded", "free"),
    (502, 1, "upstream_connect", "free"),
    (502, 3, "upstream_tls", "free"),
    (400, 0, "invalid_request_error", "free"),
    (402, 0, "budget_exceeded", "free"),
    (429, 0, "rate_limit_exceeded", "free"),
    (503, 0, "gateway_stopping", "free"),
    (500, 0, "internal_error", "free"),
    (503, 1, "gateway_stopping", "lose"),
    (500, 1, "internal_error", "lose"),
    (None, 1, "client_left", "lose"),
    (None, 0, "client_left", "free"),
]


@pytest.mark.parametrize(("status", "attempts", "error", "outcome"), OUTCOMES)
async def test_what_becomes_of_a_key(status, attempts, error, outcome):
    """What a provider made of a call is kept; what none took leaves the key free; what broke off is unknown."""
    assert judge_outcome(status, attempts, error) == outcome


@pytest.fixture
def row():
    one = uuid.uuid4()
    return RequestRow(id=one, request_id=str(one), request_time=0.0, response_time=0.0, attempts=1)


@pytest.fixture
async def calls(database_url):
    calls = IdempotentCalls(database_url, uuid.uuid4())
    yield calls
    await calls.close()


async def open_capture(calls, row):
    return Capture(calls, await calls.begin(b"scope", "key", b"body", row.request_id), row)


async def find_ending(calls):
    """Return what the key stands for now: an answer, the code of a refusal, or nothing."""
    try:
        found = await calls.begin(b"scope", "key", b"body", "again")
    except RelayError as error:
        return error.code
    return None if isinstance(found, Started) else found


async def test_the_answer_is_kept_without_what_is_about_the_request(calls, row):
    """Of the header lines only those about the answer are kept, and the body in one piece; the first end counts."""
    capture = await open_capture(calls, row)
    capture.begin(200, [(b"content-type", b"text/plain"), (b"x-request-id", b"1"), (b"set-cookie", b"a")])
    capture.add(b"one ")
    capture.add(b"two")
    await capture.end()
    await capture.break_off()
    kept = [(b"content-type", b"text/plain")]
    assert await find_ending(calls) == Replay(status=200, headers=kept, body=b"one two", request_id=row.request_id)


async def test_a_large_answer_is_let_go_of(calls, row):
    """An answer that grows beyond the bound is not kept."""
    capture = await open_capture(calls, row)
    capture.begin(200, [])
    for _ in range(5):
        capture.add(bytes(MAX_KEPT_BYTES // 4))
    await capture.end()
    assert await find_ending(calls) == "idempotency_answer_not_kept"


@pytest.mark.parametrize(
    ("attempts", "begun", "ending"),
    [
        (0, False, None),
        (1, False, "idempotency_outcome_unknown"),
        (1, True, "idempotency_outcome_unknown"),
        (0, True, "idempotency_outcome_unknown"),
    ],
)
async def test_a_call_without_an_end(calls, row, attempts, begun, ending):
    """A call that broke off before its answer's end is unknown, unless nothing was sent in either direction."""
    capture = await open_capture(calls, row)
    row.attempts = attempts
    if begun:
        capture.begin(200, [])
    await capture.break_off()
    assert await find_ending(calls) == ending
