"""What goes wrong with the mock's batches: by directives in single requests, and by wishes about whole operations."""

import re
import time
from collections import Counter
from typing import Any, Literal

import msgspec

from app.mock.asgi import Request
from app.mock.errors import MockError

Operation = Literal["upload", "create", "look", "list", "cancel", "results", "delete"]
Fate = Literal["answer", "expire", "omit", "fail", "cancel"]

_DELAYS = re.compile(rb"\bdelay_ms=(\d+(?:\.\d+)?)")
_FATES = re.compile(rb"\[\[mock[^\]]*\bbatch=(expire|omit|fail)\b")
_WISHES: dict[bytes, Fate] = {b"expire": "expire", b"omit": "omit", b"fail": "fail"}
_LOSES = re.compile(rb"\[\[mock[^\]]*\bbatch=lose\b")

_OPERATIONS: tuple[tuple[re.Pattern[str], Operation], ...] = (
    (re.compile(r"POST /v1/files"), "upload"),
    (re.compile(r"POST /v1/(messages/)?batches"), "create"),
    (re.compile(r"GET /v1/(messages/)?batches"), "list"),
    (re.compile(r"GET /v1/(messages/)?batches/[^/]+"), "look"),
    (re.compile(r"POST /v1/(messages/)?batches/[^/]+/cancel"), "cancel"),
    (re.compile(r"GET /v1/(messages/batches/[^/]+/results|files/[^/]+/content)"), "results"),
    (re.compile(r"DELETE /v1/(messages/batches|files)/[^/]+"), "delete"),
)


class Fault(msgspec.Struct, kw_only=True):
    """An operation that fails: every `every`th time, at most `times` times; `done`: what was asked is done first."""

    operation: Operation
    status: int = 500
    every: int = 1
    times: int | None = None
    retry_after: str | None = None
    done: bool = False


class Chaos(msgspec.Struct, kw_only=True):
    """What a test wants of all batches: faults, how long each takes at least, and how long it takes to stop one."""

    faults: list[Fault] = []
    delay_ms: float = 0
    cancel_ms: float = 0
    seen: Counter[str] = msgspec.field(default_factory=Counter[str])

    def find_fault(self, request: Request) -> Fault | None:
        """Return the fault that it is the turn of."""
        name = f"{request.method} {request.path}"
        operation = next((found for pattern, found in _OPERATIONS if pattern.fullmatch(name)), None)
        for fault in self.faults:
            if operation is None or fault.operation != operation or fault.times == 0:
                continue
            self.seen[operation] += 1
            if self.seen[operation] % fault.every == 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


def build_fault_error(fault: Fault) -> MockError:
    """Return the error that a fault answers with."""
    headers = ((b"retry-after", fault.retry_after.encode()),) if fault.retry_after is not None else ()
    return MockError(f"The mock fails on purpose to {fault.operation}.", status=fault.status, headers=headers)


class Job(msgspec.Struct, kw_only=True):
    """A batch under way: its object, when it began and when it will be done, and when it was told to stop."""

    batch: dict[str, Any]
    begun_at: float
    ready_at: float
    stopped_at: float | None = None

    def is_over(self, chaos: Chaos) -> bool:
        """Return whether it has come to its end by now."""
        now = time.time()
        if self.stopped_at is not None and now >= self.stopped_at + chaos.cancel_ms / 1000:
            return True
        return now >= self.ready_at

    def find_fate(self, request: bytes) -> Fate:
        """Return what becomes of one request: when the batch is stopped, what is not done by then is not done."""
        wish = _FATES.search(request)
        if wish is not None:
            return _WISHES[wish[1]]
        if self.stopped_at is not None and self.begun_at + find_delay(request) / 1000 > self.stopped_at:
            return "cancel"
        return "answer"


def find_delay(content: bytes) -> float:
    """Return how long a batch takes: as long as the longest `delay_ms` of its requests."""
    return max(map(float, _DELAYS.findall(content)), default=0.0)


def is_lost(content: bytes) -> bool:
    """Return whether a request wants its whole batch to be lost."""
    return _LOSES.search(content) is not None
