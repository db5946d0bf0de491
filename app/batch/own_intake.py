"""Reading a batch in RelayCore's own words out of a body of any size, request by request."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import msgspec

from app.access.rights import join_tags
from app.access.types import Caller
from app.batch.arriving import read_aside, take_turns
from app.batch.deadlines import read_span
from app.batch.desk import Desk
from app.batch.intake import Intake
from app.batch.own_shape import (
    BatchAccepted,
    BatchOptions,
    build_accepted,
    find_path,
    read_head,
    read_item,
    read_source,
)
from app.batch.reading import ObjectSplitter, UnfitRequestError
from app.batch.types import SPAN_SECONDS, NewBatch
from app.batch.webhooks.telling import Agreed, agree
from app.errors import BadRequestError, Dialect
from app.gateway.options import Options
from app.wire.ids import make_uuid7

NO_REQUESTS = "A batch has at least one request."
TOO_LATE = "In a body of this size 'provider' and 'model' must stand before 'requests'."
TURN_REQUESTS = 25
"""After so many requests others have a turn."""


class _Early:
    """The requests that come before it is known where they go: their bytes, and where each of them ends."""

    def __init__(self, max_bytes: int, max_requests: int) -> None:
        self._max_bytes = max_bytes
        self._max_requests = max_requests
        self._bytes = bytearray()
        self._ends = array("Q")

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[bytes]:
        start = 0
        for end in self._ends:
            yield bytes(self._bytes[start:end])
            start = end

    def add(self, element: bytes) -> None:
        """Keep one more. Raises BadRequestError when there are too many, or too much is in them."""
        if len(self._ends) >= self._max_requests:
            raise UnfitRequestError(f"A batch has at most {self._max_requests} requests.", code="too_many_requests")
        self._bytes += element
        if len(self._bytes) > self._max_bytes:
            raise BadRequestError(TOO_LATE, param="provider")
        self._ends.append(len(self._bytes))


class _Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that is being stored. `head` is what its requests have in common: their path, model and dialect."""

    intake: Intake
    new: NewBatch
    head: tuple[str, str, Dialect]


class OwnIntake:
    """Takes one batch in. What was stored of it is taken back unless it is accepted.

    `key` is its idempotency key; KeyTakenError comes out when it is in use. `digest` tells what was read so far.
    """

    def __init__(
        self,
        desk: Desk,
        caller: Caller,
        *,
        options: Options,
        deadline: str | None,
        key: str | None,
        digest: Callable[[], bytes],
    ) -> None:
        self._desk = desk
        self._caller = caller
        self._options = options
        self._deadline = deadline
        self._key = key
        self._digest = digest
        max_bytes = desk.parts.settings.max_body_bytes
        self._splitter = ObjectSplitter(max_bytes)
        self._early = _Early(max_bytes, desk.parts.catalog.current.batch.max_requests)
        self._number = 0
        self._opened: _Opened | None = None

    async def read(self, body: AsyncIterator[bytes]) -> BatchAccepted:
        """Return the word that the batch is accepted. Raises RelayError for what is wrong with it."""
        try:
            async for data in take_turns(body):
                for element in self._splitter.feed(data):
                    await self._take(element)
            return await self._accept(self._splitter.close())
        except BaseException:
            if self._opened is not None:
                await self._opened.intake.drop()
            raise

    async def _take(self, element: bytes) -> None:
        opened = self._opened
        if opened is None and not self._early:  # what stands before the requests is the same for all of them
            opened = await self._open(self._splitter.peek())
        if opened is None:
            self._early.add(element)
        else:
            await self._add(opened, element)

    async def _open(self, said: bytes) -> "_Opened | None":
        """Store the batch itself once it has been said where its requests go; None before."""
        source = read_source(said)
        if source.provider is None or source.model is None:
            return None
        path, dialect = find_path(source.provider, self._desk.parts.catalog.current)
        caller = self._caller
        new = NewBatch(
            id=make_uuid7(),
            shape="relay",
            user_id=caller.user_id,
            api_key_id=caller.key_id,
            team_id=caller.team_id,
            organization_id=caller.organization_id,
            tags=join_tags(caller, self._options.tags) or (),
            options=self._options,
            path=path,
            provider=source.provider,
            model=source.model,
            idempotency_key=self._key,
        )
        intake = self._desk.open_intake(new, caller, strict=True)
        await intake.open()
        self._opened = _Opened(intake=intake, new=new, head=(path, source.model, dialect))
        return self._opened

    async def _add(self, opened: "_Opened", element: bytes) -> None:
        read = partial(read_item, element, self._number, opened.head)
        await opened.intake.add(await read_aside(read, len(element)))
        self._number += 1
        if self._number % TURN_REQUESTS == 0:
            await asyncio.sleep(0)

    async def _accept(self, said: bytes) -> BatchAccepted:
        head = read_head(said)
        opened = self._opened or await self._open(said)
        if opened is None or (self._number == 0 and not self._early):
            raise BadRequestError(NO_REQUESTS, param="requests")
        for element in self._early:
            await self._add(opened, element)
        options = head.options or BatchOptions()
        agreed = self._agree(opened.new, options)
        await opened.intake.describe(self._describe(opened.new, options, agreed))
        pace = await self._desk.find_pace()
        ahead = await opened.intake.accept()
        secret = None if agreed is None else agreed.shown
        return build_accepted(opened.new.id, opened.intake.total, ahead, pace, datetime.now(UTC), secret)

    def _agree(self, new: NewBatch, options: BatchOptions) -> Agreed | None:
        catalog = self._desk.parts.catalog
        return agree(options.webhook, options.webhook_secret, new.id, catalog.current.batch, catalog.vault)

    def _describe(self, new: NewBatch, options: BatchOptions, agreed: Agreed | None) -> NewBatch:
        asked = options.deadline if options.deadline is not None else self._deadline
        where = "options.deadline" if options.deadline is not None else "x-relay-deadline"
        span = SPAN_SECONDS if asked is None else read_span(str(asked), datetime.now(UTC), where)
        return msgspec.structs.replace(
            new,
            priority=options.priority,
            native=options.native,
            span_seconds=span,
            deadline=asked is not None,
            metadata=options.metadata,
            webhook_url=None if agreed is None else agreed.url,
            webhook_secret=None if agreed is None else agreed.secret,
            fingerprint=self._digest() if self._key is not None else None,
        )
