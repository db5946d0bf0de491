"""What one mock remembers: counters and recent requests, stored objects, and scripted answers."""

import base64
import secrets
import time
from collections import Counter, OrderedDict, deque
from typing import Any

import msgspec

from app.mock.behaviour import PLAIN, Behaviour
from app.mock.chaos import Chaos

_KEPT = 1000


class Arrival(msgspec.Struct, kw_only=True):
    """A request as it arrived; `outcome` becomes completed, broken (by the mock's own wish) or aborted."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    client: str
    at: float
    body: bytes = b""
    status: int | None = None
    outcome: str = "in_flight"


class Script(msgspec.Struct, kw_only=True):
    """One answer set by a test, sent byte for byte; several chunks are separate ASGI messages."""

    status: int = 200
    headers: list[tuple[str, str]] = msgspec.field(default_factory=lambda: [("content-type", "application/json")])
    chunks: list[bytes] = msgspec.field(default_factory=lambda: [b"{}"])
    behaviour: Behaviour = PLAIN


class Shelf(OrderedDict[str, Any]):
    """Stored objects by id, the oldest forgotten when there are many."""

    def put(self, key: str, value: Any) -> None:
        """Store `value`."""
        self[key] = value
        if len(self) > _KEPT:
            self.popitem(last=False)


class State:
    """The mutable part of one mock app."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(4)
        self._serial = 0
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but the requests that are still under way."""
        self.outcomes: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.arrivals: deque[Arrival] = deque(maxlen=50)
        self.scripts: deque[Script] = deque()
        self.tries: Counter[str] = Counter()
        self.prefixes: Shelf = Shelf()
        self.responses: Shelf = Shelf()
        self.files: Shelf = Shelf()
        self.batches: Shelf = Shelf()
        self.message_batches: Shelf = Shelf()
        self.chaos = Chaos()

    def new_id(self, prefix: str) -> str:
        """Return an id that no other answer of this mock has."""
        self._serial += 1
        return f"{prefix}{self._run}{self._serial:016x}"

    def arrive(self, arrival: Arrival) -> None:
        """Count a request and keep it among the recent ones."""
        self.in_flight += 1
        self.paths[arrival.path] += 1
        self.arrivals.append(arrival)

    def leave(self, arrival: Arrival, outcome: str) -> None:
        """Note how a request ended."""
        self.in_flight -= 1
        self.outcomes[outcome] += 1
        arrival.outcome = outcome

    def settle(self, behaviour: Behaviour, key: str) -> Behaviour:
        """Return `behaviour`, or a well-behaved one once it was shown `times` times for this `key`."""
        if behaviour.times is None:
            return behaviour
        self.tries[key] += 1
        if self.tries[key] <= behaviour.times:
            return behaviour
        return msgspec.structs.replace(
            PLAIN, text=behaviour.text, tokens=behaviour.tokens, big=behaviour.big, tool=behaviour.tool
        )

    def build_stats(self) -> dict[str, Any]:
        """Return what GET /mock/stats answers."""
        return {
            "requests": sum(self.paths.values()),
            "in_flight": self.in_flight,
            "completed": self.outcomes["completed"],
            "broken": self.outcomes["broken"],
            "aborted": self.outcomes["aborted"],
            "paths": dict(self.paths),
            "last": [_show(arrival) for arrival in self.arrivals],
        }


def _show(arrival: Arrival) -> dict[str, Any]:
    return {
        "method": arrival.method,
        "path": arrival.path,
        "query": arrival.query.decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in arrival.headers],
        "client": arrival.client,
        "at": arrival.at,
        "age_ms": round((time.time() - arrival.at) * 1000, 3),
        "body": base64.b64encode(arrival.body).decode(),
        "status": arrival.status,
        "outcome": arrival.outcome,
    }
