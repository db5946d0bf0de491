"""Files that lie at a provider, where the gateway's key reaches everybody's: a user reaches those it uploaded."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.batch.desk import Desk
from app.batch.reading import NO_NUL
from app.batch.vendors.asking import Asked
from app.batch.vendors.provider_file_store import delete_provider_file, find_provider_file, insert_provider_file
from app.db.connection import Connection
from app.errors import BadRequestError, NotFoundError, UnavailableError
from app.gateway.batch_links import find_base
from app.gateway.forwarding import find_plan
from app.gateway.headers import brings_own_key
from app.gateway.passing import Note, has_body, pass_on

NO_BODY = "Calls about one file have no body."
NOT_FOUND = "There is no such file."
NO_FILES: dict[str, Any] = {"data": [], "has_more": False, "first_id": None, "last_id": None}


class _Made(msgspec.Struct):
    id: Annotated[str, Meta(min_length=1, max_length=512, pattern=NO_NUL)]


_decode_made = msgspec.json.Decoder(_Made).decode

logger = logging.getLogger("relaycore.batches")


async def list_all(asked: Asked, desk: Desk) -> bool:
    """Answer that there are no files: a provider's list is everybody's."""
    del desk
    if asked.may_pass:
        return False
    await asked.reply(NO_FILES)
    return True


async def get_one(asked: Asked, desk: Desk) -> bool:
    """Leave a file of the caller's to the provider. Raises NotFoundError for any other."""
    if not asked.may_pass:
        await check_owner(asked, desk)
    return False


async def delete_one(asked: Asked, desk: Desk) -> bool:
    """Have the provider delete a file of the caller's. Raises NotFoundError for any other."""
    if brings_own_key(asked.call.sent):
        return False
    if not asked.may_pass:
        await check_owner(asked, desk)
    file_id = asked.names[1]

    async def note(body: bytes) -> None:
        del body
        await _write(desk, partial(delete_provider_file, provider=_find_answering(asked), file_id=file_id))

    await _pass(asked, note)
    return True


async def upload(asked: Asked, desk: Desk) -> bool:
    """Have the provider take a file, and note whose it is. In an account of the caller's own that is no question."""
    if brings_own_key(asked.call.sent):
        await _pass(asked, None)
        return True

    async def note(body: bytes) -> None:
        file_id, provider = find_made_id(body), _find_answering(asked)
        if file_id is not None:
            made = {"provider": provider, "file_id": file_id, "user_id": asked.caller.user_id}
            await _write(desk, partial(insert_provider_file, **made))

    await _pass(asked, note)
    return True


def find_made_id(body: bytes) -> str | None:
    """Return the id of the file that a provider's answer is about; None when it tells of none."""
    try:
        return _decode_made(body).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


async def check_owner(asked: Asked, desk: Desk) -> None:
    """Raise NotFoundError unless the file that a path names was uploaded by the caller through the gateway."""
    if has_body(asked.call):
        raise BadRequestError(NO_BODY)  # a model in it would lead the call to another provider
    target = find_plan(asked.call, asked.parts.catalog.current).targets[0]
    file_id = asked.names[1]
    owner = await desk.read(lambda c: find_provider_file(c, target.provider.name, file_id))
    if owner != asked.caller.user_id:
        raise NotFoundError(NOT_FOUND, code="file_not_found", param="file_id")


def _find_answering(asked: Asked) -> str:
    """Return the provider that answers, once that is known."""
    return asked.exchange.trace.row.provider or ""


async def _write(desk: Desk, work: Callable[[Connection], Awaitable[None]]) -> None:
    try:
        await desk.change(work)
    except UnavailableError:
        logger.warning("What a provider answered about a file could not be noted: the database is away.")


async def _pass(asked: Asked, note: Note | None) -> None:
    asked.exchange.dialect = asked.call.route.dialect
    await pass_on(asked.call, find_base(asked.scope), asked.exchange, asked.parts, note)
