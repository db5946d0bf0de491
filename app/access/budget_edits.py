"""What administrators do to budgets."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET
from sqlalchemy import Connection

from app.access.budget_bodies import BudgetChanges, BudgetCreation
from app.access.budget_edit_store import (
    OWNERS,
    delete_budget,
    find_budget,
    insert_budget,
    is_owner,
    list_budget_ids,
    update_budget,
)
from app.access.budget_types import BudgetView
from app.access.given import is_money, settle_instant
from app.access.pages import find_id
from app.access.principal_store import lock_access
from app.db.control import Change
from app.errors import BadRequestError, NotFoundError

AMOUNTS = ("amount_usd", "soft_limit_usd", "override_usd")
FIXED = ("scope", "ref", "period", "rolling")
OVERRIDE = ("override_usd", "override_until")
STATED = (*FIXED, "name", *AMOUNTS, "override_until")
"""What people said of a budget: that goes into the audit log, the counters do not."""


def create_budget(change: Change, body: BudgetCreation) -> BudgetView:
    """Make a budget; it begins with what was spent in its period already."""
    given = msgspec.structs.asdict(body)
    settle_instant(given, "override_until")
    given["ref"] = find_ref(change.connection, body.scope, body.ref)
    if body.rolling and body.period == "total":
        raise BadRequestError("A budget for ever does not roll.", param="rolling")
    check_amounts(given)
    check_override(given, None)
    budget_id = insert_budget(change.connection, given)
    after = get_budget(change.connection, budget_id)
    change.note("budget.create", "budget", budget_id, after=describe(after))
    return after


def change_budget(change: Change, budget_id: UUID, body: BudgetChanges) -> BudgetView:
    """Change a budget; it holds at once for every process."""
    before = get_budget(change.connection, budget_id)
    given = {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}
    for name in FIXED:
        if name in given and given.pop(name) != getattr(before, name):
            raise BadRequestError(f"The '{name}' of a budget cannot change: make another one.", param=name)
    settle_instant(given, "override_until")
    check_amounts(given)
    if any(name in given and given[name] is None for name in OVERRIDE):
        given |= dict.fromkeys(OVERRIDE)
    check_override({**describe(before), **given}, before.override_until)
    if given:
        update_budget(change.connection, budget_id, given)
    after = get_budget(change.connection, budget_id)
    if describe(after) != describe(before):
        change.note("budget.update", "budget", budget_id, before=describe(before), after=describe(after))
    return after


def remove_budget(change: Change, budget_id: UUID) -> None:
    """Take a budget away."""
    before = get_budget(change.connection, budget_id)
    delete_budget(change.connection, budget_id)
    change.note("budget.delete", "budget", budget_id, before=describe(before))


def remove_budgets(change: Change, scope: str, owner_id: UUID) -> None:
    """Take away all budgets of somebody who is no more."""
    for budget_id in list_budget_ids(change.connection, scope, str(owner_id)):
        remove_budget(change, budget_id)


def get_budget(connection: Connection, budget_id: UUID) -> BudgetView:
    """Return a budget. Raises NotFoundError."""
    found = find_budget(connection, budget_id)
    if found is None:
        raise NotFoundError("There is no budget with this id.")
    return found


def describe(budget: BudgetView) -> dict[str, Any]:
    """Return what people said of a budget."""
    return {name: getattr(budget, name) for name in STATED}


def find_ref(connection: Connection, scope: str, ref: str) -> str:
    """Return `ref` as it is stored. Raises BadRequestError when nobody goes by it."""
    if scope not in OWNERS:
        return ref
    lock_access(connection)
    owner_id = find_id(ref)
    if owner_id is None or not is_owner(connection, scope, owner_id):
        raise BadRequestError(f"There is no {scope} with this id.", param="ref")
    return str(owner_id)


def check_amounts(given: Mapping[str, Any]) -> None:
    """Raise BadRequestError naming the amount that is none."""
    for name in AMOUNTS:
        amount = given.get(name)
        if amount is not None and not is_money(amount):
            raise BadRequestError(f"'{name}' must be US dollars from 0 to 1e9, to 15 decimals.", param=name)


def check_override(given: Mapping[str, Any], before: datetime | None) -> None:
    """Raise BadRequestError unless an override has an amount and an end, which was there before or is to come."""
    missing = [name for name in OVERRIDE if given[name] is None]
    if len(missing) == 1:
        raise BadRequestError("'override_usd' and 'override_until' go together.", param=missing[0])
    until = given["override_until"]
    if until is not None and until != before and until <= datetime.now(UTC):
        raise BadRequestError("'override_until' must be in the future.", param="override_until")
