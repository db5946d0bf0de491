"""Sums by group: a page of the groups in the order of their names, with the sums of all of them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    DateTime,
    FromClause,
    Select,
    Text,
    Uuid,
    collate,
    func,
    literal,
    select,
    true,
    tuple_,
)

from app.analytics.fact_reports import Column, Columns, build_facts, splits_calls, ungroup
from app.analytics.report_cursor import write_cursor
from app.analytics.report_query import GROUPS
from app.analytics.report_types import Key, ReportQuery

Sums = Mapping[str, Any]
Measure = Callable[[Columns], dict[str, Column]]
"""From the columns of the facts to the sums of a report, by name."""

_ALL = "all_"
NO_ID = UUID(int=0)


class Groups(NamedTuple):
    """A page of groups, each with its sums and group fields; `totals` and `total` are of all groups."""

    rows: Sequence[Sums]
    totals: Sums
    total: int
    next: str | None


def read_groups(connection: Connection, query: ReportQuery, measure: Measure) -> Groups:
    """Return the page of the groups that `query` asks for."""
    lines = [dict(line) for line in connection.execute(select_groups(query, measure)).mappings()]
    totals = {name.removeprefix(_ALL): value for name, value in lines[0].items() if name.startswith(_ALL)}
    rows = [line for line in lines if line["present"]]
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    following = write_cursor(query.check, query.start, query.end, find_key(query, rows[-1])) if more else None
    return Groups(rows, totals, totals.pop("groups"), following)


def select_groups(query: ReportQuery, measure: Measure) -> Select[Any]:
    """Return the query for a page of groups; each line has the sums of all groups as well, with a prefix."""
    facts = build_facts(query)
    keys = list_fields(query)
    sums = measure(facts.c)
    columns = [facts.c[key] for key in keys]
    named = [column.label(name) for name, column in sums.items()]
    groups = select(*columns, *named).group_by(*columns).having(func.count() > 0).cte("groups")
    page = (
        select(*groups.c, true().label("present"))
        .where(*build_between(query, groups.c))
        .order_by(*order_by(query, groups.c))
        .limit(query.limit + 1)
        .subquery("page")
    )
    totals = _select_totals(query, measure, groups, list(sums))
    whole = [totals.c[name].label(_ALL + name) for name in (*sums, "groups")]
    return select(*page.c, *whole).select_from(totals.outerjoin(page, true())).order_by(*order_by(query, page.c))


def _select_totals(query: ReportQuery, measure: Measure, groups: CTE, names: Sequence[str]) -> FromClause:
    """Return the sums of all groups, and how many groups there are.

    Where it is grouped by what only calls have, they are summed without the groups: a call with several tags counts
    once, and what the sums by the hour know counts whether or not the call itself is kept.
    """
    number = select(func.count()).select_from(groups).scalar_subquery().label("groups")
    if splits_calls(query):
        once = measure(build_facts(ungroup(query)).c)
        return select(number, *(once[name].label(name) for name in names)).subquery("totals")
    return select(number, *(func.sum(groups.c[name]).label(name) for name in names)).subquery("totals")


def list_fields(query: ReportQuery) -> list[str]:
    """Return the names of the columns that are grouped by, which are the fields of the answer."""
    return (["bucket"] if query.bucket is not None else []) + [GROUPS[group][0] for group in query.groups]


def find_key(query: ReportQuery, row: Sums) -> Key:
    """Return the place of a group among the others."""
    return tuple(row[name] for name in list_fields(query))


def find_fields(query: ReportQuery, row: Sums) -> dict[str, Any]:
    """Return the group fields of an answer."""
    fields = {name: row[name] for name in list_fields(query)}
    return fields | ({"bucket": fields["bucket"].astimezone(UTC)} if "bucket" in fields else {})


def order_by(query: ReportQuery, columns: Columns) -> list[Column]:
    """Return what puts groups in their order: the bucket, then the names, unknown ones last."""
    return [part for name in list_fields(query) for part in _place(columns[name])]


def build_between(query: ReportQuery, columns: Columns, last: Key | None = None) -> list[ColumnElement[bool]]:
    """Return the conditions for the groups behind those of the last page, up to `last`."""
    here = tuple_(*order_by(query, columns))
    behind = [here > _bind_all(query, columns, query.after)] if query.after else []
    return behind + ([here <= _bind_all(query, columns, last)] if last else [])


def _bind_all(query: ReportQuery, columns: Columns, key: Key) -> ColumnElement[Any]:
    pairs = zip(list_fields(query), key, strict=True)
    return tuple_(*(part for name, value in pairs for part in _bind(columns[name], value)))


def _place(column: Column) -> list[Column]:
    """Return columns that are never NULL and sort as `column` does, with NULL last."""
    if isinstance(column.type, DateTime):
        return [column]
    filled = func.coalesce(column, _first(column))
    return [column.is_(None), collate(filled, "C") if isinstance(column.type, Text) else filled]


def _bind(column: Column, value: Any) -> list[Column]:
    """Return `value` as _place shows it."""
    filled = literal(_first(column) if value is None else value, column.type)
    return [filled] if isinstance(column.type, DateTime) else [literal(value is None), filled]


def _first(column: Column) -> str | UUID | int:
    """Return what stands for NULL, where two NULLs are to be equal."""
    if isinstance(column.type, Text):
        return ""
    return NO_ID if isinstance(column.type, Uuid) else 0
