"""Postgres freezes under budgets, limits and Idempotency-Keys: nobody overspends, nothing stays held, all is back."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import aiohttp
import psycopg
import pytest

from app.db.embedded import EmbeddedPostgres
from tests.faults.serving import ADMIN, Served, chat, make_key, note
from tests.faults.test_database_away import frozen
from tests.faults.test_money import CHECK

pytestmark = pytest.mark.anyio

CLIENTS = 6
FROZEN_SECONDS = 3.0
BACK_WITHIN_SECONDS = 4.0


@pytest.fixture
def gateway(serve, postgres: EmbeddedPostgres, upstream: str, folder: Path) -> Served:
    """Two gateway processes on that server."""
    (folder / "relaycore.config.yaml").write_text(
        f"providers:\n  upstream:\n    type: mock\n    base_url: {upstream}/v1\n    api_key: any\n"
    )
    outside = {"DATABASE_URL": postgres.url, "RELAYCORE_SECRET_KEY": "s" * 32, "RELAYCORE_ADMIN_KEY": ADMIN}
    return serve("serve", "--port", "0", "--workers", "2", **outside).wait_until_ready()


async def call(url: str, key: str, over: asyncio.Event, seen: list[tuple[float, int]], *, repeats: bool) -> None:
    """Call as often as it goes, until all is over."""
    headers = {"authorization": f"Bearer {key}", "x-aihub-cache": "bypass"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while not over.is_set():
            keyed = {"idempotency-key": os.urandom(8).hex()} if repeats else {}
            body = chat("[[mock delay_ms=100]] How much?", model="upstream/tokens-50", max_tokens=50)
            async with session.post(f"{url}/v1/chat/completions", json=body, headers=keyed) as answer:
                await answer.read()
                seen.append((time.monotonic(), answer.status))
                assert answer.status != 503 or answer.headers["retry-after"] == "1"
            await asyncio.sleep(0.02)


async def test_all_is_back_and_nothing_is_held_after_a_freeze(
    gateway: Served, postgres: EmbeddedPostgres, folder: Path
):
    """Three seconds without an answer: 503 for who must be counted, the others go on; then everything is as before.

    Calls with a budget (a busy one, out of leases), with limits and with an Idempotency-Key; nothing stays reserved or
    counted as under way, no key stays taken, and the books balance.
    """
    kinds = {
        "plain": (make_key(gateway), False),
        "budget": (make_key(gateway, budget_usd=1000), False),
        "limits": (make_key(gateway, max_parallel=CLIENTS, rpm=100_000, tpm=10**9), False),
        "repeats": (make_key(gateway, budget_usd=1000, max_parallel=CLIENTS), True),
    }
    seen: dict[str, list[tuple[float, int]]] = {name: [] for name in kinds}
    over = asyncio.Event()
    clients = asyncio.gather(
        *(
            call(gateway.url, key, over, seen[name], repeats=repeats)
            for name, (key, repeats) in kinds.items()
            for _ in range(CLIENTS)
        )
    )
    await asyncio.sleep(2)
    with frozen(postgres, folder / "pg"):
        await asyncio.sleep(FROZEN_SECONDS)
    thawed = time.monotonic()
    await asyncio.sleep(BACK_WITHIN_SECONDS)
    over.set()
    await clients
    for name, answers in seen.items():
        first = min(at for at, status in answers if status == 200 and at > thawed) - thawed
        note(f"{name}: {dict(Counter(status for _, status in answers))}, back after {first:.2f} s")
        assert first < BACK_WITHIN_SECONDS / 2
        allowed = {200} if name == "plain" else {200, 429, 503} if "limits" in name or "repeats" in name else {200, 503}
        assert {status for _, status in answers} <= allowed
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        held = await wait_until_free(connection)
        note(f"everything free {held:.1f} s after the last call")
        assert connection.execute(CHECK).fetchall() == []
        rows = connection.execute(
            "SELECT count(*), count(DISTINCT id) FROM requests WHERE status_code = 200"
        ).fetchone()
        assert rows == (sum(status == 200 for answers in seen.values() for _, status in answers),) * 2


async def wait_until_free(connection: psycopg.Connection) -> float:
    """Return how many seconds it took until nothing was held, counted as under way or taken any more."""
    began = time.monotonic()
    left = (
        "SELECT (SELECT count(*) FROM reservations), (SELECT coalesce(sum(calls), 0) FROM parallel_calls), "
        "(SELECT count(*) FROM idempotent_calls WHERE state = 'running')"
    )
    while any(found := connection.execute(left).fetchone()):
        assert time.monotonic() - began < 10, found
        await asyncio.sleep(0.2)
    return time.monotonic() - began
