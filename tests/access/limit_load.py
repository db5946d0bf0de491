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


class Load:
    """Carries out an order: `tasks` tasks admit, hold for `hold` seconds at most and finish, for `seconds`.

    Collects when calls were admitted by the database's clock (`at`), how many were refused, and the spans between
    admission and finish on the machine's steady clock (`spans`).
    """

    def __init__(self, order: dict) -> None:
        self.order = order
        self.limiter = RateLimiter(order["url"], uuid4(), window_seconds=order["window"])
        limit = Limit(**{"scope": "key:shared", **order["limit"]})
        self.asking = Asking(limits=(limit,), tokens=order.get("tokens", 0), share=order.get("share", 1.0))
        self.random = Random(order.get("seed", 0))
        self.at: list[float] = []
        self.spans: list[tuple[float, float]] = []
        self.refused = 0

    async def run(self) -> dict:
        take_lease(self.order["url"], self.limiter._process_id, self.order.get("lease", 60))
        if self.order.get("hang"):
            await asyncio.gather(*(self.limiter.admit(self.asking) for _ in range(self.order["hang"])))
            say("hanging")
            await asyncio.sleep(60)
        until = time.monotonic() + self.order["seconds"]
        await asyncio.gather(*(self.work(until) for _ in range(self.order["tasks"])))
        await self.limiter.close()
        return {"at": self.at, "spans": self.spans, "refused": self.refused}

    async def work(self, until: float) -> None:
        while time.monotonic() < until:
            try:
                admission = await self.limiter.admit(self.asking)
            except LimitReachedError as error:
                self.refused += 1
                await asyncio.sleep(min(wait_of(error), 0.005))
                continue
            began = time.monotonic()
            self.at.append(admission.standing.at)
            await asyncio.sleep(self.random.uniform(0, self.order.get("hold", 0)))
            self.spans.append((began, time.monotonic()))
            self.limiter.finish(admission, self.order.get("used"))
            await asyncio.sleep(self.order.get("pause", 0))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    say(json.dumps(asyncio.run(Load(json.loads(sys.argv[1])).run())))
