"""What a failed attempt means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamFailure
from app.routing.failure import Kind, find_wait, judge_answer, judge_break


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, b'{"error":{"type":"rate_limit_error","message":"slow"}}', Kind.RATE_LIMITED),
        (429, b'{"error":{"code":"insufficient_quota"}}', Kind.CREDENTIAL),
        (429, b'{"error":{"type":"enforced_spend_limit_reached"}}', Kind.CREDENTIAL),
        (402, b"{}", Kind.CREDENTIAL),
        (401, b"<html>", Kind.CREDENTIAL),
        (403, b'{"error":{"message":"your API key may not"}}', Kind.CREDENTIAL),
        (403, b'{"error":{"message":"country not supported"}}', Kind.CALLER),
        (529, b'{"error":{"type":"overloaded_error"}}', Kind.OVERLOADED),
        (503, b"", Kind.OVERLOADED),
        (500, b"oops", Kind.SERVER),
        (408, b"{}", Kind.SERVER),
        (409, b"{}", Kind.SERVER),
        (302, b"", Kind.SERVER),
        (400, b'{"error":{"code":"context_length_exceeded"}}', Kind.CONTEXT_WINDOW),
        (400, b'{"error":{"message":"prompt is too long: 210000 tokens > 200000"}}', Kind.CONTEXT_WINDOW),
        (413, b"{}", Kind.CONTEXT_WINDOW),
        (400, b'{"error":{"code":"content_filter"}}', Kind.CONTENT_POLICY),
        (400, b'{"error":"bad"}', Kind.CALLER),
        (404, b"\xff\xfe", Kind.CALLER),
        (422, b"[[[", Kind.CALLER),
    ],
)
def test_each_refusal_has_one_meaning(status: int, body: bytes, kind: Kind) -> None:
    """Status and body of a refusal decide what comes next."""
    assert judge_answer(status, [], body).kind is kind


@given(st.integers(300, 599), st.binary())
def test_no_bytes_break_the_judge(status: int, body: bytes) -> None:
    """Whatever a provider answers has a meaning."""
    assert judge_answer(status, [], body).kind in Kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"retry-after", b"2")], 2.0),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"2")], 0.25),
        ([(b"retry-after", b"1.5")], 1.5),
        ([(b"retry-after", b"99999")], 120.0),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after-ms", b"x"), (b"retry-after", b"3")], 3.0),
    ],
)
def test_the_wait_is_read_in_each_form(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    """Milliseconds win over seconds, nonsense is no wait, and a huge wait is cut to two minutes."""
    assert find_wait(headers) == seconds


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [("connect_timeout", Kind.TIMEOUT), ("connect", Kind.CONNECTION), ("disconnected", Kind.CONNECTION)],
)
def test_a_broken_exchange_has_a_meaning(kind: str, meaning: Kind) -> None:
    """Timeouts are told from broken connections."""
    assert judge_break(UpstreamFailure(kind, "")).kind is meaning
