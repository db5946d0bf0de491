"""Idempotency-Key as clients send it: one upstream call, and its answer again."""

import gzip
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.cache.idempotent import MAX_KEPT_BYTES
from tests.acceptance.support import chat, fresh, make_key, message, query, row_of, wait_until

DOWN = "http://127.0.0.1:1/v1"
PATHS = pytest.mark.parametrize(("path", "build"), [("/v1/chat/completions", chat), ("/v1/messages", message)])


def keyed(key=None, **more):
    """Return headers with a key; no cache gets in the way of what is tested."""
    return {"idempotency-key": key or uuid.uuid4().hex, "x-aihub-cache": "bypass", **more}


@pytest.fixture
def http(shared_gateway):
    with shared_gateway.client() as client:
        yield client


@PATHS
def test_another_body_is_unprocessable(http, mock, path, build):
    """A key that was used for another body, or on another path, is a 422 in the route's dialect."""
    headers = keyed()
    assert http.post(path, json=build(fresh()), headers=headers).status_code == 200
    refused = http.post(path, json=build(fresh()), headers=headers)
    assert refused.status_code == 422
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert "idempotency_key_reused" in refused.text or path.endswith("messages")
    assert mock.count() == 1


def test_the_same_body_on_another_path_is_another_call(http, mock):
    """The path is part of what the key stands for; the ways to write it are not."""
    headers, body = keyed(), chat(fresh(), model="echo")
    assert http.post("/v1/mock/chat/completions", json=body, headers=headers).status_code == 200
    assert http.post("/mock/v1/chat/completions", json=body, headers=headers).headers["idempotent-replayed"] == "true"
    assert http.post("/v1/mock/completions", json=body, headers=headers).status_code == 422
    assert mock.count() == 1


def test_a_body_counts_as_it_reads(http, mock):
    """The same body sent compressed is the same call."""
    headers, body = keyed(), b'{"model":"mock/echo","messages":[{"role":"user","content":"%s"}]}' % fresh().encode()
    first = http.post("/v1/chat/completions", content=body, headers=headers)
    second = http.post(
        "/v1/chat/completions", content=gzip.compress(body), headers=headers | {"content-encoding": "gzip"}
    )
    assert (first.status_code, first.content) == (200, second.content)
    assert mock.count() == 1


@PATHS
def test_many_at_once_are_one_call(shared_gateway, mock, path, build):
    """Of identical calls at the same time one is made; the others are told to come back, and then find its answer."""
    headers, body = keyed(), build(fresh("[[mock delay_ms=300]] hi"))
    with shared_gateway.client() as client, ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: client.post(path, json=body, headers=headers), range(8)))
        again = client.post(path, json=body, headers=headers)
    answered = [reply for reply in replies if reply.status_code == 200]
    refused = [reply for reply in replies if reply.status_code == 409]
    assert (len(answered), len(refused), mock.count()) == (1, 7, 1)
    assert all(reply.headers["retry-after"] == "1" for reply in refused)
    assert again.content == answered[0].content


@pytest.mark.parametrize("status", [400, 404, 500, 502])
def test_failures_are_kept(http, mock, status):
    """What a provider refused or failed on comes again as it was; the call is not made twice."""
    headers, body = keyed(), chat(fresh(), model=f"mock/status-{status}")
    first, second = [http.post("/v1/chat/completions", json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.status_code >= 400
    assert second.headers["idempotent-replayed"] == "true"
    assert mock.count() == 1


@pytest.mark.parametrize("status", [429, 503, 529])
def test_not_now_frees_the_key(http, mock, status):
    """A provider that has no time did not take the call: the key is as new."""
    headers, text = keyed(), fresh(f"[[mock status={status} times=1]] hi")
    first, second = [http.post("/v1/chat/completions", json=chat(text), headers=headers) for _ in range(2)]
    assert first.status_code in {429, 503}
    assert (second.status_code, "idempotent-replayed" in second.headers) == (200, False)
    assert mock.count() == 2


def test_what_reached_no_provider_frees_the_key(shared_gateway, http, mock):
    """A call that was refused by the gateway itself, or found no provider, may be corrected under the same key."""
    headers = keyed()
    shared_gateway.configure(providers={"mock": {"type": "mock"}, "down": {"type": "ollama", "base_url": DOWN}})
    try:
        for body in (chat("a", model="nobody/nothing"), {"model": "mock/echo", "messages": "x" * 9}, chat("a")):
            last = http.post("/v1/chat/completions", json=body, headers=headers | {"x-aihub-cache": "nonsense"})
            assert last.status_code == 400
        assert http.post("/v1/chat/completions", json=chat("a", model="down/m"), headers=headers).status_code == 502
        assert http.post("/v1/chat/completions", json=chat(fresh()), headers=headers).status_code == 200
    finally:
        shared_gateway.configure(providers={"mock": {"type": "mock"}})


@PATHS
@pytest.mark.parametrize("wish", ["cut_after=3", "error_after=3"])
def test_a_broken_stream_comes_again_broken(http, mock, path, build, wish):
    """A stream that broke off is repeated as it was, its last event the error; it is not made anew."""
    headers, body = keyed(), build(fresh(f"[[mock text=lorem {wish}]] hi"), stream=True)
    first, second = [http.post(path, json=body, headers=headers) for _ in range(2)]
    assert first.content == second.content
    assert b"error" in first.content.splitlines()[-2] + first.content.splitlines()[-1]
    assert mock.count() == 1


@PATHS
@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_finds_the_answer(shared_gateway, http, mock, path, build, streamed):
    """A call with a key runs to its end without its client, and the repetition finds its answer."""
    headers = keyed()
    body = build(fresh("[[mock text=lorem chunk_ms=20 delay_ms=200]] hi"), stream=streamed)
    with shared_gateway.client() as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post(path, json=body, headers=headers, timeout=0.15)

    def look():
        return http.post(path, json=body, headers=headers)

    found = wait_until(look, lambda reply: reply.status_code != 409, seconds=15)
    assert (found.status_code, found.headers["idempotent-replayed"]) == (200, "true")
    assert (b"[DONE]" if path.endswith("completions") else b"message_stop") in found.content or not streamed
    assert mock.count() == 1


def test_a_cached_answer_is_kept_as_well(http, mock):
    """A call that was answered from the cache has that answer again, also when the cache has it no more."""
    body, headers = chat(fresh()), {"idempotency-key": uuid.uuid4().hex}
    http.post("/v1/chat/completions", json=body)
    first = http.post("/v1/chat/completions", json=body, headers=headers)
    second = http.post("/v1/chat/completions", json=body, headers=headers | {"x-aihub-cache": "refresh"})
    assert first.headers["x-aihub-cache-status"] == "hit"
    assert (second.content, second.headers["idempotent-replayed"]) == (first.content, "true")
    assert mock.count() == 1


def test_a_repetition_costs_nothing(shared_gateway, http, mock):
    """The repetition is on record, with no tokens and no cost."""
    headers, body = keyed(), chat(fresh())
    first, second = [http.post("/v1/chat/completions", json=body, headers=headers) for _ in range(2)]
    rows = [row_of(shared_gateway, reply) for reply in (first, second)]
    assert rows[0]["estimated_cost"] > 0
    assert (rows[1]["estimated_cost"] or 0, rows[1]["status_code"]) == (0, 200)


def test_an_answer_that_is_too_large(http, mock):
    """An answer over the bound is passed on, not kept; its repetition is told so and makes no call."""
    headers, body = keyed(), chat(fresh(), model=f"mock/big-{MAX_KEPT_BYTES + 1000}")
    first = http.post("/v1/chat/completions", json=body, headers=headers)
    second = http.post("/v1/chat/completions", json=body, headers=headers)
    assert first.status_code == 200
    assert len(first.content) > MAX_KEPT_BYTES
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_answer_not_kept")
    assert mock.count() == 1


@pytest.mark.parametrize("key", ["x" * 256, b"\xe4"], ids=["long", "latin"])
def test_a_key_that_cannot_be_one(http, mock, key):
    """Keys that are too long or not printable ASCII are a 400."""
    refused = http.post("/v1/chat/completions", json=chat(fresh()), headers=keyed(key))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")
    assert mock.count() == 0


def test_another_user_has_keys_of_their_own(shared_gateway, http, mock):
    """The same key in another user's hands is another key: nothing of the first answer shows."""
    headers, body = keyed(), chat(fresh())
    theirs = {"authorization": f"Bearer {make_key(shared_gateway, 'other@example.org')}"}
    first = http.post("/v1/chat/completions", json=body, headers=headers)
    other = http.post("/v1/chat/completions", json=body, headers=headers | theirs)
    assert "idempotent-replayed" not in other.headers
    assert other.json()["id"] != first.json()["id"]
    assert mock.count() == 2


def test_nothing_is_left_running(shared_gateway):
    """After all that no key is held by a call that is over."""
    pause = threading.Event()
    for _ in range(50):
        if not query(shared_gateway, "SELECT FROM idempotent_calls WHERE state = 'running'"):
            break
        pause.wait(0.1)
    assert not query(shared_gateway, "SELECT * FROM idempotent_calls WHERE state IN ('running', 'unknown')")
