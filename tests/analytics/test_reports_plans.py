"""Postgres plans every query that a report can run, and reads no more of the calls than the range has."""

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import psycopg
import pytest
from sqlalchemy import Select, text
from sqlalchemy.dialects import postgresql

from app.analytics.cache_reports import measure_cache, select_scopes
from app.analytics.detail_reports import select_classes, select_optimizations
from app.analytics.fact_reports import select_oldest, select_rolled_count
from app.analytics.group_reports import select_groups
from app.analytics.namespace_reports import select_namespaces
from app.analytics.report_query import BUCKETS, GROUPS, LEDGER_LACKS
from app.analytics.report_times import Span
from app.analytics.reports import measure_costs, measure_savings, measure_usage
from app.analytics.request_reports import select_requests, select_total
from app.db.engine import open_blocking_engine
from tests.analytics.report_samples import END, START, build_query, insert_calls

FILTERS = ["", "provider=a&model=b&status=4xx&endpoint=chat&cache_status=hit", "tag=t", f"user_id={UUID(int=1)}"]
EDGE = "start=2026-03-01T00:30:00Z&end=2026-03-03T10:20:30Z"
SHAPES = ["", "bucket=day", *(f"group_by={name}" for name in (*GROUPS, *BUCKETS)), f"group_by={','.join(GROUPS)},hour"]
LEDGER = [shape for shape in SHAPES if not set(LEDGER_LACKS) & set(shape[9:].split(","))]
ONLY_CALLS = {"tag", "cache_scope"}


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


@pytest.mark.parametrize(("shape", "condition"), list(itertools.product(SHAPES, FILTERS)))
@pytest.mark.parametrize("span", ["", EDGE])
def test_sums(explain, shape, condition, span):
    """Each report has a plan for every group, filter and kind of range; single calls are read only where they must."""
    query = build_query("&".join(filter(None, [shape, condition, span])))
    for measure in (measure_usage, measure_costs, measure_savings, measure_cache):
        plan = explain(select_groups(query, measure))
        assert ("usage_hourly" in plan) is (query.tag is None)
        assert (" requests" in plan) is bool(span or query.tag or ONLY_CALLS & set(query.groups))


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("unknown", [False, True])
def test_later_pages_of_sums(explain, shape, unknown):
    """The place where a page ended can be compared with, unknown names included."""
    query = build_query(shape)
    typed = {"status": 200, "user": UUID(int=1), "api_key": UUID(int=2), "team": None, "organization": UUID(int=3)}
    place = tuple(None if unknown and group != "status" else typed.get(group, "x") for group in query.groups)
    place = ((START,) if query.bucket else ()) + place
    later = msgspec.structs.replace(query, after=place)
    explain(select_groups(later, measure_usage))
    if shape in LEDGER:
        explain(select_classes(later, place))
    explain(select_optimizations(later, place))


@pytest.mark.parametrize(("shape", "condition"), list(itertools.product(SHAPES, FILTERS)))
def test_details(explain, shape, condition):
    """Costs by token class and savings by name have a plan."""
    query = build_query("&".join(filter(None, [shape, condition])))
    if shape in LEDGER and "endpoint" not in condition:
        explain(select_classes(query, None))
    explain(select_optimizations(query, None))


def test_the_few_calls_that_were_optimized_have_an_index(database_url):
    """What optimizations did is found without reading all calls: a partial index has those that were optimized."""
    insert_calls(database_url, 20_000)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE requests SET optimizations_applied = '[]' WHERE latency > 3")
        connection.execute("ANALYZE requests")
        found = "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%optimizations_applied%'"
        names = [name for (name,) in connection.execute(found)]
        made = select_optimizations(build_query("group_by=model"), None).compile(
            dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}
        )
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {made}".encode()))
    assert any(name in plan for name in names)


@pytest.mark.parametrize("condition", [*FILTERS, EDGE])
@pytest.mark.parametrize("after", [None, (START, UUID(int=5))])
def test_calls(explain, condition, after):
    """The list of calls goes down an index by time, and leaves out the days behind the cursor."""
    query = msgspec.structs.replace(build_query(condition), after=after)
    plan = explain(select_requests(query))
    assert "request_time" in plan
    assert "Seq Scan" not in plan
    explain(select_total(query))


@pytest.mark.parametrize("condition", FILTERS)
def test_what_is_kept(explain, condition):
    """So do the queries for what is past its retention."""
    span = Span(START, END)
    explain(select_oldest(span))
    explain(select_rolled_count(build_query(condition), [span, Span(END, END + timedelta(hours=1))]))


@pytest.mark.parametrize("condition", [*FILTERS, EDGE])
def test_what_the_caches_hold(explain, condition):
    """So do those for the entries and for the namespaces."""
    query = build_query(condition)
    explain(select_scopes(query))
    explain(select_namespaces(query))


def test_days_outside_of_the_range_are_not_read(explain, module_database_url):
    """A list of calls touches the days of its range alone, the default partition aside."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    partitions = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'requests'::regclass"
    with psycopg.connect(module_database_url) as connection:
        names = {name for (name,) in connection.execute(partitions)}
    days = f"start={today:%Y-%m-%d}&end={today + timedelta(days=1):%Y-%m-%d}"
    plan = explain(select_requests(build_query(days)))
    assert {name for name in names if f" {name}" in plan} == {f"requests_p{today:%Y%m%d}"}
