"""Budgets as clients meet them: refused in their dialect, free where nothing is paid, and booked to the token."""

from decimal import Decimal
from typing import Any

import anthropic
import httpx
import openai
import psycopg
import pytest

from tests.acceptance.support import Provider, chat, fresh, message, query, row_of, wait_for_row, wait_until
from tests.gateway_process import Gateway

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
IN_USD, OUT_USD = Decimal("0.000001"), Decimal("0.000002")  # the mock's prices


@pytest.fixture
def admin(shared_gateway: Gateway):
    with shared_gateway.client(headers={"authorization": f"Bearer {shared_gateway.admin_key}"}) as client:
        yield client


@pytest.fixture
def make_key(admin: httpx.Client):
    """Make keys of new users as an administrator does; (key, key id)."""

    def make(**fields: Any) -> tuple[str, str]:
        user = admin.post(
            "/admin/users", json={"email": f"{fresh('u').replace(' ', '')}@example.org", "name": "", "role": "user"}
        )
        made = admin.post("/admin/api-keys", json={"user_id": user.json()["id"], "name": "money", **fields})
        assert made.status_code == 201, made.text
        return made.json()["key"], made.json()["id"]

    return make


def post(gateway: Gateway, key: str, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    lines = {"authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    with gateway.client(headers=lines) as client:
        return client.post(path, json=body)


def counter_of(gateway: Gateway, scope: str, ref: str) -> dict[str, Any]:
    gateway.flush()
    (row,) = query(
        gateway,
        "SELECT spent_usd, reserved_usd, overrun_usd FROM budget_counters "
        "JOIN budgets ON budgets.id = budget_id WHERE scope = %s AND ref = %s",
        scope,
        ref,
    )
    return row


def test_an_empty_budget_is_402_for_openais_sdk_and_is_not_tried_again(shared_gateway, mock, make_key):
    """insufficient_quota / budget_exceeded, a message that says which and when, one request of the SDK only."""
    key, _ = make_key(budget_usd=0.000001, budget_period="day")
    client = openai.OpenAI(base_url=f"{shared_gateway.url}/v1", api_key=key, max_retries=3)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**chat(fresh()), max_tokens=10)
    error = caught.value
    assert error.status_code == 402
    assert (error.type, error.code) == ("insufficient_quota", "budget_exceeded")
    assert "budget of this key (day, 0.000001 USD)" in error.message
    assert "resets at" in error.message
    assert error.response.headers["x-should-retry"] == "false"
    shared_gateway.flush()
    assert len(query(shared_gateway, "SELECT 1 FROM requests WHERE error_type = 'budget_exceeded'")) == 1
    assert mock.count() == 0


def test_an_empty_budget_is_a_billing_error_for_anthropics_sdk(shared_gateway, mock, make_key):
    """The same on Anthropic's side, streamed: a plain HTTP error before any event."""
    key, _ = make_key(budget_usd=0)
    client = anthropic.Anthropic(base_url=shared_gateway.url, api_key=key, max_retries=3)
    with pytest.raises(anthropic.APIStatusError) as caught, client.messages.stream(**message(fresh())) as stream:
        stream.get_final_text()
    assert caught.value.status_code == 402
    assert caught.value.body["error"]["type"] == "billing_error"
    assert mock.count() == 0


def test_what_a_call_cost_is_what_is_spent(shared_gateway, mock, make_key):
    """Held before, settled after: spent is the sum of the ledger's lines, nothing stays reserved."""
    key, key_id = make_key(budget_usd=1, budget_period="month")
    reply = post(shared_gateway, key, CHAT, chat(fresh(), max_tokens=100))
    usage = reply.json()["usage"]
    cost = usage["prompt_tokens"] * IN_USD + usage["completion_tokens"] * OUT_USD
    row = row_of(shared_gateway, reply)
    assert row["estimated_cost"] == cost == Decimal(reply.headers["x-relay-cost-usd"])
    found = counter_of(shared_gateway, "key", key_id)
    assert (found["spent_usd"], found["reserved_usd"], found["overrun_usd"]) == (cost, 0, 0)
    lines = query(
        shared_gateway, "SELECT token_class, quantity, amount_usd FROM ledger WHERE request_id = %s", row["id"]
    )
    assert {line["token_class"]: line["quantity"] for line in lines} == {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
    }


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/responses", "/v1/completions"])
@pytest.mark.parametrize("streamed", [False, True])
def test_every_kind_of_call_is_settled(shared_gateway, mock, make_key, path, streamed):
    """Whole and streamed, in every dialect: what is spent is what the row says, and nothing stays held."""
    key, key_id = make_key(budget_usd=1)
    text = fresh()
    body: dict[str, Any] = {"model": "mock/echo", "stream": streamed}
    body |= {
        CHAT: {"messages": [{"role": "user", "content": text}]},
        MESSAGES: {"messages": [{"role": "user", "content": text}], "max_tokens": 64},
        "/v1/responses": {"input": text},
        "/v1/completions": {"prompt": text},
    }[path]
    reply = post(shared_gateway, key, path, body)
    assert reply.status_code == 200
    row = row_of(shared_gateway, reply)
    assert row["estimated_cost"] > 0
    found = counter_of(shared_gateway, "key", key_id)
    assert (found["spent_usd"], found["reserved_usd"]) == (row["estimated_cost"], 0)


def test_a_refused_call_costs_nothing(shared_gateway, mock, make_key):
    """What a provider refuses gives back all that was held for it."""
    key, key_id = make_key(budget_usd=1)
    assert post(shared_gateway, key, CHAT, chat(fresh(), model="mock/status-400")).status_code == 400
    found = counter_of(shared_gateway, "key", key_id)
    assert (found["spent_usd"], found["reserved_usd"]) == (0, 0)


def test_a_hit_is_free_even_when_nothing_is_left(shared_gateway, mock, make_key):
    """The cache costs nothing: an answer that is in it is given whatever the budget."""
    key, key_id = make_key(budget_usd=1)
    body = chat(fresh(), max_tokens=20)
    assert post(shared_gateway, key, CHAT, body).headers["x-aihub-cache-status"] == "miss"
    shared_gateway.flush()
    query(shared_gateway, "UPDATE budgets SET amount_usd = 0 WHERE ref = %s", key_id)
    assert post(shared_gateway, key, CHAT, chat(fresh(), max_tokens=20)).status_code == 402
    again = post(shared_gateway, key, CHAT, body)
    assert (again.status_code, again.headers["x-aihub-cache-status"]) == (200, "hit")


@pytest.mark.parametrize("scope", ["user", "team", "organization", "model", "tag"])
def test_each_scope_has_budgets_of_its_own(shared_gateway, mock, admin, scope):
    """A budget of a user, team, organization, model or tag refuses the calls it concerns, and only these."""
    organization = admin.post("/admin/organizations", json={"name": fresh("org")}).json()["id"]
    team = admin.post("/admin/teams", json={"name": fresh("team"), "organization_id": organization}).json()["id"]
    address = f"{fresh('s').replace(' ', '')}@example.org"
    user = admin.post(
        "/admin/users", json={"email": address, "name": "", "role": "user", "organization_id": organization}
    ).json()["id"]
    assert admin.put(f"/admin/teams/{team}/members/{user}").status_code < 300
    tag, model = fresh("tag"), "mock/lorem"
    key = admin.post("/admin/api-keys", json={"user_id": user, "team_id": team, "name": "s"}).json()["key"]
    ref = {"user": user, "team": team, "organization": organization, "model": model, "tag": tag}[scope]
    made = admin.post("/admin/budgets", json={"scope": scope, "ref": ref, "amount_usd": 0, "period": "week"})
    assert made.status_code == 201, made.text
    try:
        lines = {"x_relay_tags": f"a,{tag}"}
        wait_until(lambda: post(shared_gateway, key, CHAT, chat(fresh(), model=model, max_tokens=9), **lines), is_402)
        if scope == "model":
            assert post(shared_gateway, key, CHAT, chat(fresh(), max_tokens=9)).status_code == 200
        if scope == "tag":
            assert post(shared_gateway, key, CHAT, chat(fresh(), model=model, max_tokens=9)).status_code == 200
        assert post(shared_gateway, shared_gateway.key, CHAT, chat(fresh(), max_tokens=9)).status_code == 200
    finally:
        assert admin.delete(f"/admin/budgets/{made.json()['id']}").status_code == 204


def is_402(reply: httpx.Response) -> bool:
    return reply.status_code == 402


def test_a_model_without_a_price_is_refused_unless_there_is_a_ceiling(shared_gateway, mock, make_key):
    """422 model_unpriced to whoever has a budget; with a ceiling it is counted at that, and the ledger says so."""
    shared_gateway.configure(
        providers={
            "mock": {"type": "mock"},
            "odd": {"type": "openai-compatible", "base_url": f"{shared_gateway.mock_url}/v1", "api_key": "any"},
        }
    )
    key, key_id = make_key(budget_usd=1)
    body = chat(fresh(), model="odd/echo", max_tokens=10)
    refused = post(shared_gateway, key, CHAT, body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "model_unpriced")
    assert post(shared_gateway, shared_gateway.key, CHAT, body).status_code == 200
    shared_gateway.configure(budgets={"unpriced_input_usd": 10, "unpriced_output_usd": 20})
    try:
        reply = post(shared_gateway, key, CHAT, chat(fresh(), model="odd/echo", max_tokens=10))
        usage = reply.json()["usage"]
        cost = (usage["prompt_tokens"] * 10 + usage["completion_tokens"] * 20) / Decimal(1_000_000)
        assert row_of(shared_gateway, reply)["estimated_cost"] == cost
        assert counter_of(shared_gateway, "key", key_id)["spent_usd"] == cost
        kinds = query(shared_gateway, "SELECT DISTINCT kind FROM ledger WHERE api_key_id = %s", key_id)
        assert kinds == [{"kind": "ceiling"}]
    finally:
        shared_gateway.configure(budgets={"unpriced_input_usd": None, "unpriced_output_usd": None})


def test_near_the_limit_a_call_without_a_limit_gets_what_the_rest_pays_for(shared_gateway, mock, make_key):
    """It is sent with the tokens that are left, its answer is cut there and not kept, and the limit holds."""
    key, key_id = make_key(budget_usd=0.0001)
    body = chat(fresh(), model="mock/big-4000")
    reply = post(shared_gateway, key, CHAT, body)
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["finish_reason"] == "length"
    found = counter_of(shared_gateway, "key", key_id)
    assert 0 < found["spent_usd"] <= Decimal("0.0001")
    assert found["overrun_usd"] == 0
    whole = post(shared_gateway, shared_gateway.key, CHAT, body)
    assert whole.json()["choices"][0]["finish_reason"] == "stop"


def test_a_broken_stream_is_charged_by_an_estimate(shared_gateway, mock, make_key):
    """No usage was told: the input as counted and the output by its bytes are charged as `estimated`."""
    key, key_id = make_key(budget_usd=1)
    reply = post(shared_gateway, key, CHAT, chat(fresh(), model="mock/cut-stream", stream=True, max_tokens=500))
    row = row_of(shared_gateway, reply)
    (kind,) = {one["kind"] for one in query(shared_gateway, "SELECT kind FROM ledger WHERE request_id = %s", row["id"])}
    assert kind == "estimated"
    found = counter_of(shared_gateway, "key", key_id)
    assert 0 < found["spent_usd"] == row["estimated_cost"] < 500 * OUT_USD
    assert found["reserved_usd"] == 0


def test_a_client_that_leaves_is_charged_for_what_it_began(shared_gateway, mock, make_key):
    """The provider was asked: leaving does not make the call free, nor does it leave money held."""
    key, key_id = make_key(budget_usd=1)
    request_id = fresh("left").replace(" ", "-")
    lines = {"authorization": f"Bearer {key}", "x-request-id": request_id}
    with (
        shared_gateway.client(headers=lines) as client,
        client.stream(
            "POST", CHAT, json=chat(fresh(), model="mock/slow-stream-50", stream=True, max_tokens=500)
        ) as reply,
    ):
        next(reply.iter_bytes())
    row = wait_for_row(shared_gateway, request_id)
    assert row["status_code"] == 499
    found = counter_of(shared_gateway, "key", key_id)
    assert 0 < found["spent_usd"] == row["estimated_cost"]
    assert found["reserved_usd"] == 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/mock/images/generations", False),
        ("POST", "/v1/mock/audio/speech", False),
        ("GET", "/v1/mock/fine_tuning/jobs", True),
        ("POST", "/v1/mock/moderations", True),
        ("POST", "/v1/mock/responses/resp_1/cancel", True),
    ],
)
def test_what_cannot_be_metered_is_not_open_to_budgeted_keys(shared_gateway, mock, make_key, method, path, allowed):
    """Paths that pass unread are refused where they may cost something, and open where they do not."""
    key, _ = make_key(budget_usd=1)
    with shared_gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
        reply = client.request(method, path, json={"model": "echo"} if method == "POST" else None)
    assert (reply.status_code == 422) is not allowed
    assert (mock.count() > 0) is allowed


def test_counting_tokens_is_free(shared_gateway, mock, make_key):
    """Nobody charges for it, so an empty budget does not refuse it."""
    key, _ = make_key(budget_usd=0)
    body = {"model": "mock/claude-opus-4-5", "messages": [{"role": "user", "content": "hi"}]}
    assert post(shared_gateway, key, "/v1/messages/count_tokens", body).status_code == 200


def test_an_overrun_is_on_record_and_ends_the_spending(shared_gateway, mock, make_key):
    """A provider that counts more than anybody could foresee: booked as it is, and the next call is refused."""
    key, key_id = make_key(budget_usd=0.001)
    text = fresh()
    answer = (
        b'{"id":"1","object":"chat.completion","created":1,"model":"echo","choices":[{"index":0,"finish_reason":"stop",'
        b'"message":{"role":"assistant","content":"x"}}],"usage":{"prompt_tokens":5000,"completion_tokens":1,'
        b'"total_tokens":5001}}'
    )
    mock.answer_next(answer)
    assert post(shared_gateway, key, CHAT, chat(text, max_tokens=10)).status_code == 200
    found = counter_of(shared_gateway, "key", key_id)
    assert found["spent_usd"] == Decimal("0.005002")
    assert found["overrun_usd"] == Decimal("0.004002")
    assert post(shared_gateway, key, CHAT, chat(fresh(), max_tokens=10)).status_code == 402


def test_a_soft_limit_tells_once(shared_gateway, mock, admin, make_key):
    """Reaching it writes one alert for the period and gives notice on the channel."""
    _, key_id = made = make_key()
    with psycopg.connect(shared_gateway.database_url, autocommit=True) as listening:
        listening.execute("LISTEN relaycore_alerts")
        body = {"scope": "key", "ref": key_id, "amount_usd": 1, "soft_limit_usd": 0.000001, "period": "day"}
        assert admin.post("/admin/budgets", json=body).status_code == 201
        for _ in range(3):
            assert post(shared_gateway, made[0], CHAT, chat(fresh(), max_tokens=10)).status_code == 200
            shared_gateway.flush()
        notices = list(listening.notifies(timeout=1, stop_after=1))
    assert len(notices) == 1
    alerts = admin.get("/admin/budget-alerts").json()["alerts"]
    assert sum(one["ref"] == key_id for one in alerts) == 1


def test_the_books_balance_after_all_of_this(shared_gateway, mock: Provider):
    """Whatever the tests of this module did: ledger, counters, reservations and rows agree."""
    shared_gateway.flush()
    wait_until(lambda: query(shared_gateway, "SELECT * FROM reservations"), lambda rows: not rows, seconds=10)
    assert query(shared_gateway, "SELECT * FROM relaycore_ledger_check()") == []
