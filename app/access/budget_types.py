"""Budgets: what a call asks them for, what they answer, and what administrators are shown of them."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

BudgetScope = Literal["key", "user", "team", "organization", "model", "tag"]
BudgetPeriod = Literal["day", "week", "month", "quarter", "total"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Money that is wanted: at most `wanted_usd` (more than 0), but nothing below `minimum_usd`.

    `scopes` are the pairs (scope, ref) whose budgets may apply. `facts` is what the others need to know should this
    process die before it says what became of the money.
    """

    id: UUID
    kind: Literal["call", "escrow"]
    scopes: tuple[tuple[str, str], ...]
    wanted_usd: Decimal
    minimum_usd: Decimal
    seconds: float
    facts: dict[str, Any]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an ask. `granted_usd` None: refused, because of the budget that is named.

    The budget is the one that has least left; when none applies, `budget_id` is None and nothing is held.
    """

    reservation_id: UUID
    granted_usd: Decimal | None
    reserved_at: float
    budget_id: UUID | None = None
    scope: str | None = None
    ref: str | None = None
    period: str | None = None
    rolling: bool = False
    limit_usd: Decimal = Decimal(0)
    spent_usd: Decimal = Decimal(0)
    reserved_usd: Decimal = Decimal(0)
    remaining_usd: Decimal = Decimal(0)
    resets_at: float | None = None


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and how it stands in the period that goes on.

    `limit_usd` is what counts now: `override_usd` while that holds, else `amount_usd`. `overrun_usd` is by how much
    calls cost more than was held for them, or the limit was lowered below what was spent.
    """

    id: UUID
    scope: str
    ref: str
    name: str
    amount_usd: Decimal
    soft_limit_usd: Decimal | None
    period: str
    rolling: bool
    override_usd: Decimal | None
    override_until: datetime | None
    created_at: datetime
    updated_at: datetime
    limit_usd: Decimal
    spent_usd: Decimal
    reserved_usd: Decimal
    remaining_usd: Decimal
    overrun_usd: Decimal
    period_start: datetime | None
    resets_at: datetime | None
    soft_limit_reached_at: datetime | None


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """A soft limit that was reached."""

    budget_id: UUID
    scope: str
    ref: str
    name: str
    period: str
    rolling: bool
    period_start: datetime | None
    at: datetime
    soft_limit_usd: Decimal
    spent_usd: Decimal


class SimpleBudget(msgspec.Struct, frozen=True, kw_only=True):
    """The one budget that came with a key or a user."""

    amount_usd: Decimal
    period: str


class LedgerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What the books hold, and what in them does not fit together: (problem, detail as JSON)."""

    lines: int
    counters: int
    reservations: int
    problems: tuple[tuple[str, str], ...]
