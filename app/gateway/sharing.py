"""Answers that are shared: from the cache, from an identical call under way, and for those who ask next."""

import time
from contextlib import aclosing

import msgspec

from app.access.rights import join_tags
from app.cache.flight import Flight, Likened
from app.cache.types import Entry
from app.errors import BadGatewayError
from app.gateway.answer_words import complete_likeness
from app.gateway.answers import Answer
from app.gateway.call import Call
from app.gateway.exchange import Exchange
from app.gateway.parts import Parts
from app.gateway.plan import Target
from app.gateway.policy import CachePolicy
from app.gateway.replay import replay
from app.gateway.send import pass_events
from app.providers.protocol import Endpoint
from app.semantic.types import Likeness
from app.wire.ids import make_uuid7
from app.wire.usage import Usage

# When a call fails, one of those who waited makes the next one for the others; who has waited for two makes its own.
MAX_FOLLOWED = 2


async def answer_from_cache(
    key: bytes, policy: CachePolicy, call: Call, endpoint: Endpoint, exchange: Exchange, parts: Parts
) -> bool | None:
    """Answer from a stored answer or from an identical call under way in this process: None.

    Else return whether the call is ours to make: False when another process makes it.
    """
    for _ in range(MAX_FOLLOWED):
        found = await parts.cache.find(key, lease=policy.leases)
        if found.entry is not None and await replay(found.entry, call, endpoint, exchange):
            return None
        flight = parts.flights.find(key) if not policy.only else None
        if flight is None:
            return found.leads
        exchange.watch()
        joined = await follow(flight, call, endpoint, exchange, parts)
        exchange.unwatch()
        if joined:
            return None
    return True


async def share_with_processes(keeper: "Keeper", exchange: Exchange) -> bool:
    """Answer from what another process makes of the same call; False when this one has to make it after all."""
    cache, call = keeper.parts.cache, keeper.call
    exchange.watch(keeper.flight.leader_leaves)
    found = await cache.await_other(keeper.key)
    exchange.unwatch()
    if found.entry is None:
        cache.lead(keeper.key)
        return False
    answered = await replay(found.entry, call, keeper.endpoint, exchange)
    keeper.land(found.entry)
    return answered


async def follow(flight: Flight, call: Call, endpoint: Endpoint, exchange: Exchange, parts: Parts) -> bool:
    """Share the answer of an identical call under way; False when it came to nothing before anything was sent."""
    if flight.streamed and call.streamed:
        return await follow_stream(flight, call, endpoint, exchange, parts)
    await flight.wait()
    return await replay_landed(flight, call, endpoint, exchange, parts)


async def replay_landed(flight: Flight, call: Call, endpoint: Endpoint, exchange: Exchange, parts: Parts) -> bool:
    """Answer like a call that has ended; where that was by a similar answer, this one can be reported as well."""
    likened = flight.likened
    evidence = likened.lines if likened is not None else None
    if flight.entry is None or not await replay(flight.entry, call, endpoint, exchange, evidence):
        return False
    if likened is not None:
        mine = {"id": make_uuid7(), "user_id": call.caller.user_id, "request_id": exchange.trace.row.request_id}
        parts.semantic.log.note(msgspec.structs.replace(likened.decision, **mine))
    return True


async def follow_stream(flight: Flight, call: Call, endpoint: Endpoint, exchange: Exchange, parts: Parts) -> bool:
    """Share a stream as it comes in."""
    assert endpoint.open_tap is not None  # noqa: S101 - the caller looked
    tap = endpoint.open_tap(call.hides_usage)
    async with aclosing(flight.follow()) as pieces:
        async for piece in pieces:
            events = tap.feed(piece)
            if events:
                if not exchange.started:
                    exchange.note_cache_status("hit")
                    exchange.headers += [(b"age", b"0"), (b"x-relay-attempts", b"0")]
                await pass_events(exchange, [], events)
    if not exchange.started:  # it came to nothing, or to an answer that was there as a whole
        return await replay_landed(flight, call, endpoint, exchange, parts)
    exchange.trace.row.billed = False
    if not tap.finished:
        raise BadGatewayError("The provider's stream ended before it was complete.", code="upstream_disconnected")
    exchange.trace.succeed(200, tap.facts().usage)
    await exchange.finish()
    return True


class Keeper(msgspec.Struct, kw_only=True):
    """Stores the answer of a call that leads others, and lets them have it.

    `cap_tokens` is a limit of output that the call got and did not ask for: an answer that reached it is not kept.
    `likeness` is the call's question, which similar ones may be compared with; `entry` what was kept in the end.
    """

    key: bytes
    policy: CachePolicy
    call: Call
    endpoint: Endpoint
    parts: Parts
    flight: Flight
    cap_tokens: int | None = None
    likeness: Likeness | None = None
    entry: Entry | None = None

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
            scope=self.policy.label,
            user_id=self.call.caller.user_id,
            api_key_id=self.call.caller.key_id,
            provider=target.provider.name,
            model=target.model or "",
            endpoint=self.endpoint.name,
            streamed=streamed,
            content_type=next((v.decode("latin-1") for n, v in answer.headers if n == b"content-type"), ""),
            body=body,
            usage=answer.facts.usage,
            created_at=now,
            expires_at=now + self.policy.ttl_seconds,
            tags=self.list_tags(),
        )
        self.entry = entry
        if self.policy.ttl_seconds > 0:
            likeness = complete_likeness(self.likeness, entry, self.endpoint)
            self.parts.cache.put(entry, likeness, replaces=not self.policy.reads)
        self.land(entry)

    def list_tags(self) -> tuple[str, ...]:
        """Return the tags that the answer is kept under: the call's own, and those for the cache alone."""
        tags = join_tags(self.call.caller, self.call.options.tags) or ()
        return tuple(dict.fromkeys((*tags, *self.call.options.cache_tags)))

    def land(self, entry: Entry | None, likened: Likened | None = None) -> None:
        """End the flight, once."""
        if not self.flight.landed:
            self.parts.flights.close(self.key, self.flight, entry, likened)


def is_shorter(usage: Usage | None, tokens: int) -> bool:
    """Return whether an answer is known to have ended before a limit of output tokens."""
    return usage is not None and usage.total_output_tokens < tokens
