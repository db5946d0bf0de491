"""The caches over HTTP: clearing, deleting an entry, and reporting an answer that is wrong. Everybody their own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar, cast
from uuid import UUID

import msgspec
from litestar import Request, delete, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from app.cache.clear_scope import Named, read_scope
from app.cache.clearing import Clearing
from app.cache.clearing_store import clear, find_entry_owner, find_key_user
from app.cache.types import Asker
from app.db.audit import Actor
from app.db.control import Change, Control
from app.errors import BadRequestError, ForbiddenError, NotFoundError
from app.semantic.reports import find_reported, report_wrong

T = TypeVar("T")
Settle = Callable[[], Awaitable[None]]
"""Has what this process still writes behind written."""

TAGS = ["Cache"]
WRITTEN_SECONDS = 0.3
"""By then every process that is well has written what it had."""

ALL, OWN = "all", "own"
NOT_YOURS = "Only an administrator clears what others have."
KEY_LENGTH = 64
NO_ENTRY = "There is no such entry."
NO_ANSWER = "There is no answer of yours from the cache with this id."

Text = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^(?![\s\S]*\x00)")]
Key = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])")]
ControlRequest = Request[object, object, State]


class ClearRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is cleared: entries that meet everything that is said. Nothing said: all that the caller may clear.

    `scope` is "own", "all" (administrators), a scope as the header `x-relay-cache-scope` has it, which is one's own
    ("key", "user", "team", "organization", "namespace:faq"), or such as entries have it ("team:<uuid>").
    Of `tags`, one is enough. Who is no administrator clears entries of their own calls only.
    """

    scope: Text | None = None
    tags: Annotated[list[Text], Meta(min_length=1, max_length=64)] | None = None
    tag: Text | None = None
    provider: Text | None = None
    model: Text | None = None
    endpoint: Text | None = None
    user_id: UUID | None = None
    api_key_id: UUID | None = None


class ClearAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries were cleared."""

    cleared: int


class WrongRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer from the semantic cache that is wrong, by the id of the request that it was given to."""

    request_id: Text


class WrongAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: the entry that is no more, and the namespace whose evidence it counts in."""

    request_id: str
    entry: str
    namespace: str
    removed: bool


@post("/v1/cache/clear", tags=TAGS, status_code=200)
async def clear_cache(
    request: ControlRequest,
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    settle: NamedDependency[Settle],
    data: JSONBody[ClearRequest | None] = None,
) -> ClearAnswer:
    """Clear entries of the cache.

    It holds in every process when this returns, or a moment later where a process is out of touch.
    """
    caller = cast(Asker, request.state.caller)
    what = build_clearing(data or ClearRequest(), caller)
    await settle()
    return ClearAnswer(cleared=await control.change(actor, lambda change: clear_noted(change, what, caller)))


@delete("/v1/cache/{cache_key:str}", tags=TAGS, status_code=204)
async def delete_entry(
    request: ControlRequest,
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    settle: NamedDependency[Settle],
    cache_key: FromPath[str],
) -> None:
    """Delete an entry of the cache by its key, as `X-AIHub-Cache-Key` tells it."""
    caller = cast(Asker, request.state.caller)
    await find_settled(settle, lambda: control.change(actor, lambda change: delete_noted(change, cache_key, caller)))


@post("/v1/cache/wrong", tags=TAGS, status_code=200)
async def report_answer(
    request: ControlRequest,
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    settle: NamedDependency[Settle],
    data: JSONBody[WrongRequest],
) -> WrongAnswer:
    """Report that a similar question's answer was wrong.

    The entry is removed, and the report counts against its namespace like a check that found a wrong answer.
    """
    caller = cast(Asker, request.state.caller)
    return await find_settled(
        settle, lambda: control.change(actor, lambda change: remove_wrong(change, data.request_id, caller))
    )


async def find_settled(settle: Settle, work: Callable[[], Awaitable[T]]) -> T:
    """Return what `work` does with something that may be a moment old: other processes write behind as well."""
    await settle()
    try:
        return await work()
    except NotFoundError:
        await asyncio.sleep(WRITTEN_SECONDS)
        return await work()


def build_clearing(asked: ClearRequest, caller: Asker) -> Clearing:
    """Return what is cleared. Raises ForbiddenError for what is not the caller's."""
    for param, others in (("scope", asked.scope == ALL), ("user_id", asked.user_id not in {None, caller.user_id})):
        if others and not caller.admin:
            raise ForbiddenError(NOT_YOURS, code="admin_required", param=param)
    if asked.tag is not None and asked.tags is not None:
        raise BadRequestError("'tag' and 'tags' say the same.", param="tag")
    own = caller.user_id if not caller.admin or asked.scope == OWN else asked.user_id
    named = Named() if asked.scope is None or asked.scope in {ALL, OWN} else read_scope(asked.scope, caller)
    return Clearing(
        scope=named.label,
        namespace=named.namespace,
        user_id=own,
        api_key_id=asked.api_key_id,
        provider=asked.provider,
        model=asked.model,
        endpoint=asked.endpoint,
        tags=tuple(asked.tags) if asked.tags is not None else (asked.tag,) if asked.tag is not None else None,
    )


def clear_noted(change: Change, what: Clearing, caller: Asker) -> int:
    """Clear, and note it where it may concern others. Raises ForbiddenError for a key that is another's."""
    key_id = what.api_key_id if not caller.admin else None
    if key_id is not None and find_key_user(change.connection, key_id) != caller.user_id:
        raise ForbiddenError(NOT_YOURS, code="admin_required", param="api_key_id")
    cleared = clear(change.connection, what)
    if caller.admin:
        change.note(
            "cache.clear", "cache", what.scope or what.namespace or ALL, after={"what": what, "cleared": cleared}
        )
    return cleared


def delete_noted(change: Change, cache_key: str, caller: Asker) -> None:
    """Delete one entry. Raises NotFoundError for one that is not there, or not the caller's."""
    try:
        key = bytes.fromhex(cache_key) if len(cache_key) == KEY_LENGTH else b""
    except ValueError:
        key = b""
    found = find_entry_owner(change.connection, key) if key else None
    if found is None or (found[0] != caller.user_id and not caller.admin):
        raise NotFoundError(NO_ENTRY, code="cache_entry_not_found", param="cache_key")
    clear(change.connection, Clearing(key=key.hex()))
    if found[0] != caller.user_id:
        change.note("cache.delete", "cache_entry", key.hex(), before={"user_id": str(found[0]), "scope": found[1]})


def remove_wrong(change: Change, request_id: str, caller: Asker) -> WrongAnswer:
    """Count a wrong answer and remove it. Raises NotFoundError for one that was not given to the caller."""
    found = find_reported(change.connection, request_id, None if caller.admin else caller.user_id)
    if found is None:
        raise NotFoundError(NO_ANSWER, code="answer_not_found", param="request_id")
    report_wrong(change.connection, found)
    removed = clear(change.connection, Clearing(key=found.entry_key.hex())) > 0
    return WrongAnswer(request_id=request_id, entry=found.entry_key.hex(), namespace=found.namespace, removed=removed)


CACHE_HANDLERS = [clear_cache, delete_entry, report_answer]
