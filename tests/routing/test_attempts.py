"""Trying again at one provider: when, after how long, how often, and with which key."""

from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from time import monotonic, time

import pytest

from app.gateway.options import Sent, find_patience
from tests.acceptance.support import chat, data_of, fresh, message, row_of, wait_until
from tests.routing.scripted import begin, cut, good, hang, late, pause, refuse, say_nothing

CHAT = "/v1/chat/completions"


def ask(stage, model="one/m", *, streamed=False, path=CHAT, client=None, **headers):
    lines = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    body = (chat if path == CHAT else message)(fresh(), model, **({"stream": True} if streamed else {}))
    with stage.gateway.client(headers=lines) as opened:
        return opened.post(path, json=body)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("step", [refuse(500), refuse(503), refuse(429), refuse(408)])
def test_a_retry_mends_it(stage, step, streamed):
    """Two failures and a success are a success in three attempts, said in the header and on the row, and cached."""
    stage.one.steps.extend([step, step])
    reply = ask(stage, streamed=streamed)
    assert reply.status_code == 200
    assert reply.headers["x-relay-attempts"] == "3"
    assert "x-should-retry" not in reply.headers
    row = row_of(stage.gateway, reply)
    assert (row["attempts"], row["status_code"], row["error_type"]) == (3, 200, None)
    assert len(stage.one.calls) == 3


def test_the_waits_are_spread(stage):
    """Full jitter: the waits lie between nothing and the ceiling, and are not all alike."""
    stage.set_up(backoff=0.2, max_backoff=0.2)
    waits = []
    for _ in range(6):
        stage.one.calls.clear()
        stage.one.steps.extend([refuse(500)] * 2)
        assert ask(stage).status_code == 200
        waits += stage.one.gaps
    assert all(wait < 0.3 for wait in waits)
    assert max(waits) - min(waits) > 0.05


@pytest.mark.parametrize(("line", "wait"), [(b"retry-after-ms: 300", 0.3), (b"retry-after: 1", 1.0)])
def test_the_wait_that_is_asked_for_is_kept(stage, line, wait):
    """The gateway waits as long as the provider says, neither less nor noticeably more."""
    stage.one.steps.append(refuse(429, lines=line + b"\r\n"))
    assert ask(stage).status_code == 200
    assert wait <= stage.one.gaps[0] < wait + 0.15


def test_a_date_is_a_wait_too(stage):
    """`Retry-After` as an HTTP date is waited for until that moment."""
    moment = int(time()) + 1
    if moment - time() < 0.2:
        moment += 1
    stage.set_up(max_wait=3)
    stage.one.steps.append(refuse(429, lines=f"retry-after: {formatdate(moment, usegmt=True)}\r\n".encode()))
    assert ask(stage).status_code == 200
    assert time() >= moment
    assert time() < moment + 0.3


def test_a_long_wait_is_the_clients(stage):
    """What is asked beyond `max_wait` is not waited for: the client gets the 429 with its Retry-After at once."""
    stage.one.default = refuse(429, lines=b"retry-after: 2\r\n")
    started = monotonic()
    reply = ask(stage)
    assert (reply.status_code, reply.headers["retry-after"], monotonic() - started < 0.5) == (429, "2", True)
    assert len(stage.one.calls) == 1
    assert "x-should-retry" not in reply.headers


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_the_sdk_does_not_multiply_retries(stage, path):
    """After its own retries the gateway tells the SDK not to; a provider's word to the contrary is not passed on."""
    stage.one.default = refuse(500, lines=b"x-should-retry: true\r\n")
    reply = ask(stage, path=path)
    assert reply.headers.get_list("x-should-retry") == ["false"]
    assert len(stage.one.calls) == 3


def test_one_try_leaves_the_retry_to_the_sdk(stage):
    """Without a retry of the gateway's own, the provider's word on retrying is passed on."""
    stage.set_up(max_retries=0)
    stage.one.default = refuse(500, lines=b"x-should-retry: true\r\n")
    assert ask(stage).headers.get_list("x-should-retry") == ["true"]


@pytest.mark.parametrize("seconds", [0.0, 0.15])
def test_retries_do_not_storm(stage, seconds):
    """When everything fails at once, the provider gets at most 1.2 times the requests and three more."""
    stage.set_up(eject_after=1000)
    stage.one.default = late(seconds, refuse(500))
    with ThreadPoolExecutor(40) as pool:
        replies = list(pool.map(lambda _: ask(stage), range(40)))
    assert {reply.status_code for reply in replies} == {500}
    assert 40 < len(stage.one.calls) <= 1.2 * 40 + 3
    budget = stage.gateway.parts.routing.budget
    assert (budget.requests, budget.retries) == (0, 0)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_is_replaced_at_once(stage, status):
    """A key that is refused rests, the next one answers without a wait, and the first is not used again."""
    stage.set_up(keys=2, backoff=5)
    stage.one.by_key["key-a-of-the-pool"] = refuse(status, "this api key is no good")
    started = monotonic()
    assert [ask(stage).status_code for _ in range(4)] == [200] * 4
    assert monotonic() - started < 1
    assert stage.one.keys.count("key-a-of-the-pool") == 1
    assert stage.one.keys.count("key-b-of-the-pool") == 4


def test_a_limited_key_is_replaced_for_as_long_as_it_said(stage):
    """After a 429 the next key answers at once; the limited one is used again when its time is over."""
    stage.set_up(keys=2)
    stage.one.steps.append(refuse(429, lines=b"retry-after-ms: 400\r\n"))
    assert [ask(stage).status_code for _ in range(3)] == [200] * 3
    assert stage.one.keys == ["key-a-of-the-pool"] + ["key-b-of-the-pool"] * 3
    wait_until(lambda: (ask(stage), stage.one.keys[-1])[1], lambda key: key == "key-a-of-the-pool")
    assert stage.one.calls[-1][0] - stage.one.calls[0][0] >= 0.4


def test_keys_take_turns(stage):
    """Good keys are used in turn, also after one was left out."""
    stage.set_up(keys=3)
    for _ in range(6):
        ask(stage)
    assert stage.one.keys == ["key-a-of-the-pool", "key-b-of-the-pool", "key-c-of-the-pool"] * 2


def test_all_keys_refused(stage):
    """When every key was refused the answer is a 502 in neutral words that no retry mends, and nothing is sent."""
    stage.set_up(keys=3)
    stage.one.default = refuse(401, "bad key key-a-of-the-pool")
    for tries in (3, 0):
        stage.one.calls.clear()
        reply = ask(stage)
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_credentials_exhausted")
        assert reply.headers["x-should-retry"] == "false"
        assert "of-the-pool" not in reply.text
        assert len(stage.one.calls) == tries


def test_all_keys_limited(stage):
    """When every key is at its limit the gateway waits for the first to be back, else answers 429 with that wait."""
    stage.set_up(keys=2)
    stage.one.steps.extend([refuse(429, lines=b"retry-after-ms: 300\r\n")] * 2)
    assert ask(stage).status_code == 200
    assert len(stage.one.calls) == 3
    assert 0.3 <= stage.one.calls[2][0] - stage.one.calls[0][0] < 0.6
    stage.set_up(keys=2)
    stage.one.default = refuse(429, lines=b"retry-after: 50\r\n")
    assert ask(stage).headers["retry-after"] == "50"
    stage.one.calls.clear()
    reply = ask(stage)
    assert (reply.status_code, stage.one.calls) == (429, [])
    assert 45 <= int(reply.headers["retry-after"]) <= 50


def test_a_callers_own_key_stays_its_own(stage):
    """With the caller's own key the pool is never used: a refusal is the caller's, a 429 is retried with that key."""
    stage.set_up(keys=3)
    stage.one.default = refuse(401, "your key is bad")
    reply = ask(stage, x_relay_upstream_key="sk-mine")
    assert (reply.status_code, "your key is bad" in reply.text) == (401, True)
    stage.one.default = good
    stage.one.steps.extend([refuse(429)] * 2)
    assert ask(stage, x_relay_upstream_key="sk-mine").status_code == 200
    assert set(stage.one.keys) == {"sk-mine"}
    assert ask(stage).status_code == 200
    assert stage.one.keys[-1] == "key-a-of-the-pool"


def test_the_deadline_holds_over_all_tries(stage):
    """`x-relay-timeout` is the time for everything: no retry starts that could not end in it."""
    stage.one.default = say_nothing
    started = monotonic()
    reply = ask(stage, streamed=True, x_relay_timeout=0.7)
    assert (reply.status_code, len(stage.one.calls)) == (504, 2)
    assert monotonic() - started < 1.0
    stage.one.calls.clear()
    stage.one.default = refuse(429, lines=b"retry-after-ms: 900\r\n")
    started = monotonic()
    assert ask(stage, x_relay_timeout=0.7).status_code == 429
    assert monotonic() - started < 0.4


@pytest.mark.parametrize("streamed", [False, True])
def test_the_sdks_patience_is_a_hint(stage, streamed):
    """A call goes on for a second longer than the SDK says that it waits, so that it finds its own timeout first."""
    stage.set_up(max_retries=0)
    stage.one.default = say_nothing
    started = monotonic()
    assert ask(stage, streamed=streamed, x_stainless_read_timeout=0.2).status_code == 504
    assert (0.4 if streamed else 1.1) < monotonic() - started < 1.5


@pytest.mark.parametrize(
    ("hint", "seconds"), [(b"0.4", 0.4), (b"600", 600), (b"soon", None), (b"-1", None), (b"nan", None)]
)
def test_a_hint_that_makes_no_sense_is_none(hint, seconds):
    """What cannot be read is no error: it is only a hint."""
    assert find_patience(Sent(read_timeout=hint)) == seconds


def test_no_hint_makes_a_call_longer(stage):
    """However long the SDK would wait, the configured total and `x-relay-timeout` hold."""
    stage.one.default = say_nothing
    started = monotonic()
    assert ask(stage, x_stainless_read_timeout=600, x_relay_timeout=0.4).status_code == 504
    assert monotonic() - started < 0.8


def test_nothing_is_retried_after_the_first_event(stage):
    """A stream that breaks after its first event ends with an error: it is not begun again, here or elsewhere."""
    stage.one.steps.append(begin(1, cut))
    reply = ask(stage, streamed=True, x_relay_fallback="two/m")
    assert reply.status_code == 200
    assert "upstream_disconnected" in data_of(reply.text)[-1]
    assert (len(stage.one.calls), len(stage.two.calls)) == (1, 0)
    assert row_of(stage.gateway, reply)["error_type"] == "upstream_disconnected"


def test_a_stream_that_breaks_before_its_first_event_is_begun_again(stage):
    """Until an event has come nothing is lost: the client sees one whole stream."""
    stage.one.steps.append(begin(0, cut))
    reply = ask(stage, streamed=True)
    assert (reply.headers["x-relay-attempts"], data_of(reply.text)[-1]) == ("2", "[DONE]")


@pytest.mark.parametrize("step", [refuse(429, lines=b"retry-after-ms: 600\r\n"), say_nothing, begin(1, hang)])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_ends_it(stage, step, streamed):
    """Who leaves while the gateway waits or retries ends both at once: no further call, nothing left under way."""
    stage.one.default = step
    body = chat(fresh(), "one/m", stream=streamed)
    with stage.gateway.client() as client, pytest.raises(Exception, match="timed out"):
        client.post(CHAT, json=body, timeout=0.2)
    budget = stage.gateway.parts.routing.budget
    wait_until(lambda: (budget.requests, stage.one.open), lambda seen: seen == (0, 0), 0.6)
    pause(0.6)
    assert len(stage.one.calls) == 1
