"""Header lines up and back, as tables."""

import pytest

from app.errors import Dialect
from app.gateway.headers import (
    brings_own_key,
    build_upstream_headers,
    comes_back,
    goes_up,
)
from app.gateway.options import read_sent
from tests.gateway.builders import ANTHROPIC, LOCAL, OPENAI

OPEN, ANTHRO = Dialect.OPENAI, Dialect.ANTHROPIC


@pytest.mark.parametrize(
    "name",
    ["host", "connection", "content-length", "accept-encoding", "authorization", "x-api-key", "api-key", "cookie",
     "x-goog-api-key", "x-relay-api-key", "x-relay-new", "x-aihub-cache", "x-stainless-os", "x-forwarded-for", "via",
     "traceparent", "x-request-id", "x-real-ip", "forwarded", "sec-ch-ua", "proxy-authorization", "expect", "te",
     "transfer-encoding", "content-encoding", "x-litellm-tags", "idempotency-key", "origin",
     "x-claude-code-session-id"],
)  # fmt: skip
def test_what_stays(name):
    """Ours, the connection's and what tells about our users does not go up; asking twice says the same."""
    assert not goes_up(name.encode())
    assert not goes_up(name.encode())


@pytest.mark.parametrize(
    "name",
    ["anthropic-beta", "anthropic-version", "openai-organization", "openai-beta", "user-agent", "content-type",
     "accept", "http-referer", "x-title", "x-new"],
)  # fmt: skip
def test_what_goes_up(name):
    """What is not known to be ours is the provider's: the list is open."""
    assert goes_up(name.encode())


def test_what_comes_back():
    """Only what clients of these APIs read comes back."""
    back = ["content-type", "retry-after", "x-ratelimit-limit-requests", "anthropic-ratelimit-tokens-reset", "etag"]
    stays = ["set-cookie", "server", "openai-organization", "anthropic-organization-id", "x-request-id", "request-id",
             "content-length", "transfer-encoding", "connection", "location", "cf-ray", "content-encoding"]  # fmt: skip
    assert [comes_back(name.encode()) for name in back] == [True] * len(back)
    assert [comes_back(name.encode()) for name in stays] == [False] * len(stays)


KEY = (b"x-relay-api-key", b"rk-ours")
UP = (b"authorization", b"Bearer sk-openai")
TOKEN = (b"authorization", b"Bearer tok")
UPSTREAM = (b"x-relay-upstream-key", b" sk-up ")
CASES = [
    ([(b"authorization", b"Bearer rk-ours")], OPENAI, OPEN, [UP]),
    ([(b"x-api-key", b"rk-ours")], ANTHROPIC, ANTHRO, [(b"x-api-key", b"sk-ant")]),
    ([(b"authorization", b"Bearer rk-ours")], LOCAL, OPEN, []),
    ([KEY], OPENAI, OPEN, [UP]),
    ([KEY, (b"authorization", b"Bearer sk-mine")], OPENAI, OPEN, [(b"authorization", b"Bearer sk-mine")]),
    ([KEY, (b"authorization", b"Bearer rk-ours")], OPENAI, OPEN, [UP]),
    ([KEY, (b"authorization", b"Bearer rk-another")], OPENAI, OPEN, [UP]),
    ([KEY, (b"x-api-key", b"sk-mine")], ANTHROPIC, ANTHRO, [(b"x-api-key", b"sk-mine")]),
    ([KEY, (b"x-api-key", b"rk-ours"), TOKEN], ANTHROPIC, ANTHRO, [TOKEN]),
    ([UPSTREAM], OPENAI, OPEN, [(b"authorization", b"Bearer sk-up")]),
    ([UPSTREAM], ANTHROPIC, ANTHRO, [(b"x-api-key", b"sk-up")]),
]


@pytest.mark.parametrize(("lines", "provider", "dialect", "credential"), CASES, ids=range(len(CASES)))
def test_credentials(lines, provider, dialect, credential):
    """The caller's own credential goes up where it brought one, else the provider's; a gateway key never does."""
    built = build_upstream_headers(lines, read_sent(lines), provider, dialect, provider.api_key or "")
    version = [(b"anthropic-version", b"2023-06-01")] if dialect is ANTHRO else []
    assert built == credential + version
    assert brings_own_key(read_sent(lines)) is (credential not in ([], [UP], [(b"x-api-key", b"sk-ant")]))


def test_the_clients_version_is_kept():
    """The version is added only where it is missing."""
    lines = [(b"anthropic-version", b"2099-01-01"), (b"x-api-key", b"rk-ours")]
    built = build_upstream_headers(lines, read_sent(lines), ANTHROPIC, ANTHRO, "sk-ant")
    assert [line for line in built if line[0] == b"anthropic-version"] == [lines[0]]
