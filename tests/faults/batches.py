"""Batches in tests of faults: handed in, waited for, and audited in the database."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.faults.serving import ADMIN, Served, find_children

KILL_SECONDS = 3.0
RECOVERY_SECONDS = 45.0
OVER = frozenset({"completed", "failed", "cancelled"})
AUDIT = """
SELECT (SELECT count(*) FROM batch_results WHERE batch_id = %(id)s) AS results,
       (SELECT count(DISTINCT position) FROM batch_results WHERE batch_id = %(id)s) AS requests,
       (SELECT count(*) FROM batch_requests WHERE batch_id = %(id)s AND state <> 'done') AS unfinished,
       (SELECT coalesce(sum(cost_usd), 0) FROM batch_results WHERE batch_id = %(id)s) AS cost,
       (SELECT coalesce(sum(l.amount_usd), 0) FROM ledger AS l
        JOIN batch_results AS s ON s.request_id = l.request_id WHERE s.batch_id = %(id)s) AS booked,
       (SELECT count(*) FROM requests AS q JOIN batch_results AS s ON s.request_id = q.id
        WHERE s.batch_id = %(id)s) AS rows,
       (SELECT count(*) FROM reservations WHERE process_id = %(id)s) AS held,
       (SELECT count(*) FROM processes WHERE id = %(id)s) AS holders,
       (SELECT coalesce(sum(spent_usd), 0) FROM budget_counters) AS spent,
       (SELECT coalesce(sum(reserved_usd), 0) FROM budget_counters) AS reserved
"""


def build_requests(count: int, text: str = "hello") -> list[dict[str, Any]]:
    """Return `count` different requests."""
    return [{"id": f"r{n}", "messages": [{"role": "user", "content": f"{text} {n}"}]} for n in range(count)]


def submit(client: httpx.Client, requests: list[dict[str, Any]], **fields: Any) -> str:
    """Hand in a batch and return its id."""
    body = {"provider": "upstream", "model": "echo", "requests": requests, **fields}
    answer = client.post("/v1/batch", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["batch_id"]


def wait_for_end(client: httpx.Client, batch_id: str, seconds: float, between: Callable[[], None]) -> dict[str, Any]:
    """Return the batch once it is over; `between` is called while it is not. The gateway may be away for moments."""
    end = time.monotonic() + seconds
    view: dict[str, Any] = {}
    while time.monotonic() < end:
        try:
            answer = client.get(f"/v1/batch/{batch_id}")
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 200:
            view = answer.json()
            if view["status"] in OVER:
                return view
        between()
        time.sleep(0.1)
    raise AssertionError(f"the batch did not end: {view}")


def audit(database_url: str, batch_id: str, seconds: float = 10) -> dict[str, Any]:
    """Return what the database says of a batch, once nothing is held for it any more."""
    end = time.monotonic() + seconds
    with psycopg.connect(database_url, autocommit=True) as connection:
        while True:
            cursor = connection.execute(AUDIT, {"id": batch_id})
            line = cursor.fetchone()
            names = [column.name for column in cursor.description or ()]
            found = dict(zip(names, line or (), strict=True))
            if (found["held"], found["holders"], found["reserved"]) == (0, 0, 0) or time.monotonic() > end:
                return found
            time.sleep(0.2)


def check(found: dict[str, Any], count: int) -> None:
    """Assert that each request has one result, that each is booked once, and that nothing is left."""
    assert (found["results"], found["requests"], found["unfinished"]) == (count, count, 0)
    assert found["booked"] == found["cost"] == found["spent"]
    assert (found["held"], found["holders"], found["reserved"]) == (0, 0, Decimal(0))


def count_calls(upstream: str) -> int:
    """Return how many calls the provider has had."""
    with urllib.request.urlopen(f"{upstream}/mock/stats", timeout=10) as answer:
        return json.load(answer)["paths"].get("/v1/chat/completions", 0)


def build_environment(database_url: str) -> dict[str, str]:
    """Return what a gateway on a database is started with."""
    return {"DATABASE_URL": database_url, "RELAYCORE_SECRET_KEY": "s" * 32, "RELAYCORE_ADMIN_KEY": ADMIN}


def write_provider(folder: Path, address: str, kind: str) -> None:
    """Have the gateways of a folder know one provider, of some vendor's kind."""
    (folder / "relaycore.config.yaml").write_text(
        f"providers:\n  upstream:\n    type: {kind}\n    base_url: {address}/v1\n    api_key: any\n"
    )


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
