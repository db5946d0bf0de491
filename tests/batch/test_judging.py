"""What becomes of a request after a call, as a table."""

import pytest

from app.analytics.types import RequestRow
from app.batch.judging import STALE_SECONDS, judge
from app.catalog.types import BatchConfig
from app.gateway.inner import InsideAnswer
from app.wire.http import Headers
from app.wire.ids import make_uuid7

QUOTA = b'{"error":{"message":"no more","type":"insufficient_quota","code":"insufficient_quota"}}'
CONFIG = BatchConfig(max_tries=4)


def answer(status: int, *, attempts: int = 1, error: str | None = None, headers: Headers = (), body: bytes = b"{}"):
    """Return what a call came to."""
    row = RequestRow(id=make_uuid7(), request_id="r", request_time=0, response_time=0, attempts=attempts)
    row.error_type = error
    return InsideAnswer(status=status, headers=list(headers), body=body, row=row)


CASES = [
    ("an answer", answer(200), 0, ("done", 0.0)),
    ("bad input", answer(400), 0, ("done", 0.0)),
    ("not found", answer(404), 0, ("done", 0.0)),
    ("budget", answer(402, attempts=0), 0, ("done", 0.0)),
    ("key refused", answer(401, attempts=0), 0, ("again", STALE_SECONDS)),
    ("key refused again", answer(401, attempts=0), 1, ("done", 0.0)),
    ("provider unknown", answer(404, attempts=0), 0, ("again", STALE_SECONDS)),
    ("nothing kept", answer(504, attempts=0, error="cache_miss"), 0, ("done", 0.0)),
    ("our own credential", answer(502, error="upstream_credentials_exhausted"), 0, ("done", 0.0)),
    ("a redirect", answer(502, error="upstream_redirect"), 0, ("done", 0.0)),
    ("no money at the provider", answer(429, body=QUOTA), 0, ("done", 0.0)),
    ("first failure", answer(500), 0, ("again", 1.0)),
    ("second failure", answer(503), 1, ("again", 2.0)),
    ("third failure", answer(504), 2, ("again", 4.0)),
    ("fourth failure", answer(500), 3, ("done", 0.0)),
    ("overloaded", answer(529), 0, ("again", 1.0)),
    ("asked to wait", answer(429, headers=[(b"retry-after", b"7")]), 0, ("again", 7.0)),
    ("too many, for the fifth time", answer(429), 4, ("again", 15.0)),
    ("too many, for the eighth time", answer(429), 7, ("done", 0.0)),
    ("our limit", answer(429, attempts=0, headers=[(b"retry-after", b"3")]), 3, ("not_now", 3.0)),
    ("our database", answer(503, attempts=0, headers=[(b"retry-after", b"1")]), 3, ("not_now", 1.0)),
    ("our limit for ever", answer(429, attempts=0), 100, ("not_now", 1.0)),
]


@pytest.mark.parametrize(
    ("outcome", "tries", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_table(outcome, tries, expected):
    """What may pass is tried again with growing waits, four times in all; what will not pass is the result."""
    assert judge(outcome, tries, CONFIG) == expected
