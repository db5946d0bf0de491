"""Going elsewhere: fallbacks, strategies, ejection, sessions and the guards of a stream."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from time import monotonic

import httpx
import pytest

from app.catalog.prices import PriceBook, PriceRow
from tests.acceptance.support import chat, data_of, fresh, query, row_of
from tests.routing.conftest import group
from tests.routing.scripted import begin, good, hang, late, pause, refuse, say_nothing
from tests.routing.test_attempts import CHAT, ask

TOO_LONG = refuse(400, "prompt is too long: 9 tokens > 8 maximum")
POLICY = refuse(400, "no", code="content_policy_violation")


def counts(stage):
    return len(stage.one.calls), len(stage.two.calls), len(stage.three.calls)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("step", [refuse(500), refuse(429), refuse(401), refuse(529), TOO_LONG, POLICY])
def test_a_fallback_answers(stage, step, streamed):
    """What fails at one model is answered by the next name in `x-relay-fallback`, at once and told in the headers."""
    stage.one.default = step
    reply = ask(stage, streamed=streamed, x_relay_fallback="two/other, three/m")
    assert reply.status_code == 200
    told = [reply.headers[f"x-relay-{name}"] for name in ("provider", "model", "attempts")]
    assert told == ["two", "other", "2"]
    assert stage.two.calls[0][2] == "other"
    row = row_of(stage.gateway, reply)
    assert (row["provider"], row["model"], row["attempts"]) == ("two", "other", 2)
    assert counts(stage) == (1, 1, 0)


@pytest.mark.parametrize(
    ("step", "answered"),
    [(refuse(500), "three"), (TOO_LONG, "two"), (POLICY, "three"), (refuse(400), None), (refuse(404), None)],
)
def test_fallbacks_by_kind(stage, step, answered):
    """A chain for one kind of failure is for that kind; others take the general one, a caller's mistake none."""
    fallbacks = {"any": ["three/m"], "context_window": ["two/m"]}
    stage.set_up({"mine": group("one", fallbacks=fallbacks)})
    stage.one.default = step
    reply = ask(stage, "mine")
    assert (reply.headers["x-relay-provider"] if reply.status_code == 200 else None) == answered
    assert len(stage.one.calls) == 1


def test_the_last_of_a_chain_is_retried(stage):
    """Only when nothing else is left is the same deployment tried again; the last refusal is the answer."""
    stage.one.default = stage.two.default = refuse(503)
    reply = ask(stage, x_relay_fallback="two/m")
    assert (reply.status_code, reply.headers["x-should-retry"]) == (503, "false")
    assert counts(stage) == (1, 3, 0)


def test_a_fallback_that_cannot_answer_is_left_out(stage):
    """A name that leads nowhere is skipped: it neither fails the call nor counts as an attempt."""
    stage.one.default = refuse(500)
    reply = ask(stage, x_relay_fallback="nobody, nowhere/m, two/m")
    assert (reply.status_code, reply.headers["x-relay-attempts"]) == (200, "2")


def test_another_models_answer_is_not_kept(stage):
    """An answer of a fallback is not what the call asked for: the next such call goes to the model again."""
    stage.one.steps.append(refuse(500))
    text = fresh()
    body = {"model": "one/m", "messages": [{"role": "user", "content": text}]}
    with stage.gateway.client() as client:
        first = client.post(CHAT, json=body, headers={"x-relay-fallback": "two/m"})
        second = client.post(CHAT, json=body)
    assert [first.headers["x-relay-provider"], second.headers["x-relay-provider"]] == ["two", "one"]
    assert second.headers["x-aihub-cache-status"] == "miss"


def test_a_callers_own_key_goes_to_one_provider(stage):
    """The caller's own provider key is not shown to another provider, whatever fails."""
    stage.set_up({"mine": group("one", "two", fallbacks={"any": ["three/m"]})})
    stage.one.default = refuse(500)
    for _ in range(3):
        assert ask(stage, "mine", x_relay_upstream_key="sk-mine", x_relay_fallback="three/m").status_code == 500
    assert counts(stage)[1:] == (0, 0)


def test_a_groups_answers_have_one_cache_key(stage):
    """Whichever deployment of a group answers, the answer is kept under the same key and serves the next call."""
    stage.set_up({"mine": group("one", "two", "three")})
    body = {"model": "mine", "messages": [{"role": "user", "content": fresh()}]}
    headers = {"x-aihub-cache": "refresh"}
    with stage.gateway.client() as client:
        replies = [client.post(CHAT, json=body, headers=headers) for _ in range(12)]
        last = client.post(CHAT, json=body)
    assert len({reply.headers["x-relay-provider"] for reply in replies}) > 1
    assert len({reply.headers["x-aihub-cache-key"] for reply in [*replies, last]}) == 1
    assert last.headers["x-aihub-cache-status"] == "hit"


def test_weights(stage):
    """A deployment with three quarters of the weight gets about that share of the calls."""
    models = {"mine": group("one", "two")}
    models["mine"]["targets"][0]["weight"] = 3
    stage.set_up(models)
    for _ in range(80):
        ask(stage, "mine")
    assert 45 <= len(stage.one.calls) <= 74


def test_least_latency(stage):
    """After each was tried once, the fastest gets the calls."""
    stage.set_up({"mine": group("one", "two", strategy="least-latency")})
    stage.one.default = late(0.1)
    for _ in range(8):
        ask(stage, "mine")
    assert counts(stage) == (1, 7, 0)


def test_cheapest(stage):
    """The deployment with the lowest price for a usual call is asked first, one without a price last."""
    stage.set_up({"mine": group("one", "two", "three", strategy="cheapest")})
    catalog = stage.gateway.parts.catalog
    before, catalog.prices = catalog.prices, build_prices({"one": 9, "two": 1})
    try:
        stage.gateway.configure(providers=priced(stage))
        assert {ask(stage, "mine").headers["x-relay-provider"] for _ in range(4)} == {"two"}
        stage.two.default = refuse(500)
        assert ask(stage, "mine").headers["x-relay-provider"] == "one"
    finally:
        catalog.prices = before


def build_prices(usd):
    """Return prices by vendor: the three providers are of three vendors in this test."""
    vendors = {"one": "groq", "two": "together", "three": "vllm"}
    return PriceBook.build(
        PriceRow(provider=vendors[name], model="m", token_class=kind, usd_per_unit=Decimal(price), source="test")
        for name, price in usd.items()
        for kind in ("input_tokens", "output_tokens")
    )


def priced(stage):
    vendors = {"one": "groq", "two": "together", "three": "vllm"}
    return {
        name: {"type": vendors[name], "base_url": f"{provider.url}/v1", "api_key": "sk-of-the-house"}
        for name, provider in stage.providers.items()
    }


def test_a_bad_deployment_leaves_and_comes_back(stage):
    """No client sees the failures of a deployment with a healthy neighbour; after five it rests, then is probed."""
    stage.set_up({"mine": group("one", "two")}, eject_seconds=0.8)
    stage.one.default = refuse(500)
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: ask(stage, "mine"), range(30)))
    assert {reply.status_code for reply in replies} == {200}
    assert 5 <= len(stage.one.calls) <= 5 + 4 + 1
    stage.one.default = good
    stage.one.calls.clear()
    pause(0.9)
    assert {ask(stage, "mine").status_code for _ in range(20)} == {200}
    assert len(stage.one.calls) > 2


def test_one_probe_at_a_time(stage):
    """When its time out is over one request tries a deployment again, while all others stay with the healthy one."""
    stage.set_up({"mine": group("one", "two")}, eject_after=1, eject_seconds=0.3)
    stage.one.default = refuse(500)
    while not stage.one.calls:
        ask(stage, "mine")
    pause(0.35)
    stage.one.calls.clear()
    stage.one.default = late(0.4, refuse(500))
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: ask(stage, "mine"), range(24)))
    assert {reply.status_code for reply in replies} == {200}
    assert len(stage.one.calls) == 1


@pytest.mark.parametrize("step", [refuse(400), refuse(429), say_nothing])
def test_a_probe_that_tells_nothing_is_followed_by_another(stage, step):
    """A probe that ends in a bad request, a rate limit or the client's leaving does not keep a deployment out."""
    stage.set_up({"mine": group("one", "two")}, eject_after=1, eject_seconds=0.2)
    stage.one.default = refuse(500)
    while not stage.one.calls:
        ask(stage, "mine")
    pause(0.25)
    stage.one.calls.clear()
    stage.one.default = step
    while not stage.one.calls:
        with stage.gateway.client() as client, suppress(httpx.ReadTimeout):
            client.post(CHAT, json=chat(fresh(), "mine"), timeout=0.3)
    pause(0.1)
    stage.one.default = good
    stage.one.calls.clear()
    for _ in range(20):
        ask(stage, "mine")
    assert stage.one.calls


def test_the_last_one_is_never_out(stage):
    """A model with one deployment, or with none that works, is still asked: its recovery is seen at once."""
    stage.set_up({"mine": group("one", "two")}, max_retries=0)
    stage.one.default = stage.two.default = refuse(500)
    assert {ask(stage, "mine").status_code for _ in range(16)} == {500}
    stage.one.default = stage.two.default = good
    assert ask(stage, "mine").status_code == 200


def test_a_total_outage_is_not_doubled(stage):
    """Once all of a group are known to be down, going to the next one is a retry and has to fit the budget."""
    stage.set_up({"mine": group("one", "two")})
    stage.one.default = stage.two.default = refuse(500)
    for _ in range(6):
        ask(stage, "mine")
    stage.one.calls.clear()
    stage.two.calls.clear()
    stage.one.default = stage.two.default = late(0.1, refuse(500))
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda _: ask(stage, "mine"), range(40)))
    assert sum(counts(stage)) <= 1.2 * 40 + 3


def test_a_deployment_that_cuts_streams_leaves_too(stage):
    """Streams that break after their beginning count as failures, although they began well."""
    stage.set_up({"mine": group("one", "two")}, slow_stream=0.1)
    stage.one.default = begin(1, hang)
    replies = [ask(stage, "mine", streamed=True) for _ in range(40)]
    broken = [reply for reply in replies if data_of(reply.text)[-1] != "[DONE]"]
    assert len(broken) == len(stage.one.calls) == 5
    assert {row_of(stage.gateway, reply)["error_type"] for reply in broken} == {"upstream_timeout"}


def test_a_far_slower_deployment_leaves(stage):
    """A deployment whose usual latency is far above that of the others is left alone for a while."""
    stage.set_up({"mine": group("one", "two")}, eject_seconds=30)
    health = stage.gateway.parts.routing.health
    for _ in range(10):
        health.succeed(("one", "m"), monotonic(), 9.0)
        health.succeed(("two", "m"), monotonic(), 0.1)
    while not stage.one.calls:
        ask(stage, "mine")
    stage.one.calls.clear()
    for _ in range(16):
        ask(stage, "mine")
    assert counts(stage)[0] == 0


def test_a_session_stays_with_its_deployment(stage):
    """The calls of one session go where its first one went, so that the provider's prompt cache serves them."""
    stage.set_up({"mine": group("one", "two", "three")})
    places = {}
    for number in range(24):
        session = f"session-{number % 8}"
        reply = ask(stage, "mine", x_claude_code_session_id=session)
        places.setdefault(session, set()).add(reply.headers["x-relay-provider"])
    assert all(len(place) == 1 for place in places.values())
    assert len(set.union(*places.values())) > 1


@pytest.mark.parametrize("step", [late(0.4), say_nothing, begin(0, hang, pings=40)])
def test_the_first_token_guard(stage, step):
    """A stream without its first event in time is begun elsewhere; pings are no event."""
    stage.set_up(first_token=0.2)
    stage.one.default = step
    started = monotonic()
    reply = ask(stage, streamed=True, x_relay_fallback="two/m")
    assert (reply.headers["x-relay-provider"], data_of(reply.text)[-1]) == ("two", "[DONE]")
    assert 0.2 <= monotonic() - started < 0.6


def test_the_guard_is_for_streams_that_can_go_elsewhere(stage):
    """A whole answer takes as long as it takes, and so does a stream that nobody else could give."""
    stage.set_up(first_token=0.1)
    stage.one.default = late(0.3)
    assert ask(stage, x_relay_fallback="two/m").headers["x-relay-provider"] == "one"
    assert ask(stage, streamed=True).headers["x-relay-attempts"] == "1"


def test_waiting_for_others_is_not_the_gateways_time(stage):
    """What failed tries and the waits between them take is the provider's time, not the gateway's overhead."""
    stage.one.steps.append(late(0.2, refuse(429, lines=b"retry-after-ms: 200\r\n")))
    reply = ask(stage)
    row = row_of(stage.gateway, reply)
    assert row["latency"] > 400
    assert row["overhead_ms"] < 100
    assert float(reply.headers["x-relay-overhead-ms"]) < 100


def test_every_try_is_on_the_row(stage):
    """The row of a call that nobody answered tells how often it was tried."""
    stage.one.default = refuse(500)
    ask(stage)
    stage.gateway.flush()
    assert query(stage.gateway, "SELECT max(attempts) AS most FROM requests")[0]["most"] >= 3
