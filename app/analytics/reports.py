"""Usage, costs and savings, over a whole range and by group."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import Connection, func

from app.analytics.detail_reports import list_classes, list_named_savings
from app.analytics.fact_reports import (
    COUNTS,
    HITS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Column,
    Columns,
    count_not_kept,
    needs_calls,
    ungroup,
)
from app.analytics.group_reports import Groups, Sums, find_fields, find_key, list_fields, read_groups
from app.analytics.report_types import (
    CostReport,
    CostRow,
    Key,
    ReportQuery,
    SavingKind,
    SavingReport,
    SavingRow,
    UsageReport,
    UsageRow,
)

NOTHING = Decimal(0)
KINDS = ("exact_cache", "semantic_cache")

T = TypeVar("T")


def read_usage(connection: Connection, query: ReportQuery) -> UsageReport:
    """Return calls and tokens."""
    groups = read_groups(connection, query, measure_usage)
    rows = [UsageRow(**_build_usage(row), **find_fields(query, row)) for row in groups.rows]
    return UsageReport(usage=rows, **_build_usage(groups.totals), **describe(connection, query, groups))


def read_costs(connection: Connection, query: ReportQuery) -> CostReport:
    """Return what was paid and what was saved, by token class when that is asked for."""
    groups = read_groups(connection, query, measure_costs)
    totals = _build_costs(groups.totals)
    costs = [_build_costs(row) for row in groups.rows]
    if query.classes:
        every, found = _read_details(connection, query, groups, list_classes)
        totals["classes"] = every
        for row, cost in zip(groups.rows, costs, strict=True):
            cost["classes"] = found.get(find_key(query, row), [])
    rows = [CostRow(**cost, **find_fields(query, row)) for row, cost in zip(groups.rows, costs, strict=True)]
    return CostReport(costs=rows, **totals, **describe(connection, query, groups))


def read_savings(connection: Connection, query: ReportQuery) -> SavingReport:
    """Return what the cache and the optimizations saved."""
    groups = read_groups(connection, query, measure_savings)
    every, found = _read_details(connection, query, groups, list_named_savings)
    rows = [
        SavingRow(**build_savings(row, found.get(find_key(query, row), [])), **find_fields(query, row))
        for row in groups.rows
    ]
    totals = build_savings(groups.totals, every)
    return SavingReport(optimizations=rows, **totals, **describe(connection, query, groups, every_call=True))


def measure_usage(facts: Columns) -> dict[str, Column]:
    """Return the sums that a report of usage is made of."""
    names = ("requests", *COUNTS, "unknown_usage", "unknown_cost", "estimated_cost", "latency_ms")
    return {
        **{name: func.sum(facts[name]) for name in names},
        "failed": func.sum(facts["requests"]).filter(facts["status_code"] >= 400),
        "hits": func.sum(facts["requests"]).filter(facts["cache_status"].in_(HITS)),
    }


def measure_costs(facts: Columns) -> dict[str, Column]:
    """Return the sums that a report of costs is made of."""
    names = ("requests", "unknown_cost", "estimated_cost", "unknown_saving", "saved_cost")
    return {
        **{name: func.sum(facts[name]) for name in names},
        "hits": func.sum(facts["requests"]).filter(facts["cache_status"].in_(HITS)),
    }


def measure_savings(facts: Columns) -> dict[str, Column]:
    """Return the sums that a report of savings is made of, those of each kind of hit apart."""
    status, calls = facts["cache_status"], facts["requests"]
    sums: dict[str, Column] = {"requests": func.sum(calls), "misses": func.sum(calls).filter(status == "miss")}
    for hit in HITS:
        for name in ("requests", "saved_cost", "unknown_saving", *INPUT_TOKENS, *OUTPUT_TOKENS):
            sums[f"{hit} {name}"] = func.sum(facts[name]).filter(status == hit)
    return sums


def _read_details(
    connection: Connection, query: ReportQuery, groups: Groups, read: Callable[..., dict[Key, list[T]]]
) -> tuple[list[T], dict[Key, list[T]]]:
    """Return the details of everything, and those of the groups of this page."""
    every = read(connection, ungroup(query))
    if not every or not groups.rows or not list_fields(query):
        return every.get((), []), every
    return every[()], read(connection, query, find_key(query, groups.rows[-1]))


def describe(connection: Connection, query: ReportQuery, groups: Groups, *, every_call: bool = False) -> dict[str, Any]:
    """Return what all reports say about themselves."""
    by_call = every_call or needs_calls(query)
    return {
        "total": groups.total,
        "next": groups.next,
        "start": query.start,
        "end": query.end,
        "calls_not_kept": count_not_kept(connection, query, every_call=by_call),
    }


def _build_usage(sums: Sums) -> dict[str, Any]:
    counts = {name: int(sums[name] or 0) for name in ("requests", *COUNTS, "unknown_usage", "failed", "hits")}
    calls, unknown = counts["requests"], int(sums["unknown_cost"] or 0)
    return {
        "total_requests": calls,
        "input_tokens": sum(counts[name] for name in INPUT_TOKENS),
        "output_tokens": sum(counts[name] for name in OUTPUT_TOKENS),
        "total_cost": _known(sums["estimated_cost"], unknown, calls),
        "successful_requests": calls - counts["failed"],
        "failed_requests": counts["failed"],
        "cache_hits": counts["hits"],
        "average_latency_ms": sums["latency_ms"] / calls if calls else None,
        "requests_without_usage": counts["unknown_usage"],
        "requests_without_cost": unknown,
        "uncached_input_tokens": counts["input_tokens"],
        "cache_write_tokens": counts["cache_write_5m_tokens"] + counts["cache_write_1h_tokens"],
        "visible_output_tokens": counts["output_tokens"],
        **{name: counts[name] for name in COUNTS if name not in {"input_tokens", "output_tokens"}},
    }


def _build_costs(sums: Sums) -> dict[str, Any]:
    calls, hits = int(sums["requests"] or 0), int(sums["hits"] or 0)
    unknown, unknown_saving = int(sums["unknown_cost"] or 0), int(sums["unknown_saving"] or 0)
    return {
        "total_requests": calls,
        "total_cost": _known(sums["estimated_cost"], unknown, calls),
        "requests_without_cost": unknown,
        "saved_cost": _known(sums["saved_cost"], unknown_saving, hits),
        "hits_without_saved_cost": unknown_saving,
    }


def build_savings(sums: Sums, named: list[SavingKind]) -> dict[str, Any]:
    """Return the numbers of a report of savings; `named` is what optimizations saved."""
    exact, similar = (_build_kind(sums, hit, kind) for hit, kind in zip(HITS, KINDS, strict=True))
    hits, misses = exact.requests + similar.requests, int(sums["misses"] or 0)
    unknown = exact.requests_without_saved_cost + similar.requests_without_saved_cost
    tokens_in, tokens_out = (_sum(sums, names) for names in (INPUT_TOKENS, OUTPUT_TOKENS))
    return {
        "total_requests": int(sums["requests"] or 0),
        "cache_hits": hits,
        "exact_cache_hits": exact.requests,
        "semantic_cache_hits": similar.requests,
        "cache_misses": misses,
        "hit_rate": hits / (hits + misses) if hits + misses else None,
        "saved_cost": _known((exact.saved_cost or NOTHING) + (similar.saved_cost or NOTHING), unknown, hits),
        "hits_without_saved_cost": unknown,
        "tokens_saved": tokens_in + tokens_out,
        "input_tokens_saved": tokens_in,
        "output_tokens_saved": tokens_out,
        "kinds": [exact, similar, *named],
    }


def _build_kind(sums: Sums, hit: str, kind: str) -> SavingKind:
    calls, unknown = int(sums[f"{hit} requests"] or 0), int(sums[f"{hit} unknown_saving"] or 0)
    return SavingKind(
        kind=kind,
        requests=calls,
        saved_cost=_known(sums[f"{hit} saved_cost"], unknown, calls),
        requests_without_saved_cost=unknown,
        tokens_saved=_sum(sums, (*INPUT_TOKENS, *OUTPUT_TOKENS), hit),
    )


def _sum(sums: Sums, names: Iterable[str], *hits: str) -> int:
    return sum(int(sums[f"{hit} {name}"] or 0) for hit in hits or HITS for name in names)


def _known(amount: Decimal | None, unknown: int, calls: int) -> Decimal | None:
    """Return a sum of money; None when it is known for none of the calls."""
    return None if calls and unknown == calls else amount or NOTHING
