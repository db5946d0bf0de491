"""Budgets at their edge while processes are killed: nobody overspends, nothing stays held, the books balance."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from decimal import Decimal

import aiohttp
import httpx
import psycopg
import pytest

from tests.faults.serving import Served, find_children, make_key, note

pytestmark = pytest.mark.anyio

CLIENTS = 64
CALLS_PAID = 300
OUTPUT_TOKENS = 100
LONGEST_SECONDS = 90.0
BACK_WITHIN_SECONDS = 60.0
PROMPT = "[[mock delay_ms=300]] What does it cost?"
BODY = {
    "model": f"upstream/tokens-{OUTPUT_TOKENS}",
    "messages": [{"role": "user", "content": PROMPT}],
    "max_tokens": OUTPUT_TOKENS,
}

CHECK = "SELECT problem, detail FROM relaycore_ledger_check()"


def find_price(served: Served) -> Decimal:
    """Return what one call costs, by the gateway's own word."""
    answer = served.client(served.keys[0]).post("/v1/chat/completions", json=BODY, timeout=30)
    return Decimal(answer.headers["x-relay-cost-usd"])


async def spend(url: str, key: str, over: asyncio.Event, seen: Counter[int]) -> None:
    """Call as often as it goes, until all is over."""
    headers = {"authorization": f"Bearer {key}", "x-aihub-cache": "bypass"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while not over.is_set():
            try:
                async with session.post(f"{url}/v1/chat/completions", json=BODY) as answer:
                    await answer.read()
                    seen[answer.status] += 1
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                seen[0] += 1
                await asyncio.sleep(0.05)
            else:
                await asyncio.sleep(0.2 if answer.status == 402 else 0.02)


async def disturb(served: Served, kills: int, over: asyncio.Event, seen: Counter[int]) -> None:
    """Kill random ones of the gateway's processes; when the money is gone after that, all is over."""
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            for _ in range(kills):
                await asyncio.sleep(random.uniform(0.3, 1.5))
                while len(workers := find_children(served.process.pid)) < 2:
                    await asyncio.sleep(0.1)
                os.kill(random.choice(workers), signal.SIGKILL)
            refused = seen[402]
            while seen[402] < refused + 10 * CLIENTS:
                await asyncio.sleep(0.1)
    finally:
        over.set()


def read_one(database_url: str, statement: str) -> tuple[object, ...]:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(statement).fetchone()
        assert row is not None
        return row


async def wait_until_free(database_url: str) -> float:
    """Return how many seconds it took until nothing was held any more."""
    began = time.monotonic()
    while read_one(database_url, "SELECT count(*) FROM reservations")[0]:
        assert time.monotonic() - began < BACK_WITHIN_SECONDS, "something is still held"
        await asyncio.sleep(0.5)
    return time.monotonic() - began


@pytest.mark.parametrize("kills", [0, 5], ids=["in peace", "under kill -9"])
async def test_nobody_spends_more_than_the_budget(served: Served, database_url: str, upstream: str, kills: int):
    """64 clients over three processes at a budget's edge: not a cent more, by the ledger and by the provider's count.

    The provider's own count of what it answered is within the budget, even of calls whose process was killed; after
    at most a minute nothing is held, and ledger, counters and requests agree.
    """
    call_usd = find_price(served)
    httpx.post(f"{upstream}/mock/reset", trust_env=False)
    budget = call_usd * CALLS_PAID
    key = make_key(served, budget_usd=float(budget))
    seen: Counter[int] = Counter()
    over = asyncio.Event()
    clients = [spend(served.url, key, over, seen) for _ in range(CLIENTS)]
    await asyncio.gather(*clients, disturb(served, kills, over, seen))
    seconds = await wait_until_free(database_url)
    with psycopg.connect(database_url) as connection:
        problems = connection.execute(CHECK).fetchall()
    ledger = read_one(
        database_url, "SELECT sum(l.amount_usd) FROM ledger l JOIN budgets b ON l.api_key_id::text = b.ref"
    )[0]
    dead = read_one(database_url, "SELECT count(*) FROM requests WHERE error_type = 'gateway_aborted'")[0]
    spent, reserved, overrun = read_one(
        database_url, "SELECT spent_usd, reserved_usd, overrun_usd FROM budget_counters"
    )
    calls = httpx.get(f"{upstream}/mock/stats", trust_env=False).json()["requests"]
    note(
        f"answers {dict(seen)}, {kills} killed; the provider answered {calls} of {CALLS_PAID}, the ledger says "
        f"{ledger} of {budget} USD, {dead} calls died; everything free after {seconds:.1f} s"
    )
    assert problems == []
    assert (reserved, overrun) == (0, 0)
    assert spent == ledger <= budget
    assert calls * call_usd <= budget
    assert set(seen) <= {0, 200, 402, 502, 503}
    assert seen[402] > 0
    assert calls >= CALLS_PAID * (0.3 if kills else 0.95)
