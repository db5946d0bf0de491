"""Batches while workers are killed and frozen, Postgres goes away, and the provider fails: each request ends once."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from app.db.embedded import EmbeddedPostgres
from app.db.schema import migrate
from tests.db.conftest import kill, read_pid, wait_until
from tests.faults.batches import audit, build_requests, check, submit, wait_for_end
from tests.faults.serving import ADMIN, Served, find_children, make_key, note

KILL_SECONDS = 3.0
RECOVERY_SECONDS = 45.0
POISON = "SELECT state, attempt FROM batch_requests WHERE custom_id = 'poison'"


def count_calls(upstream: str) -> int:
    """Return how many calls the provider has had."""
    with urllib.request.urlopen(f"{upstream}/mock/stats", timeout=10) as answer:
        return json.load(answer)["paths"].get("/v1/chat/completions", 0)


def build_environment(database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "RELAYCORE_SECRET_KEY": "s" * 32, "RELAYCORE_ADMIN_KEY": ADMIN}


@pytest.fixture
def provider(folder: Path, upstream: str) -> str:
    """The configuration that names the provider, and its address."""
    (folder / "relaycore.config.yaml").write_text(
        f"providers:\n  upstream:\n    type: mock\n    base_url: {upstream}/v1\n    api_key: any\n"
    )
    return upstream


class Killer:
    """Kills a child of one of the processes every few seconds, in turns."""

    def __init__(self, *served: Served, seconds: float = KILL_SECONDS) -> None:
        self._served = served
        self._seconds = seconds
        self._next = time.monotonic() + seconds
        self.kills = 0

    def __call__(self) -> None:
        if time.monotonic() < self._next:
            return
        children = [child for one in self._served for child in find_children(one.process.pid)]
        with suppress(ProcessLookupError):
            os.kill(children[self.kills % len(children)], signal.SIGKILL)
            self.kills += 1
        self._next = time.monotonic() + self._seconds


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
    (folder / "relaycore.config.yaml").write_text(
        f"providers:\n  upstream:\n    type: openai\n    base_url: {upstream}/v1\n    api_key: any\n"
    )
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


def test_a_frozen_worker_has_no_say(serve: Callable[..., Served], database_url: str, provider: str) -> None:
    """What a frozen worker had is done by others; thawed, it writes nothing any more and works on."""
    environment = build_environment(database_url)
    web = serve("serve", "--port", "0", **environment).wait_until_ready()
    worker = serve("worker", **environment)
    wait_until(lambda: find_children(worker.process.pid))
    client = web.client(make_key(web, budget_usd=50))
    batch_id = submit(client, build_requests(120, "[[mock delay_ms=1500]] frozen"))
    [frozen] = find_children(worker.process.pid)
    with psycopg.connect(database_url, autocommit=True) as connection:
        workers = "SELECT count(DISTINCT worker_id) FROM batch_requests WHERE state = 'running'"
        wait_until(lambda: connection.execute(workers).fetchone()[0] == 2)
    os.kill(frozen, signal.SIGSTOP)
    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            taken = "SELECT count(*) FROM batch_requests WHERE rescues > 0"
            wait_until(lambda: connection.execute(taken).fetchone()[0] > 0, RECOVERY_SECONDS)
    finally:
        os.kill(frozen, signal.SIGCONT)
    view = wait_for_end(client, batch_id, 120, lambda: None)
    assert view["request_counts"]["completed"] == 120
    check(audit(database_url, batch_id), 120)


@pytest.fixture
def postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, to be stopped."""
    with EmbeddedPostgres.open(folder / "pg", fast_and_unsafe=False) as server:
        migrate(server.url)
        yield server


@pytest.mark.parametrize("seconds", [2, 48])
def test_an_outage_of_the_database_loses_nothing(
    serve: Callable[..., Served], postgres: EmbeddedPostgres, folder: Path, provider: str, seconds: int
) -> None:
    """Postgres dies under a batch and comes back: the batch goes on by itself, and each request ends once."""
    environment = build_environment(postgres.url)
    web = serve("serve", "--port", "0", **environment).wait_until_ready()
    worker = serve("worker", **environment)
    worker.wait_for("Working on")
    client = web.client(make_key(web, budget_usd=50))
    batch_id = submit(client, build_requests(200, "[[mock delay_ms=700]] outage"))
    time.sleep(2)
    kill(read_pid(folder / "pg"))
    time.sleep(seconds)
    wait_until(lambda: postgres.ensure_running() or True, 10)
    back = time.monotonic()
    view = wait_for_end(client, batch_id, RECOVERY_SECONDS, lambda: None)
    note(f"over {time.monotonic() - back:.1f} s after an outage of {seconds} s: {view['request_counts']}")
    assert view["request_counts"]["completed"] == 200
    check(audit(postgres.url, batch_id), 200)
    second = submit(client, build_requests(5, "after"))  # and what wakes the workers is there again
    wait_for_end(client, second, 10, lambda: None)


def test_a_failing_provider_fails_few(serve: Callable[..., Served], database_url: str, provider: str) -> None:
    """A provider that answers 429 and 500 by turns before each answer: every request is answered in the end."""
    web = serve("serve", "--port", "0", **build_environment(database_url)).wait_until_ready()
    client = web.client(make_key(web, budget_usd=50))
    requests = build_requests(60, "[[mock status=429 retry_after=1 times=1]] busy")
    requests += [{**one, "id": f"s{one['id']}"} for one in build_requests(60, "[[mock status=500 times=2]] broken")]
    batch_id = submit(client, requests)
    view = wait_for_end(client, batch_id, 90, lambda: None)
    assert view["request_counts"]["completed"] == 120
    check(audit(database_url, batch_id), 120)


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
