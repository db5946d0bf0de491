"""What a client says by header is said for each call of its batch: to gateway, provider and budget alike."""

import json
import time
from typing import Any

import anthropic
import httpx
import pytest

from tests.acceptance.support import query
from tests.acceptance.test_batch import HTTP, ask, bear, make_key, wait
from tests.gateway_process import Gateway

BETA = "context-management-2025-06-27"


@pytest.fixture(autouse=True)
def vendors(gateway: Gateway) -> None:
    """OpenAI and Anthropic, played by the mock, and a provider that nobody is behind."""
    httpx.post(f"{gateway.mock_url}/mock/reset").raise_for_status()
    gateway.configure(
        providers={
            "mock": {"type": "mock"},
            "openai": {"type": "openai", "api_key": "key-one", "base_url": f"{gateway.mock_url}/v1"},
            "anthropic": {"type": "anthropic", "api_key": "key-two", "base_url": gateway.mock_url},
            "dead": {"type": "openai", "api_key": "x", "base_url": "http://127.0.0.1:9/v1"},
        },
        batch={"native": True, "pool_seconds": 0.3, "poll_seconds": 0.5},
        cache={"enabled": False},
    )


def list_arrivals(gateway: Gateway, path: str) -> list[dict[str, str]]:
    """Return the headers of the last requests that the mock has had at a path."""
    found = httpx.get(f"{gateway.mock_url}/mock/stats").json()["last"]
    return [dict(one["headers"]) for one in found if one["path"] == path and one["method"] == "POST"]


def hand_in(gateway: Gateway, body: dict[str, Any], key: str = "", **headers: str) -> httpx.Response:
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTP.post(f"{gateway.url}/v1/batch", json=body, headers=bear(key or gateway.key) | lines)


def build(provider: str, model: str, count: int = 2, **options: Any) -> dict[str, Any]:
    requests = [ask(f"hello {number}", f"r{number}", max_tokens=500) for number in range(count)]
    return {"provider": provider, "model": model, "requests": requests, "options": options}


@pytest.mark.parametrize("native", ["auto", "never"])
def test_betas_go_up(gateway: Gateway, native: str) -> None:
    """Betas and version go with a vendor's own batch, and with each call that is made directly."""
    body = build("anthropic", "claude-haiku-4-5", native=native)
    accepted = hand_in(gateway, body, anthropic_beta=BETA, anthropic_version="2023-01-01")
    view = wait(gateway, accepted.json()["batch_id"])
    assert [(one["status"], one["native"]) for one in view["result"]] == [("success", native == "auto")] * 2
    arrivals = list_arrivals(gateway, "/v1/messages/batches" if native == "auto" else "/v1/messages")
    assert arrivals
    assert {(one["anthropic-beta"], one["anthropic-version"]) for one in arrivals} == {(BETA, "2023-01-01")}


def test_betas_of_the_sdk_go_up(gateway: Gateway) -> None:
    """The same by Anthropic's own SDK."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key) as client:
        params: Any = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        batch = client.beta.messages.batches.create(betas=[BETA], requests=[{"custom_id": "a", "params": params}])
        end = time.monotonic() + 30
        while client.beta.messages.batches.retrieve(batch.id).processing_status != "ended":
            assert time.monotonic() < end
            time.sleep(0.1)
    [arrival] = list_arrivals(gateway, "/v1/messages/batches")
    assert BETA in arrival["anthropic-beta"].split(",")


def test_a_call_that_waits_says_what_it_said(gateway: Gateway) -> None:
    """A call that is answered later goes up with its betas, and its row has its metadata and tags."""
    body = {"model": "anthropic/claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    said = {"anthropic-beta": BETA, "x-relay-metadata": '{"z": 1}', "x-relay-tags": "later"}
    lines = bear(gateway.key) | {"prefer": "respond-async"} | said
    accepted = HTTP.post(f"{gateway.url}/v1/messages", json=body, headers=lines)
    assert accepted.status_code == 202
    wait(gateway, accepted.json()["batch_id"])
    assert [one["anthropic-beta"] for one in list_arrivals(gateway, "/v1/messages")] == [BETA]
    gateway.flush()
    rows = query(gateway, "SELECT metadata FROM requests WHERE 'later' = ANY(tags)")
    assert rows == [{"metadata": {"z": 1}}]


@pytest.mark.parametrize("native", ["auto", "never"])
def test_metadata_is_recorded(gateway: Gateway, native: str) -> None:
    """Each row of a batch has the metadata of the batch's header, and says whether it was a vendor's batch's."""
    accepted = hand_in(gateway, build("openai", "gpt-4o-mini", native=native), x_relay_metadata='{"team": "a"}')
    wait(gateway, accepted.json()["batch_id"])
    rows = query(gateway, "SELECT metadata, optimizations_applied AS applied FROM requests WHERE status_code = 200")
    assert rows == [{"metadata": {"team": "a"}, "applied": ["batch"] if native == "auto" else []}] * 2


def test_fallbacks_are_paid_for(gateway: Gateway) -> None:
    """A batch that may fall back to a dear model needs a budget for that, and holds as much; it never spends more."""
    key_id, key = make_key(gateway, budget_usd=0.02)
    lines = bear(key) | {"x-relay-fallback": "openai/gpt-4o", "x-relay-deadline": "120s"}

    def send(count: int) -> httpx.Response:
        text = [{"role": "user", "content": "[[mock tokens=480]] go"}]
        params = {"model": "dead/gpt-4o-mini", "max_tokens": 500, "messages": text}
        requests = [{"custom_id": f"r{number}", "params": params} for number in range(count)]
        return HTTP.post(f"{gateway.url}/v1/messages/batches", json={"requests": requests}, headers=lines)

    refused = send(20)
    assert (refused.status_code, refused.json()["error"]["type"]) == (402, "billing_error")
    assert "has not enough left" in refused.json()["error"]["message"]
    accepted = send(3)
    assert accepted.status_code == 200, accepted.text
    url = f"{gateway.url}/v1/messages/batches/{accepted.json()['id']}"
    end = time.monotonic() + 20
    while (found := HTTP.get(url, headers=bear(key)).json())["processing_status"] != "ended":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert found["request_counts"]["succeeded"] == 3
    with gateway.client(headers=bear(gateway.admin_key)) as admin:
        [budget] = [one for one in admin.get("/admin/budgets").json()["budgets"] if one["ref"] == key_id]
    assert float(budget["reserved_usd"]) == 0
    assert 0.01 < float(budget["spent_usd"]) <= 0.02


@pytest.mark.parametrize("place", ["options", "header"])
def test_a_near_deadline_is_no_matter_for_a_vendors_batch(gateway: Gateway, place: str) -> None:
    """With less time than a vendor's batch needs requests are called directly, wherever the deadline stands."""
    options = {"deadline": "30m"} if place == "options" else {}
    lines = {} if place == "options" else {"x_relay_deadline": "30m"}
    began = time.monotonic()
    view = wait(gateway, hand_in(gateway, build("openai", "gpt-4o-mini", **options), **lines).json()["batch_id"])
    assert [one["native"] for one in view["result"]] == [False, False]
    assert time.monotonic() - began < 5
    assert query(gateway, "SELECT count(*) AS n FROM native_batches") == [{"n": 0}]


def test_only_a_kept_answer_is_a_result_at_once(gateway: Gateway) -> None:
    """What may be answered by the cache alone, and is not there, is not tried again."""
    began = time.monotonic()
    accepted = hand_in(gateway, build("mock", "echo", 1), x_aihub_cache="only")
    view = wait(gateway, accepted.json()["batch_id"])
    assert (view["result"][0]["status"], view["result"][0]["error"]["code"]) == ("error", "cache_miss")
    assert time.monotonic() - began < 4


def test_a_call_that_waits_is_repeated_with_its_place(gateway: Gateway) -> None:
    """Sent again under its key, a call for later is answered as before; one that does not want to wait is another."""
    body = {"model": "mock/echo", "messages": [{"role": "user", "content": "later"}]}
    lines = bear(gateway.key) | {"prefer": "respond-async", "idempotency-key": "one"}
    url = f"{gateway.url}/v1/chat/completions"
    first, second = (HTTP.post(url, json=body, headers=lines) for _ in range(2))
    assert (first.status_code, second.status_code, second.json()) == (202, 202, first.json())
    assert second.headers["idempotent-replayed"] == "true"
    for name in ("location", "preference-applied", "retry-after"):
        assert second.headers[name] == first.headers[name]
    del lines["prefer"]
    assert HTTP.post(url, json=body, headers=lines).status_code in {409, 422}


def test_what_says_nothing_is_nothing(gateway: Gateway) -> None:
    """Null stands for what is left out, and a mark of byte order before the first line of a file for nothing."""
    body = build("mock", "echo", 1) | {"options": None}
    body["requests"][0]["parameters"] = None
    view = wait(gateway, hand_in(gateway, body).json()["batch_id"])
    assert view["request_counts"]["completed"] == 1
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "mock/echo"}}
    line["body"] |= {"messages": [{"role": "user", "content": "hi"}]}
    file = b"\xef\xbb\xbf" + json.dumps(line).encode()
    with gateway.client() as client:
        sent = client.post("/v1/files", files={"file": ("a.jsonl", file)}, data={"purpose": "batch"}).json()
        fields = {"input_file_id": sent["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = client.post("/v1/batches", json=fields).json()
        end = time.monotonic() + 20
        while (found := client.get(f"/v1/batches/{batch['id']}").json())["status"] != "completed":
            assert found["status"] != "failed", found
            assert time.monotonic() < end
            time.sleep(0.1)
        assert found["request_counts"]["completed"] == 1


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/cache/stats", "/v1/analytics/usage", "/v1/batch/none"])
def test_every_answer_has_its_id(gateway: Gateway, path: str) -> None:
    """Answers of the control API have an id as those of providers have, under both names."""
    with gateway.client() as client:
        headers = client.get(path).headers
    assert headers["x-request-id"] == headers["request-id"]
