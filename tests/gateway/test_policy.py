"""Whether a call has to do with the cache, as a table."""

import pytest

from app.catalog.types import CacheConfig
from app.gateway.policy import decide_caching
from tests.gateway.builders import build_call

CHAT = "/v1/chat/completions"
ON, OFF = CacheConfig(default_ttl=60, max_ttl=100), CacheConfig(enabled=False)


@pytest.mark.parametrize(
    ("path", "body", "headers", "config", "status", "reads", "ttl"),
    [
        (CHAT, {}, {}, ON, "miss", True, 60),
        (CHAT, {}, {"x-aihub-cache-ttl": "7"}, ON, "miss", True, 7),
        (CHAT, {}, {"x-aihub-cache-ttl": "700"}, ON, "miss", True, 100),
        (CHAT, {}, {"x-aihub-cache-ttl": "0"}, ON, "miss", True, 0),
        (CHAT, {}, {"x-aihub-cache": "refresh"}, ON, "refresh", False, 60),
        (CHAT, {}, {"x-aihub-cache": "only"}, ON, "miss", True, 60),
        (CHAT, {}, {"x-aihub-cache": "bypass"}, ON, "bypass", False, 0),
        (CHAT, {}, {"x-aihub-cache": "bypass"}, OFF, "bypass", False, 0),
        (CHAT, {}, {}, OFF, "disabled", False, 0),
        (CHAT, {}, {"x-aihub-cache": "refresh"}, OFF, "disabled", False, 0),
        ("/v1/messages/count_tokens", {}, {}, ON, "disabled", False, 0),
        ("/v1/responses", {"background": True}, {}, ON, "disabled", False, 0),
        ("/v1/responses", {"conversation": "c"}, {}, ON, "disabled", False, 0),
    ],
)
def test_policy(path, body, headers, config, status, reads, ttl):
    """Configuration, endpoint, call and header decide together; the configured limit bounds the time to live."""
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    policy = decide_caching(build_call(path, body, lines), config)
    assert (policy.status, policy.reads, policy.ttl_seconds) == (status, reads, ttl)
    assert policy.active is (reads or ttl > 0)
    assert policy.only is (headers.get("x-aihub-cache") == "only")
