"""What a group consists of: its cost by token class from the ledger, its savings by the names of optimizations."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    func,
    literal_column,
    select,
)

from app.analytics.fact_reports import HITS, Column, Columns, label_groups, match_all, spread_tags, within
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
    columns = ledger.c
    split_by = [*_label(query, columns), columns.token_class]
    sums = [func.sum(columns.quantity).label("quantity"), func.sum(columns.amount_usd).label("cost")]
    lines = select(*split_by, *sums).where(*_match(query, columns)).group_by(*split_by)
    rows = _spread(query, lines)
    return _sum_up(query, rows, "token_class", {name: func.sum(rows.c[name]) for name in ("quantity", "cost")}, last)


def select_optimizations(query: ReportQuery, last: Key | None) -> Select[Any]:
    """Return the query for the calls by group and by the name of what was done to make them cheaper."""
    columns = requests.c
    kind = func.jsonb_array_elements_text(columns.optimizations_applied).label("kind")
    hit = columns.cache_status.in_(HITS).label("hit")
    lines = select(*_label(query, columns), kind, columns.saved_cost, hit).where(*_match(query, columns), _OPTIMIZED)
    rows = _spread(query, lines)
    missed = ~rows.c.hit  # what the cache answered was saved by the cache
    sums = {
        "requests": func.count(),
        "saved_cost": func.sum(rows.c.saved_cost).filter(missed),
        "requests_without_saved_cost": func.count().filter(missed & rows.c.saved_cost.is_(None)),
    }
    return _sum_up(query, rows, "kind", sums, last)


def _label(query: ReportQuery, columns: Columns) -> list[Column]:
    tags = [columns["tags"]] if "tag" in query.groups else []
    return [*label_groups(query, columns, columns["request_time"]), *tags]


def _match(query: ReportQuery, columns: Columns) -> list[ColumnElement[bool]]:
    return [within([Span(query.start, query.end)], columns["request_time"]), *match_all(query, columns)]


def _spread(query: ReportQuery, lines: Select[Any]) -> Subquery:
    rows = lines.subquery("by_tags")
    return spread_tags(rows).subquery("lines") if "tag" in query.groups else rows


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
