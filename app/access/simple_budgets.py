"""The one budget that is set with a user or a key itself."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from app.access.budget_edit_store import list_simple_budgets, set_simple_budget
from app.access.budget_types import SimpleBudget
from app.access.given import Budget
from app.db.control import Change


def write_budget(change: Change, scope: str, owner_id: UUID, budget: Budget | None) -> None:
    """Set, change or take away the budget of a user or a key; None leaves it as it is."""
    if budget is not None:
        set_simple_budget(change.connection, scope, str(owner_id), budget.amount_usd, budget.period)


def add_budgets(connection: Connection, scope: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the budget of each."""
    found = list_simple_budgets(connection, scope, [str(row["id"]) for row in rows])
    return [{**row, **_show(found.get(str(row["id"])))} for row in rows]


def _show(budget: SimpleBudget | None) -> dict[str, Any]:
    if budget is None:
        return {"budget_usd": None, "budget_period": None}
    return {"budget_usd": budget.amount_usd, "budget_period": budget.period}
