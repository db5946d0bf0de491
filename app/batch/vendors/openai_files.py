"""OpenAI's files: those for batches are ours, as what batches came to is; all others are a provider's."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import msgspec

from app.batch.desk import Desk
from app.batch.vendors import provider_files
from app.batch.vendors.asking import Asked
from app.batch.vendors.file_store import (
    OUTCOMES,
    File,
    delete_file,
    delete_output,
    find_file,
    list_files,
    list_outputs,
    measure_outputs,
    stream_pieces,
)
from app.batch.vendors.openai_shape import LINE_SIZES, build_file, build_page, find_file_id, write_file_id, write_line
from app.batch.view_store import find_batch, find_instant
from app.errors import BadRequestError, NotFoundError
from app.wire.http import Headers

MOST_FILES = 10_000
OURS = frozenset({"batch", "batch_output"})
CONTENT: Headers = [(b"content-type", b"application/octet-stream")]
NOT_FOUND = "There is no such file."


async def list_all(asked: Asked, desk: Desk) -> bool:
    """Answer with a page of the caller's files. Those of other purposes are a provider's: its list is everybody's."""
    purpose = asked.query.get("purpose")
    if purpose is not None and purpose not in OURS:
        if asked.may_pass:
            return False
        await asked.reply(build_page([], more=False))
        return True
    order = asked.query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise BadRequestError("'order' is asc or desc.", param="order")
    values: dict[str, Any] = {
        "user_id": asked.user_id,
        "purpose": purpose,
        "limit": asked.read_limit(MOST_FILES, MOST_FILES),
        **read_after(asked.query.get("after")),
    }
    found, more = await desk.read(lambda c: list_files(c, values, ascending=order == "asc"))
    await asked.reply(build_page(await show(found, desk), more=more))
    return True


def read_after(text: str | None) -> dict[str, Any]:
    """Return where a page begins. Raises BadRequestError for what is no id of ours."""
    if text is None:
        return {"after": None, "after_at": None, "after_batch": None}
    known = find_file_id(text)
    if known is None:
        raise BadRequestError("'after' is the id of a file of the page before.", param="after")
    after_batch = None if known[1] == "input" else known[0]
    return {"after": text, "after_at": find_instant(known[0]), "after_batch": after_batch}


async def get_one(asked: Asked, desk: Desk) -> bool:
    """Answer with a file."""
    known = find_file_id(asked.names[1])
    if known is None:
        return await provider_files.get_one(asked, desk)
    await asked.reply((await show([await get_file(asked, desk, known)], desk))[0])
    return True


async def get_content(asked: Asked, desk: Desk) -> bool:
    """Answer with what is in a file."""
    known = find_file_id(asked.names[1])
    if known is None:
        return await provider_files.get_one(asked, desk)
    file = await get_file(asked, desk, known)
    pages = stream_pieces(desk.read, file.id) if file.kind == "input" else write_output(file, desk)
    await asked.send(pages, CONTENT)
    return True


async def delete_one(asked: Asked, desk: Desk) -> bool:
    """Delete a file; of what a batch came to, that is the results."""
    known = find_file_id(asked.names[1])
    if known is None:
        return await provider_files.delete_one(asked, desk)
    file = await get_file(asked, desk, known)
    if file.kind == "input":
        await desk.change(lambda c: delete_file(c, file.id))
    else:
        await desk.change(lambda c: delete_output(c, file.id, file.kind))
    await asked.reply({"id": write_file_id(file.id, file.kind), "object": "file", "deleted": True})
    return True


async def get_file(asked: Asked, desk: Desk, known: tuple[UUID, str]) -> File:
    """Return a file of the caller's (an administrator's are all). Raises NotFoundError."""
    file_id, kind = known
    found = await (desk.read(lambda c: find_file(c, file_id)) if kind == "input" else find_output(desk, file_id, kind))
    if found is None or asked.user_id not in {None, found.user_id}:
        raise NotFoundError(NOT_FOUND, code="file_not_found", param="file_id")
    return found


async def find_output(desk: Desk, batch_id: UUID, kind: str) -> File | None:
    """Return a file that a batch came to."""
    batch = await desk.read(lambda c: find_batch(c, batch_id))
    if batch is None or batch.shape != "openai" or batch.finished_at is None:
        return None
    if kind not in (await desk.read(lambda c: list_outputs(c, [batch_id]))).get(batch_id, ()):
        return None
    return File(
        id=batch_id,
        kind=kind,
        filename="",
        purpose="batch_output",
        size=0,
        created_at=batch.finished_at,
        user_id=batch.user_id,
    )


async def show(files: Sequence[File], desk: Desk) -> list[dict[str, Any]]:
    """Return files as they are shown; what batches came to is measured, for nobody wrote it down."""
    ids = list({file.id for file in files if file.kind != "input"})
    sizes = await desk.read(lambda c: measure_outputs(c, ids, LINE_SIZES)) if ids else {}
    keep_days = desk.parts.catalog.current.batch.retention_days
    return [
        build_file(msgspec.structs.replace(file, size=sizes.get((file.id, file.kind), file.size)), keep_days)
        for file in files
    ]


async def write_output(file: File, desk: Desk) -> AsyncIterator[bytes]:
    """Yield a file that a batch came to, some lines at a time."""
    async for page in desk.stream_results(file.id, OUTCOMES[file.kind]):
        yield b"".join(write_line(result, file.id) for result in page)
