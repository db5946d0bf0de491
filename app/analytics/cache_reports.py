"""What the caches answered, over a whole range and by group, and what they hold now."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from app.analytics.cache_report_types import CacheEntries, CacheReport, CacheRow, ScopeEntries
from app.analytics.fact_reports import Column, Columns
from app.analytics.group_reports import Sums, find_fields, read_groups
from app.analytics.report_types import ReportQuery
from app.analytics.reports import build_savings, describe, measure_savings
from app.db.tables import cache_entries
from app.db.tables.cache import NO_TAGS

MAX_SCOPES = 100
UNREAD: Mapping[str, str] = {"refreshes": "refresh", "bypasses": "bypass"}
"""The numbers of calls that were to leave the caches unread, and their cache status."""

SIZES = ("entries", "bytes", "stored_bytes")
_ALL = "all_"


def read_cache(connection: Connection, query: ReportQuery) -> CacheReport:
    """Return what the caches did and hold, without how similar answers stand."""
    groups = read_groups(connection, query, measure_cache)
    entries, scopes = read_entries(connection, query)
    rows = [CacheRow(**_build_cache(row), **find_fields(query, row)) for row in groups.rows]
    return CacheReport(
        groups=rows,
        entries=entries,
        scopes=scopes,
        **_build_cache(groups.totals),
        **describe(connection, query, groups),
    )


def measure_cache(facts: Columns) -> dict[str, Column]:
    """Return the sums that the report is made of: those of the savings, and the calls that left the caches unread."""
    calls, status = facts["requests"], facts["cache_status"]
    unread = {name: func.sum(calls).filter(status == word) for name, word in UNREAD.items()}
    return measure_savings(facts) | unread


def read_entries(connection: Connection, query: ReportQuery) -> tuple[CacheEntries, list[ScopeEntries]]:
    """Return how many entries the viewer has and how large they are, in all and in the largest scopes."""
    lines = connection.execute(select_scopes(query)).mappings().all()
    count, size, stored = (int(lines[0][_ALL + name]) if lines else 0 for name in SIZES)
    scopes = [ScopeEntries(scope=line["scope"], entries=line["entries"], bytes=line["bytes"]) for line in lines]
    return CacheEntries(count=count, bytes=size, stored_bytes=stored), scopes


def select_scopes(query: ReportQuery) -> Select[Any]:
    """Return the query for the largest scopes; each line has the sums of all scopes as well, with a prefix."""
    columns = cache_entries.c
    sums = {
        "entries": func.count(),
        "bytes": func.sum(columns.size),
        "stored_bytes": func.sum(func.octet_length(columns.body)),
    }
    conditions = [columns.expires_at > func.now(), *match_entries(query)]
    named = [column.label(name) for name, column in sums.items()]
    scopes = select(columns.scope, *named).where(*conditions).group_by(columns.scope).subquery("scopes")
    whole = [func.sum(scopes.c[name]).over().label(_ALL + name) for name in SIZES]
    largest = (scopes.c.bytes.desc(), scopes.c.scope)
    shown = [*scopes.c, *whole]
    return select(*shown).order_by(*largest).limit(MAX_SCOPES)


def match_entries(query: ReportQuery) -> list[ColumnElement[bool]]:
    """Return the conditions for the entries of what is asked for, and of what the viewer may see.

    Entries know nothing of a call's team, organization and statuses, so these leave none out.
    """
    columns = cache_entries.c
    conditions = [columns[name] == value for name, value in query.match.items() if name in columns]
    if query.tag is not None:
        conditions += [columns.tags != NO_TAGS, columns.tags.contains([query.tag])]  # as the index has it
    return conditions


def _build_cache(sums: Sums) -> dict[str, Any]:
    savings = build_savings(sums, [])
    same = ("total_requests", "hit_rate", "saved_cost", "hits_without_saved_cost", "tokens_saved")
    return {
        **{name: savings[name] for name in same},
        "hits": savings["cache_hits"],
        "misses": savings["cache_misses"],
        "exact_hits": savings["exact_cache_hits"],
        "semantic_hits": savings["semantic_cache_hits"],
        **{name: int(sums[name] or 0) for name in UNREAD},
    }
