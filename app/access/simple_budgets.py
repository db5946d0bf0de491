"""The one budget that is set with a user or a key itself."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.access.given import Budget
from app.db.control import Change


def write_budget(change: Change, scope: str, owner_id: UUID, budget: Budget | None) -> None:
    """Set, change or take away the budget of a user or a key; None leaves it as it is."""
    del change, scope, owner_id, budget


def add_budgets(connection: object, scope: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the budget of each."""
    del connection, scope
    return [{"budget_usd": None, "budget_period": None, **row} for row in rows]
