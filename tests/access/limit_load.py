"""A process of its own that calls a limit as hard as it is told, and prints what it was let do."""

import asyncio
import json
import sys
import time
from datetime import timedelta
from random import Random
from uuid import UUID, uuid4

import psycopg

from app.access.limit_types import Asking, LimitReachedError
from app.access.limits import RateLimiter
from app.access.types import Limit


def wait_of(error: LimitReachedError) -> float:
    """Return the seconds that a refusal says to wait."""
    return int(dict(error.headers)[b"retry-after-ms"]) / 1000


def take_lease(url: str, process_id: UUID, seconds: float) -> None:
    """Have a process be alive for a while."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO processes (id, lease_until) VALUES (%s, clock_timestamp() + %s)",
            (process_id, timedelta(seconds=seconds)),
        )


async def run(order: dict) -> dict:
    """Carry out an order: `tasks` tasks admit, hold for `hold` seconds at most and finish, for `seconds`.

    Returns when calls were admitted by the database's clock (`at`), how many were refused, and the spans between
    admission and finish on the machine's steady clock (`spans`).
    """
    process_id = uuid4()
    take_lease(order["url"], process_id, order.get("lease", 60))
    limiter = RateLimiter(order["url"], process_id, window_seconds=order["window"])
    limit = Limit(**{"scope": "key:shared", **order["limit"]})
    asking = Asking(limits=(limit,), tokens=order.get("tokens", 0), share=order.get("share", 1.0))
    random = Random(order.get("seed", 0))
    at, spans, refused = [], [], 0
    until = time.monotonic() + order["seconds"]

    async def call() -> None:
        nonlocal refused
        try:
            admission = await limiter.admit(asking)
        except LimitReachedError as error:
            refused += 1
            await asyncio.sleep(min(wait_of(error), order.get("patience", 0.005)))
            return
        began = time.monotonic()
        at.append(admission.standing.at)
        if order.get("hold"):
            await asyncio.sleep(random.uniform(0, order["hold"]))
        spans.append((began, time.monotonic()))
        limiter.finish(admission, order.get("used"))
        if order.get("pause"):
            await asyncio.sleep(order["pause"])

    async def task() -> None:
        while time.monotonic() < until:
            await call()

    if order.get("hang"):
        await asyncio.gather(*(limiter.admit(asking) for _ in range(order["hang"])))
        print("hanging", flush=True)
        await asyncio.sleep(60)
    await asyncio.gather(*(task() for _ in range(order["tasks"])))
    await limiter.close()
    return {"at": at, "spans": spans, "refused": refused}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
