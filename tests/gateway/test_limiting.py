"""What a call asks of the limits, and what it used in the end."""

import time

import msgspec
import psycopg
import pytest

from app.access.types import Limit
from app.catalog.types import LimitConfig, LimitsConfig
from app.errors import Dialect
from app.gateway.limiting import count_tokens, find_model_limits, find_used_tokens
from app.gateway.plan import Plan, Target
from app.gateway.trace import Trace
from app.wire.usage import Usage
from tests.gateway.builders import ANTHROPIC, OPENAI, build_call

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


QUESTION = {"model": "mock/echo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100}


def test_a_limited_call_from_end_to_end(gateway) -> None:
    """The client sees how its limits stand, and a refusal says the same with the wait."""
    gateway.configure(limits={"models": {"mock/echo": {"rpm": 2, "tpm": 5000}}})
    bypass = {"x-aihub-cache": "bypass"}
    with gateway.client(headers=bypass) as client:
        first = client.post("/v1/chat/completions", json=QUESTION)
        assert (first.status_code, first.headers["x-ratelimit-limit-requests"]) == (200, "2")
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert 4800 < int(first.headers["x-ratelimit-remaining-tokens"]) < 4900
        assert client.post("/v1/messages", json=QUESTION).headers["anthropic-ratelimit-requests-remaining"] == "0"
        refused = client.post("/v1/chat/completions", json=QUESTION)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 55 < int(refused.headers["retry-after"]) <= 61
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        told = client.post("/v1/messages", json=QUESTION)
        assert (told.status_code, told.json()["error"]["type"]) == (429, "rate_limit_error")
        assert told.headers["anthropic-ratelimit-requests-limit"] == "2"


def test_a_hit_gives_its_tokens_back_and_stays_a_request(gateway) -> None:
    """An answer from the cache counts as a request without tokens."""
    gateway.configure(limits={"models": {"mock/echo": {"rpm": 10, "tpm": 5000}}})
    with gateway.client() as client:
        client.post("/v1/chat/completions", json=QUESTION)
        assert client.post("/v1/chat/completions", json=QUESTION).headers["x-aihub-cache-status"] == "hit"
        time.sleep(0.1)
        third = client.post("/v1/chat/completions", json=QUESTION)
    assert third.headers["x-ratelimit-remaining-requests"] == "7"
    assert 4800 < int(third.headers["x-ratelimit-remaining-tokens"]) < 5000 - 100


def test_what_is_not_limited_is_not_told(gateway) -> None:
    """Without a limit a call is answered without our headers, and leaves nothing in the database."""
    with gateway.client() as client:
        answer = client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200
    with psycopg.connect(gateway.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM rate_windows").fetchone() == (0,)
