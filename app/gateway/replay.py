"""Answering from a stored answer, in the form the client asks for."""

import time

from app.cache.types import Entry
from app.gateway.call import Call
from app.gateway.exchange import JSON, STREAM_HEADERS, Exchange
from app.providers.protocol import Endpoint
from app.wire.http import Headers


def render(entry: Entry, endpoint: Endpoint, *, streamed: bool, hide_usage: bool) -> bytes:
    """Return the stored answer as SSE bytes or as a whole body, whichever way it was stored."""
    if entry.streamed and not streamed and endpoint.write_whole is not None:
        return endpoint.write_whole(entry.body)
    if streamed and not entry.streamed and endpoint.write_stream is not None:
        return endpoint.write_stream(entry.body, not hide_usage)
    if streamed and entry.streamed and hide_usage and endpoint.hide_usage is not None:
        return endpoint.hide_usage(entry.body)
    return entry.body


async def replay(
    entry: Entry, call: Call, endpoint: Endpoint, exchange: Exchange, evidence: Headers | None = None
) -> bool:
    """Send a stored answer; False when it cannot be brought into the form that is asked for.

    `evidence`: it answers a similar question, and these lines say why it will do.
    """
    try:
        body = render(entry, endpoint, streamed=call.streamed, hide_usage=call.hides_usage)
    except ValueError:
        return False
    exchange.note_cache_status("semantic-hit" if evidence else "hit")
    exchange.headers.extend(evidence or ())
    row = exchange.trace.row
    row.billed = False
    row.model = entry.model
    age = max(0, int(time.time() - entry.created_at))
    exchange.headers.append((b"age", b"%d" % age))
    exchange.headers.append((b"x-relay-attempts", b"0"))
    if not call.streamed:
        exchange.headers.append((b"x-relay-cost-usd", b"0"))
    exchange.headers.append((b"x-relay-overhead-ms", b"%.2f" % exchange.trace.overhead_ms()))
    exchange.trace.succeed(200, entry.usage)
    await exchange.reply(200, _form(call, entry), body)
    return True


def _form(call: Call, entry: Entry) -> Headers:
    if call.streamed:
        return STREAM_HEADERS
    return [(b"content-type", entry.content_type.encode())] if not entry.streamed else [JSON]
