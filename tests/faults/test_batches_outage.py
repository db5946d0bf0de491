"""Batches while Postgres is away: they go on by themselves, and each request ends once."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.db.embedded import EmbeddedPostgres
from app.db.schema import migrate
from tests.db.conftest import kill, read_pid, wait_until
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
from tests.faults.serving import Served, make_key, note
from tests.faults.test_database_away import frozen


@pytest.fixture
def provider(folder: Path, upstream: str) -> str:
    """The configuration that names the provider, and its address."""
    write_provider(folder, upstream, "mock")
    return upstream


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


def test_a_database_that_does_not_answer_is_told_within_a_second(
    serve: Callable[..., Served], postgres: EmbeddedPostgres, folder: Path, provider: str
) -> None:
    """While Postgres is frozen, every call about batches is a 503 that says so, at once; afterwards all is well."""
    web = serve("serve", "--port", "0", **build_environment(postgres.url)).wait_until_ready()
    client = web.client(make_key(web))
    batch_id = submit(client, build_requests(1, "before"))
    wait_for_end(client, batch_id, 20, lambda: None)
    body = {"provider": "upstream", "model": "echo", "requests": build_requests(1, "meanwhile")}
    later = {"model": "upstream/echo", "messages": [{"role": "user", "content": "later"}]}
    asked = (
        lambda: client.get(f"/v1/batch/{batch_id}"),
        lambda: client.post("/v1/batch", json=body),
        lambda: client.delete(f"/v1/batch/{batch_id}"),
        lambda: client.post("/v1/chat/completions", json=later, headers={"prefer": "respond-async"}),
        lambda: client.get("/v1/files"),
        lambda: client.get("/v1/batches"),
    )
    time.sleep(1.1)
    with frozen(postgres, folder / "pg"):
        for ask in asked:
            began = time.monotonic()
            assert ask().status_code == 503
            assert time.monotonic() - began < 1.5
    wait_until(lambda: client.get(f"/v1/batch/{batch_id}").status_code == 200, 15)
