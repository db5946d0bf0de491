"""Budgets in Postgres as administrators meet them: made, changed, taken away and shown with their counters.

What a change means for the counters, triggers see to (alembic/sql/0004_budgets.sql).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    column,
    func,
    insert,
    literal_column,
    select,
    table,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on

from app.access.budget_types import AlertView, BudgetView, LedgerCheck, SimpleBudget
from app.db.tables import (
    api_keys,
    budget_alerts,
    budget_counters,
    budgets,
    ledger,
    organizations,
    reservations,
    teams,
    users,
)
from app.wire.ids import make_uuid7

_COLUMNS: list[ColumnClause[Any]] = [column(name) for name in BudgetView.__struct_fields__]
status = table("budget_status", *_COLUMNS)
OWNERS: Mapping[str, Table] = {"key": api_keys, "user": users, "team": teams, "organization": organizations}
OPEN_SECONDS = 60
"""How long a new budget may take to add up what the ledger has for it."""


def insert_budget(connection: Connection, values: Mapping[str, Any]) -> UUID:
    """Store a budget, its counter with what was spent in its period already, and return its id."""
    budget_id = make_uuid7()
    before: str = connection.execute(select(func.current_setting("statement_timeout"))).scalar_one()
    connection.execute(select(func.set_config("statement_timeout", f"{OPEN_SECONDS}s", True)))
    connection.execute(insert(budgets).values(id=budget_id, **values))
    connection.execute(select(func.set_config("statement_timeout", before, True)))
    return budget_id


def update_budget(connection: Connection, budget_id: UUID, values: Mapping[str, Any]) -> None:
    """Change the amounts or the name of a budget; new limits hold at once."""
    connection.execute(update(budgets).where(budgets.c.id == budget_id).values(**values, updated_at=func.now()))


def delete_budget(connection: Connection, budget_id: UUID) -> None:
    """Have a budget apply to nothing any more; what it counted stays on record."""
    update_budget(connection, budget_id, {"deleted_at": func.now()})


def find_budget(connection: Connection, budget_id: UUID) -> BudgetView | None:
    """Return a live budget."""
    line = connection.execute(select(status).where(status.c.id == budget_id)).mappings().first()
    return _view(line) if line is not None else None


def list_budget_ids(connection: Connection, scope: str, ref: str) -> list[UUID]:
    """Return the ids of the live budgets of `ref`."""
    live = (budgets.c.scope == scope, budgets.c.ref == ref, budgets.c.deleted_at.is_(None))
    return list(connection.execute(select(budgets.c.id).where(*live).order_by(budgets.c.id)).scalars())


def list_budgets(
    connection: Connection, where: Sequence[ColumnElement[bool]] = (), *, limit: int, before: UUID | None = None
) -> list[BudgetView]:
    """Return at most `limit` live budgets, newest first; with `before` those older than that id."""
    older = [status.c.id < before] if before is not None else []
    statement = select(status).where(*where, *older).order_by(status.c.id.desc()).limit(limit)
    return [_view(line) for line in connection.execute(statement).mappings()]


def count_budgets(connection: Connection, where: Sequence[ColumnElement[bool]] = ()) -> int:
    """Return how many live budgets there are."""
    return connection.execute(select(func.count()).select_from(status).where(*where)).scalar_one()


def build_filter(scope: str | None, ref: str | None) -> list[ColumnElement[bool]]:
    """Return the conditions of the budgets of `scope` and of `ref`; None is no condition."""
    given = {"scope": scope, "ref": ref}
    return [status.c[name] == value for name, value in given.items() if value is not None]


def is_owner(connection: Connection, scope: str, owner_id: UUID) -> bool:
    """Return whether there is somebody (a key, user, team or organization that was not deleted) to have a budget."""
    owner = OWNERS[scope]
    gone = owner.c.revoked_at if owner is api_keys else owner.c.deleted_at
    return connection.execute(select(owner.c.id).where(owner.c.id == owner_id, gone.is_(None))).first() is not None


def list_alerts(connection: Connection, *, limit: int, before: tuple[datetime, UUID] | None = None) -> list[AlertView]:
    """Return at most `limit` alerts, newest first; with `before` (at, budget) those older than that one."""
    older = [tuple_(budget_alerts.c.at, budget_alerts.c.budget_id) < before] if before is not None else []
    start = func.nullif(budget_alerts.c.period_start, literal_column("'-infinity'::timestamptz"))
    names = (budgets.c.scope, budgets.c.ref, budgets.c.name, budgets.c.period, budgets.c.rolling)
    said = (budget_alerts.c.budget_id, budget_alerts.c.at, budget_alerts.c.soft_limit_usd, budget_alerts.c.spent_usd)
    statement = (
        select(*said, *names, start.label("period_start"))
        .join_from(budget_alerts, budgets)
        .where(*older)
        .order_by(budget_alerts.c.at.desc(), budget_alerts.c.budget_id.desc())
        .limit(limit)
    )
    return [AlertView(**_trim(line)) for line in connection.execute(statement).mappings()]


def count_alerts(connection: Connection) -> int:
    """Return how many alerts there are."""
    return connection.execute(select(func.count()).select_from(budget_alerts)).scalar_one()


def set_simple_budget(
    connection: Connection, scope: str, ref: str, amount_usd: Decimal | None, period: str = "total"
) -> None:
    """See to it that the simple budget of `ref` is this one; an amount of None takes it away.

    Simple is the oldest budget by the calendar. To be called before the change is noted in the audit log.
    """
    found = connection.execute(_find_simple(scope, [ref])).first()
    if found is not None and amount_usd is not None and found.period == period:
        if found.amount_usd != amount_usd:
            update_budget(connection, found.id, {"amount_usd": amount_usd})
        return
    if found is not None:
        delete_budget(connection, found.id)
    if amount_usd is not None:
        insert_budget(connection, {"scope": scope, "ref": ref, "amount_usd": amount_usd, "period": period})


def list_simple_budgets(connection: Connection, scope: str, refs: Sequence[str]) -> dict[str, SimpleBudget]:
    """Return the simple budgets of those of `refs` that have one."""
    return {
        line.ref: SimpleBudget(amount_usd=trim(line.amount_usd), period=line.period)
        for line in connection.execute(_find_simple(scope, refs))
    }


def _find_simple(scope: str, refs: Sequence[str]) -> Any:
    live = (budgets.c.scope == scope, budgets.c.ref.in_(refs), ~budgets.c.rolling, budgets.c.deleted_at.is_(None))
    columns = (budgets.c.id, budgets.c.ref, budgets.c.amount_usd, budgets.c.period)
    return select(*columns).ext(distinct_on(budgets.c.ref)).where(*live).order_by(budgets.c.ref, budgets.c.id)


def check_ledger(connection: Connection) -> LedgerCheck:
    """Return what the books hold, and where they do not fit together."""
    found = connection.execute(text("SELECT problem, detail::text FROM relaycore_ledger_check()"))
    problems = tuple((str(line[0]), str(line[1])) for line in found)
    counts = [
        connection.execute(select(func.count()).select_from(counted)).scalar_one()
        for counted in (ledger, budget_counters, reservations)
    ]
    return LedgerCheck(lines=counts[0], counters=counts[1], reservations=counts[2], problems=problems)


def _view(line: RowMapping) -> BudgetView:
    return msgspec.convert(_trim(line), BudgetView)


def _trim(line: RowMapping) -> dict[str, Any]:
    return {str(name): trim(value) if isinstance(value, Decimal) else value for name, value in line.items()}


def trim(amount: Decimal) -> Decimal:
    """Return `amount` without the zeros at its end, never with an exponent."""
    return Decimal(f"{amount.normalize():f}")
