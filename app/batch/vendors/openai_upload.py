"""Uploads of files: those for batches are kept piece by piece, all others go on to a provider as they came."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any, cast
from uuid import UUID

from litestar.types import Receive

from app.batch.desk import Desk
from app.batch.vendors import provider_files
from app.batch.vendors.asking import Asked
from app.batch.vendors.file_store import complete_file, delete_file, find_file, insert_file, insert_piece, stream_pieces
from app.batch.vendors.multipart import Event, Field, FileBegins, FileData, FileEnds, FormReader, find_boundary
from app.batch.vendors.openai_shape import build_file, read_expiry
from app.errors import BadRequestError, NotFoundError
from app.wire.ids import make_uuid7

BATCH = "batch"
PIECE_BYTES = 2**20
NO_FILE = "The form has no file."
GONE = "The file was deleted as soon as it was there."


class Upload:
    """One form on its way in. What was stored of its file is taken back unless it is kept."""

    def __init__(self, asked: Asked, desk: Desk, boundary: bytes) -> None:
        self._asked = asked
        self._desk = desk
        self._form = FormReader(boundary)
        self._file_id: UUID | None = None
        self._piece = bytearray()
        self._pieces = 0
        self._size = 0
        self._fields: dict[str, str] = {}

    async def run(self) -> None:
        """Take the form in and answer."""
        asked = self._asked
        try:
            async with aclosing(asked.stream_body()) as parts:
                async for part in parts:
                    if await self._take(part):
                        continue
                    head = self._form.so_far
                    await parts.aclose()
                    await self._pass_on(_replay_before(head, asked.exchange.receive))
                    return
            self._form.close()
            if self._purpose == BATCH:
                await self._keep()
            else:
                await self._hand_on()
        except BaseException:
            await self._drop()
            raise

    async def _take(self, part: bytes) -> bool:
        """Take in a part of the body; False when the form turns out to be a provider's before its file begins."""
        for event in self._form.feed(part):
            await self._note(event)
            if self._purpose not in {None, BATCH} and self._file_id is None:
                return False
        return True

    async def _note(self, event: Event) -> None:
        match event:
            case Field(name=name, value=value):
                self._fields[name] = value
            case FileBegins(filename=filename):
                await self._begin(filename)
            case FileData(data=data):
                self._piece += data
                if len(self._piece) >= PIECE_BYTES:
                    await self._store()
            case FileEnds():
                await self._store()

    @property
    def _purpose(self) -> str | None:
        return self._fields.get("purpose")

    async def _begin(self, filename: str) -> None:
        caller, file_id = self._asked.caller, make_uuid7()
        await self._desk.change(lambda c: insert_file(c, file_id, caller.user_id, caller.key_id, filename))
        self._file_id = file_id

    async def _store(self) -> None:
        data, self._piece = bytes(self._piece), bytearray()
        if self._file_id is None or not data:
            return
        store = partial(insert_piece, file_id=self._file_id, position=self._pieces, data=data)
        await self._desk.change(store)
        self._pieces += 1
        self._size += len(data)

    async def _keep(self) -> None:
        """Answer with the file that is kept."""
        file_id = self._file_id
        if file_id is None:
            raise BadRequestError(NO_FILE, param="file")
        self._asked.refuse_own_key()
        seconds = read_expiry(self._fields)
        await self._desk.change(lambda c: complete_file(c, file_id, BATCH, self._size, seconds))
        self._file_id = None
        file = await self._desk.read(lambda c: find_file(c, file_id))
        if file is None:
            raise NotFoundError(GONE, code="file_not_found")
        await self._asked.reply(build_file(file, self._desk.parts.catalog.current.batch.retention_days))

    async def _hand_on(self) -> None:
        """Pass a form on whose purpose stood behind its file: what was stored of it is sent, and let go of."""
        if self._file_id is None:
            await self._pass_on(_replay_before(self._form.so_far, self._asked.exchange.receive, more=False))
            return
        await self._pass_on(_replay(self._rebuild(self._file_id), self._asked.exchange.receive))
        await self._drop()

    async def _rebuild(self, file_id: UUID) -> AsyncIterator[bytes]:
        yield self._form.before
        async for piece in stream_pieces(self._desk.read, file_id):
            yield piece
        yield bytes(self._form.after)

    async def _pass_on(self, receive: Receive) -> None:
        self._asked.exchange.receive = receive
        await provider_files.upload(self._asked, self._desk)

    async def _drop(self) -> None:
        file_id, self._file_id = self._file_id, None
        if file_id is not None:
            await self._desk.change(lambda c: delete_file(c, file_id))


async def upload(asked: Asked, desk: Desk) -> bool:
    """Answer an upload; what is no form that we can read is for the provider to judge."""
    boundary = find_boundary(asked.call.sent.content_type)
    if boundary is None or asked.call.sent.content_encoding:
        return await provider_files.upload(asked, desk)
    asked.refuse_unknown_provider()
    await Upload(asked, desk, boundary).run()
    return True


def _replay_before(head: bytes, receive: Receive, *, more: bool = True) -> Receive:
    """Return a way to receive a body once more of which `head` was taken in."""
    left = [head]

    async def receive_again() -> Any:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": more}
        return await receive()

    return cast(Receive, receive_again)


def _replay(parts: AsyncIterator[bytes], receive: Receive) -> Receive:
    """Return a way to receive a body that comes from elsewhere; behind it comes what the client does."""
    ended = False

    async def receive_again() -> Any:
        nonlocal ended
        if ended:
            return await receive()
        try:
            return {"type": "http.request", "body": await anext(parts), "more_body": True}
        except StopAsyncIteration:
            ended = True
            return {"type": "http.request", "body": b"", "more_body": False}

    return cast(Receive, receive_again)
