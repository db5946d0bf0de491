"""Batches while workers are killed: each request ends once, and one that kills its workers is parked."""

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.db.conftest import wait_until
from tests.faults.batches import (
    Killer,
    audit,
    build_environment,
    build_requests,
    check,
    count_calls,
    submit,
    wait_for_end,
    write_provider,
)
from tests.faults.serving import Served, make_key, note

POISON = "SELECT state, attempt FROM batch_requests WHERE custom_id = 'poison'"


@pytest.fixture
def provider(folder: Path, upstream: str) -> str:
    """The configuration that names the provider, and its address."""
    write_provider(folder, upstream, "mock")
    return upstream


def test_killed_workers_lose_nothing(serve: Callable[..., Served], database_url: str, provider: str) -> None:
    """A batch of 1,000 under kill -9 of a worker every 3 s: one result and one cost each, and nothing stays held."""
    environment = build_environment(database_url)
    web = serve("serve", "--port", "0", "--workers", "2", **environment).wait_until_ready()
    worker = serve("worker", **environment)
    client = web.client(make_key(web, budget_usd=50))
    killer = Killer(web, worker)
    began = time.monotonic()
    batch_id = submit(client, build_requests(1000, "[[mock delay_ms=200]] killed"))
    view = wait_for_end(client, batch_id, 240, killer)
    seconds, calls = time.monotonic() - began, count_calls(provider)
    note(f"{view['request_counts']} in {seconds:.0f} s, {killer.kills} kills, {calls} calls")
    assert killer.kills >= 2
    check(audit(database_url, batch_id), 1000)
    assert view["request_counts"]["completed"] == 1000
    assert calls <= 1000 + killer.kills * 16
    assert [one["id"] for one in view["result"]] == [f"r{n}" for n in range(1000)]


def test_killed_workers_send_a_vendors_batch_once(
    serve: Callable[..., Served], database_url: str, folder: Path, upstream: str
) -> None:
    """A batch in a vendor's own under kill -9 of a worker every second: one result and one half price each."""
    write_provider(folder, upstream, "openai")
    web = serve("serve", "--port", "0", "--workers", "2", **build_environment(database_url)).wait_until_ready()
    client = web.client(make_key(web, budget_usd=50))
    killer = Killer(web, seconds=1.0)
    batch_id = submit(client, build_requests(300, "[[mock delay_ms=5000]] native"), model="gpt-4o-mini")
    view = wait_for_end(client, batch_id, 120, killer)
    assert killer.kills >= 3
    assert view["request_counts"]["completed"] == 300
    check(audit(database_url, batch_id), 300)
    native = [one for one in view["result"] if one["native"]]
    note(f"{killer.kills} kills, {len(native)} of 300 answered by the vendor's batch")
    assert len(native) == 300
    assert all(one["saved_usd"] == pytest.approx(one["cost_usd"]) for one in native)
    with urllib.request.urlopen(f"{upstream}/mock/stats", timeout=10) as answer:
        assert json.load(answer)["paths"].get("/v1/chat/completions", 0) == 0


def test_a_request_that_kills_its_workers_is_parked(
    serve: Callable[..., Served], database_url: str, provider: str
) -> None:
    """Three workers die over one request of 200: it is parked and visible, and the others are answered."""
    environment = build_environment(database_url)
    web = serve("serve", "--port", "0", **environment).wait_until_ready()
    key = make_key(web, budget_usd=50)
    requests = build_requests(200, "[[mock delay_ms=50]] innocent")
    requests[20] = {"id": "poison", "messages": [{"role": "user", "content": "[[mock delay_ms=60000]] poison"}]}
    batch_id = submit(web.client(key), requests)
    crashes = 0
    with psycopg.connect(database_url, autocommit=True) as connection:

        def comes_up() -> bool:
            state, attempt = connection.execute(POISON).fetchone()
            return state == "done" or (state == "running" and attempt > crashes)

        while True:
            wait_until(comes_up, 60)
            if connection.execute(POISON).fetchone()[0] == "done":
                break
            web.kill()
            crashes += 1
            web = serve("serve", "--port", "0", **environment).wait_until_ready()
    view = wait_for_end(web.client(key), batch_id, 60, lambda: None)
    assert crashes <= 3
    assert (view["request_counts"]["completed"], view["request_counts"]["failed"]) == (199, 1)
    [parked] = [one for one in view["result"] if one["status"] == "error"]
    assert (parked["id"], parked["error"]["code"]) == ("poison", "request_parked")
    check(audit(database_url, batch_id), 200)
