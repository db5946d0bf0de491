"""Whether a call has to do with the cache, as a table."""

from uuid import UUID

import pytest

from app.access.types import Caller
from app.catalog.cache_types import NamespaceConfig, RouteCacheConfig
from app.catalog.types import CacheConfig
from app.errors import ForbiddenError
from app.gateway.policy import BYPASS, decide_caching, takes_part
from tests.gateway.builders import NOBODY, build_call

CHAT = "/v1/chat/completions"
ON, OFF = CacheConfig(default_ttl=60, max_ttl=100), CacheConfig(enabled=False)
TEAM = UUID(int=9)
MEMBER = Caller(user_id=NOBODY, key_id=None, team_id=TEAM, admin=False, scope=b"s")


def decide(config, headers=None, path=CHAT, **changes):
    lines = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return decide_caching(build_call(path, None, lines, **changes), config)


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


@pytest.mark.parametrize(
    ("route", "body", "taken"),
    [
        ({}, {"temperature": 2, "n": 9, "tools": [{}], "seed": 1}, True),
        ({"ttl": 5}, {"temperature": 2, "n": 9, "tools": [{}], "seed": 1}, True),
        ({"enabled": False}, {}, False),
        ({"max_temperature": 0.0}, {}, False),
        ({"max_temperature": 0.0}, {"temperature": None}, False),
        ({"max_temperature": 0.0}, {"temperature": 0}, True),
        ({"max_temperature": 0.0}, {"temperature": 0.0}, True),
        ({"max_temperature": 0.0}, {"temperature": -0.0}, True),
        ({"max_temperature": 0.0}, {"temperature": 1e-9}, False),
        ({"max_temperature": 0.7}, {"temperature": 0.7}, True),
        ({"max_temperature": 0.7}, {"temperature": 0.71}, False),
        ({"max_temperature": 1.0}, {}, True),
        ({"max_temperature": 2.0}, {"temperature": "hot"}, False),
        ({"max_temperature": 2.0}, {"temperature": True}, False),
        ({"max_temperature": 2.0}, {"temperature": {}}, False),
        ({"max_temperature": 2.0}, {"temperature": 10**400}, False),
        ({"max_n": 1}, {}, True),
        ({"max_n": 1}, {"n": None}, True),
        ({"max_n": 1}, {"n": 1}, True),
        ({"max_n": 1}, {"n": 2}, False),
        ({"max_n": 2}, {"n": 2}, True),
        ({"max_n": 2}, {"n": 1, "best_of": 3}, False),
        ({"max_n": 2}, {"n": "2"}, False),
        ({"tools": False}, {}, True),
        ({"tools": False}, {"tools": []}, True),
        ({"tools": False}, {"tools": None, "functions": []}, True),
        ({"tools": False}, {"tools": [{"type": "function"}]}, False),
        ({"tools": False}, {"functions": [{"name": "f"}]}, False),
        ({"tools": False}, {"tools": "what"}, False),
        ({"tools": False}, {"web_search_options": {}}, False),
        ({"tools": False}, {"messages": [{"role": "tool", "content": "5", "tool_call_id": "c"}]}, False),
        ({"tools": False}, {"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, False),
        ({"tools": False}, {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, False),
        ({"tools": False}, {"input": [{"type": "function_call_output", "output": "5"}]}, False),
        ({"tools": False}, {"messages": [{"role": "user", "content": "5"}], "tools": []}, True),
        ({"tools": False}, {"messages": "what", "input": 5}, True),
        ({"seeded": "only"}, {}, False),
        ({"seeded": "only"}, {"seed": None}, False),
        ({"seeded": "only"}, {"seed": 0}, True),
        ({"seeded": "only"}, {"seed": 7}, True),
        ({"seeded": "never"}, {}, True),
        ({"seeded": "never"}, {"seed": None}, True),
        ({"seeded": "never"}, {"seed": 0}, False),
        ({"seeded": "never", "max_temperature": 0.0}, {"seed": None, "temperature": 0}, True),
        ({"seeded": "never", "max_temperature": 0.0}, {"seed": 1, "temperature": 0}, False),
        ({"max_n": 1, "tools": False}, {"n": 1, "tools": [{}]}, False),
    ],
)
def test_rules_of_a_route(route, body, taken):
    """A route's rules hold calls out by what they say; what makes no sense is beyond every bound, and left to say."""
    rules = RouteCacheConfig(**route)
    assert takes_part(build_call(CHAT, body), rules) is taken
    policy = decide_caching(build_call(CHAT, body), CacheConfig(routes={"chat": rules}))
    assert policy.status == ("miss" if taken else "disabled")
    assert policy.active is taken


def test_rules_are_of_one_route():
    """What is said of one endpoint says nothing of another."""
    config = CacheConfig(routes={"chat": RouteCacheConfig(enabled=False), "messages": RouteCacheConfig(ttl=7)})
    assert decide(config).status == "disabled"
    assert decide(config, path="/v1/responses").ttl_seconds == config.default_ttl
    assert decide(config, path="/v1/messages").ttl_seconds == 7


def test_a_call_that_is_held_out_may_still_insist():
    """A call that wants an answer from the cache or none is told so where the cache takes no part."""
    config = CacheConfig(routes={"chat": RouteCacheConfig(enabled=False)})
    policy = decide(config, {"x-aihub-cache": "only"})
    assert (policy.status, policy.only, policy.active, policy.leases) == ("disabled", True, False, False)


@pytest.mark.parametrize(
    ("headers", "namespace", "route", "ttl"),
    [
        ({}, None, None, 60),
        ({}, None, 50, 50),
        ({}, 40, 50, 40),
        ({"x-aihub-cache-ttl": "30"}, 40, 50, 30),
        ({"x-aihub-cache-ttl": "0"}, 40, 50, 0),
        ({}, 0, 50, 0),
        ({}, None, 0, 0),
        ({}, 4000, None, 100),
        ({}, None, 4000, 100),
        ({"x-aihub-cache-ttl": "4000"}, 1, 1, 100),
    ],
)
def test_the_most_particular_time_to_live(headers, namespace, route, ttl):
    """The call's time to live comes before the namespace's, the route's and the configured one, all of them bounded."""
    config = CacheConfig(
        default_ttl=60,
        max_ttl=100,
        routes={"chat": RouteCacheConfig(ttl=route)},
        namespaces={"faq": NamespaceConfig(ttl=namespace)},
    )
    assert decide(config, {**headers, "x-relay-cache-scope": "namespace:faq"}).ttl_seconds == ttl


@pytest.mark.parametrize(
    ("headers", "label"),
    [
        ({}, f"user:{NOBODY}"),
        ({"x-relay-cache-scope": "team"}, f"team:{TEAM}"),
        ({"x-relay-cache-scope": "namespace:a"}, f"user:{NOBODY}/a"),
        ({"x-portkey-cache-namespace": "a"}, f"user:{NOBODY}/a"),
        ({"x-relay-cache-scope": "team", "x-aihub-cache": "refresh"}, f"team:{TEAM}"),
    ],
)
def test_the_scope_of_a_call(headers, label):
    """The policy says who shares the answer, for what is read as for what is stored."""
    assert decide(ON, headers, caller=MEMBER).scope.label == label


def test_a_scope_that_is_not_allowed():
    """A scope that is too wide fails the call, unless the cache has no part in it anyway."""
    asked = {"x-relay-cache-scope": "team"}
    narrow = CacheConfig(widest_scope="user")
    with pytest.raises(ForbiddenError):
        decide(narrow, asked, caller=MEMBER)
    assert decide(narrow, {**asked, "x-aihub-cache": "bypass"}, caller=MEMBER) is BYPASS
    closed = CacheConfig(widest_scope="user", enabled=False)
    assert decide(closed, asked, caller=MEMBER).status == "disabled"


@pytest.mark.parametrize(
    ("headers", "leases"),
    [
        ({}, True),
        ({"x-aihub-cache-ttl": "0"}, False),
        ({"x-aihub-cache": "only"}, False),
        ({"x-aihub-cache": "refresh"}, False),
        ({"x-aihub-cache": "bypass"}, False),
    ],
)
def test_who_is_waited_for(headers, leases):
    """Other processes wait for a call only if it looks for an answer and keeps the one that it makes."""
    assert decide(ON, headers).leases is leases
