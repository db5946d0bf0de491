"""Signatures for Bedrock: AWS's published vectors, and botocore's own result for the same request."""

from datetime import UTC, datetime, timedelta, timezone

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.translation.bedrock import BEDROCK_CONVERSE
from app.translation.bedrock_sign import AccessKey, BearerKey, sign

# The credentials and the time of AWS's signature test suite.
SUITE_KEY = AccessKey(
    access_key="AKIDEXAMPLE",
    secret_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    region="us-east-1",
    service="service",
)
SUITE_TIME = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
SUITE_URL = "https://example.amazonaws.com/"
HOST = "https://bedrock-runtime.us-east-1.amazonaws.com"
ARN = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/a.b-v1:0"
HEADERS = [(b"content-type", b"application/json"), (b"accept", b"*/*"), (b"user-agent", b"x")]
KEY = AccessKey(access_key="AKIA", secret_key="s/e+c", region="eu-west-1", session_token="t/o+k=")


def find(headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    (value,) = [value for key, value in headers if key == name]
    return value.decode()


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "signature"),
    [
        # get-vanilla, post-vanilla and post-x-www-form-urlencoded of the suite
        ("GET", SUITE_URL, [], b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", SUITE_URL, [], b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "POST",
            SUITE_URL,
            [(b"Content-Type", b"application/x-www-form-urlencoded")],
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
)  # fmt: skip
def test_the_published_vectors_come_out(
    method: str, url: str, headers: list[tuple[bytes, bytes]], body: bytes, signature: str
) -> None:
    """AWS's signature test suite is met to the letter."""
    signed = find(sign(method, url, headers, body, SUITE_KEY, SUITE_TIME), b"authorization")
    assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, ")
    assert signed.endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (HOST + "/model/a/converse", b"{}"),
        (HOST + "/model/a/converse", b""),
        (HOST + BEDROCK_CONVERSE.path(ARN, True), b"x" * 5000),
        (HOST + BEDROCK_CONVERSE.path("../é ;%2e", False), "é".encode()),
        ("http://127.0.0.1:4010/model/a/invoke?b=1&a=%20", b"{}"),
    ],
)
def test_a_signature_is_botocores_own(monkeypatch: pytest.MonkeyPatch, url: str, body: bytes) -> None:
    """Botocore's `add_auth` at the same moment writes the same lines, for paths with ARNs as well."""
    at = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: at.replace(tzinfo=None))
    request = AWSRequest(method="POST", url=url, headers={"content-type": "application/json"}, data=body)
    credentials = Credentials(KEY.access_key, KEY.secret_key, KEY.session_token)
    botocore.auth.SigV4Auth(credentials, "bedrock", KEY.region).add_auth(request)
    signed = sign("POST", url, HEADERS, body, KEY, at)
    assert find(signed, b"authorization") == request.headers["Authorization"]
    assert find(signed, b"x-amz-date") == request.headers["X-Amz-Date"] == "20260304T050607Z"
    assert find(signed, b"x-amz-security-token") == request.headers["X-Amz-Security-Token"] == KEY.session_token
    assert signed[: len(HEADERS)] == HEADERS


def test_lines_that_change_on_the_way_are_not_signed() -> None:
    """Only the host, the type of the body and AWS's own lines are part of the signature."""
    signed = sign(
        "POST", HOST + "/model/a/invoke", [*HEADERS, (b"X-Amzn-Bedrock-Trace", b"ENABLED")], b"", KEY, SUITE_TIME
    )
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, " in find(signed, b"authorization")
    signed = sign(
        "POST", HOST + "/model/a/invoke", [(b"X-Amz-Target", b"a"), (b"Host", b"other.test")], b"", KEY, SUITE_TIME
    )
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token;x-amz-target, " in find(signed, b"authorization")


def test_a_clients_own_proof_is_replaced() -> None:
    """A credential or a date that a client sent never goes along with ours."""
    theirs = [
        (b"Authorization", b"Bearer rk-1"),
        (b"X-Amz-Date", b"1"),
        (b"x-amz-security-token", b"2"),
        (b"date", b"3"),
    ]
    plain = sign("POST", HOST + "/model/a/invoke", [], b"", KEY, SUITE_TIME)
    assert sign("POST", HOST + "/model/a/invoke", theirs, b"", KEY, SUITE_TIME) == plain
    bearer = sign("POST", HOST, theirs, b"", BearerKey(token="abc"), SUITE_TIME)
    assert bearer == [(b"authorization", b"Bearer abc")]


def test_a_signature_depends_on_nothing_but_its_arguments() -> None:
    """The same request at the same moment, in whatever time zone it is told, has the same signature."""
    later = SUITE_TIME.astimezone(timezone(timedelta(hours=5)))
    lines = [sign("POST", HOST + "/model/a/invoke", HEADERS, b"{}", SUITE_KEY, at) for at in (SUITE_TIME, later)]
    assert lines[0] == lines[1]
    assert b"x-amz-security-token" not in dict(lines[0])
    assert sign("POST", HOST + "/model/a/invoke", HEADERS, b"{ }", SUITE_KEY, SUITE_TIME) != lines[0]
