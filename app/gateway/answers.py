"""What an attempt ends in: an answer, maybe looked into, or a refusal and its meaning."""

import math
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from app.errors import BadGatewayError, RelayError, UpstreamFailure
from app.gateway.plan import Target
from app.providers.protocol import StreamTap
from app.providers.sse import read_event, split_events
from app.routing.failure import Failure, judge_answer
from app.wire.http import Headers
from app.wire.usage import Facts

OpenTap = Callable[[bool], StreamTap]
"""How an endpoint's streams are read; the argument says whether to hide the usage."""

JSON = (b"content-type", b"application/json")

_STATUSES = {
    b"overloaded": 529,
    b"rate_limit": 429,
    b"insufficient_quota": 429,
    b"authentication_error": 401,
    b"invalid_api_key": 401,
    b"invalid_request_error": 400,
}
"""The statuses that error events stand for, by their words."""


class Answering(Protocol):
    """A provider's answer, as it came, translated or looked into."""

    status: int
    headers: Headers

    async def read(self) -> bytes:
        """Return the whole body."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        ...

    def close(self) -> None:
        """Hang up unless the body was read to its end."""
        ...


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer of a provider that may go to the client as it is."""

    status: int
    headers: Headers
    body: bytes
    facts: Facts


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that failed: what it means, and what the client is told when it was the last one.

    `error` is an error of ours; without one the provider's own answer stands. `skipped`: nothing was sent, because
    the target has no words for the call.
    """

    failure: Failure
    target: Target
    error: RelayError | None = None
    status: int = 0
    headers: Headers = []
    body: bytes = b""
    skipped: bool = False


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, whole or the stream that has begun, who gave it, and when: `started` is monotonic seconds."""

    target: Target
    answer: "Answer | Peeked"
    started: float
    latency_seconds: float


class Peeked:
    """A stream whose first events were read already."""

    def __init__(self, answer: Answering, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._answer = answer
        self._first = first
        self._rest = rest
        self.status = answer.status
        self.headers = answer.headers

    async def read(self) -> bytes:
        """Return what is left of the body."""
        return b"".join([piece async for piece in self])

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the first events and then the others."""
        return self

    def close(self) -> None:
        """Close the provider's answer."""
        self._answer.close()

    def __aiter__(self) -> "Peeked":
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        return await anext(self._rest)


async def peek(pieces: AsyncIterator[bytes], tap: StreamTap, *, past_pings: bool) -> bytes:
    """Return the beginning of a stream up to its first whole event, or its first one that is more than a ping.

    Raises UpstreamFailure when it ends before.
    """
    seen: list[bytes] = []
    async for piece in pieces:
        seen.append(piece)
        events = tap.feed(piece)
        if tap.failed or (events and not (past_pings and all(map(_is_ping, split_events(events))))):
            return b"".join(seen)
    raise UpstreamFailure("disconnected", "The provider's stream ended before it began.", answered=True)


def find_early_error(first: bytes, open_tap: OpenTap, target: Target) -> Refusal | None:
    """Return what a stream that begins with an error would have been as a refusal; None when it begins otherwise."""
    begin = next((raw for raw in split_events(first) if not _is_ping(raw)), b"")
    tap = open_tap(False)
    tap.feed(begin)
    if not tap.failed:
        return None
    body = read_event(begin).data
    status = next((status for word, status in _STATUSES.items() if word in body), 500)
    return Refusal(failure=judge_answer(status, [], body), target=target, status=status, headers=[JSON], body=body)


def _is_ping(raw: bytes) -> bool:
    event = read_event(raw)
    return event.name == b"ping" or not event.data


def keys_are_out() -> RelayError:
    """Return the error for a provider none of whose keys works."""
    return BadGatewayError(
        "The provider refused the gateway's own credential. Its operator has to look at it.",
        code="upstream_credentials_exhausted",
    )


def keys_are_busy(wait_seconds: float) -> RelayError:
    """Return the error for a provider all of whose keys are at their limit."""
    error = RelayError(
        "The provider's rate limit is used up.",
        code="upstream_rate_limited",
        status=429,
        headers=((b"retry-after", b"%d" % max(1, math.ceil(wait_seconds))),),
    )
    error.openai_type = error.anthropic_type = "rate_limit_error"
    return error


def is_stream(headers: Headers) -> bool:
    """Return whether an answer is a stream of events."""
    return any(name == b"content-type" and b"text/event-stream" in value.lower() for name, value in headers)


def find_request_id(headers: Headers) -> str | None:
    """Return the provider's own id of the request."""
    for name, value in headers:
        if name in {b"x-request-id", b"request-id"}:
            return value.decode("latin-1")[:128]
    return None
