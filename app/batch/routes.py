"""Batches in RelayCore's own words over HTTP. Everybody sees their own; what others have is not there."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, cast

from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from app.access.pages import Cursor, Limit, find_id, read_cursor, write_cursor
from app.access.types import Caller
from app.batch.arriving import unpack
from app.batch.desk import Desk
from app.batch.own_intake import OwnIntake
from app.batch.own_shape import BatchAccepted, BatchPage, BatchRequest, BatchView, build_result, build_view, encode
from app.batch.repeating import HashedBody, read_key, repeat_acceptance
from app.batch.types import OPEN, Batch, KeyTakenError, Shape
from app.batch.view_store import count_batches, list_batches, sum_costs
from app.errors import BadRequestError, ConflictError
from app.gateway.body import ClientLeftError, stream_body
from app.gateway.headers import brings_own_key
from app.gateway.options import read_options, read_sent
from app.gateway.passed import keep_passed
from app.wire.http import Headers

BatchHttpRequest = Request[Any, Any, State]
After = Annotated[
    int, QueryParameter(ge=0, description="Leave out the results of so many requests, from the first one on.")
]

TAGS = ["Batches"]
ALL_SHAPES: tuple[Shape, ...] = ("relay", "call", "openai", "anthropic")
OWN_KEY = "A batch is worked off with the gateway's own provider keys; one of yours is not kept for later."
BROKE_OFF = "The body broke off."
OVER = "The batch is over; there is nothing to cancel."
LINES = "application/x-ndjson"


@post("/v1/batch", tags=TAGS, status_code=202, request_max_body_size=None)
async def add_batch(request: BatchHttpRequest, desk: NamedDependency[Desk]) -> BatchAccepted:
    """Hand in a batch.

    The body is `{provider, model, requests: [{id, messages, parameters}], options}`. Once this answers, the batch is
    kept and worked off whatever happens. A budget must have enough for all of it.
    """
    caller = cast(Caller, request.state.caller)
    sent = read_sent(cast(Headers, request.scope["headers"]))
    if brings_own_key(sent):
        raise BadRequestError(OWN_KEY)
    limit = desk.parts.settings.max_upload_bytes
    body = HashedBody(unpack(stream_body(request.receive, limit), sent.content_encoding, limit))
    intake = OwnIntake(
        desk,
        caller,
        options=keep_passed(read_options(sent), sent),
        deadline=sent.deadline.decode("latin-1") or None,
        key=read_key(sent.idempotency_key),
        digest=body.digest,
    )
    try:
        return await intake.read(body.read())
    except KeyTakenError as taken:
        return await repeat_acceptance(taken, body, caller, desk)
    except ClientLeftError as error:
        raise BadRequestError(BROKE_OFF) from error


@get("/v1/batch", tags=TAGS, status_code=200)
async def read_batches(
    request: BatchHttpRequest, desk: NamedDependency[Desk], limit: Limit = 100, cursor: Cursor = None
) -> BatchPage:
    """List your batches, newest first; administrators see everybody's."""
    caller = cast(Caller, request.state.caller)
    user_id, after = None if caller.admin else caller.user_id, read_cursor(cursor)
    found, more = await desk.read(lambda c: list_batches(c, user_id, ALL_SHAPES, limit=limit, after=after))
    total = await desk.read(lambda c: count_batches(c, user_id, ALL_SHAPES))
    views = [build_view(batch, None, None) for batch in found]
    return BatchPage(batches=views, total=total, next=write_cursor(found[-1].id) if more else None)


@get("/v1/batch/{batch_id:str}", tags=TAGS, status_code=200, media_type=MediaType.JSON)
async def read_batch(request: BatchHttpRequest, desk: NamedDependency[Desk], batch_id: FromPath[str]) -> Stream:
    """Return a batch as it stands, and once it is over with its results (`result`), in the order of its requests."""
    batch = await desk.get_batch(cast(Caller, request.state.caller), find_id(batch_id))
    return Stream(write_batch(batch, await show(batch, desk), desk), media_type=MediaType.JSON)


@get("/v1/batch/{batch_id:str}/results", tags=TAGS, status_code=200, media_type=LINES)
async def read_results(
    request: BatchHttpRequest, desk: NamedDependency[Desk], batch_id: FromPath[str], after: After = 0
) -> Stream:
    """Return the results that there are so far, a line of JSON each, in the order of the requests.

    While the batch is worked off, requests of any place may lack theirs: then leave out what has been read by its id.
    """
    batch = await desk.get_batch(cast(Caller, request.state.caller), find_id(batch_id))
    return Stream(write_lines(batch, desk, after), media_type=LINES)


@delete("/v1/batch/{batch_id:str}", tags=TAGS, status_code=200)
async def stop_batch(request: BatchHttpRequest, desk: NamedDependency[Desk], batch_id: FromPath[str]) -> BatchView:
    """Cancel a batch.

    What has not begun is not begun any more, and what is under way is stopped within two seconds; what is done stays.
    A batch that is over is a 409, one that was cancelled already is not.
    """
    caller = cast(Caller, request.state.caller)
    batch = await desk.get_batch(caller, find_id(batch_id))
    await desk.cancel(batch)
    batch = await desk.get_batch(caller, batch.id)
    if batch.state not in {"cancelling", "cancelled"}:
        raise ConflictError(OVER, code="batch_over")
    return await show(batch, desk)


async def show(batch: Batch, desk: Desk) -> BatchView:
    """Return a batch with what it cost so far."""
    cost, saved = await desk.read(lambda c: sum_costs(c, batch.id))
    return build_view(batch, cost, saved)


async def write_batch(batch: Batch, view: BatchView, desk: Desk) -> AsyncIterator[bytes]:
    """Yield the JSON of a batch with its results; never more than a page of them is held."""
    head = encode(view)
    if batch.state in OPEN:
        yield head[:-1] + b',"result":null}'
        return
    before = head[:-1] + b',"result":['
    async for page in desk.stream_results(batch.id):
        yield before + b",".join(encode(build_result(result)) for result in page)
        before = b","
    yield b"]}" if before == b"," else before + b"]}"


async def write_lines(batch: Batch, desk: Desk, after: int) -> AsyncIterator[bytes]:
    """Yield results as lines."""
    async for page in desk.stream_results(batch.id, after=after - 1):
        yield b"".join(encode(build_result(result)) + b"\n" for result in page)


BATCH_HANDLERS = [add_batch, read_batches, read_batch, read_results, stop_batch]
BODY = BatchRequest
"""What the body of a batch is, for the API's description; it is read piece by piece."""
