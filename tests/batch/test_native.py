"""The vendors' own batches behind ours, over real HTTP and a real Postgres, against the built-in mock as the vendor."""

import base64
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from app.batch.native import remote as native_remote
from app.batch.native import steps as native_steps
from app.batch.native import worker as native
from app.batch.native.request_store import settle_rest
from app.batch.native.store import advance_native, claim_natives, end_native
from app.batch.native.types import Advance, NotOursError
from app.batch.types import Item, NewBatch, Shape
from app.gateway.options import Options
from app.providers.batches import BATCH_PROTOCOLS
from app.wire.ids import make_uuid7
from tests.batch.odd_vendors import open_odd_vendor
from tests.conftest import prepare
from tests.gateway_process import Gateway, run_gateway

OPENAI, ANTHROPIC = "gpt-4o-mini", "claude-haiku-4-5"
CONFIG: dict[str, Any] = {"pool_seconds": 0.3, "poll_seconds": 0.5}
OVER = {"completed", "failed", "cancelled"}
BUSY = "SELECT count(*) FROM native_batches WHERE provider = 'openai' AND lease_until > now()"
UNFINISHED = "SELECT 1 FROM native_batches WHERE finished_at IS NULL"


@pytest.fixture(scope="module")
def running(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose worker looks at everything more often than it usually does."""
    with pytest.MonkeyPatch.context() as hurry:
        hurry.setattr(native, "LOOK_SECONDS", 0.1)
        hurry.setattr(native_steps, "LOOK_SECONDS", 0.2)
        hurry.setattr(native_steps, "FIRST_WAIT_SECONDS", 0.1)
        hurry.setattr("app.worker.run_price_update", lambda *_: None)  # it takes its time at 25 and 55 past
        with run_gateway(prepare(module_database_url, tmp_path_factory.mktemp("gateway"))) as one:
            yield one


@pytest.fixture
def gateway(running: Gateway) -> Gateway:
    """The module's gateway, whose OpenAI and Anthropic are a mock that has forgotten everything."""
    base = running.mock_url
    httpx.post(f"{base}/mock/reset").raise_for_status()
    end = time.monotonic() + 20
    while query(running, UNFINISHED) and time.monotonic() < end:  # what an earlier test left takes room
        time.sleep(0.1)
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM native_batches WHERE finished_at IS NOT NULL")
    turn_to(running, base, base)
    running.configure(
        batch=CONFIG | {"native": True, "native_min_seconds": 3600, "reserve_seconds": 900},
        cache={"enabled": False},
    )
    return running


def turn_to(gateway: Gateway, openai: str, anthropic: str) -> None:
    """Say where the vendors are."""
    gateway.configure(
        providers={
            "mock": {"type": "mock"},
            "openai": {"type": "openai", "api_keys": ["key-one", "key-two"], "base_url": f"{openai}/v1"},
            "anthropic": {"type": "anthropic", "api_key": "key-three", "base_url": anthropic},
        }
    )


def ask(text: str, name: str, **parameters: Any) -> dict[str, Any]:
    return {"id": name, "messages": [{"role": "user", "content": text}], "parameters": parameters}


def ask_many(count: int, text: str = "hello {}") -> list[dict[str, Any]]:
    return [ask(text.format(number), f"r{number}") for number in range(count)]


def submit(gateway: Gateway, requests: list[dict[str, Any]], **changes: Any) -> str:
    body = {"provider": "openai", "model": OPENAI, "requests": requests, **changes}
    with gateway.client() as client:
        accepted = client.post("/v1/batch", json=body)
        assert accepted.status_code == 202, accepted.text
        return accepted.json()["batch_id"]


def hand_in(gateway: Gateway, path: str, bodies: list[dict[str, Any]], shape: Shape = "openai", **changes: Any) -> str:
    """Hand in a batch of calls to any path, without the HTTP API of any shape."""
    desk, caller = gateway.app.state.desk, gateway.parts.directory.find(gateway.key)
    new = NewBatch(id=make_uuid7(), shape=shape, user_id=caller.user_id, api_key_id=caller.key_id, **changes)

    async def take() -> None:
        intake = desk.open_intake(new, caller, strict=True)
        await intake.open()
        for number, body in enumerate(bodies):
            await intake.add(Item(custom_id=f"r{number}", path=path, body=json.dumps(body, indent=1).encode()))
        await intake.accept()

    gateway.run(take)
    return str(new.id)


def wait(gateway: Gateway, batch_id: str, seconds: float = 25) -> dict[str, Any]:
    with gateway.client() as client:
        return poll(lambda: show_over(client, batch_id), seconds, lambda: query(gateway, "TABLE native_batches"))


def show_over(client: httpx.Client, batch_id: str) -> dict[str, Any] | None:
    view = client.get(f"/v1/batch/{batch_id}").json()
    return view if view["status"] in OVER else None


def poll(look: Callable[[], Any], seconds: float = 15, explain: Callable[[], object] = lambda: "") -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, explain()
        time.sleep(0.03)
    return found


def check_natives(gateway: Gateway, expected: object) -> None:
    """Assert what became of the vendors' batches: a moment after their last result they are over themselves."""
    poll(lambda: list_natives(gateway) == expected, explain=lambda: list_natives(gateway))


def query(gateway: Gateway, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(gateway.database_url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def list_natives(gateway: Gateway, columns: str = "state, requests") -> list[tuple[Any, ...]]:
    """The vendors' batches once all of them are over, the oldest first."""
    poll(
        lambda: query(gateway, "SELECT bool_and(finished_at IS NOT NULL) FROM native_batches") in ([(True,)], [(None,)])
    )
    return query(gateway, f"SELECT {columns} FROM native_batches ORDER BY created_at")


def count_calls(gateway: Gateway, path: str) -> int:
    return httpx.get(f"{gateway.mock_url}/mock/stats").json()["paths"].get(path, 0)


def upset(gateway: Gateway, *faults: dict[str, Any], **wishes: Any) -> None:
    httpx.post(f"{gateway.mock_url}/mock/batches", json={"faults": faults, **wishes}).raise_for_status()


def check_once_each(gateway: Gateway, batch_id: str, view: dict[str, Any], count: int) -> None:
    """Every request has one result, in order, with one line of the record, and the books are in order."""
    assert [one["id"] for one in view["result"]] == [f"r{number}" for number in range(count)]
    gateway.flush()
    assert query(
        gateway,
        "SELECT count(*), count(DISTINCT s.position), count(DISTINCT q.id) FROM batch_results AS s "
        "LEFT JOIN requests AS q ON q.id = s.request_id WHERE s.batch_id = %s",
        batch_id,
    ) == [(count, count, count)]
    assert query(gateway, "SELECT problem FROM relaycore_ledger_check()") == []


def list_texts(view: dict[str, Any]) -> list[str]:
    return [one["result"]["choices"][0]["message"]["content"] for one in view["result"]]


def test_half_the_price(gateway: Gateway) -> None:
    """Requests go into one batch of the vendor's, come back once each, and cost half of what calls cost.

    What is saved can be summed up in SQL, and nothing stays at the vendor.
    """
    batch_id = submit(gateway, ask_many(150))
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 150)
    assert list_texts(view) == [f"hello {number}" for number in range(150)]
    assert all(one["native"] for one in view["result"])
    assert list_natives(gateway, "state, requests, error") == [("done", 150, None)]
    assert count_calls(gateway, "/v1/chat/completions") == 0
    sums = "SELECT sum(estimated_cost), sum(saved_cost), min(service_tier), bool_and(billed.lines = estimated_cost)"
    [(cost, saved, tier, agrees)] = query(
        gateway,
        f"{sums} FROM requests AS q JOIN batch_results AS s ON s.request_id = q.id CROSS JOIN LATERAL "
        "(SELECT sum(amount_usd) AS lines FROM ledger WHERE ledger.request_id = q.id) AS billed WHERE s.batch_id = %s",
        batch_id,
    )
    assert (cost == saved > 0, tier, agrees) == (True, "batch", True)
    headers = {"authorization": "Bearer key-one"}
    poll(lambda: not httpx.get(f"{gateway.mock_url}/v1/files", headers=headers).json()["data"])


def test_translated_requests(gateway: Gateway) -> None:
    """OpenAI-shaped requests to an Anthropic model go into Anthropic's batch, and are answered in OpenAI's words."""
    asked = [{"model": f"anthropic/{ANTHROPIC}", "messages": one["messages"]} for one in ask_many(3)]
    batch_id = hand_in(gateway, "/v1/chat/completions", asked)
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 3)
    assert list_texts(view) == ["hello 0", "hello 1", "hello 2"]
    assert all(one["native"] and one["result"]["object"] == "chat.completion" for one in view["result"])
    assert list_natives(gateway, "protocol, state, requests") == [("anthropic", "done", 3)]
    assert count_calls(gateway, "/v1/messages") == 0


def test_duplicates_are_sent_once(gateway: Gateway) -> None:
    """Of requests that a cache takes for the same one goes out; the others get its answer from the cache."""
    gateway.configure(cache={"enabled": True})
    batch_id = submit(gateway, [ask("the same" if n % 2 else f"other {n}", f"r{n}") for n in range(10)])
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 10)
    assert [one["native"] for one in view["result"]] == [True, True] + [True, False] * 4
    assert list_texts(view)[1::2] == ["the same"] * 5
    check_natives(gateway, [("done", 6)])
    assert count_calls(gateway, "/v1/chat/completions") == 0


@pytest.mark.parametrize(("mode", "sent"), [("bypass", 4), ("refresh", 4), ("use", 1)])
def test_what_its_sender_asked_of_the_cache_holds(gateway: Gateway, mode: str, sent: int) -> None:
    """Who wants answers of their own gets them, each from the vendor; and what is to be kept is kept."""
    gateway.configure(cache={"enabled": True})
    body = {"model": OPENAI, "messages": [{"role": "user", "content": f"with {mode}"}]}
    batch_id = hand_in(gateway, "/v1/chat/completions", [body] * 4, options=Options(cache=mode))
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 4)
    check_natives(gateway, [("done", sent)])
    with gateway.client() as client:
        again = client.post("/v1/chat/completions", json=body)
    assert again.headers["x-aihub-cache-status"] == ("miss" if mode == "bypass" else "hit")


def test_what_is_known_is_not_sent(gateway: Gateway) -> None:
    """Requests that the cache answers are done at once, and cost nothing; nothing else is sent."""
    gateway.configure(cache={"enabled": True})
    wait(gateway, submit(gateway, ask_many(4, "known {}")))
    batch_id = submit(gateway, ask_many(4, "known {}"))
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 4)
    assert [one["cost_usd"] for one in view["result"]] == [0, 0, 0, 0]
    assert [state for state, _ in list_natives(gateway)] == ["done", "done"]
    assert count_calls(gateway, "/v1/batches") == 1


def test_no_batch_is_larger_than_its_vendor_takes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """More requests, or more bytes, than one batch may hold go into several."""
    small = msgspec.structs.replace(BATCH_PROTOCOLS["openai"], max_requests=4, max_bytes=2000)
    monkeypatch.setitem(BATCH_PROTOCOLS, "openai", small)  # pyright: ignore[reportArgumentType] - a dict it is
    batch_id = submit(gateway, [*ask_many(6), ask("long " * 250, "r6"), ask("long " * 250, "r7")])
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 8)
    assert all(one["native"] for one in view["result"])
    natives = list_natives(gateway)
    assert sum(requests for _, requests in natives) == 8
    assert max(requests for _, requests in natives) <= 4
    assert len(natives) >= 4


@pytest.mark.parametrize(("provider", "model"), [("openai", OPENAI), ("anthropic", ANTHROPIC)])
def test_what_gets_no_answer_there_is_called(gateway: Gateway, provider: str, model: str) -> None:
    """Requests that expire, fail or are missing at the vendor are called; one that is wrong comes to its error."""
    texts = [
        "fine",
        "[[mock batch=expire]] a",
        "[[mock batch=omit]] b",
        "[[mock batch=fail]] c",
        "[[mock status=400]] d",
    ]
    requests = [ask(text, f"r{number}") for number, text in enumerate(texts)]
    batch_id = submit(gateway, requests, provider=provider, model=model)
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 5)
    assert [one["status"] for one in view["result"]] == ["success"] * 4 + ["error"]
    assert [one["native"] for one in view["result"]] == [True, False, False, False, True]
    assert view["result"][4]["status_code"] == 400
    assert view["result"][4]["error"]["type"] == "invalid_request_error"


def test_a_lost_batch_is_called(gateway: Gateway) -> None:
    """A batch that its vendor does not know any more is not waited for."""
    batch_id = submit(gateway, ask_many(3, "[[mock batch=lose]] {}"))
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 3)
    check_natives(gateway, [("lost", 3)])
    assert count_calls(gateway, "/v1/chat/completions") == 3


@pytest.mark.parametrize("operation", ["upload", "create"])
def test_a_vendor_that_refuses_is_left_alone(gateway: Gateway, operation: str) -> None:
    """Where batches are refused the requests are called, and the next ones do not even ask."""
    upset(gateway, {"operation": operation, "status": 404})
    view = wait(gateway, batch_id := submit(gateway, ask_many(3)))
    check_once_each(gateway, batch_id, view, 3)
    view = wait(gateway, batch_id := submit(gateway, ask_many(3)))
    check_once_each(gateway, batch_id, view, 3)
    assert [state for state, _ in list_natives(gateway)] == ["refused"]
    assert count_calls(gateway, "/v1/files") == 1
    assert not any(one["native"] for one in view["result"])


def run_at_odds(gateway: Gateway, answers: dict[str, str]) -> tuple[float, Counter[str]]:
    """Have a batch of 40 done where no batches are; return how long it took, and what the vendor was asked."""
    with open_odd_vendor(answers) as vendor:
        turn_to(gateway, vendor.url, vendor.url)
        begun = time.monotonic()
        where = {"provider": "anthropic", "model": ANTHROPIC} if "message" in answers.values() else {}
        batch_id = submit(gateway, ask_many(40), **where)
        view = wait(gateway, batch_id, 40)
        seconds = time.monotonic() - begun
        assert [one["status"] for one in view["result"]] == ["success"] * 40
        assert not any(one["native"] for one in view["result"])
        check_once_each(gateway, batch_id, view, 40)
        return seconds, vendor.calls


@pytest.mark.parametrize("elsewhere", ["404", "405", "html", "hang", "chat"])
@pytest.mark.parametrize("answer", ["chat", "message"])
def test_a_vendor_that_answers_everything_alike(gateway: Gateway, answer: str, elsewhere: str) -> None:
    """Who takes an upload or a batch for a call has no batches: its requests are called at once."""
    seconds, calls = run_at_odds(gateway, {"POST": answer, "GET": elsewhere, "DELETE": elsewhere})
    assert [state for state, _ in list_natives(gateway)] == ["refused"]
    assert seconds < 5
    assert calls["POST /v1/files"] + calls["POST /v1/messages/batches"] == 1


@pytest.mark.parametrize("answer", ["404", "405", "401", "html", "chat", "hang"])
def test_a_batch_that_cannot_be_looked_at(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """A vendor that takes a batch and then knows nothing of it is not waited for."""
    quick = msgspec.structs.replace(native_remote.QUICK, total_seconds=1)
    monkeypatch.setattr(native_remote, "QUICK", quick)
    answers = {"POST": "chat", "POST /v1/files": "file", "POST /v1/batches": "batch", "GET": answer, "DELETE": "404"}
    seconds, calls = run_at_odds(gateway, answers)
    assert seconds < 10
    assert [state for state, _ in list_natives(gateway)] == ["refused" if answer == "hang" else "lost"]
    assert calls["GET /v1/batches/batch_1"] == (4 if answer in {"401", "html", "chat"} else 2)


@pytest.mark.parametrize(
    "answers",
    [
        {"POST": "chat", "POST /v1/files": "hang"},
        {"POST": "chat", "POST /v1/files": "file", "POST /v1/batches": "hang", "GET": "404"},
        {"POST": "chat", "POST /v1/files": "file", "POST /v1/batches": "hang", "GET": "hang"},
        {"POST": "message", "POST /v1/messages/batches": "hang", "GET": "hang"},
    ],
)
def test_a_vendor_that_hangs(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]) -> None:
    """Twice is enough, for an upload, a creation or a list: the next batch does not even ask."""
    quick = msgspec.structs.replace(native_remote.QUICK, first_byte_seconds=1, total_seconds=1)
    monkeypatch.setattr(native_remote, "QUICK", quick)
    assert run_at_odds(gateway, answers)[0] < 10
    assert [state for state, _ in list_natives(gateway)] == ["refused"]
    seconds, calls = run_at_odds(gateway, answers)
    assert seconds < 3
    assert not [name for name in calls if "batches" in name or "files" in name]


def test_limits_hold_for_a_batch_that_its_judge_waits_for() -> None:
    """Two requests of a few that are never answered take less than half a minute; large uploads have longer."""
    assert 2 * native_remote.QUICK.total_seconds < 30
    assert native_remote.find_upload_limits(10_000).first_byte_seconds < 11
    assert native_remote.find_upload_limits(200 * 10**6).first_byte_seconds == pytest.approx(57.7, abs=0.1)
    assert native_remote.find_upload_limits(10**9).first_byte_seconds == 60


def test_a_claim_that_its_worker_never_heard_of(gateway: Gateway) -> None:
    """A claim whose answer was lost on its way from the database is not kept: it ends, and somebody claims it anew."""
    upset(gateway, delay_ms=1500)
    lost = submit(gateway, ask_many(2))
    poll(lambda: query(gateway, "SELECT 1 FROM native_batches WHERE state = 'sent' AND lease_until IS NULL"))
    httpx.post(f"{gateway.mock_url}/mock/next", json={"chunks": ["e30="], "behaviour": {"fault": "hang"}})
    hangs = submit(gateway, ask_many(2, "hangs {}"))
    worker = "SELECT worker_id FROM native_batches WHERE state = 'planned' AND worker_id IS NOT NULL"
    [(worker_id,)] = poll(lambda: query(gateway, worker))
    query(
        gateway,
        "UPDATE native_batches SET worker_id = %s, attempt = attempt + 1, lease_until = now() + interval '2 seconds' "
        "WHERE state = 'sent'",
        worker_id,
    )
    view = wait(gateway, lost, 8)
    assert all(one["native"] for one in view["result"])
    assert query(gateway, "SELECT count(*) FROM native_batches WHERE finished_at IS NULL") == [(1,)]
    with gateway.client() as client:
        client.delete(f"/v1/batch/{hangs}").raise_for_status()
    wait(gateway, hangs)


DRIPS = {
    "POST": "chat",
    "POST /v1/files": "file",
    "POST /v1/batches": "batch",
    "GET": "done",
    "GET /v1/files": "drip",
    "DELETE": "404",
}


def test_results_that_drip(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that come too slowly are read for a share of the reserve; then there is time to call the rest."""
    monkeypatch.setattr(native_steps, "READING_SHARE", 0.02)
    gateway.configure(batch=CONFIG | {"native_min_seconds": 0, "reserve_seconds": 57})
    with open_odd_vendor(DRIPS) as vendor:
        turn_to(gateway, vendor.url, vendor.url)
        view = wait(gateway, batch_id := submit(gateway, ask_many(3), options={"deadline": "60s"}), 12)
        check_once_each(gateway, batch_id, view, 3)
        assert [one["status"] for one in view["result"]] == ["success"] * 3
        assert vendor.calls["GET /v1/files/file-2/content"] == 1


def test_cancelled_while_its_results_drip(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cancels a batch waits only for a while for results that are being read."""
    monkeypatch.setattr(native_steps, "CANCELLED_READING_SECONDS", 0.5)
    with open_odd_vendor(DRIPS) as vendor:
        turn_to(gateway, vendor.url, vendor.url)
        batch_id = submit(gateway, ask_many(3))
        poll(lambda: vendor.calls["GET /v1/files/file-2/content"])
        with gateway.client() as client:
            client.delete(f"/v1/batch/{batch_id}").raise_for_status()
        view = wait(gateway, batch_id, 6)
        assert [one["error"]["code"] for one in view["result"]] == ["batch_cancelled"] * 3


def test_an_upload_that_hangs_until_the_end_is_near(gateway: Gateway) -> None:
    """When its time comes a batch that is still being sent is given up."""
    gateway.configure(batch=CONFIG | {"native_min_seconds": 0, "reserve_seconds": 58})
    with open_odd_vendor({"POST": "chat", "POST /v1/files": "hang"}) as vendor:
        turn_to(gateway, vendor.url, vendor.url)
        view = wait(gateway, batch_id := submit(gateway, ask_many(3), options={"deadline": "60s"}), 8)
        check_once_each(gateway, batch_id, view, 3)
    assert list_natives(gateway, "state, error") == [("cancelled", native_steps.NOT_SENT)]


def test_a_vendor_that_hangs_holds_up_no_other(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches take only a share of the room; once it has hung twice, those that wait are called at once."""
    hang = 20
    monkeypatch.setattr(native_remote, "QUICK", msgspec.structs.replace(native_remote.QUICK, first_byte_seconds=hang))
    with open_odd_vendor({"POST": "chat", "POST /v1/files": "hang"}) as vendor:
        turn_to(gateway, vendor.url, gateway.mock_url)
        hanging = [submit(gateway, ask_many(2, f"{number} {{}}")) for number in range(8)]
        poll(lambda: vendor.calls["POST /v1/files"] >= native.AT_ONCE_EACH)
        view = wait(gateway, submit(gateway, ask_many(2), provider="anthropic", model=ANTHROPIC), 18)
        assert all(one["native"] for one in view["result"])
        [(busy,)] = query(gateway, BUSY)  # uploads are no measure: one whose claim was lost is made again
        assert busy <= native.AT_ONCE_EACH
        for batch_id in hanging:
            check_once_each(gateway, batch_id, wait(gateway, batch_id, 90), 2)
    expected = {"refused": 2, "cancelled": 6, "done": 1}
    poll(
        lambda: Counter(state for state, _ in list_natives(gateway)) == expected, explain=lambda: list_natives(gateway)
    )


def test_a_vendor_that_stumbles_is_asked_again(gateway: Gateway) -> None:
    """Failures of uploads, creations, looks and results that pass are waited out; there is one batch in the end."""
    faults = [{"operation": name, "status": 503, "times": 1} for name in ("upload", "create", "look", "results")]
    upset(gateway, *faults)
    batch_id = submit(gateway, ask_many(3))
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 3)
    assert all(one["native"] for one in view["result"])
    check_natives(gateway, [("done", 3)])


@pytest.mark.parametrize(("provider", "model"), [("openai", OPENAI), ("anthropic", ANTHROPIC)])
def test_a_creation_whose_answer_is_lost(gateway: Gateway, provider: str, model: str) -> None:
    """A batch that the vendor made and nobody heard of is found again, not sent a second time."""
    upset(gateway, {"operation": "create", "status": 500, "times": 1, "done": True})
    batch_id = submit(gateway, ask_many(3), provider=provider, model=model)
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 3)
    assert all(one["native"] for one in view["result"])
    check_natives(gateway, [("done", 3)])
    arrived = httpx.get(f"{gateway.mock_url}/mock/stats").json()["last"]
    made = [one for one in arrived if one["method"] == "POST" and one["path"].endswith("/batches")]
    assert len(made) == 1


def test_a_crash_before_the_batch_is_on_record(gateway: Gateway) -> None:
    """Who dies between the vendor's yes and its record leaves a batch that the next one finds."""
    upset(gateway, delay_ms=3000)
    batch_id = submit(gateway, ask_many(3))
    poll(lambda: query(gateway, "SELECT 1 FROM native_batches WHERE state = 'sent'"))
    query(
        gateway,
        "UPDATE native_batches SET state = 'sending', remote_id = NULL, lease_until = NULL, attempt = 9, "
        "look_at = now()",
    )
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 3)
    check_natives(gateway, [("done", 3)])
    assert all(one["native"] for one in view["result"])


def test_a_batch_whose_end_is_near(gateway: Gateway) -> None:
    """When its time comes a batch is stopped at the vendor: what is done counts, the rest is called directly."""
    gateway.configure(batch=CONFIG | {"native_min_seconds": 0, "reserve_seconds": 57})
    texts = ["quick", "slow [[mock delay_ms=1]] "]
    upset(gateway, delay_ms=60_000)
    requests = [ask(text, f"r{number}") for number, text in enumerate(texts)]
    batch_id = submit(gateway, requests, options={"deadline": "60s"})
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 2)
    check_natives(gateway, [("cancelled", 2)])
    assert [one["status"] for one in view["result"]] == ["success", "success"]


def test_time_that_is_over_before_it_begins(gateway: Gateway) -> None:
    """Requests that wait to be put into a batch are called once there is no time for that any more."""
    gateway.configure(batch=CONFIG | {"native_min_seconds": 0, "reserve_seconds": 100})
    view = wait(gateway, batch_id := submit(gateway, ask_many(2), options={"deadline": "60s"}))
    check_once_each(gateway, batch_id, view, 2)
    check_natives(gateway, [])


def test_a_batch_that_is_cancelled(gateway: Gateway) -> None:
    """The vendor hears of it within two seconds; what it has done by then counts, the rest is cancelled."""
    upset(gateway, delay_ms=60_000, cancel_ms=300)
    requests = [ask("quick", "r0"), ask("[[mock delay_ms=50000]] slow", "r1")]
    batch_id = submit(gateway, requests)
    poll(lambda: query(gateway, "SELECT 1 FROM native_batches WHERE state = 'sent'"))
    remote = query(gateway, "SELECT remote_id FROM native_batches")[0][0]
    begun = time.monotonic()
    with gateway.client() as client:
        client.delete(f"/v1/batch/{batch_id}").raise_for_status()
    poll(lambda: count_calls(gateway, f"/v1/batches/{remote}/cancel"))
    assert time.monotonic() - begun < 2
    view = wait(gateway, batch_id)
    assert view["status"] == "cancelled"
    assert [one["status"] for one in view["result"]] == ["success", "error"]
    assert view["result"][1]["error"]["code"] == "batch_cancelled"
    check_natives(gateway, [("cancelled", 2)])


def test_cancelled_while_it_is_uploaded(gateway: Gateway) -> None:
    """An upload that hangs holds up no cancellation."""
    httpx.post(
        f"{gateway.mock_url}/mock/next", json={"chunks": ["e30="], "behaviour": {"fault": "hang"}}
    ).raise_for_status()
    batch_id = submit(gateway, ask_many(2))
    poll(lambda: count_calls(gateway, "/v1/files"))
    with gateway.client() as client:
        client.delete(f"/v1/batch/{batch_id}").raise_for_status()
    view = wait(gateway, batch_id, 5)
    assert [one["error"]["code"] for one in view["result"]] == ["batch_cancelled"] * 2


def test_single_calls_wait_for_each_other(gateway: Gateway) -> None:
    """Calls to be answered later that come one by one go into one batch."""
    for number in range(3):
        hand_in(
            gateway,
            "/v1/chat/completions",
            [{"model": OPENAI, "messages": ask(f"later {number}", "")["messages"]}],
            "call",
        )
    done = "SELECT count(*) FROM batches WHERE shape = 'call' AND state = 'completed'"
    poll(lambda: query(gateway, done) == [(3,)], explain=lambda: query(gateway, "TABLE native_batches"))
    check_natives(gateway, [("done", 3)])


def test_who_lost_its_claim_has_no_effect(gateway: Gateway) -> None:
    """Once somebody else has claimed a vendor's batch, nothing that the earlier one does under its claim counts."""
    upset(gateway, delay_ms=2500)
    batch_id = submit(gateway, ask_many(2))
    poll(lambda: query(gateway, "SELECT 1 FROM native_batches WHERE state = 'sent'"))

    async def claim_and_lose() -> list[str]:
        connection = await psycopg.AsyncConnection.connect(gateway.database_url, autocommit=True)
        async with connection:
            async with connection.transaction():  # the gateway's own worker is after it as well
                await connection.execute("UPDATE native_batches SET look_at = now(), lease_until = NULL")
                [mine] = await claim_natives(connection, make_uuid7(), 1, 0.0)
            await connection.execute("UPDATE native_batches SET attempt = attempt + 1, lease_until = NULL")
            told: list[str] = []
            for work in (
                advance_native(connection, mine, Advance(state="ended")),
                end_native(connection, mine, "done", None),
                settle_rest(connection, mine, counts=True),
            ):
                try:
                    await work
                except NotOursError as error:
                    told.append(type(error).__name__)
        return told

    assert gateway.run(claim_and_lose) == ["NotOursError"] * 3
    view = wait(gateway, batch_id)
    check_once_each(gateway, batch_id, view, 2)
    assert all(one["native"] for one in view["result"])


def test_steps_that_are_broken_off_anywhere(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the work is taken over in the middle of a step, every request comes to one result."""
    monkeypatch.setattr(native_steps, "GRACE_SECONDS", 1.0)
    faults = [{"operation": name, "status": 500, "every": 3, "done": True} for name in ("upload", "create", "results")]
    upset(gateway, *faults, delay_ms=200)
    batch_ids = [submit(gateway, ask_many(120, f"{number} {{}}")) for number in range(3)]
    chance = random.Random(7)
    for _ in range(40):
        query(gateway, "UPDATE native_batches SET attempt = attempt + 1, lease_until = NULL, look_at = now()")
        time.sleep(chance.random() * 0.1)
    for batch_id in batch_ids:
        check_once_each(gateway, batch_id, wait(gateway, batch_id), 120)
    assert query(gateway, "SELECT 1 FROM batch_requests WHERE state <> 'done'") == []


def make_paid_key(gateway: Gateway) -> str:
    """Return a key with a budget, once it is known."""
    with gateway.client(headers={"authorization": f"Bearer {gateway.admin_key}"}) as admin:
        user = admin.post("/admin/users", json={"email": f"{make_uuid7()}@example.org", "name": "", "role": "user"})
        wanted = {"user_id": user.json()["id"], "name": "money", "budget_usd": 1}
        answer = admin.post("/admin/api-keys", json=wanted)
    assert answer.status_code == 201, answer.text
    key = answer.json()["key"]
    poll(lambda: gateway.parts.directory.find(key) is not None and gateway.parts.budgets.there_are_any)
    return key


@pytest.mark.parametrize(("model", "capped"), [(OPENAI, 0), ("gpt-unheard-of", 5)])
def test_a_budget_pays_what_the_batch_cost(gateway: Gateway, model: str, capped: int) -> None:
    """What was held is given back with the results; no answer may be longer than what is held, nor is any free."""
    gateway.configure(budgets={"unpriced_input_usd": 1, "unpriced_output_usd": 2})
    with gateway.client(headers={"authorization": f"Bearer {make_paid_key(gateway)}"}) as client:
        body = {"provider": "openai", "model": model, "requests": ask_many(5)}
        answer = client.post("/v1/batch", json=body)
        assert answer.status_code == 202, answer.text
        batch_id = answer.json()["batch_id"]
        view = poll(lambda: show_over(client, batch_id))
    check_once_each(gateway, batch_id, view, 5)
    assert all(one["native"] for one in view["result"])
    poll(lambda: query(gateway, "SELECT count(*) FROM reservations WHERE process_id = %s", batch_id) == [(0,)])
    [(spent,)] = query(gateway, "SELECT sum(cost_usd) FROM batch_results WHERE batch_id = %s", batch_id)
    assert spent > 0
    newest = "SELECT spent_usd, reserved_usd FROM budget_counters JOIN budgets AS b ON b.id = budget_id "
    assert query(gateway, f"{newest} ORDER BY b.created_at DESC LIMIT 1") == [(spent, 0)]
    arrived = httpx.get(f"{gateway.mock_url}/mock/stats").json()["last"]
    [upload] = [one for one in arrived if one["path"] == "/v1/files" and one["method"] == "POST"]
    assert base64.b64decode(upload["body"]).count(b'_tokens":') == capped


def test_keys_and_bodies_stay_where_they_belong(gateway: Gateway) -> None:
    """The vendor gets one of the provider's keys throughout, and nothing of the client's own."""
    wait(gateway, submit(gateway, ask_many(2)))
    arrived = httpx.get(f"{gateway.mock_url}/mock/stats").json()["last"]
    seen = {dict(map(tuple, one["headers"]))["authorization"] for one in arrived if "/batches" in one["path"]}
    assert len(seen) == 1
    assert seen < {"Bearer key-one", "Bearer key-two"}
    assert gateway.key not in json.dumps(arrived)
