"""The calls themselves, newest first."""

from datetime import UTC
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, and_, func, select, tuple_
from sqlalchemy.engine import RowMapping

from app.analytics.fact_reports import build_facts, floor_hour, match_all, select_oldest, ungroup, within
from app.analytics.report_cursor import write_cursor
from app.analytics.report_times import Span
from app.analytics.report_types import ReportQuery, RequestLine, RequestList
from app.db.tables import requests

_CALL = requests.c
_SHOWN = [_CALL[name] for name in RequestLine.__struct_fields__]


def read_requests(connection: Connection, query: ReportQuery) -> RequestList:
    """Return a page of calls, and how many there are."""
    lines = connection.execute(select_requests(query)).mappings().all()
    shown = lines[: query.limit]
    place = (shown[-1]["request_time"].astimezone(UTC), shown[-1]["id"]) if len(lines) > query.limit else None
    return RequestList(
        requests=[_build_line(query, line) for line in shown],
        total=_count(connection, query),
        next=None if place is None else write_cursor(query.check, query.start, query.end, place),
        start=query.start,
        end=query.end,
    )


def select_requests(query: ReportQuery) -> Select[Any]:
    """Return the query for a page of calls, with one more to tell whether another page follows."""
    conditions = [within([Span(query.start, query.end)], _CALL.request_time), *match_all(query, _CALL)]
    if query.after is not None:
        at, _ = query.after
        behind = tuple_(_CALL.request_time, _CALL.id) < tuple_(*query.after)
        conditions.append(and_(_CALL.request_time <= at, behind))  # a comparison of pairs leaves out no partition
    newest = (_CALL.request_time.desc(), _CALL.id.desc())
    return select(*_SHOWN).where(*conditions).order_by(*newest).limit(query.limit + 1)


def select_total(query: ReportQuery) -> Select[Any]:
    """Return the query for the number of calls."""
    return select(func.coalesce(func.sum(build_facts(ungroup(query)).c.requests), 0))


def _count(connection: Connection, query: ReportQuery) -> int:
    """Return how many calls the list has on all pages: the sums by the hour know, but for what is not kept any more."""
    oldest = connection.execute(select_oldest(Span(query.start, query.end))).scalar()
    if oldest is None:
        return 0
    kept = msgspec.structs.replace(query, start=max(query.start, floor_hour(oldest)))
    return int(connection.execute(select_total(kept)).scalar_one())


def _build_line(query: ReportQuery, line: RowMapping) -> RequestLine:
    own = line["user_id"] == query.viewer_id and line["cache_key"] is not None
    changed: dict[str, Any] = {
        "cache_key": bytes(line["cache_key"]).hex() if own else None,
        "tags": line["tags"] or [],
        "request_time": line["request_time"].astimezone(UTC),
        "response_time": line["response_time"].astimezone(UTC),
    }
    return RequestLine(**{**line, **changed})
