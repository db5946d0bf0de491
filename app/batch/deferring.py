"""One ordinary call that is answered later (RFC 7240, `Prefer: respond-async`): a batch of one, fetched by its id."""

from datetime import UTC, datetime

import msgspec
from litestar.types import HTTPScope

from app.access.rights import join_tags
from app.batch.deadlines import read_span
from app.batch.desk import Desk
from app.batch.intake import LATER, check_model
from app.batch.own_shape import build_accepted, encode
from app.batch.types import SPAN_SECONDS, Item, NewBatch
from app.errors import BadRequestError
from app.gateway.call import Call
from app.gateway.exchange import JSON, Exchange
from app.gateway.headers import brings_own_key
from app.gateway.idempotency import repeat
from app.gateway.passed import keep_passed
from app.wire.ids import make_uuid7

NAME = "request"
"""What the one request is called in the results."""

DEADLINE = "x-relay-deadline"
OWN_KEY = "A call for later is made with the gateway's own provider keys; one of yours is not kept."
NOT_LATER = "Calls to this path cannot wait for later."


async def defer(call: Call, scope: HTTPScope, exchange: Exchange, desk: Desk) -> None:
    """Accept a call that can wait and tell where its answer will be. Raises RelayError when it is not accepted."""
    exchange.trace.wanted = False  # the line of the record is that of the call itself, once it is made
    if brings_own_key(call.sent):
        raise BadRequestError(OWN_KEY)
    if call.route.endpoint is None or call.route.endpoint.name not in LATER:
        raise BadRequestError(NOT_LATER, param="prefer")
    check_model(call)
    new = build_batch(call)
    if await repeat(call, exchange, desk.parts.idempotent):
        return
    intake = desk.open_intake(new, call.caller, strict=True)
    await intake.open()
    try:
        await intake.add(Item(custom_id=NAME, path=new.path or "", body=call.body))
        pace = await desk.find_pace()
        ahead = await intake.accept()
    except BaseException:
        await intake.drop()
        raise
    accepted = build_accepted(new.id, 1, ahead, pace, datetime.now(UTC))
    url = f"{find_address(scope)}/v1/batch/{new.id}"
    body = encode({**msgspec.to_builtins(accepted), "status_url": url})
    headers = [
        JSON,
        (b"location", url.encode()),
        (b"preference-applied", b"respond-async"),
        (b"retry-after", b"1"),
    ]
    await exchange.reply(202, headers, body)


def build_batch(call: Call) -> NewBatch:
    """Return the batch that a call becomes. Raises BadRequestError for a deadline that is none."""
    caller, route = call.caller, call.route
    said = call.sent.deadline.decode("latin-1")
    return NewBatch(
        id=make_uuid7(),
        shape="call",
        user_id=caller.user_id,
        api_key_id=caller.key_id,
        team_id=caller.team_id,
        organization_id=caller.organization_id,
        tags=join_tags(caller, call.options.tags) or (),
        path=f"/v1/{route.provider}/{route.rest}" if route.provider is not None else f"/v1/{route.rest}",
        provider=route.provider,
        model=call.fields.model,
        options=keep_passed(call.options, call.sent),
        span_seconds=read_span(said, datetime.now(UTC), DEADLINE) if said else SPAN_SECONDS,
        deadline=bool(said),
    )


def find_address(scope: HTTPScope) -> str:
    """Return the gateway's address as the client called it."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"localhost")
    return f"{scope['scheme']}://{host.decode('latin-1')}"
