"""Budgets over HTTP, for administrators."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, get_args
from uuid import UUID

import msgspec
from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from sqlalchemy import Connection

from app.access.bodies import NO_CONTROL
from app.access.budget_bodies import BudgetChanges, BudgetCreation
from app.access.budget_edit_store import build_filter, count_alerts, count_budgets, list_alerts, list_budgets
from app.access.budget_edits import change_budget, create_budget, get_budget, remove_budget
from app.access.budget_types import AlertView, BudgetScope, BudgetView
from app.access.pages import Cursor, Limit, parse_id, read_cursor, write_cursor
from app.db.audit import Actor
from app.db.control import Control
from app.errors import BadRequestError

TAGS = ["Budgets"]
SCOPES: tuple[str, ...] = get_args(BudgetScope)
Whose = Annotated[str | None, QueryParameter(name="scope", description=f"Only of this scope: {', '.join(SCOPES)}.")]
Ref = Annotated[str | None, QueryParameter(pattern=NO_CONTROL, description="Only budgets of this id, model or tag.")]
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime.fromtimestamp(0, UTC)


class BudgetPage(msgspec.Struct, frozen=True, kw_only=True):
    """Budgets, newest first. `next` leads to older ones; None: these were the last."""

    budgets: list[BudgetView]
    total: int
    next: str | None


class AlertPage(msgspec.Struct, frozen=True, kw_only=True):
    """Soft limits that were reached, newest first. `next` leads to older ones; None: these were the last."""

    alerts: list[AlertView]
    total: int
    next: str | None


@post("/admin/budgets", tags=TAGS, status_code=201)
async def add_budget(
    control: NamedDependency[Control], actor: NamedDependency[Actor], data: JSONBody[BudgetCreation]
) -> BudgetView:
    """Create a budget.

    What was spent in its period already counts.
    """
    return await control.change(actor, lambda change: create_budget(change, data))


@get("/admin/budgets", tags=TAGS, status_code=200)
async def read_budgets(
    control: NamedDependency[Control],
    whose: Whose = None,
    ref: Ref = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> BudgetPage:
    """List budgets, newest first.

    Each with what is spent, reserved and left of it in the period that goes on.
    """
    if whose is not None and whose not in SCOPES:
        raise BadRequestError(f"There are budgets of: {', '.join(SCOPES)}.", param="scope")
    before = read_cursor(cursor)
    return await control.read(lambda connection: _read_budgets(connection, whose, ref, limit, before))


@get("/admin/budgets/{budget_id:str}", tags=TAGS, status_code=200)
async def read_budget(control: NamedDependency[Control], budget_id: FromPath[str]) -> BudgetView:
    """Return a budget."""
    found = parse_id(budget_id, "budget")
    return await control.read(lambda connection: get_budget(connection, found))


@put("/admin/budgets/{budget_id:str}", tags=TAGS, status_code=200)
async def edit_budget(
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    budget_id: FromPath[str],
    data: JSONBody[BudgetChanges],
) -> BudgetView:
    """Change a budget.

    Fields that are not sent stay. New amounts hold at once. What it counts (scope, ref, period, rolling) cannot change.
    """
    found = parse_id(budget_id, "budget")
    return await control.change(actor, lambda change: change_budget(change, found, data))


@delete("/admin/budgets/{budget_id:str}", tags=TAGS, status_code=204)
async def drop_budget(
    control: NamedDependency[Control], actor: NamedDependency[Actor], budget_id: FromPath[str]
) -> None:
    """Delete a budget."""
    found = parse_id(budget_id, "budget")
    await control.change(actor, lambda change: remove_budget(change, found))


@get("/admin/budget-alerts", tags=TAGS, status_code=200)
async def read_alerts(control: NamedDependency[Control], limit: Limit = 100, cursor: Cursor = None) -> AlertPage:
    """List the soft limits that were reached, newest first."""
    before = read_alert_cursor(cursor)
    return await control.read(lambda connection: _read_alerts(connection, limit, before))


def _read_budgets(
    connection: Connection, scope: str | None, ref: str | None, limit: int, before: UUID | None
) -> BudgetPage:
    where = build_filter(scope, ref)
    found = list_budgets(connection, where, limit=limit + 1, before=before)
    more = write_cursor(found[limit - 1].id) if len(found) > limit else None
    return BudgetPage(budgets=found[:limit], total=count_budgets(connection, where), next=more)


def _read_alerts(connection: Connection, limit: int, before: tuple[datetime, UUID] | None) -> AlertPage:
    found = list_alerts(connection, limit=limit + 1, before=before)
    more = write_alert_cursor(found[limit - 1]) if len(found) > limit else None
    return AlertPage(alerts=found[:limit], total=count_alerts(connection), next=more)


def write_alert_cursor(last: AlertView) -> str:
    """Return the cursor of the page after the one that ends with `last`."""
    at = (last.at - EPOCH) // MICROSECOND
    return base64.urlsafe_b64encode(at.to_bytes(8) + last.budget_id.bytes).decode()


def read_alert_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Return where a page of alerts begins. Raises BadRequestError for what is no cursor of ours."""
    if cursor is None:
        return None
    try:
        found = base64.b64decode(cursor, altchars=b"-_", validate=True)
        return EPOCH + int.from_bytes(found[:8]) * MICROSECOND, UUID(bytes=found[8:])
    except (ValueError, OverflowError, binascii.Error) as error:
        raise BadRequestError("This cursor is none of ours.", param="cursor") from error


BUDGET_HANDLERS = [add_budget, read_budgets, read_budget, edit_budget, drop_budget, read_alerts]
