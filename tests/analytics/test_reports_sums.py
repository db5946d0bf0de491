"""Reports add up: for any range, filter and group they say what plain SQL says about the calls."""

from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.analytics.reports import read_costs, read_savings, read_usage
from app.analytics.request_reports import read_requests
from tests.analytics.report_samples import DAYS, END, START, USERS, Viewer, asking, insert_calls, query, sum_hours

MANY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
INPUT = "input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + input_audio_tokens"
INPUT += " + input_image_tokens"
PLAIN = f"""
SELECT {{fields}} count(*) AS total_requests, coalesce(sum({INPUT}), 0)::int AS input_tokens,
    coalesce(sum(output_tokens + reasoning_tokens + output_audio_tokens + output_image_tokens), 0)::int
        AS output_tokens,
    CASE WHEN count(*) = 0 THEN 0 ELSE sum(estimated_cost) END AS total_cost,
    count(*) FILTER (WHERE status_code < 400) AS successful_requests,
    count(*) FILTER (WHERE status_code >= 400) AS failed_requests,
    count(*) FILTER (WHERE cache_status IN ('hit', 'semantic-hit')) AS cache_hits, avg(latency) AS average_latency_ms,
    count(*) FILTER (WHERE input_tokens IS NULL) AS requests_without_usage,
    count(*) FILTER (WHERE estimated_cost IS NULL) AS requests_without_cost,
    coalesce(sum(input_tokens), 0)::int AS uncached_input_tokens,
    coalesce(sum(cache_read_tokens), 0)::int AS cache_read_tokens,
    coalesce(sum(cache_write_5m_tokens + cache_write_1h_tokens), 0)::int AS cache_write_tokens,
    coalesce(sum(reasoning_tokens), 0)::int AS reasoning_tokens, coalesce(sum(web_searches), 0)::int AS web_searches
FROM requests {{join}} WHERE request_time >= %s AND request_time < %s AND {{condition}} {{group}}
"""
FILTERS = {
    "": "true",
    "provider=openai": "provider = 'openai'",
    "model=model-é&status=2xx": "model = 'model-é' AND status_code BETWEEN 200 AND 299",
    f"user_id={USERS[0]}": f"user_id = '{USERS[0]}'",
    "status=429&endpoint=chat": "status_code = 429 AND endpoint = 'chat'",
    "cache_status=hit": "cache_status = 'hit'",
    "tag=red": "'red' = ANY(tags)",
    "api_key_id=00000000000000000000000000000002": "api_key_id = '00000000000000000000000000000002'",
    "team_id=00000000000000000000000000000002": "false",
}
TAGS = "LEFT JOIN LATERAL (SELECT DISTINCT unnest(tags) AS tag) AS tagged ON true"
GROUPS = {
    "provider": ["provider"],
    "model,user": ["model", "user_id"],
    "day": ["date_trunc('day', request_time, 'UTC')"],
    "hour,status": ["date_trunc('hour', request_time, 'UTC')", "status_code"],
    "api_key,cache_status": ["api_key_id", "cache_status"],
    "team,organization,endpoint": ["team_id", "organization_id", "endpoint"],
    "tag": ["tag"],
    "week,tag,provider": ["date_trunc('week', request_time, 'UTC')", "tag", "provider"],
    "month": ["date_trunc('month', request_time, 'UTC')"],
    "cache_scope": ["cache_scope"],
    "day,cache_scope,tag": ["date_trunc('day', request_time, 'UTC')", "cache_scope", "tag"],
}
instants = st.timedeltas(min_value=timedelta(hours=-2), max_value=timedelta(days=DAYS, hours=2)).map(
    lambda d: START + d
)
hours = st.integers(-1, DAYS * 24 + 1).map(lambda hour: START + timedelta(hours=hour))
edges = st.one_of(instants, hours)


@pytest.fixture(scope="module")
def url(module_database_url):
    insert_calls(module_database_url, 4000)
    return module_database_url


@pytest.fixture(scope="module")
def ask(url):
    with asking(url) as ask:
        yield ask


def between(start, end, *more: str) -> str:
    times = [f"start={start.isoformat()}".replace("+", "%2B"), f"end={end.isoformat()}".replace("+", "%2B")]
    return "&".join([*times, *filter(None, more)])


def check(found, plain):
    for name, value in plain.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value), name
        elif value is None:
            assert found[name] is None, name
        else:
            assert Decimal(str(found[name])) == value, name


@MANY
@given(ends=st.tuples(edges, edges).map(sorted), condition=st.sampled_from(sorted(FILTERS)))
def test_the_whole_range_is_exact(url, ask, ends, condition):
    """Whatever the instants and filters, the totals are those of the very calls in the range."""
    plain = PLAIN.format(fields="", join="", condition=FILTERS[condition], group="")
    check(ask(read_usage, between(*ends, condition)), query(url, plain, *ends)[0])


@MANY
@given(
    ends=st.tuples(edges, edges).map(sorted),
    condition=st.sampled_from(sorted(FILTERS)),
    groups=st.sampled_from(sorted(GROUPS)),
)
def test_every_group_is_exact(url, ask, ends, condition, groups):
    """Every group has the numbers of its calls, and there is no group too many or too few."""
    columns = GROUPS[groups]
    fields = "".join(f"{column} AS field{number}, " for number, column in enumerate(columns))
    numbers = ", ".join(str(number + 1) for number in range(len(columns)))
    join = TAGS if "tag" in columns else ""
    plain = PLAIN.format(fields=fields, join=join, condition=FILTERS[condition], group=f"GROUP BY {numbers}")
    expected = {tuple(row.pop(f"field{n}") for n in range(len(columns))): row for row in query(url, plain, *ends)}
    answer = ask(read_usage, between(*ends, condition, f"group_by={groups}&limit=1000"))
    order = sorted(groups.split(","), key=lambda name: name not in {"hour", "day", "week", "month"})
    names = [{"status": "status_code", "user": "user_id", "api_key": "api_key_id"}.get(name, name) for name in order]
    names = [{"team": "team_id", "organization": "organization_id"}.get(name, name) for name in names]
    names = ["bucket" if name in {"hour", "day", "week", "month"} else name for name in names]
    found = {tuple(row[name] for name in names): row for row in answer["usage"]}
    assert answer["total"] == len(answer["usage"]) == len(expected)
    assert set(found) == set(expected)
    for key, row in expected.items():
        check(found[key], row)


@MANY
@given(ends=st.tuples(instants, instants, instants).map(sorted), condition=st.sampled_from(sorted(FILTERS)))
def test_neighbouring_ranges_add_up(ask, ends, condition):
    """Usage of [a, b) and of [b, c) is that of [a, c), to the last digit of the cost."""
    a, b, c = ends
    first, second, both = (ask(read_usage, between(*span, condition)) for span in ((a, b), (b, c), (a, c)))
    for name in ("total_requests", "input_tokens", "output_tokens", "total_cost", "requests_without_cost"):
        parts = [Decimal(str(part[name])) for part in (first, second) if part[name] is not None]
        assert Decimal(str(both[name] or 0)) == sum(parts), name


@MANY
@given(ends=st.tuples(edges, edges).map(sorted), condition=st.sampled_from(sorted(FILTERS)))
def test_costs_and_savings_are_exact(url, ask, ends, condition):
    """Costs, savings, hits and the names of optimizations are those of the calls in the range."""
    plain = f"""SELECT count(*) AS total, sum(estimated_cost) AS cost, sum(saved_cost) AS saved,
        count(*) FILTER (WHERE hit) AS hits, count(*) FILTER (WHERE hit AND saved_cost IS NULL) AS unknown,
        count(*) FILTER (WHERE cache_status = 'semantic-hit') AS similar,
        count(*) FILTER (WHERE cache_status = 'miss') AS misses,
        coalesce(sum({INPUT}) FILTER (WHERE hit), 0)::int AS tokens,
        count(*) FILTER (WHERE optimizations_applied ? 'trim') AS trimmed,
        count(*) FILTER (WHERE optimizations_applied ? 'prune') AS pruned
        FROM (SELECT *, cache_status IN ('hit', 'semantic-hit') AS hit FROM requests) AS calls
        WHERE request_time >= %s AND request_time < %s AND {FILTERS[condition]}"""
    row = query(url, plain, *ends)[0]
    costs, savings = (ask(read, between(*ends, condition)) for read in (read_costs, read_savings))
    saved = (row["saved"] or 0) if row["unknown"] < row["hits"] or not row["hits"] else None
    assert costs["total_requests"] == savings["total_requests"] == row["total"]
    assert Decimal(costs["total_cost"] or 0) == (row["cost"] or 0)
    for answer in (costs, savings):
        assert (None if answer["saved_cost"] is None else Decimal(answer["saved_cost"])) == saved
        assert answer["hits_without_saved_cost"] == row["unknown"]
    assert (savings["cache_hits"], savings["semantic_cache_hits"]) == (row["hits"], row["similar"])
    assert (savings["cache_misses"], savings["input_tokens_saved"]) == (row["misses"], row["tokens"])
    kinds = {kind["kind"]: kind["requests"] for kind in savings["kinds"]}
    assert (kinds.get("trim", 0), kinds.get("prune", 0)) == (row["trimmed"], row["pruned"])
    assert (kinds["exact_cache"], kinds["semantic_cache"]) == (row["hits"] - row["similar"], row["similar"])


def test_kinds_of_savings_by_group_add_up(ask):
    """What optimizations did is told by group as well, page by page, and together it is the total."""
    whole = {kind["kind"]: kind["requests"] for kind in ask(read_savings, "")["kinds"]}
    for groups in ("provider,model", "day", "hour,user"):
        counted, cursor = dict.fromkeys(whole, 0), ""
        while True:
            page = ask(read_savings, f"group_by={groups}&limit=7{cursor}")
            for row in page["optimizations"]:
                for kind in row["kinds"]:
                    counted[kind["kind"]] += kind["requests"]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert counted == whole


def test_nothing_is_a_known_zero(ask):
    """A range without calls cost nothing; calls whose cost nobody knows cost null, with their number."""
    nothing = ask(read_usage, "provider=nobody")
    assert (nothing["total_requests"], Decimal(nothing["total_cost"]), nothing["average_latency_ms"]) == (0, 0, None)
    assert (nothing["usage"], nothing["total"]) == ([], 0)


def test_unknown_cost_is_null(database_url):
    """A sum of nothing but unknown costs is null, and says how many calls it leaves out."""
    insert_calls(database_url, 80)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE requests SET estimated_cost = NULL, saved_cost = NULL WHERE provider = 'openai'")
    sum_hours(database_url)
    with asking(database_url) as ask:
        rows = {row["provider"]: row for row in ask(read_costs, "group_by=provider")["costs"]}
        whole = ask(read_usage, "")
    assert rows["openai"]["total_cost"] is None
    assert rows["openai"]["saved_cost"] is None
    assert rows["openai"]["requests_without_cost"] == rows["openai"]["total_requests"] > 0
    assert rows["anthropic"]["total_cost"] is not None
    assert whole["total_cost"] is not None
    assert whole["requests_without_cost"] >= rows["openai"]["total_requests"]


def test_classes_come_from_the_ledger(database_url):
    """With `detail=classes` the ledger's lines are summed by token class, corrections included, in all and by group."""
    insert_calls(database_url, 200)
    with psycopg.connect(database_url) as connection:
        connection.execute("""INSERT INTO ledger (request_id, request_time, entry, token_class, kind, booked_at,
            user_id, provider, model, tags, quantity, amount_usd)
            SELECT id, request_time, entry, class, 'usage', now(),
                user_id, provider, model, tags, 2, 0.001 * (entry + 1)
            FROM requests, unnest(ARRAY['input_tokens', 'output_tokens']) AS class, unnest(ARRAY[0, 1]) AS entry""")
    with asking(database_url) as ask:
        whole = ask(read_costs, "detail=classes&group_by=tag,day&limit=1000")
        page = ask(read_costs, "detail=classes&group_by=provider&limit=2")
        own = ask(read_costs, "detail=classes", Viewer(USERS[0]))
    assert [entry["token_class"] for entry in whole["classes"]] == ["input_tokens", "output_tokens"]
    assert all(Decimal(entry["cost"]) == Decimal("0.6") for entry in whole["classes"])
    assert all(Decimal(entry["quantity"]) == 800 for entry in whole["classes"])
    for row in (*whole["costs"], *page["costs"]):
        assert {Decimal(entry["quantity"]) for entry in row["classes"]} == {row["total_requests"] * 4}
    assert len(page["costs"]) == 2
    assert Decimal(own["classes"][0]["quantity"]) == own["total_requests"] * 4


def test_what_is_past_its_retention(database_url):
    """Whole hours stay exact when the calls are gone; what would have needed the calls says how many it leaves out."""
    with psycopg.connect(database_url) as connection:
        for day in range(DAYS):
            start = START + timedelta(days=day)
            partition = f"CREATE TABLE requests_p2026030{day + 1} PARTITION OF requests"
            connection.execute(f"{partition} FOR VALUES FROM ('{start}') TO ('{start + timedelta(days=1)}')")
    insert_calls(database_url, 1000)
    with asking(database_url) as ask:
        before = ask(read_usage, "group_by=model")
        with psycopg.connect(database_url) as connection:
            connection.execute("DROP TABLE requests_p20260301")
        assert ask(read_usage, "group_by=model") == before
        listed = ask(read_requests, "limit=1")
        kept = query(database_url, "SELECT count(*) AS n FROM requests")[0]["n"]
        assert listed["total"] == kept < 1000
        late = between(START + timedelta(minutes=30), END)
        first_hour = ask(read_usage, between(START, START + timedelta(hours=1)))["total_requests"]
        assert ask(read_usage, late)["calls_not_kept"] == first_hour > 0
        for groups in ("tag", "cache_scope", "cache_scope,tag"):
            split = ask(read_usage, f"group_by={groups}")
            assert split["calls_not_kept"] == 1000 - kept
            assert split["total_requests"] == 1000
        assert sum(row["total_requests"] for row in ask(read_usage, "group_by=cache_scope")["usage"]) == kept
        assert ask(read_usage, between(START, END - timedelta(minutes=30)))["calls_not_kept"] == 0
