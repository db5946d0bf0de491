"""Calls with an Idempotency-Key on their way: answered again, or captured so that they can be."""

from typing import Literal

from app.analytics.types import RequestRow
from app.cache.idempotent import MAX_KEPT_BYTES, IdempotentCalls, Replay, Started
from app.gateway.call import Call
from app.gateway.exchange import Exchange
from app.gateway.later import may_wait
from app.wire.http import Headers

Outcome = Literal["keep", "free", "lose"]

# Of an answer's header lines, those that are about the answer; all others are about the request.
KEPT = frozenset(
    {b"content-type", b"cache-control", b"x-accel-buffering", b"x-should-retry"}
    | {b"location", b"preference-applied", b"retry-after"}
)
KEPT_NOTES = frozenset({b"x-relay-provider", b"x-relay-model", b"x-relay-cost-usd"})

NOT_NOW = frozenset({429, 503, 529})
NOT_CONNECTED = frozenset({"upstream_connect", "upstream_connect_timeout", "upstream_tls"})
OURS = frozenset({"gateway_stopping", "internal_error"})


class Capture:
    """Collects what a call's client is sent, whether or not it is still there, and keeps it at the end."""

    def __init__(self, calls: IdempotentCalls, started: Started, row: RequestRow) -> None:
        self._calls = calls
        self._started = started
        self._row = row
        self._status: int | None = None
        self._headers: Headers = []
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False

    def begin(self, status: int, headers: Headers) -> None:
        """Take the head of the answer."""
        self._status = status
        self._headers = [line for line in headers if line[0] in KEPT or line[0] in KEPT_NOTES]

    def add(self, data: bytes) -> None:
        """Take a part of the body; one that grows too large is let go of."""
        self._size += len(data)
        if self._size > MAX_KEPT_BYTES:
            self._parts.clear()
        else:
            self._parts.append(data)

    async def end(self) -> None:
        """Keep the answer, free the key, or say that nobody knows; once, before the client sees the answer's end."""
        if self._ended:
            return
        self._ended = True
        outcome = judge_outcome(self._status, self._row.attempts, self._row.error_type)
        if outcome == "free":
            await self._calls.abandon(self._started)
        elif outcome == "lose" or self._status is None:
            await self._calls.lose(self._started)
        else:
            body = b"".join(self._parts) if self._size <= MAX_KEPT_BYTES else None
            await self._calls.finish(self._started, self._status, self._headers, body)

    async def break_off(self) -> None:
        """See to a call that came to no end: nobody knows what came of it if a provider was asked."""
        if self._ended:
            return
        self._ended = True
        if self._row.attempts == 0 and self._status is None:
            await self._calls.abandon(self._started)
        else:
            await self._calls.lose(self._started)


def judge_outcome(status: int | None, attempts: int, error: str | None) -> Outcome:
    """Return what becomes of the key: `status` is what the client was sent, `error` what went wrong.

    What a provider made of the call is kept, refusals and failures included; what never reached one, or was sent away
    for now, leaves the key free.
    """
    if status is not None and status < 400:
        return "keep"
    if attempts == 0:
        return "free"
    if status is None or error in OURS:
        return "lose"
    return "free" if status in NOT_NOW or error in NOT_CONNECTED else "keep"


async def repeat(call: Call, exchange: Exchange, calls: IdempotentCalls) -> bool:
    """Answer a call again whose key stands for an answer; False when it is to be made, and captured on its way."""
    if not call.sent.idempotency_key:
        return False
    row = exchange.trace.row
    key = call.sent.idempotency_key.decode("latin-1")
    outcome = await calls.begin(call.caller.scope, key, fingerprint(call), row.request_id)
    if isinstance(outcome, Started):
        exchange.capture = Capture(calls, outcome, row)
        return False
    await replay(outcome, exchange)
    return True


async def replay(kept: Replay, exchange: Exchange) -> None:
    """Send an answer once more."""
    for name, value in kept.headers:
        if name in KEPT_NOTES:
            exchange.set_header(name, value)
    exchange.set_header(b"idempotent-replayed", b"true")
    exchange.set_header(b"original-request", kept.request_id.encode())
    exchange.trace.row.billed = False
    exchange.trace.succeed(kept.status, None)
    lines = [line for line in kept.headers if line[0] in KEPT]
    await exchange.reply(kept.status, lines, kept.body)


def fingerprint(call: Call) -> bytes:
    """Return what makes it this call: method, path and query, the body once decoded, and whether it is for later."""
    route = call.route
    head = (call.method.encode(), (route.provider or "").encode(), route.rest.encode(), call.query)
    later = (b"later",) if may_wait(call.sent) else ()
    return b"\0".join((*head, *later, call.body))
