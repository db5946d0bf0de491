"""Holds money for calls before they are made: asked of the database in bulk, or taken from this process's escrow."""

import asyncio
import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from app.access.budget_store import list_budgeted, reserve
from app.access.budget_types import Answer, Ask
from app.access.escrow import LEASE_SECONDS, Escrow, Lease, Scopes
from app.access.foresight import Foresight
from app.access.leftovers import Leftovers, give_back_all
from app.access.processes import ProcessLease
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.errors import BudgetExceededError, UnavailableError
from app.wire.ids import make_uuid7
from app.wire.money import Ceiling, Hold

ASKS_A_TURN = 64
QUERY_SECONDS = 2.0
WAIT_SECONDS = 4.0
TIDY_SECONDS = 1.0
SLACK_SECONDS = 60.0
"""How much longer than a call may take its money is held; who loses track of a call has it settled after that."""

AWAY = "The budget cannot be checked: the database is away."
RETRY_SOON = ((b"retry-after", b"1"),)

logger = logging.getLogger("relaycore.budgets")


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a call wants held. `minimum_usd` is the least that is of use; `facts` tell of the call should we die."""

    scopes: Scopes
    wanted_usd: Decimal
    minimum_usd: Decimal
    seconds: float
    facts: dict[str, Any]
    shared_facts: dict[str, Any]
    ceiling: Ceiling | None = None
    deployment: str = ""


class Budgets:
    """The budgets as this process's calls meet them."""

    def __init__(self, url: str, process: ProcessLease) -> None:
        self.foresight = Foresight()
        self._process = process
        self._connection = PatientConnection(url, name="relaycore budgets")
        self._budgeted: frozenset[tuple[str, str]] = frozenset()
        self._escrow = Escrow()
        self._asking: list[tuple[Ask, asyncio.Future[Answer]]] = []
        self._leasing: set[asyncio.Task[Answer]] = set()
        self._unwanted: list[UUID] = []
        self._kept: list[tuple[UUID, Decimal]] = []
        self._refunds: list[UUID] = []
        self._lost_turn: int | None = None
        process.on_loss(self._escrow.lose_all)
        self._runner: asyncio.Task[None] | None = None
        self._tidier: asyncio.Task[None] | None = None

    async def load(self, connection: Connection, _: int) -> None:
        """Read who and what has a budget."""
        self._budgeted = await list_budgeted(connection)

    @property
    def there_are_any(self) -> bool:
        """Whether anybody or anything has a budget."""
        return bool(self._budgeted)

    def find_scopes(self, candidates: Iterable[tuple[str, str]]) -> Scopes:
        """Return those of the scopes that have a budget, in order."""
        return tuple(sorted(self._budgeted.intersection(candidates)))

    async def start(self) -> None:
        """Begin to give back what is leased and not used."""
        self._tidier = asyncio.create_task(self._tidy())

    async def close(self) -> None:
        """Give back what no call holds any more."""
        if self._tidier is not None:
            self._tidier.cancel()
            await asyncio.gather(self._tidier, return_exceptions=True)
        await asyncio.gather(*self._leasing, return_exceptions=True)
        if self._runner is not None:
            await asyncio.gather(self._runner, return_exceptions=True)
        self._escrow.end_all()
        await self._tidy_once()
        await self._connection.close()

    async def hold(self, demand: Demand) -> Hold | None:
        """Hold money for a call; None when no budget applies after all.

        Raises BudgetExceededError when a budget has not enough left, UnavailableError when nobody can tell.
        """
        if not self._process.is_sure and not await self._process.renew():
            raise UnavailableError(AWAY, headers=RETRY_SOON)
        lease = self._escrow.take(demand.scopes, demand.wanted_usd, time.monotonic())
        if lease is not None:
            return build_hold(demand, lease.id, demand.wanted_usd, lease.booked_at, escrow=True)
        answer = await self._ask(build_ask(demand))
        if answer.granted_usd is None:
            raise BudgetExceededError(explain(answer, demand.minimum_usd))
        if answer.budget_id is None:
            return None
        wish = self._escrow.find_wish(demand.scopes, answer.remaining_usd)
        if wish is not None:
            self._lease(demand, wish)
        return build_hold(demand, answer.reservation_id, answer.granted_usd, answer.reserved_at)

    def settled(self, hold: Hold, cost_usd: Decimal) -> None:
        """Note that a call's cost is in the ledger."""
        self.foresight.learn(hold.deployment, hold.amount_usd, cost_usd)
        if hold.kind == "escrow":
            self._escrow.give_back(hold.reservation_id, hold.amount_usd, cost_usd)

    async def _ask(self, ask: Ask) -> Answer:
        """Have the database asked together with whoever asks at the same time."""
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asking.append((ask, waiting))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await waiting
        except TimeoutError as error:
            self._turn_down(ask, waiting)
            raise UnavailableError(AWAY, headers=RETRY_SOON) from error
        except asyncio.CancelledError:
            self._turn_down(ask, waiting)
            raise

    def _turn_down(self, ask: Ask, waiting: asyncio.Future[Answer]) -> None:
        """Give back what was granted in the very moment in which nobody waited for it any more."""
        if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
            self._unwanted.append(ask.id)

    async def _run(self) -> None:
        while self._asking:
            turn, self._asking = self._asking[:ASKS_A_TURN], self._asking[ASKS_A_TURN:]
            await self._ask_all([(ask, waiting) for ask, waiting in turn if not waiting.done()])

    async def _ask_all(self, turn: list[tuple[Ask, asyncio.Future[Answer]]]) -> None:
        asks = [ask for ask, _ in turn]
        number = self._process.begin_turn()
        question = partial(reserve, process_id=self._process.id, asks=asks, turn=number)
        try:
            answers = await self._connection.run(question, seconds=QUERY_SECONDS)
        except Exception as error:
            if not isinstance(error, (DatabaseAwayError, psycopg.Error)):
                logger.exception("Asking for money failed")
            self._unwanted += [ask.id for ask in asks]  # whether they were or will be granted, nobody knows
            self._refunds += [ask.id for ask in asks if ask.kind == "escrow"]
            self._lost_turn = number
            for _, waiting in turn:
                if not waiting.done():
                    waiting.set_exception(UnavailableError(AWAY, headers=RETRY_SOON))
            return
        for (ask, waiting), answer in zip(turn, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)
            elif answer.granted_usd is not None:
                self._unwanted.append(ask.id)  # the client left meanwhile

    def _lease(self, demand: Demand, wish_usd: Decimal) -> None:
        """Lease money for the next calls of the same kind, beside the calls that go on."""
        ask = Ask(
            id=make_uuid7(),
            kind="escrow",
            scopes=demand.scopes,
            wanted_usd=wish_usd,
            minimum_usd=wish_usd,
            seconds=demand.seconds + SLACK_SECONDS,
            facts=demand.shared_facts,
        )
        asked = asyncio.create_task(self._ask(ask))
        self._leasing.add(asked)
        asked.add_done_callback(partial(self._take_lease, ask))

    def _take_lease(self, ask: Ask, asked: asyncio.Task[Answer]) -> None:
        self._leasing.discard(asked)
        answer = asked.result() if not asked.cancelled() and asked.exception() is None else None
        if answer is None or answer.granted_usd is None or answer.budget_id is None:
            self._escrow.forgo(ask.scopes)
            return
        self._escrow.add(
            Lease(
                id=ask.id,
                scopes=ask.scopes,
                free_usd=answer.granted_usd,
                booked_at=answer.reserved_at,
                open_until=time.monotonic() + LEASE_SECONDS,
            )
        )

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            try:
                await self._tidy_once()
            except Exception:
                logger.exception("Giving back what is held failed")

    async def _tidy_once(self) -> None:
        now = time.monotonic()
        idle = self._escrow.pop_idle(now)
        self._unwanted += [lease.id for lease in idle]
        self._refunds += [lease.id for lease in idle if lease.lost]
        self._kept += self._escrow.pop_kept(now)
        work = Leftovers(self._unwanted, self._kept, self._refunds, self._lost_turn)
        if not any(work):
            return
        self._unwanted, self._kept, self._refunds, self._lost_turn = [], [], [], None
        try:
            await self._connection.run(partial(give_back_all, self._process.id, work), seconds=QUERY_SECONDS)
        except (DatabaseAwayError, psycopg.Error):  # all of it may be done twice
            self._unwanted += work.unwanted
            self._kept += work.kept
            self._refunds += work.refunds
            self._lost_turn = self._lost_turn or work.lost_turn


def build_ask(demand: Demand) -> Ask:
    """Return what the database is asked for one call."""
    return Ask(
        id=make_uuid7(),
        kind="call",
        scopes=demand.scopes,
        wanted_usd=demand.wanted_usd,
        minimum_usd=demand.minimum_usd,
        seconds=demand.seconds + SLACK_SECONDS,
        facts=demand.facts,
    )


def build_hold(
    demand: Demand, reservation_id: UUID, amount_usd: Decimal, booked_at: float, *, escrow: bool = False
) -> Hold:
    """Return the hold of a call."""
    return Hold(
        reservation_id=reservation_id,
        kind="escrow" if escrow else "call",
        amount_usd=amount_usd,
        booked_at=booked_at,
        ceiling=demand.ceiling,
        deployment=demand.deployment,
    )


def explain(answer: Answer, minimum_usd: Decimal) -> str:
    """Return the sentence that says which budget has not enough left, by how much, and when it begins anew."""
    whose = f"{answer.scope} {answer.ref}" if answer.scope in {"model", "tag"} else str(answer.scope)
    span = f"rolling {answer.period}" if answer.rolling else answer.period
    held = f" and {_usd(answer.reserved_usd)} USD held for calls under way" if answer.reserved_usd else ""
    if answer.resets_at is None:
        end = "It does not reset by itself."
    else:
        at = datetime.fromtimestamp(answer.resets_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        end = f"It {'frees up from' if answer.rolling else 'resets at'} {at}."
    short = "is used up" if answer.spent_usd + answer.reserved_usd >= answer.limit_usd else "has not enough left"
    return (
        f"The budget of this {whose} ({span}, {_usd(answer.limit_usd)} USD) {short}: {_usd(answer.spent_usd)} USD "
        f"spent{held}; this call needs {_usd(minimum_usd)} USD. {end}"
    )


def _usd(amount: Decimal) -> str:
    """Return an amount with as many digits as tell something."""
    return f"{amount.normalize():f}"
