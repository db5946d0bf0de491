"""What a provider's refusal means for the client, as a table."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Dialect
from app.providers.failure import find_message, judge

OPEN, ANTHRO = Dialect.OPENAI, Dialect.ANTHROPIC
GOOD = b'{"error":{"message":"Too long."}}'
PLAIN = b"Bad things"

TABLE = [
    # status, body, dialect, our key, status for the client, error of ours (None: the provider's bytes)
    (400, GOOD, OPEN, True, 400, None),
    (403, b'{"error":{"message":"Model not allowed in your region."}}', OPEN, True, 403, None),
    (404, GOOD, ANTHRO, True, 404, None),
    (429, GOOD, OPEN, True, 429, None),
    (500, GOOD, OPEN, True, 500, None),
    (529, GOOD, ANTHRO, True, 529, None),
    (418, GOOD, OPEN, True, 418, None),
    (401, GOOD, OPEN, True, 502, "upstream_credentials_exhausted"),
    (402, GOOD, OPEN, True, 502, "upstream_credentials_exhausted"),
    (403, b'{"error":{"message":"Invalid API key."}}', OPEN, True, 502, "upstream_credentials_exhausted"),
    (401, PLAIN, ANTHRO, True, 502, "upstream_credentials_exhausted"),
    (401, GOOD, OPEN, False, 401, None),
    (402, GOOD, ANTHRO, False, 402, None),
    (403, b'{"error":{"message":"Invalid API key."}}', OPEN, False, 403, None),
    (529, GOOD, OPEN, True, 503, "upstream_overloaded"),
    (301, b"", OPEN, True, 502, "upstream_redirect"),
    (307, GOOD, ANTHRO, True, 502, "upstream_redirect"),
    (400, PLAIN, OPEN, True, 400, "upstream_refused"),
    (404, b"<html>", ANTHRO, True, 404, "upstream_refused"),
    (422, b'{"detail":"wrong"}', OPEN, True, 422, "upstream_refused"),
    (500, PLAIN, OPEN, True, 500, "upstream_error"),
    (503, b"", ANTHRO, True, 503, "upstream_error"),
    (507, PLAIN, OPEN, True, 502, "upstream_error"),
    (400, b'{"error":null}', OPEN, True, 400, "upstream_refused"),
]


@pytest.mark.parametrize(("status", "body", "dialect", "ours", "shown", "code"), TABLE)
def test_verdicts(status, body, dialect, ours, shown, code):
    """What has an error in it passes as it is; what has none gets a shape; our own credential's trouble stays ours."""
    verdict = judge(status, body, dialect, own_key=ours)
    assert verdict.status == shown
    assert (verdict.error.code if verdict.error else None) == code


@pytest.mark.parametrize("status", [401, 402, 403])
def test_our_key_is_never_quoted(status):
    """The text of a refusal of our own credential does not reach the client."""
    body = b'{"error":{"message":"Incorrect API key provided: sk-secret."}}'
    assert "sk-secret" not in judge(status, body, OPEN, own_key=True).error.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"a"}}', "a"),
        (b'{"error":"a"}', "a"),
        (b'{"message":"a"}', "a"),
        (b'{"detail":"a"}', "a"),
        (b'{"error":{"message":null},"detail":"b"}', "b"),
        (b'{"error":{"message":5},"message":"b"}', "b"),
        (b'{"detail":[{"loc":["a"]}]}', None),
        (b"[]", None),
        (b"\xff", None),
        (b'{"error":"\xff"}', None),
        (b"[" * 9999, None),
        (b'{"error":' + b"[" * 9999, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_messages(body, message):
    """The human text is found in the usual shapes, and nothing fails for its absence."""
    assert find_message(body) == message


def test_long_messages_are_cut():
    """A message of a provider is not passed on at any length."""
    assert len(find_message(json.dumps({"message": "x" * 9999}).encode())) == 2000


@given(st.integers(300, 599), st.binary(max_size=80), st.sampled_from([OPEN, ANTHRO]), st.booleans())
def test_any_bytes_have_a_verdict(status, body, dialect, ours):
    """Whatever a provider sends, the verdict is an answer with an error status."""
    verdict = judge(status, body, dialect, own_key=ours)
    assert 400 <= verdict.status < 600
    assert verdict.error is None or verdict.error.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (403, "permission_error"),
        (529, "overloaded_error"),
    ],
)
def test_the_shape_we_give_has_the_right_type(status, kind):
    """A refusal without a shape gets Anthropic's type for its status."""
    assert judge(status, b"?", ANTHRO, own_key=True).error.anthropic_type == kind
