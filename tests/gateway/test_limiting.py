"""What a call asks of the limits, and what it used in the end."""

import json
from uuid import UUID

import msgspec
import pytest

from app.access.limit_types import LimitReachedError
from app.access.limits import RateLimiter
from app.access.types import Caller, Limit
from app.catalog.types import LimitConfig, LimitsConfig
from app.errors import Dialect
from app.gateway.exchange import Exchange
from app.gateway.limiting import (
    admit_call,
    count_tokens,
    find_model_limits,
    find_used_tokens,
    finish_call,
    without_limits,
)
from app.gateway.plan import Plan, Target
from app.gateway.trace import Trace
from app.wire.usage import Usage
from tests.gateway.builders import ANTHROPIC, NOBODY, OPENAI, build_call

pytestmark = pytest.mark.anyio

TARGET = Target(provider=OPENAI, dialect=Dialect.OPENAI, base_url="http://openai/v1", model="gpt-4o")
OTHER = Target(provider=ANTHROPIC, dialect=Dialect.OPENAI, base_url="http://anthropic", model="claude-sonnet-4-5")
PLAN = Plan(name="openai/gpt-4o", targets=(TARGET,))
USED = Usage(
    input_tokens=1,
    cache_read_tokens=2,
    cache_write_5m_tokens=4,
    cache_write_1h_tokens=8,
    input_audio_tokens=16,
    output_tokens=32,
    reasoning_tokens=64,
    output_audio_tokens=128,
    web_searches=1000,
)


def limits_of(*names: str, **limit: int) -> LimitsConfig:
    return LimitsConfig(models={name: LimitConfig(**limit) for name in names})


def scopes_of(limits: tuple[Limit, ...]) -> list[str]:
    return [limit.scope for limit in limits]


@pytest.mark.parametrize(
    ("requested", "plan", "scopes"),
    [
        ("gpt-4o", PLAN, ["model:gpt-4o", "model:openai/gpt-4o"]),
        ("openai/gpt-4o", PLAN, ["model:openai/gpt-4o"]),
        ("fast", PLAN, ["model:fast", "model:openai/gpt-4o"]),
        ("fast", Plan(name="fast", targets=(TARGET, OTHER)), ["model:fast"]),
        ("unlimited", Plan(name="x", targets=(OTHER,)), []),
        (None, PLAN, ["model:openai/gpt-4o"]),
    ],
)
def test_a_model_is_limited_by_the_names_that_lead_to_it(requested, plan, scopes) -> None:
    """The name that was called counts, and the deployment's own where there is no choice between several."""
    config = limits_of("gpt-4o", "openai/gpt-4o", "fast", rpm=1)
    assert scopes_of(find_model_limits(requested, plan, config)) == scopes


@pytest.mark.parametrize(
    ("body", "least", "most"),
    [
        ({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}, 1024, 1100),
        ({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}, 50, 100),
        ({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9000}, 9000, 9100),
        ({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50, "n": 3}, 150, 200),
        ({"model": "gpt-4o", "messages": [{"role": "user", "content": "word " * 1000}], "max_tokens": 1}, 1001, 1300),
    ],
)
async def test_a_call_counts_for_its_input_and_the_answer_it_allows(body, least, most) -> None:
    """An answer counts as long as the call allows, else for a usual one."""
    assert least <= await count_tokens(build_call(body=body), PLAN) <= most


async def test_embeddings_have_no_output() -> None:
    """A call without an answer in tokens counts for its input, one without a body for nothing."""
    body = {"model": "text-embedding-3-small", "input": "Hi"}
    assert 1 <= await count_tokens(build_call("/v1/embeddings", body=body), PLAN) < 50
    assert await count_tokens(msgspec.structs.replace(build_call(), body=b""), PLAN) == 0


def trace_of(*, sent: bool, usage: Usage | None = None, owes: bool = True) -> Trace:
    trace = Trace()
    trace.row.usage = usage
    if sent:
        trace.sending()
    if not owes:
        trace.owe_nothing()
    return trace


@pytest.mark.parametrize(
    ("trace", "tokens"),
    [
        (trace_of(sent=False), 0),
        (trace_of(sent=False, usage=USED), 0),
        (trace_of(sent=True, usage=USED), 255),
        (trace_of(sent=True), None),
        (trace_of(sent=True, owes=False), 0),
    ],
    ids=["refused by us", "hit", "answered", "broken off", "refused by the provider"],
)
def test_tokens_are_those_that_a_provider_worked_for(trace, tokens) -> None:
    """What no provider worked for is given back, what is known is counted, what is not stays as admitted."""
    assert find_used_tokens(trace) == tokens


def test_a_providers_own_limits_are_left_out() -> None:
    """Only the lines about limits go, whichever dialect's; when to try again stays."""
    kept = [(b"retry-after", b"3"), (b"content-type", b"x")]
    theirs = [(b"x-ratelimit-limit-requests", b"1"), (b"anthropic-ratelimit-tokens-reset", b"2")]
    assert without_limits([*theirs, *kept]) == kept


@pytest.fixture
async def limiter(database_url):
    limiter = RateLimiter(database_url, UUID(int=1))
    yield limiter
    await limiter.close()


async def never() -> dict:
    raise AssertionError("nothing is received here")


async def ignore(message: object) -> None:
    del message


def caller(*limits: Limit) -> Caller:
    return Caller(user_id=NOBODY, key_id=None, admin=False, scope=b"s", limits=limits)


async def test_a_call_without_limits_reaches_no_database() -> None:
    """Where nothing is limited a database that is away is not even noticed."""
    away = RateLimiter("postgresql://nobody@127.0.0.1:1/nothing", UUID(int=1))
    call = build_call(caller=caller(Limit(scope="key:a")))
    assert await admit_call(call, PLAN, Exchange(never, ignore, Trace()), away, LimitsConfig()) is None
    assert await admit_call(build_call(), PLAN, Exchange(never, ignore, Trace()), away, limits_of("x", rpm=0)) is None
    finish_call(None, Trace(), away)


async def test_a_limited_call_from_end_to_end(limiter) -> None:
    """The client sees how its limits stand, a refusal carries the same lines, and what was not used is given back."""
    limit = Limit(scope="key:a", tpm=150)
    body = json.dumps({"model": "gpt-4o", "messages": [], "max_tokens": 100}).encode()
    call = build_call(body=body, caller=caller(limit))
    config = limits_of("gpt-4o", rpm=10)
    exchange = Exchange(never, ignore, Trace())
    admission = await admit_call(call, PLAN, exchange, limiter, config)
    told = dict(exchange.headers)
    assert told[b"x-ratelimit-limit-requests"] == b"10"
    assert told[b"x-ratelimit-limit-tokens"] == b"150"
    assert int(told[b"x-ratelimit-remaining-tokens"]) <= 50
    with pytest.raises(LimitReachedError) as caught:
        await admit_call(call, PLAN, Exchange(never, ignore, Trace()), limiter, config)
    refused = dict(caught.value.headers)
    assert refused[b"x-ratelimit-remaining-requests"] == b"9"
    assert int(refused[b"retry-after"]) > 0
    finish_call(admission, Trace(), limiter)
    assert await admit_call(call, PLAN, Exchange(never, ignore, Trace()), limiter, config)
