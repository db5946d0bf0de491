"""Taking a batch in: each request is read, judged and priced as its call will be, and all are accepted or none."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

import msgspec
from psycopg.errors import ForeignKeyViolation

from app.access.budget_types import Answer, Ask
from app.access.budgets import AWAY, explain
from app.access.escrow import Scopes
from app.access.types import Caller
from app.batch.intake_store import (
    HELD_SECONDS,
    accept_batch,
    clear_cancelled,
    clear_requests,
    delete_batch,
    describe_batch,
    insert_batch,
    insert_requests,
    keep_intake,
)
from app.batch.reading import UnfitRequestError, read_request
from app.batch.types import Item, NewBatch, NewRequest
from app.catalog.snapshot import Snapshot
from app.catalog.types import BatchConfig
from app.db.connection import Connection
from app.errors import (
    BadRequestError,
    BudgetExceededError,
    ConflictError,
    ForbiddenError,
    RelayError,
    UnavailableError,
)
from app.gateway.call import Call
from app.gateway.forwarding import find_plan
from app.gateway.inner import build_call
from app.gateway.money import Ways, find_need
from app.gateway.options import NOTHING_PASSED
from app.gateway.parts import Parts
from app.gateway.plan import Target
from app.gateway.rules import list_targets
from app.providers.batches import BATCH_PROTOCOLS
from app.wire.ids import make_uuid7

T = TypeVar("T")

PIECE_REQUESTS = 500
PIECE_BYTES = 2 * 2**20
LATER = frozenset({"chat", "completions", "embeddings", "messages", "responses"})
"""The endpoints whose calls can wait."""

GONE = "The batch was cancelled, or somebody else reads it now."
RETRY_SOON = ((b"retry-after", b"1"),)


class Change(Protocol):
    """Has something changed in the database."""

    async def __call__(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return what `work` returns."""
        ...


class Intake:
    """One batch on its way in: `add` its requests, then `accept` it, or `drop` what was stored of it.

    `strict`: a request that nobody could answer refuses the batch; else it is taken and comes to an error of its own.
    """

    def __init__(self, new: NewBatch, caller: Caller, parts: Parts, change: Change, *, strict: bool) -> None:
        self._new = new
        self._caller = caller
        self._parts = parts
        self._change = change
        self._strict = strict
        self._snapshot = parts.catalog.current
        self._ids: set[str] = set()
        self._waiting: list[NewRequest] = []
        self._waiting_bytes = 0
        self._stored = 0
        self._holds: dict[Scopes, tuple[UUID, Decimal]] = {}

    @property
    def total(self) -> int:
        """How many requests there are so far."""
        return self._stored + len(self._waiting)

    async def open(self) -> None:
        """Store the batch itself."""
        await self._change(partial(insert_batch, new=self._new))

    async def begin_anew(self) -> None:
        """Forget what an earlier try stored of the requests."""
        await self._change(partial(clear_requests, batch_id=self._new.id))

    async def add(self, item: Item) -> None:
        """Take one request. Raises UnfitRequestError naming what is wrong with it."""
        if self.total >= self._snapshot.batch.max_requests:
            raise UnfitRequestError(
                f"A batch has at most {self._snapshot.batch.max_requests} requests.", code="too_many_requests"
            )
        if item.custom_id in self._ids:
            raise UnfitRequestError(f"The id {item.custom_id[:64]!r} occurs twice.", code="duplicate_custom_id")
        self._ids.add(item.custom_id)
        new = await self._judge(read_request(item))
        self._waiting.append(new)
        self._waiting_bytes += len(new.item.body)
        if len(self._waiting) >= PIECE_REQUESTS or self._waiting_bytes >= PIECE_BYTES:
            await self._store()

    async def describe(self, new: NewBatch) -> None:
        """Take what was said of the batch behind its requests."""
        self._new = new
        native = may_be_native(new, self._snapshot.batch)
        if not native:
            self._waiting = [msgspec.structs.replace(one, pooled=False) for one in self._waiting]
        await self._change(partial(describe_batch, new=new, native=native))

    async def accept(self, attempt: int = 0) -> int:
        """Hold the money and queue the batch; return how many are ahead of it.

        Raises BudgetExceededError when a budget has not enough for all of it, and ConflictError when the batch was
        cancelled or taken over meanwhile.
        """
        await self._store()
        asks = [build_ask(hold_id, scopes, amount) for scopes, (hold_id, amount) in self._holds.items() if amount > 0]
        ahead, answers = await self._change(lambda c: accept_batch(c, self._new.id, attempt, self.total, asks))
        refuse_unpaid(asks, answers)
        if ahead < 0:
            await self._change(partial(clear_cancelled, batch_id=self._new.id))
            raise ConflictError(GONE)
        return ahead

    async def drop(self) -> None:
        """Take back what was stored. What the database does not take back now, it forgets within an hour or so."""
        with suppress(UnavailableError):
            await self._change(partial(delete_batch, batch_id=self._new.id))

    async def _store(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if waiting:
            store = partial(insert_requests, batch_id=self._new.id, first=self._stored, requests=waiting)
            try:
                await self._change(store)
            except ForeignKeyViolation as error:
                raise ConflictError(GONE) from error
            await self._change(partial(keep_intake, batch_id=self._new.id))
            self._stored += len(waiting)

    async def _judge(self, item: Item) -> NewRequest:
        """Return the request with where it goes and what is held for it."""
        try:
            call = build_call(self._caller, item.path, item.body, self._parts, self._new.options)
            check_endpoint(call)
            check_model(call)
            chosen = find_plan(call, self._snapshot)
            ways = Ways(*list_targets(chosen, call, self._snapshot, self._parts.routing, self._parts.catalog.prices))
            need = await find_need(call, ways, self._new.tags, self._parts)
        except BadRequestError as error:
            raise UnfitRequestError(error.message, param=error.param) from error
        except RelayError:
            if self._strict:
                raise
            return NewRequest(item=item)
        target = chosen.targets[0]
        pooled = takes_native(call, target, self._new, self._snapshot)
        hold_id, held = self._hold(need.scopes, need.wanted_usd) if need is not None else (None, None)
        return NewRequest(
            item=item,
            provider=target.provider.name,
            model=target.model,
            pooled=pooled,
            hold_id=hold_id,
            held_usd=held,
        )

    def _hold(self, scopes: Scopes, amount_usd: Decimal) -> tuple[UUID, Decimal]:
        """Add to what is held for requests that count in the same budgets; return which hold, and this share."""
        hold_id, held = self._holds.get(scopes, (make_uuid7(), Decimal(0)))
        self._holds[scopes] = (hold_id, held + amount_usd)
        return hold_id, amount_usd


def build_ask(hold_id: UUID, scopes: Scopes, amount_usd: Decimal) -> Ask:
    """Return what the database is asked for the requests of a batch that count in the same budgets."""
    return Ask(
        id=hold_id,
        kind="escrow",
        scopes=scopes,
        wanted_usd=amount_usd,
        minimum_usd=amount_usd,
        seconds=HELD_SECONDS,
        facts={},
    )


def refuse_unpaid(asks: Sequence[Ask], answers: Sequence[Answer]) -> None:
    """Raise BudgetExceededError when something was not granted, UnavailableError when nothing was answered."""
    if len(answers) != len(asks):
        raise UnavailableError(AWAY, headers=RETRY_SOON)
    for ask, answer in zip(asks, answers, strict=True):
        if answer.granted_usd is None:
            raise BudgetExceededError(explain(answer, ask.minimum_usd))


def takes_native(call: Call, target: Target, new: NewBatch, snapshot: Snapshot) -> bool:
    """Return whether a request may wait for a batch of its vendor's own."""
    config = snapshot.batch
    protocol = BATCH_PROTOCOLS.get(target.provider.vendor)
    if protocol is None or target.model is None or target.provider.name in config.direct_providers:
        return False
    if not may_be_native(new, config) or (new.shape == "call" and new.options.passed != NOTHING_PASSED):
        return False  # calls share a batch, and with it what is said to the vendor
    endpoint = call.route.endpoint
    return endpoint is not None and (target.tongue != "" or endpoint.name in protocol.endpoints)


def check_endpoint(call: Call) -> None:
    """Raise UnfitRequestError for a path that is nothing for later, ForbiddenError for one the key may not call."""
    endpoint = call.route.endpoint
    if endpoint is None or endpoint.name not in LATER:
        raise UnfitRequestError(f"Requests to {call.route.rest[:64]!r} cannot be in a batch.", code="invalid_url")
    allowed = call.caller.routes
    if allowed is not None and endpoint.name not in allowed:
        raise ForbiddenError("This API key may not use this route.", code="route_not_allowed")


def check_model(call: Call) -> None:
    """Raise UnfitRequestError for a model's name that no text of Postgres can hold."""
    if call.fields.model is not None and "\0" in call.fields.model:
        raise UnfitRequestError("The name of the model has a NUL in it.", param="model")


def may_be_native(new: NewBatch, config: BatchConfig) -> bool:
    """Return whether requests of a batch may wait for a vendor's own at all."""
    return config.native and new.native != "never" and new.span_seconds >= config.native_min_seconds
