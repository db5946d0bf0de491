"""The rows that a report sums up: the sums by the hour for whole hours, single calls for what is left of a range."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Label,
    Select,
    Subquery,
    Text,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)

from app.analytics.report_query import GROUPS
from app.analytics.report_times import Span, ceil_hour, floor_hour, split_hours
from app.analytics.report_types import ReportQuery
from app.db.tables import requests, usage_hourly
from app.db.tables.columns import INSTANT

Column = ColumnElement[Any]


class Columns(Protocol):
    """Columns by name, be they those of a table, of a query or of a mapping."""

    def __getitem__(self, name: str, /) -> Column:
        """Return a column."""
        ...


HITS = ("hit", "semantic-hit")
INPUT_TOKENS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "input_image_tokens",
)
OUTPUT_TOKENS = ("output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens")
COUNTS = (*INPUT_TOKENS, *OUTPUT_TOKENS, "web_searches")
COSTS = ("estimated_cost", "saved_cost")
UNKNOWN = ("unknown_usage", "unknown_cost", "unknown_saving")


def _count(condition: ColumnElement[bool]) -> Column:
    return case((condition, 1), else_=0)


_CALL = requests.c
_SUMS: Mapping[str, Column] = {
    name: usage_hourly.c[name] for name in (*COUNTS, *COSTS, "requests", *UNKNOWN, "latency_ms")
}
# What a single call adds to each of these sums.
_SINGLE: Mapping[str, Column] = {
    **{name: func.coalesce(_CALL[name], 0) for name in (*COUNTS, *COSTS)},
    "requests": literal(1),
    "unknown_usage": _count(_CALL.input_tokens.is_(None)),
    "unknown_cost": _count(_CALL.estimated_cost.is_(None)),
    "unknown_saving": _count(_CALL.saved_cost.is_(None) & _CALL.cache_status.in_(HITS)),
    "latency_ms": _CALL.latency,
}


def build_facts(query: ReportQuery) -> Subquery:
    """Return the rows to sum up: the groups, what the sums are split by, and the sums of usage_hourly.

    When tags are grouped by, a call is there once for each of its tags.
    """
    span = Span(query.start, query.end)
    if "tag" in query.groups:
        return _select_tagged(query, span).subquery("facts")
    whole, edges = split_hours(span)
    if whole is None or needs_calls(query):
        return _select_calls(query, [span]).subquery("facts")
    rolled = _select_hours(query, whole)
    return (union_all(rolled, _select_calls(query, edges)) if edges else rolled).subquery("facts")


def needs_calls(query: ReportQuery) -> bool:
    """Return whether only the calls themselves can tell what is asked for, even of whole hours."""
    return query.tag is not None or splits_calls(query)


def splits_calls(query: ReportQuery) -> bool:
    """Return whether it is grouped by something that calls have and the sums by the hour lack."""
    return any(GROUPS[group][0] not in usage_hourly.c for group in query.groups)


def _select_hours(query: ReportQuery, whole: Span) -> Select[Any]:
    columns = usage_hourly.c
    conditions = [columns.hour >= whole.start, columns.hour < whole.end, *match_all(query, columns)]
    return select(*_label(query, columns, columns.hour), *_name(_SUMS)).where(*conditions)


def _select_calls(query: ReportQuery, spans: Sequence[Span]) -> Select[Any]:
    conditions = [within(spans, _CALL.request_time), *match_all(query, _CALL)]
    return select(*_label(query, _CALL, _CALL.request_time), *_name(_SINGLE)).where(*conditions)


def _select_tagged(query: ReportQuery, span: Span) -> Select[Any]:
    """Return calls by tag, summed up before they are multiplied: there are far fewer lists of tags than calls."""
    split_by = [*_label(query, _CALL, _CALL.request_time), _CALL.tags]
    sums = [func.sum(column).label(name) for name, column in _SINGLE.items()]
    conditions = [within([span], _CALL.request_time), *match_all(query, _CALL)]
    return spread_tags(select(*split_by, *sums).where(*conditions).group_by(*split_by).subquery("by_tags"))


def _label(query: ReportQuery, columns: Columns, instant: Column) -> list[Column]:
    """Return the columns that the sums are taken by, and those that say what to sum."""
    groups = label_groups(query, columns, instant)
    known = {column.name for column in groups}
    return [*groups, *(columns[name].label(name) for name in ("cache_status", "status_code") if name not in known)]


def label_groups(query: ReportQuery, columns: Columns, instant: Column) -> list[Label[Any]]:
    """Return the columns that are grouped by, but for the tag, under the names of their fields."""
    bucket = [func.date_trunc(query.bucket, instant, "UTC", type_=INSTANT).label("bucket")] if query.bucket else []
    names = [GROUPS[group][0] for group in query.groups if group != "tag"]
    return bucket + [columns[name].label(name) for name in names]


def _name(columns: Mapping[str, Column]) -> list[Column]:
    return [column.label(name) for name, column in columns.items()]


def match_all(query: ReportQuery, columns: Columns) -> list[ColumnElement[bool]]:
    """Return the conditions for what is asked for, and for what the viewer may see."""
    conditions = [columns[name] == value for name, value in query.match.items()]
    if query.status is not None:
        conditions.append(columns["status_code"].between(*query.status))
    if query.tag is not None:
        conditions.append(columns["tags"].contains([query.tag]))
    return conditions


def within(spans: Sequence[Span], instant: Column) -> ColumnElement[bool]:
    """Return the condition that `instant` lies in one of `spans`."""
    return or_(*(and_(instant >= span.start, instant < span.end) for span in spans))


def spread_tags(rows: Subquery) -> Select[Any]:
    """Return `rows` with a `tag` in place of their `tags`: each as often as it has different tags, at least once."""
    tags = select(func.unnest(rows.c.tags, type_=Text).label("tag")).distinct().correlate(rows).lateral("tagged")
    kept = [column for column in rows.c if column.name != "tags"]
    return select(*kept, tags.c.tag).select_from(rows.outerjoin(tags, true()))


def count_not_kept(connection: Connection, query: ReportQuery, *, every_call: bool) -> int:
    """Return how many calls the sums know of whose own rows, which the report needed, are gone.

    Rows go by the day and the oldest first: what the sums have from before the oldest row is gone.
    """
    spans = [Span(query.start, query.end)]
    if not every_call:
        spans = split_hours(spans[0])[1]
    hours = [Span(floor_hour(span.start), ceil_hour(span.end)) for span in spans]
    if not hours:
        return 0
    oldest = connection.execute(select_oldest(hours[0])).scalar()
    if oldest is not None:
        hours = [Span(span.start, min(span.end, floor_hour(oldest))) for span in hours]
    return int(connection.execute(select_rolled_count(query, hours)).scalar_one())


def ungroup(query: ReportQuery) -> ReportQuery:
    """Return the query for everything at once."""
    return msgspec.structs.replace(query, bucket=None, groups=(), after=None)


def select_oldest(span: Span) -> Select[Any]:
    """Return the query for when the oldest call came that is kept and not from before `span`."""
    return select(func.min(_CALL.request_time)).where(_CALL.request_time >= span.start)


def select_rolled_count(query: ReportQuery, hours: Sequence[Span]) -> Select[Any]:
    """Return the query for how many calls there were in whole hours, whatever only the calls themselves tell."""
    table = usage_hourly.c
    known = [table[name] == value for name, value in query.match.items()]
    if query.status is not None:
        known.append(table.status_code.between(*query.status))
    return select(func.coalesce(func.sum(table.requests), 0)).where(within(hours, table.hour), *known)
