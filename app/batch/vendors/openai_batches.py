"""OpenAI's batches: made of an uploaded file, shown and cancelled in its words, and worked off as all are."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from app.batch.desk import Desk
from app.batch.intake import check_endpoint
from app.batch.intake_store import delete_batch, insert_batch
from app.batch.types import OPEN, Batch, NewBatch, Shape
from app.batch.vendors.asking import Asked
from app.batch.vendors.file_store import File, claim_one, find_file, list_outputs, sum_usage
from app.batch.vendors.openai_intake import FileIntake
from app.batch.vendors.openai_shape import (
    CreateBatch,
    build_batch,
    build_page,
    find_batch_id,
    find_file_id,
    read_create,
    read_window,
)
from app.batch.view_store import find_batch, list_batches
from app.db.connection import Connection
from app.errors import BadRequestError, ConflictError, NotFoundError
from app.gateway.idempotency import repeat
from app.gateway.inner import build_call
from app.wire.ids import make_uuid7

SHAPES: tuple[Shape, ...] = ("openai",)
SMALL_BYTES = 8 * 2**20
"""Up to this size a file is read at once, so that the answer tells whether there is money for it."""

READ_SECONDS = 60.0
USUAL_LIMIT, MOST_BATCHES = 20, 100
NO_FILE = "There is no such file with the purpose 'batch'."
NOT_FOUND = "There is no such batch."


async def create(asked: Asked, desk: Desk) -> bool:
    """Answer with a new batch."""
    asked.refuse_own_key()
    body = await asked.read_body()
    said = read_create(body)
    asked.refuse_unknown_provider()
    check_endpoint(build_call(asked.caller, asked.find_path(said.endpoint), b"{}", asked.parts))
    call = msgspec.structs.replace(asked.call, body=body)
    if await repeat(call, asked.exchange, asked.parts.idempotent):
        return True
    file = await get_input(asked, desk, said)
    seconds, wanted = read_window(said.completion_window, asked.call.sent.deadline.decode("latin-1"), datetime.now(UTC))
    new = asked.build_new(
        "openai",
        said.endpoint,
        span_seconds=seconds,
        deadline=wanted,
        input_file_id=file.id,
        metadata=said.metadata,
    )
    if file.size <= SMALL_BYTES:
        await take_in(asked, desk, new)
    else:
        await desk.change(lambda c: insert_batch(c, new))
    await asked.reply(await show(await desk.get_batch(asked.caller, new.id), desk))
    return True


async def get_input(asked: Asked, desk: Desk, said: CreateBatch) -> File:
    """Return the file that a batch is made of. Raises NotFoundError for one that is not the caller's."""
    known = find_file_id(said.input_file_id)
    if known is not None and known[1] != "input":
        raise BadRequestError(NO_FILE, param="input_file_id")
    file = await desk.read(lambda c: find_file(c, known[0])) if known is not None else None
    if file is None or asked.user_id not in {None, file.user_id}:
        raise NotFoundError(NO_FILE, code="file_not_found", param="input_file_id")
    return file


async def take_in(asked: Asked, desk: Desk, new: NewBatch) -> None:
    """Store a batch and read its file. Nothing is left of it when it cannot be accepted."""

    async def begin(connection: Connection) -> int:
        async with connection.transaction():
            await insert_batch(connection, new)
            return await claim_one(connection, new.id, make_uuid7(), READ_SECONDS)

    attempt = await desk.change(begin)
    try:
        await FileIntake(desk, new, desk.open_intake(new, asked.caller, strict=False), attempt).run()
    except ConflictError:
        pass  # it was cancelled, or a worker reads it by now
    except BaseException:
        await desk.change(lambda c: delete_batch(c, new.id))
        raise


async def list_all(asked: Asked, desk: Desk) -> bool:
    """Answer with a page of the caller's batches, newest first."""
    limit = asked.read_limit(USUAL_LIMIT, MOST_BATCHES)
    after = asked.query.get("after")
    after_id = find_batch_id(after) if after is not None else None
    if after is not None and after_id is None:
        raise BadRequestError("'after' is the id of a batch of the page before.", param="after")
    found, more = await desk.read(lambda c: list_batches(c, asked.user_id, SHAPES, limit=limit, after=after_id))
    outputs = await desk.read(lambda c: list_outputs(c, [batch.id for batch in found]))
    shown = [build_batch(batch, outputs.get(batch.id, frozenset()), None) for batch in found]
    await asked.reply(build_page(shown, more=more))
    return True


async def get_one(asked: Asked, desk: Desk) -> bool:
    """Answer with a batch."""
    batch = await find_own(asked, desk)
    if batch is not None:
        await asked.reply(await show(batch, desk))
    return batch is not None


async def cancel(asked: Asked, desk: Desk) -> bool:
    """Cancel a batch, and answer with it."""
    batch = await find_own(asked, desk)
    if batch is None:
        return False
    if not await desk.cancel(batch) and batch.state not in {"cancelling", "cancelled"}:
        state = (await desk.get_batch(asked.caller, batch.id)).state
        if state not in {"cancelling", "cancelled"}:
            raise ConflictError(f"A batch with the status '{state}' cannot be cancelled.", code="batch_over")
    await asked.reply(await show(await desk.get_batch(asked.caller, batch.id), desk))
    return True


async def find_own(asked: Asked, desk: Desk) -> Batch | None:
    """Return the batch that a path names; None for one of a provider's that the caller may ask for.

    Raises NotFoundError.
    """
    batch_id = find_batch_id(asked.names[1])
    found = await find_any(desk, batch_id)
    if found is None and asked.may_pass:
        return None
    if found is None or found.shape not in SHAPES or asked.user_id not in {None, found.user_id}:
        raise NotFoundError(NOT_FOUND, code="batch_not_found", param="batch_id")
    return found


async def find_any(desk: Desk, batch_id: UUID | None) -> Batch | None:
    """Return a batch, whoever's it is."""
    return await desk.read(lambda c: find_batch(c, batch_id)) if batch_id is not None else None


async def show(batch: Batch, desk: Desk) -> dict[str, Any]:
    """Return a batch as it is shown, with what it used once it is over."""
    if batch.state in OPEN:
        return build_batch(batch, frozenset(), None)
    outputs = await desk.read(lambda c: list_outputs(c, [batch.id]))
    usage = await desk.read(lambda c: sum_usage(c, batch.id))
    return build_batch(batch, outputs.get(batch.id, frozenset()), usage)
