"""Reading the requests of a batch out of its file: all are taken, or the batch fails and says which line is wrong."""

import asyncio
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from app.batch.arriving import read_aside, take_turns
from app.batch.desk import Desk
from app.batch.intake import Intake
from app.batch.intake_store import clear_cancelled, fail_batch
from app.batch.reading import LineSplitter, OpenAILine, UnfitRequestError, read_struct
from app.batch.types import Item, NewBatch
from app.batch.vendors.file_store import File, find_file, stream_pieces

MAX_ERRORS = 100
TURN_LINES = 50
"""After so many lines others have a turn."""

ENOUGH = frozenset({"too_many_requests"})
EMPTY = {"code": "empty_file", "message": "The file has no requests.", "param": "input_file_id", "line": None}
GONE = {"code": "file_not_found", "message": "The file is not there.", "param": "input_file_id", "line": None}

BOM = b"\xef\xbb\xbf"
"""What some editors put before the first line."""

_decode_line = msgspec.json.Decoder(OpenAILine)


class FileIntake:
    """One batch whose file is read under `attempt`."""

    def __init__(self, desk: Desk, new: NewBatch, intake: Intake, attempt: int) -> None:
        self._desk = desk
        self._new = new
        self._intake = intake
        self._attempt = attempt
        self._errors: list[dict[str, Any]] = []
        self._lines = 0

    async def run(self) -> None:
        """Read the file, and have the batch queued or failed.

        Raises RelayError when all can be read and the batch cannot be accepted all the same.
        """
        file_id = self._new.input_file_id
        file = await self._desk.read(lambda c: find_file(c, file_id)) if file_id is not None else None
        if file is None:
            await self._fail([GONE])
            return
        await self._intake.begin_anew()
        await self._read(file)
        if self._errors:
            await self._fail(self._errors)
        else:
            await self._intake.accept(self._attempt)

    async def _fail(self, errors: list[dict[str, Any]]) -> None:
        await fail(self._desk, self._new.id, self._attempt, errors)

    async def _read(self, file: File) -> None:
        splitter = LineSplitter(self._desk.parts.settings.max_body_bytes)
        size = 0
        try:
            async for data in take_turns(stream_pieces(self._desk.read, file.id)):
                size += len(data)
                for number, line in splitter.feed(data):
                    await self._take(number, line)
            for number, line in splitter.close():
                await self._take(number, line)
        except UnfitRequestError as error:  # nothing behind it can be read, or need be
            self._note(error, None)
        if size != file.size:
            self._errors = [GONE]  # it was deleted meanwhile
        elif not self._lines:
            self._errors.append(EMPTY)

    async def _take(self, number: int, line: bytes) -> None:
        """Take one line; once one was wrong, the others are only looked at."""
        self._lines += 1
        if self._lines % TURN_LINES == 0:
            await asyncio.sleep(0)
        if len(self._errors) >= MAX_ERRORS:
            return
        try:
            item = await read_aside(partial(read_line, line, number, self._new), len(line))
            if not self._errors:
                await self._intake.add(item)
        except UnfitRequestError as error:
            if error.code in ENOUGH:
                raise
            self._note(error, number)

    def _note(self, error: UnfitRequestError, number: int | None) -> None:
        self._errors.append({"code": error.code, "message": error.message, "param": error.param, "line": number})


async def fail(desk: Desk, batch_id: UUID, attempt: int, errors: list[dict[str, Any]]) -> None:
    """Say that a batch has failed, and why; what was stored of its requests is taken back."""
    if not await desk.change(lambda c: fail_batch(c, batch_id, attempt, errors)):
        await desk.change(lambda c: clear_cancelled(c, batch_id))


def read_line(line: bytes, number: int, new: NewBatch) -> Item:
    """Return the request on a line of the file of a batch. Raises UnfitRequestError for one that cannot be in it."""
    if number == 1:
        line = line.removeprefix(BOM)
    found: OpenAILine = read_struct(_decode_line, line, f"Line {number}: ")
    if found.method.upper() != "POST":
        raise UnfitRequestError(f"Line {number}: the method is not POST.", param="method", code="invalid_method")
    if found.url != new.path:
        raise UnfitRequestError(
            f"Line {number}: the url is not the endpoint of the batch, {new.path}.", param="url", code="url_mismatch"
        )
    if not bytes(found.body).lstrip().startswith(b"{"):
        raise UnfitRequestError(f"Line {number}: the body is not an object.", param="body")
    path = found.url if new.provider is None else f"/v1/{new.provider}{found.url}"
    return Item(custom_id=found.custom_id, path=path, body=bytes(found.body))
