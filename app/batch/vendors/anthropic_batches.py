"""Anthropic's message batches: handed in as one body of any size, shown and cancelled in its words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec

from app.batch.arriving import read_aside, take_turns
from app.batch.deadlines import read_span
from app.batch.desk import Desk
from app.batch.intake import Intake
from app.batch.reading import ObjectSplitter
from app.batch.stopping_store import delete_ended
from app.batch.types import OPEN, SPAN_SECONDS, Batch, NewBatch, Shape
from app.batch.vendors.anthropic_shape import (
    build_batch,
    build_page,
    check_head,
    find_id,
    read_item,
    write_id,
    write_line,
)
from app.batch.vendors.asking import Asked
from app.batch.view_store import find_batch, list_batches
from app.errors import BadRequestError, NotFoundError
from app.gateway.batch_links import find_base
from app.gateway.idempotency import repeat
from app.wire.http import Headers

SHAPES: tuple[Shape, ...] = ("anthropic",)
ENDPOINT = "/v1/messages"
TURN_REQUESTS = 50
"""After so many requests others have a turn."""

USUAL_LIMIT, MOST_BATCHES = 20, 1000
LINES: Headers = [(b"content-type", b"application/x-jsonl")]
NOT_FOUND = "There is no such message batch."


class MessageIntake:
    """One body on its way in. What was stored of it is taken back unless it is accepted."""

    def __init__(self, asked: Asked, desk: Desk, new: NewBatch) -> None:
        self._asked = asked
        self._path = asked.find_path(ENDPOINT)
        self._intake: Intake = desk.open_intake(new, asked.caller, strict=False)
        self._splitter = ObjectSplitter(asked.parts.settings.max_body_bytes)
        self._number = 0
        self._opened = False

    async def read(self, body: AsyncIterator[bytes]) -> bool:
        """Take a body in; False when it was taken in before, and that was answered once more."""
        digest = sha256()
        try:
            async for data in take_turns(body):
                digest.update(data)
                for element in self._splitter.feed(data):
                    await self._take(element)
            check_head(self._splitter.close(), self._number)
            call = msgspec.structs.replace(self._asked.call, body=digest.digest())
            if await repeat(call, self._asked.exchange, self._asked.parts.idempotent):
                await self._drop()
                return False
            await self._intake.accept()
        except BaseException:
            await self._drop()
            raise
        return True

    async def _take(self, element: bytes) -> None:
        if not self._opened:
            await self._intake.open()
            self._opened = True
        read = partial(read_item, element, self._number, self._path)
        await self._intake.add(await read_aside(read, len(element)))
        self._number += 1
        if self._number % TURN_REQUESTS == 0:
            await asyncio.sleep(0)

    async def _drop(self) -> None:
        if self._opened:
            await self._intake.drop()


async def create(asked: Asked, desk: Desk) -> bool:
    """Answer with a new batch."""
    asked.refuse_own_key()
    asked.refuse_unknown_provider()
    deadline = asked.call.sent.deadline.decode("latin-1")
    seconds = read_span(deadline, datetime.now(UTC), "x-relay-deadline") if deadline else SPAN_SECONDS
    new = asked.build_new("anthropic", ENDPOINT, span_seconds=seconds, deadline=bool(deadline))
    async with aclosing(asked.stream_body()) as body:
        taken = await MessageIntake(asked, desk, new).read(body)
    if taken:
        await reply(asked, await desk.get_batch(asked.caller, new.id))
    return True


async def list_all(asked: Asked, desk: Desk) -> bool:
    """Answer with a page of the caller's batches, newest first."""
    limit = asked.read_limit(USUAL_LIMIT, MOST_BATCHES)
    places = {name: find_id(asked.query[name]) for name in ("after_id", "before_id") if name in asked.query}
    for name, place in places.items():
        if place is None:
            raise BadRequestError(f"{name}: this is the id of no batch.", param=name)
    after, before = places.get("after_id"), places.get("before_id")
    if after is not None and before is not None:
        raise BadRequestError("Only one of after_id and before_id can be asked for.", param="before_id")
    found, more = await desk.read(
        lambda c: list_batches(c, asked.user_id, SHAPES, limit=limit, after=after, before=before)
    )
    base = find_base(asked.scope)
    await asked.reply(build_page([build_batch(batch, base) for batch in found], more=more))
    return True


async def get_one(asked: Asked, desk: Desk) -> bool:
    """Answer with a batch."""
    batch = await find_own(asked, desk)
    if batch is not None:
        await reply(asked, batch)
    return batch is not None


async def cancel(asked: Asked, desk: Desk) -> bool:
    """Cancel a batch, and answer with it."""
    batch = await find_own(asked, desk)
    if batch is None:
        return False
    await desk.cancel(batch)
    batch = await desk.get_batch(asked.caller, batch.id)
    if batch.cancel_asked_at is None:
        raise BadRequestError("The message batch has ended already.")
    await reply(asked, batch)
    return True


async def get_results(asked: Asked, desk: Desk) -> bool:
    """Answer with the results of a batch, a line each."""
    batch = await find_own(asked, desk)
    if batch is None:
        return False
    if batch.state in OPEN:
        raise BadRequestError("The message batch has not ended yet.")
    await asked.send(write_results(batch, desk), LINES)
    return True


async def delete_one(asked: Asked, desk: Desk) -> bool:
    """Delete a batch that has ended, with its results."""
    batch = await find_own(asked, desk)
    if batch is None:
        return False
    if batch.state in OPEN:
        raise BadRequestError("A message batch that has not ended is to be cancelled before it is deleted.")
    deleted: dict[str, Any] = {"id": write_id(batch.id), "type": "message_batch_deleted"}
    await desk.change(lambda c: delete_ended(c, batch.id))
    await asked.reply(deleted)
    return True


async def find_own(asked: Asked, desk: Desk) -> Batch | None:
    """Return the batch that a path names; None for one of a provider's that the caller may ask for.

    Raises NotFoundError.
    """
    batch_id = find_id(asked.names[2])
    found = await desk.read(lambda c: find_batch(c, batch_id)) if batch_id is not None else None
    if found is None and batch_id is None and asked.may_pass:
        return None
    if found is None or found.shape not in SHAPES or asked.user_id not in {None, found.user_id}:
        raise NotFoundError(NOT_FOUND)
    return found


async def reply(asked: Asked, batch: Batch) -> None:
    """Answer with a batch."""
    await asked.reply(build_batch(batch, find_base(asked.scope)))


async def write_results(batch: Batch, desk: Desk) -> AsyncIterator[bytes]:
    """Yield the results of a batch, some lines at a time."""
    async for page in desk.stream_results(batch.id):
        yield b"".join(write_line(result) for result in page)
