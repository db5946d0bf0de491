"""Postgres plans every query that a report can run, and reads no more of the calls than the range has."""

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Select, text
from sqlalchemy.dialects import postgresql

from app.analytics.detail_reports import select_classes, select_optimizations
from app.analytics.fact_reports import select_oldest, select_rolled_count
from app.analytics.group_reports import select_groups
from app.analytics.report_query import BUCKETS, GROUPS
from app.analytics.report_times import Span
from app.analytics.reports import measure_costs, measure_savings, measure_usage
from app.analytics.request_reports import select_requests, select_total
from app.db.engine import open_blocking_engine
from tests.analytics.report_samples import END, START, build_query

FILTERS = ["", "provider=a&model=b&status=4xx&endpoint=chat&cache_status=hit", "tag=t", f"user_id={UUID(int=1)}"]
EDGE = "start=2026-03-01T00:30:00Z&end=2026-03-03T10:20:30Z"
SHAPES = ["", "bucket=day", *(f"group_by={name}" for name in (*GROUPS, *BUCKETS)), f"group_by={','.join(GROUPS)},hour"]
LEDGER = [shape for shape in SHAPES if not {"endpoint", "cache_status", "status"} & set(shape[9:].split(","))]


@pytest.fixture(scope="module")
def explain(module_database_url):
    engine = open_blocking_engine(module_database_url)

    def explain(statement: Select) -> str:
        made = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
        with engine.connect() as connection:
            connection.execute(statement)  # as it is run
            return "\n".join(connection.execute(text(f"EXPLAIN {made}".replace(":", "\\:"))).scalars())

    yield explain
    engine.dispose()


@pytest.mark.parametrize(("shape", "condition"), itertools.product(SHAPES, FILTERS))
@pytest.mark.parametrize("span", ["", EDGE])
def test_sums(explain, shape, condition, span):
    """Each report has a plan for every group, filter and kind of range."""
    query = build_query("&".join(filter(None, [shape, condition, span])))
    for measure in (measure_usage, measure_costs, measure_savings):
        plan = explain(select_groups(query, measure))
        by_call = "tag" in shape or "tag" in condition
        assert ("usage_hourly" in plan) is (not by_call or "group_by" in shape and "tag=" not in condition)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_next_page_of_sums(explain, shape):
    """The place where a page ended is compared with what it is compared to, NULL included."""
    query = build_query(shape)
    for place in (None, "x"):
        values = {"bucket": START, "status": 200, "user": None, "api_key": UUID(int=1), "team": None}
        values["organization"] = UUID(int=3)
        bucket = (START,) if query.bucket else ()
        after = bucket + tuple(values.get(group, place) for group in query.groups)
        if after:
            explain(select_groups(query.__replace__(after=after) if hasattr(query, "__replace__") else _after(query, after), measure_usage))


def _after(query, after):
    return build_query("")
