"""Paths that we do not read: passed on with authentication and recording, bodies in both directions as they come."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from app.errors import BadRequestError, ForbiddenError, TooLargeError, UpstreamFailure
from app.gateway.batch_links import has_results_url, lead_results
from app.gateway.body import drain, inflate, read_body, stream_body
from app.gateway.call import Call, Fields, read_fields
from app.gateway.exchange import Exchange
from app.gateway.forwarding import build_limits, choose
from app.gateway.idempotency import repeat
from app.gateway.limiting import admit_call
from app.gateway.money import Ways, hold_money
from app.gateway.outgoing import build_outgoing
from app.gateway.parts import Parts
from app.gateway.plan import Target
from app.gateway.send import pass_headers, pass_through, read_whole, refuse, send
from app.upstream import Incoming, Outgoing

READING = frozenset({"GET", "HEAD", "OPTIONS"})


Note = Callable[[bytes], Awaitable[None]]
"""Takes the body of a provider's success before the client sees anything of it."""


async def pass_on(call: Call, base: bytes, exchange: Exchange, parts: Parts, note: Note | None = None) -> None:
    """Answer a call that goes through unread. `base` is the gateway's address as the client knows it."""
    exchange.trace.wanted = call.method not in READING
    exchange.note_cache_status("disabled")
    uploads = has_body(call) and b"json" not in call.sent.content_type.lower()
    if has_body(call) and not uploads:
        call = await read_json(call, exchange, parts)
    chosen = choose(call, exchange, parts.catalog.current)
    target = chosen.targets[0]
    if call.caller.models is not None and call.fields.model is None and call.method not in READING:
        raise ForbiddenError("This API key may only call its models, and this path names none.")
    if call.method not in READING and not uploads and await repeat(call, exchange, parts.idempotent):
        return
    if call.method not in READING:
        await admit_call(call, chosen, exchange, parts)
    await hold_money(call, Ways([target], {}), exchange, parts)
    exchange.set_header(b"x-relay-attempts", b"1")
    key = parts.routing.keys.find(target.provider.name, target.provider.api_keys, time.monotonic())
    outgoing = build_outgoing(call, target, build_limits(call, parts.settings.upstream), key or "")
    if uploads:
        outgoing = await with_upload(outgoing, call, exchange, parts)
    else:
        exchange.watch()
    incoming = await send(parts.upstream, outgoing, exchange)
    if incoming.status < 300 and has_results_url(call.route):
        await hand_back_batch(incoming, base, exchange)
    elif incoming.status < 300 and note is not None:
        await hand_back_noted(incoming, note, exchange)
    else:
        await hand_back(incoming, call, target, exchange)


def has_body(call: Call) -> bool:
    """Return whether the request's headers announce a body."""
    if call.sent.content_length:
        return call.sent.content_length.strip(b"0 ") != b""
    return any(name == b"transfer-encoding" for name, _ in call.headers)


async def read_json(call: Call, exchange: Exchange, parts: Parts) -> Call:
    """Return the call with its JSON body, and with its model where the body names one."""
    limit = parts.settings.max_body_bytes
    body = inflate(await read_body(exchange.receive, limit), call.sent.content_encoding, limit)
    exchange.trace.row.request_bytes = len(body)
    try:
        fields = read_fields(body)
    except BadRequestError:
        fields = Fields()  # the provider knows what fits this path, and says so in its own words
    return msgspec.structs.replace(call, body=body, fields=fields)


async def with_upload(outgoing: Outgoing, call: Call, exchange: Exchange, parts: Parts) -> Outgoing:
    """Return the request with a body that is passed on while it comes in."""
    limit = parts.settings.max_upload_bytes
    if call.sent.content_length.isdigit() and int(call.sent.content_length) > limit:
        await drain(exchange.receive)
        raise TooLargeError(f"The request body is larger than {limit} bytes.")
    kept = (b"content-length", b"content-encoding")
    lines = [*outgoing.headers, *(line for line in call.headers if line[0] in kept)]
    return msgspec.structs.replace(outgoing, headers=lines, body=_watched(exchange, limit))


async def _watched(exchange: Exchange, limit: int) -> AsyncIterator[bytes]:
    async for part in stream_body(exchange.receive, limit):
        yield part
    exchange.watch()


async def hand_back(incoming: Incoming, call: Call, target: Target, exchange: Exchange) -> None:
    """Pass the provider's answer back: refusals as everywhere, all else as it comes."""
    exchange.trace.row.status_code = incoming.status
    if incoming.status < 300:
        try:
            await pass_through(incoming, exchange)
        except UpstreamFailure as failure:
            exchange.trace.fail(failure.as_error())
            raise BrokenOffError from failure
        except asyncio.CancelledError:
            if exchange.gone or not exchange.started:
                raise
            raise BrokenOffError from None  # the gateway stops
        exchange.trace.succeed(incoming.status, None)
        return
    body = await read_whole(incoming, exchange)
    exchange.trace.owe_nothing()
    answer = refuse(incoming.status, pass_headers(incoming.headers), body, call, target)
    exchange.trace.row.error_type = "upstream_refused"
    await exchange.reply(answer.status, answer.headers, answer.body)


async def hand_back_batch(incoming: Incoming, base: bytes, exchange: Exchange) -> None:
    """Pass a message batch back with its results at the gateway."""
    body = lead_results(await read_whole(incoming, exchange), base)
    exchange.trace.succeed(incoming.status, None)
    await exchange.reply(incoming.status, pass_headers(incoming.headers), body)


async def hand_back_noted(incoming: Incoming, note: Note, exchange: Exchange) -> None:
    """Pass a small answer back once it is noted what it says."""
    body = await read_whole(incoming, exchange)
    await note(body)
    exchange.trace.succeed(incoming.status, None)
    await exchange.reply(incoming.status, pass_headers(incoming.headers), body)


class BrokenOffError(Exception):
    """An answer in an unknown form broke off midway; only closing the connection can tell the client."""
