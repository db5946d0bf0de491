"""What the caches did, as the gateway tells it over HTTP: of calls that were really made, to those whose they are."""

from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.acceptance.support import chat, fresh, make_key, query, wait_until
from tests.gateway_process import Gateway

CHAT, STATS = "/v1/chat/completions", "/v1/cache/stats"
NAMES = ("hits", "misses", "exact_hits", "semantic_hits", "refreshes", "bypasses", "total_requests")
CANARY = "canary-of-carla"
NAMESPACE = "namespace:answers-of-carla"
POLICY = "local likeness-2"
DECISION = """
INSERT INTO semantic_decisions (id, namespace, policy, tier, user_id, request_id, entry_key, similarity, served)
VALUES (gen_random_uuid(), %s, %s, 0, %s, 'req', '', 0.99, %s)
"""
EVIDENCE = "INSERT INTO semantic_evidence (namespace, policy, tier, checked, wrong) VALUES (%s, %s, %s, %s, 0)"


def call(gateway: Gateway, key: str, text: str, **headers: str) -> str:
    """Make a call and return what the cache did."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with gateway.client(headers={"authorization": f"Bearer {key}", **named}) as client:
        return client.post(CHAT, json=chat(text)).raise_for_status().headers["x-aihub-cache-status"]


def ask(gateway: Gateway, key: str, **parameters: object) -> httpx.Response:
    with gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
        return client.get(STATS, params=parameters)


def get(gateway: Gateway, key: str, **parameters: object) -> dict[str, Any]:
    reply = ask(gateway, key, **parameters)
    assert reply.status_code == 200, reply.text
    return reply.json(parse_float=Decimal)


def find_user(gateway: Gateway, email: str) -> Any:
    return query(gateway, "SELECT id FROM users WHERE email = %s", email)[0]["id"]


@pytest.fixture(scope="module")
def keys(shared_gateway: Gateway) -> dict[str, str]:
    """Keys of an administrator, of Carla, who made calls of every kind, and of Dora, who made one."""
    shared_gateway.configure(
        routing={"max_retries": 0},
        cache={"namespaces": {"answers-of-carla": {"shared_by": "everyone", "semantic": {"error_budget": 0.2}}}},
    )
    keys = {name: make_key(shared_gateway, f"{name}@example.org") for name in ("carla", "dora")}
    text = fresh(CANARY)
    seen = [call(shared_gateway, keys["carla"], text) for _ in range(2)]
    seen += [call(shared_gateway, keys["carla"], text, x_aihub_cache=how) for how in ("refresh", "bypass")]
    seen += [call(shared_gateway, keys["carla"], text, x_relay_cache_scope="key") for _ in range(2)]
    assert seen == ["miss", "hit", "refresh", "bypass", "miss", "hit"]
    call(shared_gateway, keys["dora"], fresh())
    with psycopg.connect(shared_gateway.database_url) as connection:
        for served in (True, True, False):
            values = (NAMESPACE, POLICY, find_user(shared_gateway, "carla@example.org"), served)
            connection.execute(DECISION, values)
        for tier, checked in enumerate((20, 5, 5)):
            connection.execute(EVIDENCE, (NAMESPACE, POLICY, tier, checked))
    shared_gateway.flush()
    wait_until(lambda: get(shared_gateway, keys["carla"])["entries"]["count"], lambda count: count == 2)
    return {**keys, "admin": shared_gateway.admin_key}


def test_a_miss_and_a_hit_are_told_soon(shared_gateway):
    """A call and its repetition are one miss and one hit within ten seconds, with the money that the hit saved."""
    key = make_key(shared_gateway, "soon@example.org")
    assert get(shared_gateway, key)["hit_rate"] is None
    text = fresh()
    assert [call(shared_gateway, key, text) for _ in range(2)] == ["miss", "hit"]
    stats = wait_until(
        lambda: get(shared_gateway, key), lambda seen: seen["total_requests"] == 2 and seen["entries"]["count"], 10
    )
    assert {name: stats[name] for name in NAMES} == {
        "hits": 1, "misses": 1, "exact_hits": 1, "semantic_hits": 0, "refreshes": 0, "bypasses": 0, "total_requests": 2,
    }  # fmt: skip
    cost = query(shared_gateway, "SELECT estimated_cost AS paid FROM requests WHERE cache_status = 'miss'")[0]["paid"]
    assert (stats["saved_cost"], stats["hits_without_saved_cost"]) == (cost, 0)
    assert cost > 0
    assert (stats["hit_rate"], stats["calls_not_kept"]) == (Decimal("0.5"), 0)
    assert stats["tokens_saved"] > 0
    scope = f"user:{find_user(shared_gateway, 'soon@example.org')}"
    assert stats["scopes"] == [{"scope": scope, "entries": 1, "bytes": stats["entries"]["bytes"]}]
    assert stats["entries"]["bytes"] == stats["entries"]["stored_bytes"] > 0


def test_every_kind_of_call_counts_as_what_it_was(shared_gateway, keys):
    """Refreshes and bypasses are told apart and are no part of the hit rate."""
    stats = get(shared_gateway, keys["carla"])
    assert [stats[name] for name in NAMES] == [2, 2, 2, 0, 1, 1, 6]
    assert stats["hit_rate"] == Decimal("0.5")


@pytest.mark.parametrize("group", ["day", "model", "cache_scope", "cache_status", "tag"])
def test_groups_are_the_whole_divided(shared_gateway, keys, group):
    """By whatever is grouped, the groups add up to what stands at the top."""
    stats = get(shared_gateway, keys["carla"], group_by=group)
    assert stats["total"] == len(stats["groups"]) > 0
    for name in (*NAMES, "saved_cost", "tokens_saved"):
        assert sum(row[name] or 0 for row in stats["groups"]) == stats[name], name


def test_hits_by_scope(shared_gateway, keys):
    """By scope it is told who shares the answers; calls that did not ask the cache have none."""
    carla = find_user(shared_gateway, "carla@example.org")
    rows = {row["cache_scope"]: row for row in get(shared_gateway, keys["carla"], group_by="cache_scope")["groups"]}
    own = next(scope for scope in rows if scope is not None and scope.startswith("key:"))
    assert set(rows) == {f"user:{carla}", own, None}
    assert [(rows[scope]["hits"], rows[scope]["misses"]) for scope in (f"user:{carla}", own, None)] == [
        (1, 1),
        (1, 1),
        (0, 0),
    ]
    assert rows[None]["bypasses"] == 1


def test_how_similar_answers_stand(shared_gateway, keys):
    """A namespace shows its evidence, judged by its own rules, beside what was decided in the range."""
    (found,) = get(shared_gateway, keys["carla"])["semantic"]
    assert (found["namespace"], found["policy"], found["mode"]) == (NAMESPACE, POLICY, "serving")
    assert (found["served"], found["shadowed"], found["reported"]) == (2, 1, 0)
    assert (found["checked"], found["wrong"], found["error_budget"]) == (30, 0, Decimal("0.2"))
    assert [(tier["tier"], tier["mode"], tier["checked"]) for tier in found["tiers"]] == [
        ("same_words", "serving", 20),
        ("sure", "serving", 25),
        ("likely", "serving", 30),
    ]
    assert 0 < found["bound"] == found["tiers"][-1]["bound"] < found["tiers"][0]["bound"] < found["error_budget"]


def test_administrators_see_everybody(shared_gateway, keys):
    """With an administrator's key all calls, entries and namespaces count; a user's id narrows them to that user's."""
    everything, own = get(shared_gateway, keys["admin"]), get(shared_gateway, keys["carla"])
    counted = query(shared_gateway, "SELECT count(*) FILTER (WHERE cache_status = 'hit') AS hits FROM requests")[0]
    assert everything["hits"] == counted["hits"] >= own["hits"]
    assert everything["entries"]["count"] > own["entries"]["count"]
    assert {scope["scope"] for scope in own["scopes"]} < {scope["scope"] for scope in everything["scopes"]}
    assert [one["namespace"] for one in everything["semantic"]] == [NAMESPACE]
    asked = get(shared_gateway, keys["admin"], user_id=str(find_user(shared_gateway, "carla@example.org")))
    assert asked == own


@pytest.mark.parametrize(
    "parameters",
    [{}, {"group_by": "cache_scope,user,api_key,model,tag,hour"}, {"start": "2026-01-01", "end": "2026-12-31"}],
)
def test_one_user_never_sees_another(shared_gateway, keys, parameters):
    """Nothing of another user's calls, entries, scopes and namespaces is in the answer."""
    reply = ask(shared_gateway, keys["dora"], **parameters)
    carla = str(find_user(shared_gateway, "carla@example.org"))
    ids = query(shared_gateway, "SELECT id FROM api_keys WHERE user_id = %s", carla)
    assert reply.status_code == 200
    assert not [secret for secret in (carla, NAMESPACE, *(str(row["id"]) for row in ids)) if secret in reply.text]
    answer = reply.json()
    assert answer["total_requests"] <= 1
    assert (answer["entries"]["count"], answer["semantic"]) == (1, [])


def test_asking_for_somebody_else(shared_gateway, keys):
    """Asking for another user is a 403 that says so; without a key it is a 401."""
    reply = ask(shared_gateway, keys["dora"], user_id=str(find_user(shared_gateway, "carla@example.org")))
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_yours")
    assert ask(shared_gateway, "rk-wrong").status_code == 401


@pytest.mark.parametrize(
    ("name", "value"),
    [("colour", "red"), ("detail", "classes"), ("cache_scope", "user:1"), ("limit", "0"), ("group_by", "scope")],
)
def test_bad_parameters(shared_gateway, keys, name, value):
    """A bad or unknown parameter is a 400 that names it."""
    reply = ask(shared_gateway, keys["carla"], **{name: value})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, name)


def test_what_takes_too_long(shared_gateway, keys):
    """When the database gives up on summing up entries, the answer is a 400 that says so."""
    with psycopg.connect(shared_gateway.database_url) as connection:
        connection.execute("LOCK TABLE cache_entries")  # so that it waits until the time limit of statements
        reply = ask(shared_gateway, keys["carla"])
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "range_too_large")
    assert ask(shared_gateway, keys["carla"]).status_code == 200


def test_it_is_in_the_document(shared_gateway):
    """The description of the API has the report with its parameters and the statuses that it answers with."""
    with shared_gateway.client() as client:
        operation = client.get("/openapi.json").json()["paths"][STATS]["get"]
    assert set(operation["responses"]) == {"200", "400", "401", "403", "500", "503"}
    assert {"start", "end", "group_by", "bucket", "cursor", "model"} <= {one["name"] for one in operation["parameters"]}
