"""A process that holds and spends money as fast as it can, until it is told to stop or is killed."""

import asyncio
import json
import random
import sys
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg

from app.access.budget_store import end_process, reap, release, renew_lease, reserve
from app.access.budget_types import Answer, Ask
from app.db.connection import Connection
from app.wire.ids import make_uuid7
from tests.access.budget_books import LINE, NOBODY, REQUEST, build_ask

LEASE_SECONDS = 1.0
KEYS = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(4)]
SHARED = ("00000000-0000-4000-9000-000000000000", ["blue"])
SMALLEST = Decimal("0.000001")


def choose_names() -> dict[str, Any]:
    """Return who calls: keys of one user, now and then with a tag."""
    return {"api_key_id": random.choice(KEYS), "user_id": SHARED[0], "tags": random.choice([[], SHARED[1]])}


def choose_cost(most: Decimal) -> Decimal:
    """Return what a call costs: never more than was held."""
    return (most * Decimal(random.random())).quantize(SMALLEST)


async def book(connection: Connection, entries: list[dict[str, Any]]) -> None:
    """Record requests in one transaction, as the recorder does."""
    async with connection.transaction():
        await connection.execute("SELECT relaycore_begin_posting()")
        for entry in entries:
            await connection.execute(REQUEST, entry)
            if entry["amount"]:
                await connection.execute(LINE, entry)
        await connection.execute("SELECT relaycore_settle(%s)", (json.dumps(entries, default=str),))


def build_entry(ask: Ask, answer: Answer, amount: Decimal) -> dict[str, Any]:
    """Return what is booked of a call."""
    request_id, at = ask.facts["request_id"], ask.facts["request_time"]
    if ask.kind == "escrow":
        request_id, at = uuid4(), at + random.random() / 1000
    names = {name: ask.facts[name] for name in NOBODY}
    held = {"reservation_id": ask.id, "booked_at": answer.reserved_at, "amount": amount}
    return {**names, **held, "request_id": request_id, "request_time": at}


async def work(connection: Connection, mine: Any) -> None:
    """Ask for money for some calls, and settle, keep or give back what was granted."""
    asks = [
        build_ask(
            choose_names(), "0.02", random.choice(["0.02", "0.005"]), kind=random.choice(["call"] * 4 + ["escrow"])
        )
        for _ in range(random.randint(1, 6))
    ]
    answers = await reserve(connection, mine, asks)
    await asyncio.sleep(random.random() * 0.01)
    unused, entries = [], []
    for ask, answer in zip(asks, answers, strict=True):
        if answer.granted_usd is None or answer.budget_id is None:
            continue
        if ask.kind == "escrow":
            entries += [build_entry(ask, answer, choose_cost(answer.granted_usd / 3)) for _ in range(3)]
            unused.append(ask.id)
        elif random.random() < 0.2:
            unused.append(ask.id)
        else:
            entries.append(build_entry(ask, answer, choose_cost(answer.granted_usd)))
    random.shuffle(entries)
    await book(connection, entries)
    await release(connection, mine, unused)


async def keep_alive(url: str, mine: Any) -> None:
    """Renew the lease, settle the dead and change limits, beside the work."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            await renew_lease(connection, mine, LEASE_SECONDS)
            await reap(connection)
            await connection.execute("UPDATE budgets SET name = %s WHERE scope = 'user'", (str(random.random()),))
            await connection.execute("SELECT relaycore_roll_budgets()")
            await asyncio.sleep(0.2)


async def run(url: str) -> None:
    """Work until standard input ends."""
    mine = make_uuid7()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=1) as connection:
        await renew_lease(connection, mine, LEASE_SECONDS)
        alive = asyncio.create_task(keep_alive(url, mine))
        stop = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        while not stop.done() and not alive.done():
            await work(connection, mine)
        if alive.done():
            alive.result()
        alive.cancel()
        await asyncio.gather(alive, return_exceptions=True)
        await end_process(connection, mine)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
