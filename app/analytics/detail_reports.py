"""What a group consists of: its cost by token class from the ledger, its savings by the names of optimizations."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Subquery,
    Table,
    func,
    literal_column,
    select,
)

from app.analytics.fact_reports import HITS, Column, Columns, join_tags, label_groups, match_all, within
from app.analytics.group_reports import Sums, build_between, find_key, list_fields
from app.analytics.report_times import Span
from app.analytics.report_types import ClassCost, Key, ReportQuery, SavingKind
from app.db.tables import ledger, requests

# Written as the index ix_requests_optimized has it, or the planner would not know that it fits.
_OPTIMIZED: ColumnElement[bool] = literal_column("requests.optimizations_applied <> '[]'::jsonb", Boolean)
Details = Mapping[Key, list[Sums]]


def list_classes(connection: Connection, query: ReportQuery, last: Key | None = None) -> dict[Key, list[ClassCost]]:
    """Return the cost by token class of the groups up to `last`; without groups in the query that of all, at ()."""
    found = _read(connection, query, select_classes(query, last))
    return {key: [_build_class(row) for row in rows] for key, rows in found.items()}


def list_named_savings(
    connection: Connection, query: ReportQuery, last: Key | None = None
) -> dict[Key, list[SavingKind]]:
    """Return what optimizations saved, of the groups up to `last`; without groups in the query that of all, at ()."""
    found = _read(connection, query, select_optimizations(query, last))
    return {key: [_build_kind(row) for row in rows] for key, rows in found.items()}


def select_classes(query: ReportQuery, last: Key | None) -> Select[Any]:
    """Return the query for the sums of the ledger's lines by group and token class."""
    columns, source = _from(query, ledger)
    values = [columns[name] for name in ("token_class", "quantity", "amount_usd")]
    rows = _select(query, columns, source, values).subquery("lines")
    sums = {"quantity": func.sum(rows.c.quantity), "cost": func.sum(rows.c.amount_usd)}
    return _sum_up(query, rows, "token_class", sums, last)


def select_optimizations(query: ReportQuery, last: Key | None) -> Select[Any]:
    """Return the query for the calls by group and by the name of what was done to make them cheaper."""
    columns, source = _from(query, requests)
    names = func.jsonb_array_elements_text(columns["optimizations_applied"])
    values = [names.label("kind"), columns["saved_cost"], columns["cache_status"].in_(HITS).label("hit")]
    rows = _select(query, columns, source, values).where(_OPTIMIZED).subquery("lines")
    missed = ~rows.c.hit  # what the cache answered was saved by the cache
    sums = {
        "requests": func.count(),
        "saved_cost": func.sum(rows.c.saved_cost).filter(missed),
        "requests_without_saved_cost": func.count().filter(missed & rows.c.saved_cost.is_(None)),
    }
    return _sum_up(query, rows, "kind", sums, last)


def _from(query: ReportQuery, table: Table) -> tuple[Columns, FromClause]:
    return join_tags(table) if "tag" in query.groups else (dict(table.c), table)


def _select(query: ReportQuery, columns: Columns, source: FromClause, values: Sequence[Column]) -> Select[Any]:
    instant = columns["request_time"]
    conditions = [within([Span(query.start, query.end)], instant), *match_all(query, columns)]
    return select(*label_groups(query, columns, instant), *values).select_from(source).where(*conditions)


def _sum_up(query: ReportQuery, rows: Subquery, name: str, sums: Mapping[str, Column], last: Key | None) -> Select[Any]:
    by = [rows.c[field] for field in (*list_fields(query), name)]
    summed = select(*by, *(column.label(label) for label, column in sums.items()))
    return summed.where(*build_between(query, rows.c, last)).group_by(*by).order_by(rows.c[name])


def _read(connection: Connection, query: ReportQuery, statement: Select[Any]) -> Details:
    found: dict[Key, list[Sums]] = {}
    for line in connection.execute(statement).mappings():
        found.setdefault(find_key(query, dict(line)), []).append(dict(line))
    return found


def _build_class(row: Sums) -> ClassCost:
    return ClassCost(token_class=row["token_class"], quantity=row["quantity"], cost=row["cost"])


def _build_kind(row: Sums) -> SavingKind:
    return SavingKind(
        kind=row["kind"],
        requests=row["requests"],
        saved_cost=row["saved_cost"],
        requests_without_saved_cost=row["requests_without_saved_cost"],
        tokens_saved=None,
    )
