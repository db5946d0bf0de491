"""Reading a batch in RelayCore's own words out of a body of any size, request by request."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import msgspec

from app.access.rights import join_tags
from app.access.types import Caller
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
from app.batch.reading import ObjectSplitter
from app.batch.types import SPAN_SECONDS, NewBatch
from app.batch.view_store import find_pace
from app.batch.webhooks.telling import Agreed, agree
from app.errors import BadRequestError, Dialect
from app.gateway.options import Options
from app.wire.ids import make_uuid7

NO_REQUESTS = "A batch has at least one request."
TOO_LATE = "In a body of this size 'provider' and 'model' must stand before 'requests'."


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
        self._splitter = ObjectSplitter(desk.parts.settings.max_body_bytes)
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._number = 0
        self._opened: _Opened | None = None

    async def read(self, body: AsyncIterator[bytes]) -> BatchAccepted:
        """Return the word that the batch is accepted. Raises RelayError for what is wrong with it."""
        try:
            async for data in body:
                for element in self._splitter.feed(data):
                    await self._take(element)
            return await self._accept(self._splitter.close())
        except BaseException:
            if self._opened is not None:
                await self._opened.intake.drop()
            raise

    async def _take(self, element: bytes) -> None:
        opened = self._opened or await self._open(self._splitter.peek())
        if opened is not None:
            await self._add(opened, element)
            return
        self._early.append(element)
        self._early_bytes += len(element)
        if self._early_bytes > self._desk.parts.settings.max_body_bytes:
            raise BadRequestError(TOO_LATE, param="provider")

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
        await opened.intake.add(read_item(element, self._number, opened.head))
        self._number += 1

    async def _accept(self, said: bytes) -> BatchAccepted:
        head = read_head(said)
        opened = self._opened or await self._open(said)
        if opened is None or (self._number == 0 and not self._early):
            raise BadRequestError(NO_REQUESTS, param="requests")
        for element in self._early:
            await self._add(opened, element)
        agreed = self._agree(opened.new, head.options)
        await opened.intake.describe(self._describe(opened.new, head.options, agreed))
        pace = await self._desk.read(find_pace)
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
