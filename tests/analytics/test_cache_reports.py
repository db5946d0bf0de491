"""The report about the caches adds up, shows entries that count to those whose they are, and judges by the evidence."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import psycopg
import pytest

from app.analytics.cache_report_types import NamespaceSums
from app.analytics.cache_reports import MAX_SCOPES, read_cache
from app.analytics.namespace_reports import MAX_NAMESPACES, judge_namespace, judge_namespaces, read_namespaces
from app.analytics.reports import read_savings
from app.semantic.evidence import judge_standing
from app.semantic.types import Evidence
from app.wire.caching import SemanticConfig
from tests.analytics.report_samples import END, START, USERS, Viewer, asking, insert_calls, query, sum_hours

ANNA, BERT = (Viewer(user) for user in USERS)
POLICY = "local likeness-2"
CANARY = "canary-of-anna"
PLAIN = """
SELECT {fields} count(*) AS total_requests, count(*) FILTER (WHERE hit) AS hits,
    count(*) FILTER (WHERE cache_status = 'miss') AS misses, count(*) FILTER (WHERE cache_status = 'hit') AS exact_hits,
    count(*) FILTER (WHERE cache_status = 'semantic-hit') AS semantic_hits,
    count(*) FILTER (WHERE cache_status = 'refresh') AS refreshes,
    count(*) FILTER (WHERE cache_status = 'bypass') AS bypasses,
    count(*) FILTER (WHERE hit AND saved_cost IS NULL) AS hits_without_saved_cost,
    coalesce(sum(input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + input_audio_tokens
        + input_image_tokens + output_tokens + reasoning_tokens + output_audio_tokens + output_image_tokens)
        FILTER (WHERE hit), 0)::int AS tokens_saved
FROM (SELECT *, cache_status IN ('hit', 'semantic-hit') AS hit FROM requests) AS calls
WHERE request_time >= %s AND request_time < %s {condition} {group}
"""
OTHERS = "UPDATE requests SET cache_status = %s, saved_cost = NULL WHERE latency::int %% 9 = %s"
ENTRY = """
INSERT INTO cache_entries
    (key, slot, scope, user_id, provider, model, endpoint, streamed, content_type, body, size, tags, expires_at)
SELECT decode(md5(random()::text), 'hex'), slot, %(scope)s, %(user)s, %(provider)s, %(model)s, 'chat', false,
    'application/json', convert_to(repeat('x', %(stored)s), 'UTF8'), %(size)s, %(tags)s,
    now() + make_interval(secs => %(seconds)s)
FROM cache_slots WHERE class = 1 AND closed_at IS NULL
"""
DECISION = """
INSERT INTO semantic_decisions
    (id, decided_at, namespace, policy, tier, user_id, request_id, entry_key, similarity, served, verdict)
VALUES (gen_random_uuid(), %s, %s, %s, 0, %s, 'req', '', 0.9, %s, %s)
"""
EVIDENCE = "INSERT INTO semantic_evidence (namespace, policy, tier, checked, wrong) VALUES (%s, %s, %s, %s, %s)"


@pytest.fixture(scope="module")
def called(module_database_url):
    insert_calls(module_database_url, 2000)
    with psycopg.connect(module_database_url) as connection:
        for number, status in enumerate(("refresh", "bypass", "disabled")):
            connection.execute(OTHERS, (status, number))
    sum_hours(module_database_url)
    with asking(module_database_url) as ask:
        yield module_database_url, ask


def put_entries(url, viewer, scope, number=1, **changes):
    values = {"scope": scope, "user": viewer.user_id, "provider": "openai", "model": "m", "stored": 10, "size": 100}
    values |= {"tags": [], "seconds": 600} | changes
    with psycopg.connect(url) as connection:
        for _ in range(number):
            connection.execute(ENTRY, values)


def decide(url, viewer, namespace, number=1, *, served=True, verdict=None, at=START, policy=POLICY):
    with psycopg.connect(url) as connection:
        for _ in range(number):
            connection.execute(DECISION, (at, namespace, policy, viewer.user_id, served, verdict))


def prove(url, namespace, *tiers, policy=POLICY):
    with psycopg.connect(url) as connection:
        for tier, (checked, wrong) in enumerate(tiers):
            connection.execute(EVIDENCE, (namespace, policy, tier, checked, wrong))


def namespaces(ask, viewer, text=""):
    """Return what is on record by namespace: served, shadowed, reported."""
    found = {one["namespace"]: one for one in ask(read_namespaces, text, viewer)}
    return {name: (one["served"], one["shadowed"], one["reported"]) for name, one in found.items()}


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("", ""),
        ("start=2026-03-01T10:20:30Z&end=2026-03-02T23:59:59Z", ""),
        (f"user_id={USERS[0]}", f"AND user_id = '{USERS[0]}'"),
        ("tag=red", "AND 'red' = ANY(tags)"),
        ("cache_status=miss", "AND cache_status = 'miss'"),
        ("model=nothing", "AND false"),
    ],
)
def test_the_numbers_are_those_of_the_calls(called, text, condition):
    """Hits, misses and what was saved are the sums of the calls in the range, whole hours or not."""
    url, ask = called
    ends = (START.replace(hour=10, minute=20, second=30), END.replace(day=2, hour=23, minute=59, second=59))
    plain = query(
        url, PLAIN.format(fields="", condition=condition, group=""), *(ends if "start" in text else (START, END))
    )
    answer = ask(read_cache, text)
    assert {name: answer[name] for name in plain[0]} == plain[0]
    asked = answer["hits"] + answer["misses"]
    assert answer["hit_rate"] == (answer["hits"] / asked if asked else None)
    assert answer["saved_cost"] == ask(read_savings, text)["saved_cost"]


@pytest.mark.parametrize("group", ["cache_scope", "model", "provider"])
def test_groups_have_the_numbers_of_their_calls(called, group):
    """Every group has its own calls, the unknown group among them, and together they are the whole."""
    url, ask = called
    statement = PLAIN.format(fields=f"{group},", condition="", group=f"GROUP BY {group}")
    answer = ask(read_cache, f"group_by={group}")
    assert answer["total"] == len(answer["groups"])
    assert {row[group]: row["hits"] for row in answer["groups"]} == {
        row[group]: row["hits"] for row in query(url, statement, START, END)
    }
    for name in ("hits", "misses", "refreshes", "bypasses", "tokens_saved", "total_requests"):
        assert sum(row[name] for row in answer["groups"]) == answer[name] > 0, name
    assert sum(Decimal(row["saved_cost"] or 0) for row in answer["groups"]) == Decimal(answer["saved_cost"])


def test_pages_of_groups(called):
    """Groups come page by page, each once, with the same totals on all pages."""
    _, ask = called
    whole = ask(read_cache, "group_by=day,cache_scope")
    first = ask(read_cache, "group_by=day,cache_scope&limit=5")
    second = ask(read_cache, f"group_by=day,cache_scope&limit=5&cursor={first['next']}")
    assert first["groups"] + second["groups"] == whole["groups"][:10]
    assert first["hits"] == second["hits"] == whole["hits"]


def test_live_entries_are_counted(database_url):
    """Entries count until they expire, with their bytes as answered and as kept, by scope, the largest first."""
    put_entries(database_url, ANNA, "user:a", 3, size=5000, stored=1000)
    put_entries(database_url, ANNA, "team:t", 2, size=20)
    put_entries(database_url, ANNA, "user:a", 5, seconds=-1)
    with asking(database_url) as ask:
        answer = ask(read_cache, "", ANNA)
        nothing = ask(read_cache, "", BERT)
    assert answer["entries"] == {"count": 5, "bytes": 15_040, "stored_bytes": 3020}
    assert answer["scopes"] == [
        {"scope": "user:a", "entries": 3, "bytes": 15_000},
        {"scope": "team:t", "entries": 2, "bytes": 40},
    ]
    assert (nothing["entries"], nothing["scopes"]) == ({"count": 0, "bytes": 0, "stored_bytes": 0}, [])


def test_filters_that_entries_know_narrow_them(database_url):
    """Entries are held to user, provider, model and tag; what they know nothing of leaves none out."""
    put_entries(database_url, ANNA, "namespace:faq", model="m", tags=["red", "blue"])
    put_entries(database_url, ANNA, "namespace:faq", model="n")
    put_entries(database_url, BERT, "namespace:faq", provider="anthropic")
    expected = {
        "": 3,
        "model=n": 1,
        "provider=openai": 2,
        "tag=blue": 1,
        f"user_id={USERS[1]}": 1,
        "provider=openai&model=m": 1,
        "endpoint=chat": 3,
        "status=5xx&cache_status=hit": 3,
        "provider=nobody": 0,
    }
    with asking(database_url) as ask:
        assert {text: ask(read_cache, text)["entries"]["count"] for text in expected} == expected


def test_lists_are_bounded(database_url):
    """There are the hundred largest scopes and the hundred newest namespaces; the sums are of all entries."""
    with psycopg.connect(database_url) as connection:
        for number in range(MAX_SCOPES + 5):
            connection.execute(EVIDENCE, (f"namespace:{number}", POLICY, 0, 1, 0))
    for number in range(MAX_SCOPES + 5):
        put_entries(database_url, ANNA, f"namespace:{number:03}", size=number)
    decide(database_url, ANNA, "namespace:newest", at=END - timedelta(hours=1))
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE semantic_evidence SET updated_at = %s", (START,))
    with asking(database_url) as ask:
        answer, found = ask(read_cache, ""), ask(read_namespaces, "")
    assert [scope["scope"] for scope in answer["scopes"]] == [f"namespace:{n:03}" for n in range(104, 4, -1)]
    assert answer["entries"]["count"] == MAX_SCOPES + 5
    assert len(found) == MAX_NAMESPACES
    assert found[0]["namespace"] == "namespace:newest"


def test_decisions_of_the_range_are_counted(database_url):
    """What was served, found and not served, and reported is counted in the range; evidence stands beside it."""
    decide(database_url, ANNA, "namespace:faq", 3)
    decide(database_url, ANNA, "namespace:faq", 2, served=False, verdict="different")
    decide(database_url, ANNA, "namespace:faq", verdict="reported")
    decide(database_url, ANNA, "namespace:faq", 7, at=END)
    decide(database_url, ANNA, "namespace:faq", at=START - timedelta(microseconds=1))
    decide(database_url, ANNA, "namespace:faq", policy="older")
    prove(database_url, "namespace:faq", (10, 0), (20, 1), (30, 2))
    with asking(database_url) as ask:
        found = {one["policy"]: one for one in ask(read_namespaces, "")}
    assert set(found) == {POLICY, "older"}
    assert [found[POLICY][name] for name in ("served", "shadowed", "reported")] == [4, 2, 1]
    assert found[POLICY]["evidence"] == msgspec.structs.asdict(Evidence(checked=(10, 20, 30), wrong=(0, 1, 2)))
    assert found["older"]["evidence"] == msgspec.structs.asdict(Evidence())


def test_users_see_namespaces_of_their_own_decisions(database_url):
    """A user is shown the namespaces that they have decisions in, with their own counts; an administrator all."""
    decide(database_url, ANNA, "namespace:shared", 3)
    decide(database_url, BERT, "namespace:shared", 2, served=False)
    decide(database_url, ANNA, f"user:{USERS[0]}", verdict="reported")
    prove(database_url, "namespace:shared", (100, 0))
    prove(database_url, "namespace:unused", (5, 0))
    with asking(database_url) as ask:
        assert namespaces(ask, ANNA) == {"namespace:shared": (3, 0, 0), f"user:{USERS[0]}": (1, 0, 1)}
        assert namespaces(ask, BERT) == {"namespace:shared": (0, 2, 0)}
        everything = namespaces(ask, Viewer(UUID(int=9), admin=True))
        assert everything["namespace:shared"] == (3, 2, 0)
        assert set(everything) == {"namespace:shared", "namespace:unused", f"user:{USERS[0]}"}
        as_bert = namespaces(ask, Viewer(UUID(int=9), admin=True), f"user_id={USERS[1]}")
        assert as_bert == {"namespace:shared": (0, 2, 0)}
        (seen,) = ask(read_namespaces, "", BERT)
    assert seen["evidence"]["checked"] == (100, 0, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "group_by=cache_scope",
        "group_by=user,api_key,provider,model,endpoint,cache_status,status,tag,cache_scope,hour",
        f"tag={CANARY}",
        f"model={CANARY}",
        "start=2026-01-01&end=2026-12-31",
        "api_key_id=00000000000000000000000000000002",
        f"user_id={USERS[1]}",
    ],
)
def test_one_user_never_sees_another(database_url, text):
    """Whatever is asked, nothing of another user's calls, entries and namespaces is in the answer, nor counted."""
    insert_calls(database_url, 300)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE requests SET cache_scope = %s, model = %s, tags = ARRAY[%s] WHERE user_id = %s",
            (CANARY, CANARY, CANARY, USERS[0]),
        )
        connection.execute("DELETE FROM requests WHERE user_id IS DISTINCT FROM %s", (USERS[0],))
    sum_hours(database_url)
    put_entries(database_url, ANNA, f"user:{CANARY}", 3, model=CANARY, tags=[CANARY])
    put_entries(database_url, ANNA, "namespace:shared", 2)
    decide(database_url, ANNA, f"user:{CANARY}", 4)
    prove(database_url, f"user:{CANARY}", (9, 1), (9, 1), (9, 1))
    with asking(database_url) as ask:
        answer, found = ask(read_cache, text, BERT), ask(read_namespaces, text, BERT)
        assert ask(read_cache, "", ANNA)["entries"]["count"] == 5
    assert found == []
    assert not [secret for secret in (CANARY, str(USERS[0])) if secret in repr(answer)]
    assert (answer["groups"], answer["scopes"], answer["entries"]["count"]) == ([], [], 0)
    assert not any(answer[name] for name in ("total_requests", "hits", "misses", "tokens_saved", "calls_not_kept"))


def build_sums(checked, wrong, namespace="namespace:faq"):
    evidence = Evidence(checked=checked, wrong=wrong)
    return NamespaceSums(namespace=namespace, policy=POLICY, evidence=evidence, served=1, shadowed=2, reported=3)


@pytest.mark.parametrize(
    ("checked", "wrong", "changes", "mode", "tiers", "widest"),
    [
        ((0, 0, 0), (0, 0, 0), {}, "proving", ["serving", "shadow", "shadow"], 0),
        ((0, 0, 0), (0, 0, 0), {"unproven": "nothing"}, "shadow", ["shadow"] * 3, 2),
        ((0, 0, 0), (0, 0, 0), {"unproven": "everything"}, "serving", ["serving"] * 3, 2),
        ((500, 0, 0), (0, 0, 0), {}, "serving", ["serving"] * 3, 2),
        ((400, 0, 100), (0, 0, 20), {}, "proving", ["serving", "serving", "shadow"], 1),
        ((10, 10, 10), (1, 1, 1), {}, "shadow", ["shadow"] * 3, 2),
        ((10, 10, 10), (1, 0, 0), {"error_budget": 0.5}, "serving", ["serving"] * 3, 2),
    ],
)
def test_a_namespace_is_judged_as_its_calls_are(checked, wrong, changes, mode, tiers, widest):
    """All tiers served is "serving", only surer ones "proving", none "shadow"; the bound is the widest served one's."""
    rules = SemanticConfig(**changes)
    sums = build_sums(checked, wrong)
    standing = judge_namespace(sums, rules)
    assert standing.mode == mode
    assert [tier.mode for tier in standing.tiers] == tiers
    assert [tier.tier for tier in standing.tiers] == ["same_words", "sure", "likely"]
    assert standing.bound == standing.tiers[widest].bound == judge_standing(widest, sums.evidence, rules).bound
    assert (standing.checked, standing.wrong) == (sum(checked), sum(wrong))
    assert standing.error_budget == rules.error_budget
    assert (standing.served, standing.shadowed, standing.reported) == (1, 2, 3)


def test_every_namespace_has_its_own_rules():
    """A namespace is judged by the rules that hold under its own label."""
    found = [build_sums((0, 0, 0), (0, 0, 0), name) for name in ("namespace:a", "namespace:b")]
    rules = {"namespace:a": SemanticConfig(unproven="nothing"), "namespace:b": SemanticConfig(unproven="everything")}
    assert [one.mode for one in judge_namespaces(found, rules.__getitem__)] == ["shadow", "serving"]
