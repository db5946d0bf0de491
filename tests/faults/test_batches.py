"""Batches while a worker is frozen or stopped, and while the provider fails: each request ends once."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.db.conftest import wait_until
from tests.faults.batches import (
    RECOVERY_SECONDS,
    audit,
    build_environment,
    build_requests,
    check,
    submit,
    wait_for_end,
    write_provider,
)
from tests.faults.serving import Served, find_children, make_key


@pytest.fixture
def provider(folder: Path, upstream: str) -> str:
    """The configuration that names the provider, and its address."""
    write_provider(folder, upstream, "mock")
    return upstream


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


def test_a_stop_gives_back_what_was_under_way(serve: Callable[..., Served], database_url: str, provider: str) -> None:
    """A worker that is told to stop leaves its requests to the others at once, and nobody takes it for dead."""
    web = serve("serve", "--port", "0", **build_environment(database_url)).wait_until_ready()
    submit(web.client(make_key(web)), build_requests(10, "[[mock delay_ms=30000]] long"))
    with psycopg.connect(database_url, autocommit=True) as connection:
        states = "SELECT array_agg(DISTINCT state), max(rescues), max(tries) FROM batch_requests"
        wait_until(lambda: connection.execute(states).fetchone()[0] == ["running"])
        web.stop(signal.SIGTERM)
        assert connection.execute(states).fetchone() == (["queued"], 0, 0)
        assert connection.execute("SELECT count(*) FROM worker_deaths").fetchone() == (0,)


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
