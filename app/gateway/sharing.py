"""Answers that are shared: from the cache, from an identical call under way, and for those who ask next."""

import time
from contextlib import aclosing

import msgspec

from app.cache.flight import Flight
from app.cache.types import Entry
from app.errors import BadGatewayError
from app.gateway.answers import Answer
from app.gateway.call import Call
from app.gateway.exchange import Exchange
from app.gateway.parts import Parts
from app.gateway.plan import Target
from app.gateway.policy import CachePolicy
from app.gateway.replay import replay
from app.gateway.send import pass_events
from app.providers.protocol import Endpoint
from app.wire.usage import Usage

# When a call fails, one of those who waited makes the next one for the others; who has waited for two makes its own.
MAX_FOLLOWED = 2


async def answer_from_cache(key: bytes, call: Call, endpoint: Endpoint, exchange: Exchange, parts: Parts) -> bool:
    """Answer from a stored answer or from an identical call under way; False when there is neither."""
    entry = await parts.cache.find(key)
    if entry is not None:
        return await replay(entry, call, endpoint, exchange)
    if call.options.cache == "only":
        return False
    for _ in range(MAX_FOLLOWED):
        flight = parts.flights.find(key)
        if flight is None:
            return False
        exchange.watch()
        joined = await follow(flight, call, endpoint, exchange)
        exchange.unwatch()
        if joined:
            return True
    return False


async def follow(flight: Flight, call: Call, endpoint: Endpoint, exchange: Exchange) -> bool:
    """Share the answer of an identical call under way; False when it came to nothing before anything was sent."""
    if flight.streamed and call.streamed:
        return await follow_stream(flight, call, endpoint, exchange)
    entry = await flight.wait()
    return entry is not None and await replay(entry, call, endpoint, exchange)


async def follow_stream(flight: Flight, call: Call, endpoint: Endpoint, exchange: Exchange) -> bool:
    """Share a stream as it comes in."""
    assert endpoint.open_tap is not None  # noqa: S101 - the caller looked
    tap = endpoint.open_tap(call.hides_usage)
    async with aclosing(flight.follow()) as pieces:
        async for piece in pieces:
            events = tap.feed(piece)
            if events:
                exchange.note_cache_status("hit")
                await pass_events(exchange, [], events)
    if not exchange.started:
        return False
    exchange.trace.row.billed = False
    if not tap.finished:
        raise BadGatewayError("The provider's stream ended before it was complete.", code="upstream_disconnected")
    exchange.trace.succeed(200, tap.facts().usage)
    await exchange.finish()
    return True


class Keeper(msgspec.Struct, kw_only=True):
    """Stores the answer of a call that leads others, and lets them have it.

    `cap_tokens` is a limit of output that the call got and did not ask for: an answer that reached it is not kept.
    """

    key: bytes
    policy: CachePolicy
    call: Call
    endpoint: Endpoint
    parts: Parts
    flight: Flight
    cap_tokens: int | None = None

    def keep(self, body: bytes, answer: Answer, target: Target, *, streamed: bool) -> None:
        """Store a complete answer and land the flight with it."""
        config = self.parts.catalog.current.cache
        if answer.status != 200 or not answer.facts.complete or len(body) > config.max_entry_bytes:
            self.land(None)
            return
        if self.cap_tokens is not None and not is_shorter(answer.facts.usage, self.cap_tokens):
            return
        now = time.time()
        entry = Entry(
            key=self.key,
            scope=self.call.caller.scope,
            provider=target.provider.name,
            model=target.model or "",
            endpoint=self.endpoint.name,
            streamed=streamed,
            content_type=next((v.decode("latin-1") for n, v in answer.headers if n == b"content-type"), ""),
            body=body,
            usage=answer.facts.usage,
            created_at=now,
            expires_at=now + self.policy.ttl_seconds,
        )
        if self.policy.ttl_seconds > 0:
            self.parts.cache.put(entry)
        self.land(entry)

    def land(self, entry: Entry | None) -> None:
        """End the flight, once."""
        if not self.flight.landed:
            self.parts.flights.close(self.key, self.flight, entry)


def is_shorter(usage: Usage | None, tokens: int) -> bool:
    """Return whether an answer is known to have ended before a limit of output tokens."""
    return usage is not None and usage.total_output_tokens < tokens
