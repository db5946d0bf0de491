"""The reports over HTTP. Who may ask is declared where the routes are put together; what they see is decided here."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import msgspec
import psycopg.errors
import sqlalchemy.exc
from litestar import Request, Router, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import Parameter
from sqlalchemy import Connection

from app.analytics.cache_report_types import CacheReport, NamespaceSums
from app.analytics.cache_reports import read_cache
from app.analytics.namespace_reports import judge_namespaces, read_namespaces
from app.analytics.report_query import BUCKETS, CACHE_STATUSES, COSTING, GROUPING, GROUPS, LISTING, parse_query
from app.analytics.report_types import CostReport, ReportQuery, RequestList, SavingReport, UsageReport, Viewer
from app.analytics.reports import read_costs, read_savings, read_usage
from app.analytics.request_reports import read_requests
from app.db.control import Control
from app.errors import BadRequestError
from app.semantic.rules import FindRules

ReportRequest = Request[Any, Any, State]
T = TypeVar("T")

_DESCRIPTIONS: Mapping[str, str] = {
    "start": "The first instant of the range: RFC 3339, a date (UTC) or Unix seconds. By default 30 days before `end`.",
    "end": "The first instant after the range, written alike. By default the end of the present hour.",
    "provider": "Only calls to this provider.",
    "model": "Only calls to this model, by the provider's name for it.",
    "user_id": "Only calls of this user. Who is no administrator sees no others than their own anyway.",
    "api_key_id": "Only calls with this key.",
    "team_id": "Only calls for this team.",
    "organization_id": "Only calls for this organization.",
    "endpoint": "Only calls to this endpoint, such as `chat` or `messages`.",
    "cache_status": f"Only calls with this cache status: {', '.join(CACHE_STATUSES)}.",
    "status": "Only answers with this status code, or of this class of them, such as `4xx`.",
    "tag": "Only calls with this tag.",
    "limit": "The most lines of a page, 1 to 1000; 100 by default.",
    "cursor": "`next` of the page before; the other parameters stay as they were.",
    "bucket": f"The length of time to sum up by (UTC): {', '.join(BUCKETS)}.",
    "group_by": f"What to sum up by, separated by commas: {', '.join(GROUPS)}. A bucket may stand among them.",
    "detail": "`classes`: the cost by token class as well.",
}


def _declare(names: frozenset[str]) -> dict[str, Any]:
    shown = [name for name in _DESCRIPTIONS if name in names]
    return {name: Parameter(str | None, default=None, description=_DESCRIPTIONS[name]) for name in shown}


async def read(request: ReportRequest, control: Control, allowed: frozenset[str], work: Callable[..., T]) -> T:
    """Return the report that `work` reads for whoever makes the request."""
    viewer = cast(Viewer, request.state.caller)
    query = parse_query(request.url.path, request.query_params.multi_items(), viewer, allowed)
    try:
        return await control.read(lambda connection: work(freeze(connection), query))
    except sqlalchemy.exc.OperationalError as error:
        if isinstance(error.orig, psycopg.errors.QueryCanceled):
            raise BadRequestError(TOO_MUCH, code="range_too_large", param="start") from error
        raise


TOO_MUCH = "This takes too long to sum up. Ask for a shorter range, or for fewer groups."


def freeze(connection: Connection) -> Connection:
    """Return the connection with all that is read on it as of one moment."""
    return connection.execution_options(isolation_level="REPEATABLE READ")


@get("/usage", status_code=200)
async def report_usage(request: ReportRequest, control: NamedDependency[Control]) -> UsageReport:
    """Sum up calls and tokens.

    Over the whole range, and by what `group_by` and `bucket` name.
    """
    return await read(request, control, GROUPING, read_usage)


@get("/costs", status_code=200)
async def report_costs(request: ReportRequest, control: NamedDependency[Control]) -> CostReport:
    """Sum up what calls cost, and what the cache saved.

    Over the whole range, and by what `group_by` and `bucket` name.
    """
    return await read(request, control, COSTING, read_costs)


@get("/optimizations", status_code=200)
async def report_optimizations(request: ReportRequest, control: NamedDependency[Control]) -> SavingReport:
    """Sum up what the cache and optimizations saved.

    Over the whole range, and by what `group_by` and `bucket` name.
    """
    return await read(request, control, GROUPING, read_savings)


@get("/requests", status_code=200)
async def list_requests(request: ReportRequest, control: NamedDependency[Control]) -> RequestList:
    """List calls, newest first.

    Pages hold each call once, however many are added meanwhile.
    """
    return await read(request, control, LISTING, read_requests)


@get("/stats", status_code=200)
async def report_caches(
    request: ReportRequest, control: NamedDependency[Control], find_rules: NamedDependency[FindRules]
) -> CacheReport:
    """Sum up what the caches answered, and show what they hold.

    Hits and misses over the whole range, and by what `group_by` and `bucket` name; entries and similar answers as of
    now.
    """
    report, namespaces = await read(request, control, GROUPING, read_caches)
    standing = await asyncio.to_thread(judge_namespaces, namespaces, find_rules)
    return msgspec.structs.replace(report, semantic=standing)


def read_caches(connection: Connection, query: ReportQuery) -> tuple[CacheReport, list[NamespaceSums]]:
    """Return the report about the caches, and the namespaces that are still to be judged."""
    return read_cache(connection, query), read_namespaces(connection, query)


def _route(names: frozenset[str], *handlers: Any) -> Router:
    return Router("/v1/analytics", route_handlers=handlers, parameters=_declare(names), tags=["Analytics"])


ANALYTICS_HANDLERS = [
    _route(GROUPING, report_usage, report_optimizations),
    _route(COSTING, report_costs),
    _route(LISTING, list_requests),
    Router("/v1/cache", route_handlers=[report_caches], parameters=_declare(GROUPING), tags=["Cache"]),
]
