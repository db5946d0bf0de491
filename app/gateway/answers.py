"""What an attempt ends in: an answer, maybe looked into, or a refusal and its meaning."""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from app.errors import BadGatewayError, RelayError
from app.gateway.plan import Target
from app.providers.failure import find_message
from app.providers.protocol import Endpoint
from app.routing.failure import Failure, Kind
from app.wire.http import Headers


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


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that failed: what it means, and what the client is told when it was the last one.

    `error` is an error of ours; without one the provider's own answer stands.
    """

    failure: Failure
    target: Target
    error: RelayError | None = None
    status: int = 0
    headers: Headers = []
    body: bytes = b""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer and who gave it."""

    target: Target
    answer: Answering


class Peeked:
    """An answer whose first piece was read already."""

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
        """Yield the first piece and then the others."""
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


def find_early_error(first: bytes, endpoint: Endpoint, target: Target) -> Refusal | None:
    """Return the failure that a stream begins with, before anything of an answer."""
    if endpoint.open_tap is None or b"error" not in first:
        return None
    tap = endpoint.open_tap(False)
    events = tap.feed(first)
    if not tap.failed or events.count(b"data:") > 1:
        return None
    data = events.partition(b"data:")[2].partition(b"\n")[0]
    message = find_message(data) or "The provider's stream began with an error."
    overloaded = b"overloaded" in data
    return Refusal(
        failure=Failure(kind=Kind.OVERLOADED if overloaded else Kind.SERVER),
        target=target,
        error=BadGatewayError(message, code="upstream_error_event", status=503 if overloaded else 502),
    )


def keys_are_out() -> RelayError:
    """Return the error for a provider none of whose keys works."""
    return BadGatewayError(
        "The provider refused the gateway's own credential. Its operator has to look at it.",
        code="upstream_credentials_exhausted",
    )


def is_stream(headers: Headers) -> bool:
    """Return whether an answer is a stream of events."""
    return any(name == b"content-type" and b"text/event-stream" in value.lower() for name, value in headers)


def find_request_id(headers: Headers) -> str | None:
    """Return the provider's own id of the request."""
    for name, value in headers:
        if name in {b"x-request-id", b"request-id"}:
            return value.decode("latin-1")[:128]
    return None
