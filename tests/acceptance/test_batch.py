"""Batches in RelayCore's own words, over HTTP against the built-in mock provider."""

import gzip
import json
import time
import zlib
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.conftest import prepare
from tests.gateway_process import TLS, Gateway, run_gateway

# It is never closed, so it keeps no connection.
HTTP = httpx.Client(verify=TLS, trust_env=False, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
OVER = frozenset({"completed", "failed", "cancelled"})


def bear(key: str) -> dict[str, str]:
    """Return the header of a key."""
    return {"authorization": f"Bearer {key}"}


def submit(gateway: Gateway, requests: list[Any], key: str = "", **changes: Any) -> httpx.Response:
    """Hand in a batch."""
    body = {"provider": "mock", "model": "echo", "requests": requests, **changes}
    return HTTP.post(f"{gateway.url}/v1/batch", json=body, headers=bear(key or gateway.key))


def ask(text: str, name: str, **parameters: Any) -> dict[str, Any]:
    """Return one request."""
    return {"id": name, "messages": [{"role": "user", "content": text}], "parameters": parameters}


def look(gateway: Gateway, batch_id: str, key: str = "") -> httpx.Response:
    """Return what is said of a batch."""
    return HTTP.get(f"{gateway.url}/v1/batch/{batch_id}", headers=bear(key or gateway.key))


def wait(gateway: Gateway, batch_id: str, seconds: float = 30, key: str = "") -> dict[str, Any]:
    """Return a batch once it is over."""
    end = time.monotonic() + seconds
    while True:
        found = look(gateway, batch_id, key)
        assert found.status_code == 200, found.text
        view = found.json()
        if view["status"] in OVER:
            return view
        assert view["result"] is None
        assert time.monotonic() < end, view
        time.sleep(0.1)


def work_off(gateway: Gateway, requests: list[Any], key: str = "", **changes: Any) -> dict[str, Any]:
    """Return an accepted batch once it is over."""
    accepted = submit(gateway, requests, key, **changes)
    assert accepted.status_code == 202, accepted.text
    return wait(gateway, accepted.json()["batch_id"], key=key)


def make_key(gateway: Gateway, **fields: Any) -> tuple[str, str]:
    """Return the id and the key of a new user."""
    with gateway.client(headers=bear(gateway.admin_key)) as admin:
        email = f"{time.monotonic_ns()}@example.org"
        user = admin.post("/admin/users", json={"email": email, "name": "", "role": "user"}).json()
        made = admin.post("/admin/api-keys", json={"user_id": user["id"], "name": "batch", **fields}).json()
    return made["id"], made["key"]


def test_a_batch_is_worked_off(shared_gateway: Gateway) -> None:
    """Each request comes to a result in the provider's own format, in the order of the requests."""
    accepted = submit(shared_gateway, [ask(f"hello {n}", f"r{n}") for n in range(40)])
    assert accepted.status_code == 202, accepted.text
    said = accepted.json()
    assert said["status"] == "queued"
    assert isinstance(said["queue_position"], int)
    assert said["estimated_completion"].endswith("Z")
    view = wait(shared_gateway, said["batch_id"])
    assert (view["status"], view["progress"], view["error"]) == ("completed", 100, None)
    assert view["request_counts"] == {"total": 40, "completed": 40, "failed": 0, "cancelled": 0, "pending": 0}
    assert [one["id"] for one in view["result"]] == [f"r{n}" for n in range(40)]
    assert {one["status"] for one in view["result"]} == {"success"}
    assert view["result"][7]["result"]["choices"][0]["message"]["content"] == "hello 7"
    assert view["cost_usd"] > 0


def test_what_fails_fails_alone(shared_gateway: Gateway) -> None:
    """A request's failure is its own result, in the provider's words, and costs the others nothing."""
    requests = [ask("fine", "a"), ask("[[mock status=404 error=gone]] no", "b"), ask("also fine", "c")]
    view = work_off(shared_gateway, requests)
    assert view["status"] == "completed"
    assert [one["status"] for one in view["result"]] == ["success", "error", "success"]
    assert view["result"][1]["status_code"] == 404
    assert view["result"][1]["error"]["message"]
    assert "result" not in view["result"][1]


def test_parameters_are_fields_of_the_call(shared_gateway: Gateway) -> None:
    """What stands in `parameters` reaches the provider; a stream has no meaning and is left out."""
    view = work_off(shared_gateway, [ask("one two three four five", "a", max_tokens=2, stream=True, n=2)])
    [one] = view["result"]
    assert len(one["result"]["choices"]) == 2
    assert one["result"]["usage"]["completion_tokens"] <= 4
    assert one["result"]["object"] == "chat.completion"


def test_the_record_has_each_request_once(gateway: Gateway) -> None:
    """Each request is a line of `requests` with its tokens and cost; the batch itself is none."""
    headers = {**bear(gateway.key), "x-relay-tags": "nightly"}
    body = {"provider": "mock", "model": "echo", "requests": [ask(f"row {n}", f"r{n}") for n in range(5)]}
    accepted = HTTP.post(f"{gateway.url}/v1/batch", json=body, headers=headers)
    view = wait(gateway, accepted.json()["batch_id"])
    with gateway.client() as client:
        rows = client.get("/v1/analytics/requests").json()["requests"]
    assert len(rows) == 5
    assert {row["status_code"] for row in rows} == {200}
    assert sum(row["estimated_cost"] for row in rows) == pytest.approx(view["cost_usd"])
    assert {one["request_id"] for one in view["result"]} == {row["id"] for row in rows}


def test_identical_requests_are_answered_once(gateway: Gateway) -> None:
    """Of requests with the same body one goes to the provider, and the others cost nothing."""
    view = work_off(gateway, [ask("the same", f"r{n}") for n in range(30)])
    assert view["request_counts"]["completed"] == 30
    paid = [one for one in view["result"] if one["cost_usd"]]
    assert len(paid) == 1
    stats = HTTP.get(f"{gateway.mock_url}/mock/stats").json()
    assert stats["paths"]["/v1/chat/completions"] == 1
    again = work_off(gateway, [ask("the same", "x")])
    assert again["result"][0]["cost_usd"] == 0
    assert again["result"][0]["saved_usd"] > 0


def test_everybody_sees_their_own(shared_gateway: Gateway) -> None:
    """A batch of somebody else's is not there, whatever is tried; an administrator sees all."""
    _, stranger = make_key(shared_gateway)
    batch_id = submit(shared_gateway, [ask("canary", "canary")]).json()["batch_id"]
    wait(shared_gateway, batch_id)
    url = f"{shared_gateway.url}/v1/batch/{batch_id}"
    for method, address in (("GET", url), ("DELETE", url), ("GET", f"{url}/results")):
        refused = HTTP.request(method, address, headers=bear(stranger))
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "batch_not_found")
        assert "canary" not in refused.text
    listed = HTTP.get(f"{shared_gateway.url}/v1/batch", headers=bear(stranger)).json()
    assert listed == {"batches": [], "total": 0, "next": None}
    assert look(shared_gateway, batch_id, shared_gateway.admin_key).status_code == 200


@pytest.mark.parametrize("batch_id", ["1", "nothing", "0" * 36, "00000000-0000-0000-0000-000000000000", "%00", "a%2Fb"])
def test_what_is_no_batch_is_a_404(shared_gateway: Gateway, batch_id: str) -> None:
    """An id that cannot be is the id of nothing."""
    for method in ("GET", "DELETE"):
        refused = HTTP.request(method, f"{shared_gateway.url}/v1/batch/{batch_id}", headers=bear(shared_gateway.key))
        assert refused.status_code == 404
        assert refused.json()["error"]["message"]


BAD = [
    ({"requests": []}, "requests"),
    ({"requests": "no"}, "requests"),
    ({"requests": [1]}, "requests"),
    ({"requests": [{"id": "a"}]}, "messages"),
    ({"requests": [{"messages": []}]}, "id"),
    ({"requests": [ask("a", "a"), ask("b", "a")]}, None),
    ({"requests": [ask("a", "")]}, "id"),
    ({"requests": [{**ask("a", "a"), "more": 1}]}, "more"),
    ({"requests": [ask("a", "a", model="other")]}, "parameters"),
    ({"provider": "nobody"}, "provider"),
    ({"provider": None}, "provider"),
    ({"model": ""}, "model"),
    ({"more": 1}, "more"),
    ({"options": {"more": 1}}, "more"),
    ({"options": {"deadline": "soon"}}, "options.deadline"),
    ({"options": {"deadline": "30d"}}, "options.deadline"),
    ({"options": {"priority": 5000}}, "priority"),
    ({"options": {"native": "maybe"}}, "native"),
]


@pytest.mark.parametrize(("change", "param"), BAD, ids=[json.dumps(change)[:60] for change, _ in BAD])
def test_bad_input_is_a_400_that_names_the_field(shared_gateway: Gateway, change: Any, param: str | None) -> None:
    """What does not fit is refused with its name, and nothing of the batch is kept."""
    before = HTTP.get(f"{shared_gateway.url}/v1/batch", headers=bear(shared_gateway.key)).json()["total"]
    body = {"provider": "mock", "model": "echo", "requests": [ask("a", "a")], **change}
    refused = HTTP.post(f"{shared_gateway.url}/v1/batch", json=body, headers=bear(shared_gateway.key))
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert param is None or param in (error["param"] or "")
    after = HTTP.get(f"{shared_gateway.url}/v1/batch", headers=bear(shared_gateway.key)).json()["total"]
    assert after == before


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"requests":[', b"\xff", b"null", b'{"requests":[{}' + b"[" * 2000]
)
def test_what_is_no_json_is_a_400(shared_gateway: Gateway, data: bytes) -> None:
    """Bytes that are no batch are refused."""
    headers = {**bear(shared_gateway.key), "content-type": "application/json"}
    assert HTTP.post(f"{shared_gateway.url}/v1/batch", content=data, headers=headers).status_code == 400


def test_the_order_of_fields_does_not_matter(shared_gateway: Gateway) -> None:
    """The provider may stand behind the requests."""
    body = {"requests": [ask("late", "a")], "options": {}, "model": "echo", "provider": "mock"}
    accepted = HTTP.post(f"{shared_gateway.url}/v1/batch", json=body, headers=bear(shared_gateway.key))
    assert wait(shared_gateway, accepted.json()["batch_id"])["request_counts"]["completed"] == 1


def test_keys_are_asked_for(shared_gateway: Gateway) -> None:
    """Without a key there is nothing to see, and a key without the right may not."""
    assert HTTP.post(f"{shared_gateway.url}/v1/batch", json={}).status_code == 401
    _, reports = make_key(shared_gateway, scopes=["analytics"])
    assert submit(shared_gateway, [ask("a", "a")], reports).status_code == 403
    _, batches = make_key(shared_gateway, scopes=["batch"])
    assert work_off(shared_gateway, [ask("a", "a")], batches)["status"] == "completed"
    _, other = make_key(shared_gateway, models=["mock/lorem"])
    assert submit(shared_gateway, [ask("a", "a")], other).status_code == 403
    own = {**bear(shared_gateway.key), "x-relay-upstream-key": "sk-mine"}
    body = {"provider": "mock", "model": "echo", "requests": [ask("a", "a")]}
    assert HTTP.post(f"{shared_gateway.url}/v1/batch", json=body, headers=own).status_code == 400


def test_a_budget_must_have_enough_for_all(gateway: Gateway) -> None:
    """A batch is refused as a whole when its budget cannot pay for it, and then holds nothing."""
    key_id, key = make_key(gateway, budget_usd=0.0001)
    many = [ask(f"hello {n}", f"r{n}", max_tokens=1000) for n in range(300)]
    refused = submit(gateway, many, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exceeded")
    assert refused.headers["x-should-retry"] == "false"
    view = work_off(gateway, [ask("hello", "a", max_tokens=5)], key)
    assert view["request_counts"]["completed"] == 1
    with gateway.client(headers=bear(gateway.admin_key)) as admin:
        [budget] = [one for one in admin.get("/admin/budgets").json()["budgets"] if one["ref"] == key_id]
    assert float(budget["reserved_usd"]) == 0
    assert float(budget["spent_usd"]) == pytest.approx(view["cost_usd"])


def test_a_model_without_a_price_is_counted_at_the_ceiling(gateway: Gateway) -> None:
    """Under a budget, requests to a model without a known price cost what the operator says, or are refused."""
    entry = {"type": "openai-compatible", "base_url": f"{gateway.mock_url}/v1", "api_key": "any"}
    gateway.configure(providers={"local": entry}, batch={"native": False})
    key_id, key = make_key(gateway, budget_usd=10)
    requests = [ask("how much", "a", max_tokens=5)]
    refused = submit(gateway, requests, key, provider="local", model="llama-unpriced")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "model_unpriced")
    gateway.configure(budgets={"unpriced_input_usd": 10, "unpriced_output_usd": 30})
    view = work_off(gateway, requests, key, provider="local", model="llama-unpriced")
    assert view["cost_usd"] > 0
    with gateway.client(headers=bear(gateway.admin_key)) as admin:
        [budget] = [one for one in admin.get("/admin/budgets").json()["budgets"] if one["ref"] == key_id]
    assert float(budget["spent_usd"]) == pytest.approx(view["cost_usd"])


def test_a_revoked_key_stops_its_batches(gateway: Gateway) -> None:
    """What a key sent is not called any more once it is revoked."""
    key_id, key = make_key(gateway)
    gateway.configure(batch={"concurrency": 1})
    accepted = submit(gateway, [ask(f"[[mock delay_ms=300]] slow {n}", f"r{n}") for n in range(12)], key)
    with gateway.client(headers=bear(gateway.admin_key)) as admin:
        assert admin.delete(f"/admin/api-keys/{key_id}").status_code == 204
    view = wait(gateway, accepted.json()["batch_id"], key=gateway.admin_key)
    assert view["request_counts"]["failed"] >= 8
    assert view["result"][-1]["error"]["code"] == "key_revoked"


def test_cancelling_stops_what_runs(gateway: Gateway) -> None:
    """Within two seconds nothing runs any more: calls under way are broken off at the provider."""
    accepted = submit(gateway, [ask(f"[[mock delay_ms=20000]] {n}", f"r{n}") for n in range(10)])
    batch_id = accepted.json()["batch_id"]
    while HTTP.get(f"{gateway.mock_url}/mock/stats").json()["in_flight"] < 3:
        time.sleep(0.05)
    began = time.monotonic()
    stopped = HTTP.delete(f"{gateway.url}/v1/batch/{batch_id}", headers=bear(gateway.key))
    assert stopped.status_code == 200
    assert stopped.json()["status"] in {"cancelling", "cancelled"}
    while look(gateway, batch_id).json()["status"] != "cancelled":
        assert time.monotonic() - began < 2.5
        time.sleep(0.05)
    while HTTP.get(f"{gateway.mock_url}/mock/stats").json()["in_flight"]:
        assert time.monotonic() - began < 2.5
    view = look(gateway, batch_id).json()
    assert view["request_counts"] == {"total": 10, "completed": 0, "failed": 0, "cancelled": 10, "pending": 0}
    assert {one["error"]["code"] for one in view["result"]} == {"batch_cancelled"}
    assert HTTP.delete(f"{gateway.url}/v1/batch/{batch_id}", headers=bear(gateway.key)).status_code == 200


def test_a_batch_that_is_over_cannot_be_cancelled(shared_gateway: Gateway) -> None:
    """What is done stays."""
    view = work_off(shared_gateway, [ask("done", "a")])
    url = f"{shared_gateway.url}/v1/batch/{view['batch_id']}"
    refused = HTTP.delete(url, headers=bear(shared_gateway.key))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "batch_over")


def test_a_deadline_ends_a_batch(gateway: Gateway) -> None:
    """What is not answered in time is an error, and the batch has failed."""
    requests = [ask("quick", "a"), ask("[[mock delay_ms=30000]] slow", "b")]
    view = work_off(gateway, requests, options={"deadline": 2})
    assert view["status"] == "failed"
    assert view["error"]["code"] == "batch_expired"
    assert [one["status"] for one in view["result"]] == ["success", "error"]


def test_results_as_lines(shared_gateway: Gateway) -> None:
    """Results can be read as lines, from any of them on."""
    view = work_off(shared_gateway, [ask(f"line {n}", f"r{n}") for n in range(12)])
    url = f"{shared_gateway.url}/v1/batch/{view['batch_id']}/results"
    answer = HTTP.get(url, params={"after": 5}, headers=bear(shared_gateway.key))
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line)["id"] for line in answer.text.splitlines()] == [f"r{n}" for n in range(5, 12)]


def test_batches_are_listed_newest_first(gateway: Gateway) -> None:
    """Pages of batches follow each other without a gap."""
    ids = [submit(gateway, [ask("list", "a")]).json()["batch_id"] for _ in range(5)]
    found, cursor = [], None
    while True:
        parameters = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = HTTP.get(f"{gateway.url}/v1/batch", params=parameters, headers=bear(gateway.key)).json()
        assert page["total"] == 5
        found += [one["batch_id"] for one in page["batches"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == ids[::-1]


def test_an_anthropic_provider_is_asked_in_its_own_words(gateway: Gateway) -> None:
    """Requests to a provider of Anthropic's dialect get what it cannot do without, and its own answers come back."""
    entry = {"type": "anthropic-compatible", "base_url": gateway.mock_url, "api_key": "any"}
    gateway.configure(providers={"claude": entry})
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    view = work_off(gateway, [{"id": "a", "messages": messages}], provider="claude", model="claude-haiku-4-5")
    assert view["result"][0]["status"] == "success", view
    assert view["result"][0]["result"]["type"] == "message"
    assert view["result"][0]["result"]["content"][0]["text"]


def test_limits_of_the_key_hold(gateway: Gateway) -> None:
    """Requests of a batch wait for the limits of their key, and all are answered in the end."""
    _, key = make_key(gateway, max_parallel=2)
    view = work_off(gateway, [ask(f"[[mock delay_ms=100]] {n}", f"r{n}") for n in range(12)], key)
    assert view["request_counts"]["completed"] == 12


def test_an_idempotency_key_stands_for_one_batch(shared_gateway: Gateway) -> None:
    """The same batch sent again under its key is the same batch; another one under it is a 422, and others are free."""
    headers = {**bear(shared_gateway.key), "idempotency-key": f"k{time.monotonic_ns()}"}
    body = {"provider": "mock", "model": "echo", "requests": [ask("once", "a")]}
    url = f"{shared_gateway.url}/v1/batch"
    refused = HTTP.post(url, json={**body, "requests": [ask("a", "a"), ask("b", "a")]}, headers=headers)
    assert refused.status_code == 400
    first, again = (HTTP.post(url, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["batch_id"] == again.json()["batch_id"]
    other = HTTP.post(url, json={**body, "model": "lorem"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    _, stranger = make_key(shared_gateway)
    theirs = HTTP.post(url, json=body, headers={**headers, **bear(stranger)})
    assert theirs.json()["batch_id"] != first.json()["batch_id"]
    broken = HTTP.post(url, json=body, headers={**headers, "idempotency-key": "x" * 300})
    assert broken.status_code == 400


def test_a_key_of_a_batch_whose_sender_died_is_free_again(gateway: Gateway) -> None:
    """A batch that was being read when its process died does not keep its key, and nobody sees it."""
    with psycopg.connect(gateway.database_url, autocommit=True) as database:
        database.execute(
            "INSERT INTO batches (id, shape, user_id, state, expires_at, lease_until, idempotency_key) "
            "SELECT gen_random_uuid(), 'relay', user_id, 'validating', now() + interval '1 day', "
            "now() - interval '1 second', 'dead' FROM api_keys"
        )
    headers = {**bear(gateway.key), "idempotency-key": "dead"}
    body = {"provider": "mock", "model": "echo", "requests": [ask("again", "a")]}
    assert HTTP.get(f"{gateway.url}/v1/batch", headers=headers).json()["total"] == 0
    first = HTTP.post(f"{gateway.url}/v1/batch", json=body, headers=headers)
    assert (first.status_code, first.json()["error"]["code"]) == (409, "idempotency_in_flight")
    assert HTTP.post(f"{gateway.url}/v1/batch", json=body, headers=headers).status_code == 202


def test_a_nul_is_a_400(shared_gateway: Gateway) -> None:
    """A character that no text of Postgres can hold is refused wherever it stands."""
    url, headers = f"{shared_gateway.url}/v1/batch", bear(shared_gateway.key)
    good = {"provider": "mock", "model": "echo", "requests": [ask("a", "a")]}
    for change in (
        {"options": {"metadata": {"a": "\0"}}},
        {"options": {"metadata": {"\0": "a"}}},
        {"model": "ec\0ho"},
        {"provider": "mo\0ck"},
        {"requests": [ask("a", "\0")]},
    ):
        assert HTTP.post(url, json={**good, **change}, headers=headers).status_code == 400
    body = {"model": "mock/ec\0ho", "messages": [{"role": "user", "content": "a"}]}
    later = HTTP.post(
        f"{shared_gateway.url}/v1/chat/completions", json=body, headers={**headers, "prefer": "respond-async"}
    )
    assert later.status_code == 400
    text = work_off(shared_gateway, [ask("a\0b", "a")])
    assert text["result"][0]["status"] == "success"


def test_what_is_asked_of_the_gateway_holds_for_each_request(gateway: Gateway) -> None:
    """The headers of a batch are those of its calls: one that goes round the cache makes each of its calls."""
    body = {"provider": "mock", "model": "echo", "requests": [ask("same", f"r{n}") for n in range(4)]}
    headers = {**bear(gateway.key), "x-aihub-cache": "bypass"}
    accepted = HTTP.post(f"{gateway.url}/v1/batch", json=body, headers=headers)
    view = wait(gateway, accepted.json()["batch_id"])
    assert all(one["cost_usd"] > 0 for one in view["result"])


def test_a_call_can_wait(shared_gateway: Gateway) -> None:
    """`Prefer: respond-async` is answered at once with where the answer will be."""
    headers = {**bear(shared_gateway.key), "prefer": "respond-async", "x-relay-deadline": "10m"}
    body = {"model": "mock/echo", "messages": [{"role": "user", "content": "no hurry"}], "stream": True}
    accepted = HTTP.post(f"{shared_gateway.url}/v1/chat/completions", json=body, headers=headers)
    assert accepted.status_code == 202
    assert accepted.headers["preference-applied"] == "respond-async"
    assert accepted.json()["status_url"] == accepted.headers["location"]
    wait(shared_gateway, accepted.json()["batch_id"])
    found = HTTP.get(accepted.headers["location"], headers=bear(shared_gateway.key)).json()
    assert found["result"][0]["result"]["choices"][0]["message"]["content"] == "no hurry"
    refused = HTTP.post(
        f"{shared_gateway.url}/v1/chat/completions", json=body, headers={**headers, "x-relay-deadline": "soon"}
    )
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "x-relay-deadline")


def test_without_the_preference_a_call_is_answered_at_once(shared_gateway: Gateway) -> None:
    """A deadline alone is no reason to keep a client waiting."""
    headers = {**bear(shared_gateway.key), "x-relay-deadline": "6h"}
    body = {"model": "mock/echo", "messages": [{"role": "user", "content": "now"}]}
    answered = HTTP.post(f"{shared_gateway.url}/v1/chat/completions", json=body, headers=headers)
    assert answered.json()["choices"][0]["message"]["content"] == "now"


def send_raw(gateway: Gateway, data: bytes, **headers: str) -> httpx.Response:
    """Hand in the bytes of a batch as they are."""
    told = {name.replace("_", "-"): value for name, value in {"content_type": "application/json", **headers}.items()}
    return HTTP.post(f"{gateway.url}/v1/batch", content=data, headers={**bear(gateway.key), **told})


def write_raw(requests: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return the body of a batch, byte for byte."""
    return b'{"provider":"mock","model":"echo",%b"requests":[%b]%b}' % (before, requests, after)


RAW = b'{"id":"%b","messages":[{"role":"user","content":"%b"}]}'
A, B = RAW % (b"a", b"one"), RAW % (b"b", b"two")
DEEP = b'{"id":"a","messages":[],"parameters":{"x":%b}}' % (b"[" * 61 + b"]" * 61)


@pytest.mark.parametrize(
    "data",
    [
        write_raw(A + b" " + B),
        write_raw(A + b",," + B),
        write_raw(A + b","),
        write_raw(b"," + A),
        write_raw(A, before=b'"model":"echo",'),
        write_raw(A, before=b'"requests" :[],'),
        write_raw(A, after=b',"provider":"mock"'),
        write_raw(A, after=b',"options":{"priority":1,"priority":2}'),
        write_raw(A.replace(b'"id"', b'"id":"b","id"')),
        write_raw(A.replace(b'"messages"', b'"messages":[],"messages"')),
        write_raw(A.replace(b'"messages"', b'"parameters":{"n":1,"n":2},"messages"')),
        write_raw(A.replace(b"one", b"\xff")),
        write_raw(A.replace(b"user", b"\xc3")),
        write_raw(A, after=b',"options":{"metadata":{"a":"\xff"}}'),
        write_raw(DEEP),
        write_raw(A, after=b',"options":{"metadata":{"a":%b}}' % (b"[" * 62 + b"]" * 62)),
        write_raw(A + b',{"id":"b","messages":' + b"[" * 100_000),
    ],
    ids=lambda data: data[32:96].decode("latin-1"),
)
def test_what_is_not_quite_json_is_a_400(shared_gateway: Gateway, data: bytes) -> None:
    """Missing and spare commas, fields that occur twice, bytes that are no UTF-8, and more than 64 levels."""
    refused = send_raw(shared_gateway, data)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["type"] == "invalid_request_error"


def test_late_providers_with_too_many_requests(gateway: Gateway) -> None:
    """Requests that wait for their provider to be named are counted from the first on."""
    gateway.configure(batch={"max_requests": 3})
    refused = send_raw(gateway, b'{"requests":[' + b"{}," * 4 + b'{}],"provider":"mock","model":"echo"}')
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "too_many_requests")


def test_all_that_is_raw_here_is_a_batch(shared_gateway: Gateway) -> None:
    """What the cases here have in common is read: one that is refused is so for what is wrong with it."""
    accepted = send_raw(shared_gateway, write_raw(A + b" , " + B, after=b',"options":{"metadata":{"a":"b"}}'))
    assert accepted.status_code == 202, accepted.text
    wait(shared_gateway, accepted.json()["batch_id"])


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_batch_may_be_packed(shared_gateway: Gateway, encoding: str, pack: Any) -> None:
    """A packed body is the same batch, large requests as well: its key stands for what is in it, packed or not."""
    data = write_raw(RAW % (b"large", b"word " * 300_000) + b"," + B)
    accepted = send_raw(shared_gateway, pack(data), content_encoding=encoding, idempotency_key=f"packed {encoding}")
    assert accepted.status_code == 202, accepted.text
    assert accepted.json()["request_counts"] == {"total": 2}
    again = send_raw(shared_gateway, data, idempotency_key=f"packed {encoding}")
    assert (again.status_code, again.json()["batch_id"]) == (202, accepted.json()["batch_id"])
    other = send_raw(
        shared_gateway, pack(write_raw(B)), content_encoding=encoding, idempotency_key=f"packed {encoding}"
    )
    assert other.status_code == 422
    wait(shared_gateway, accepted.json()["batch_id"])


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (gzip.compress(write_raw(A))[:-1], "gzip"),
        (gzip.compress(write_raw(A)) + b"x", "gzip"),
        (write_raw(A), "gzip"),
        (gzip.compress(write_raw(A)), "deflate, gzip"),
        (write_raw(A), "br"),
        (gzip.compress(write_raw(A, before=b'"x":"%b",' % (b"x" * 10**7))), "gzip"),
    ],
    ids=["cut", "longer", "plain", "twice", "unknown", "bomb"],
)
def test_what_is_packed_badly_is_a_400(shared_gateway: Gateway, data: bytes, encoding: str) -> None:
    """What does not unpack to its end, or to something that is no batch, is refused."""
    assert send_raw(shared_gateway, data, content_encoding=encoding).status_code == 400


def test_a_packed_batch_that_grows_too_large(database_url: str, tmp_path: Path) -> None:
    """What a packed body unpacks to has the limit of one that is not packed."""
    with run_gateway(prepare(database_url, tmp_path, max_upload_bytes=10**6)) as small:
        for size, status in ((10**5, 202), (10**6, 413), (10**8, 413)):
            data = gzip.compress(write_raw(A + b" " * size))
            assert send_raw(small, data, content_encoding="gzip").status_code == status
