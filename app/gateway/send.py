"""From a call to a provider's answer, whole or streamed, and on to the client."""

import asyncio

import msgspec

from app.cache.flight import Flight
from app.errors import BadGatewayError, UpstreamFailure
from app.gateway.answers import Answer, Answering, find_request_id
from app.gateway.call import Call
from app.gateway.exchange import STREAM_HEADERS, Exchange
from app.gateway.headers import brings_own_key, comes_back
from app.gateway.plan import Target
from app.providers.failure import find_message, judge, reshape
from app.providers.protocol import Endpoint, StreamTap
from app.upstream import Incoming, Outgoing, Upstream
from app.wire.http import Headers
from app.wire.usage import Facts

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

CUT = "The provider's stream ended before it was complete."
DRAIN_SECONDS = 1.0
MIN_SECRET_LENGTH = 8  # a shorter "key" (a local server's "none") is a word of ordinary texts


def pass_headers(headers: Headers) -> Headers:
    """Return the provider's header lines that go to the client."""
    return [line for line in headers if comes_back(line[0])]


async def send(upstream: Upstream, outgoing: Outgoing, exchange: Exchange) -> Incoming:
    """Send the request and return the answer whose headers have come."""
    exchange.trace.sending()
    try:
        incoming = await upstream.send(outgoing)
    except UpstreamFailure as failure:
        exchange.trace.received()
        raise failure.as_error() from failure
    exchange.trace.row.upstream_request_id = find_request_id(incoming.headers)
    return incoming


async def read_whole(incoming: Answering, exchange: Exchange) -> bytes:
    """Return the body of an answer; RelayError when it breaks off or is too large."""
    try:
        return await incoming.read()
    except UpstreamFailure as failure:
        raise failure.as_error() from failure
    finally:
        incoming.close()
        exchange.trace.received()


def refuse(status: int, headers: Headers, body: bytes, call: Call, target: Target) -> Answer:
    """Return a provider's refusal as the client may see it, or raise what it gets instead."""
    verdict = judge(status, body, call.route.dialect, own_key=not brings_own_key(call.sent))
    error = verdict.error
    if error is None and target.tongue:
        error = reshape(status, find_message(body))  # the words of another dialect
    if error is not None:
        error.headers += tuple(line for line in headers if line[0] != b"content-type")
        raise error
    for key in map(str.encode, target.provider.api_keys):
        if len(key) >= MIN_SECRET_LENGTH and key in body:
            body = body.replace(key, b"********")
    return Answer(status=status, headers=headers, body=body, facts=Facts())


def read_facts(endpoint: Endpoint, body: bytes) -> Facts:
    """Return what a whole answer says; BadGatewayError when it is not even a JSON object.

    An object in a form we do not know is the provider's answer all the same: it is passed on, and never kept.
    """
    try:
        return endpoint.read_facts(body)
    except ValueError as error:
        if is_object(body):
            return Facts()
        message = "The provider's answer is not what this endpoint answers with."
        raise BadGatewayError(message, code="upstream_invalid_answer") from error


def is_object(body: bytes) -> bool:
    """Return whether `body` is a JSON object, of whatever content."""
    try:
        _decode_object(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


async def forward_stream(incoming: Answering, tap: StreamTap, exchange: Exchange, flight: Flight | None) -> bytes:
    """Pass a stream on as it comes, up to its end marker; `tap` then knows what it said.

    Returns what is left to be sent with the answer's end: of a call that is kept for a repetition the end marker, as
    clients take that for the end, and send the call again when they like. Raises RelayError when it broke off or ended
    without its end marker; what was used until then is noted all the same.
    """
    try:
        async for data in incoming.chunks():
            if flight is not None:
                flight.add(data)
            events = tap.feed(data)
            if tap.finished and exchange.capture is not None:
                await begin_events(exchange, incoming.headers)
                return events
            if events:
                await pass_events(exchange, incoming.headers, events)
            if tap.finished:
                break
    except UpstreamFailure as failure:
        raise failure.as_error() from failure
    finally:
        exchange.trace.received()
        exchange.trace.row.usage = tap.facts().usage
    if not tap.finished and not tap.failed:
        raise BadGatewayError(CUT, code="upstream_disconnected")
    return b""


async def pass_events(exchange: Exchange, headers: Headers, events: bytes) -> None:
    """Send events to the client, after the head of the answer when they are the first."""
    await begin_events(exchange, headers)
    await exchange.write(events)


async def begin_events(exchange: Exchange, headers: Headers) -> None:
    """Send the head of the answer, once."""
    if not exchange.started:
        lines = [line for line in pass_headers(headers) if line[0] not in {b"content-type", b"cache-control"}]
        await exchange.start(200, [*STREAM_HEADERS, *lines, *exchange.own_headers()])


async def pass_through(incoming: Answering, exchange: Exchange) -> int:
    """Pass an answer that we do not read, as it comes, and return its size."""
    size = 0
    try:
        lines = pass_headers(incoming.headers)
        await exchange.start(incoming.status, [*lines, *_length(incoming), *exchange.own_headers()])
        async for data in incoming.chunks():
            size += len(data)
            await exchange.write(data)
        await exchange.finish()
    finally:
        incoming.close()
        exchange.trace.received()
    return size


async def end_upstream(incoming: Answering) -> None:
    """Read past the end marker, so that the connection can be used again; a provider that dawdles loses it."""
    timer = asyncio.get_running_loop().call_later(DRAIN_SECONDS, incoming.close)
    try:
        async for _ in incoming.chunks():
            pass
    except UpstreamFailure:
        pass  # the answer is complete already
    finally:
        timer.cancel()
        incoming.close()


def _length(incoming: Answering) -> Headers:
    return [line for line in incoming.headers if line[0] == b"content-length"]
