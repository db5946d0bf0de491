"""Asking a provider at the price of a batch whether a similar answer was right: nobody waits for it."""

import asyncio
from functools import partial

from app.access.rights import join_tags
from app.batch.desk import NOT_FOUND, Desk
from app.batch.types import Item, NewBatch, Result
from app.batch.view_store import find_batch
from app.errors import NotFoundError, RelayError
from app.gateway.call import Call
from app.gateway.forwarding import to_stream
from app.gateway.inner import CHECK_TAG
from app.gateway.options import Options
from app.wire.ids import make_uuid7

FIRST_LOOK_SECONDS = 1.0
LOOK_SECONDS = 30.0
NAME = "check"


async def ask_by_batch(call: Call, desk: Desk) -> bytes | None:
    """Return the provider's answer to `call`, by no cache, in the form that was asked for; None when there is none.

    It may take as long as batches do. When this process ends meanwhile, the answer is there and nobody asks for it.
    """
    new = build_check(call)
    intake = desk.open_intake(new, call.caller, strict=True)
    try:
        await intake.open()
        await intake.add(Item(custom_id=NAME, path=new.path or "", body=call.body))
        await intake.accept()
        result = await wait_for_result(new, desk)
    except RelayError:  # a budget that has not enough, or a database that is away: then there is no check
        await intake.drop()
        return None
    if result.outcome != "succeeded":
        return None
    return to_stream(call, result.body) if call.streamed else result.body


def build_check(call: Call) -> NewBatch:
    """Return the batch that asks what `call` asked."""
    caller, route = call.caller, call.route
    return NewBatch(
        id=make_uuid7(),
        shape="call",
        user_id=caller.user_id,
        api_key_id=caller.key_id,
        team_id=caller.team_id,
        organization_id=caller.organization_id,
        tags=join_tags(caller, (CHECK_TAG,)) or (),
        path=f"/v1/{route.provider}/{route.rest}" if route.provider is not None else f"/v1/{route.rest}",
        provider=route.provider,
        model=call.fields.model,
        options=Options(cache="bypass"),
    )


async def wait_for_result(new: NewBatch, desk: Desk) -> Result:
    """Return the result of the one request, once there is one. Raises NotFoundError when the batch is deleted."""
    wait = FIRST_LOOK_SECONDS
    while True:
        await asyncio.sleep(wait)
        async for page in desk.stream_results(new.id):
            return page[0]
        if await desk.read(partial(find_batch, batch_id=new.id)) is None:
            raise NotFoundError(NOT_FOUND)
        wait = min(wait * 2, LOOK_SECONDS)
