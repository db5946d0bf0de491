"""Reports over HTTP: of calls that were really made, by those who may see them."""

from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.acceptance.support import chat, make_key, message, query
from tests.gateway_process import Gateway

CHAT, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/messages", "/v1/embeddings"
REPORTS = ("usage", "costs", "requests", "optimizations")
NAMES = [
    "request_id",
    "user_id",
    "provider",
    "model",
    "input_tokens",
    "output_tokens",
    "estimated_cost",
    "cache_status",
    "optimizations_applied",
    "request_time",
    "response_time",
    "latency",
    "status_code",
    "error_type",
]
INPUT = "input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + input_audio_tokens"
OUTPUT = "output_tokens + reasoning_tokens + output_audio_tokens"
PLAIN = f"""
SELECT count(*) AS total_requests, coalesce(sum({INPUT}), 0)::int AS input_tokens,
       coalesce(sum({OUTPUT}), 0)::int AS output_tokens, sum(estimated_cost) AS total_cost,
       count(*) FILTER (WHERE status_code >= 400) AS failed_requests,
       count(*) FILTER (WHERE cache_status = 'hit') AS cache_hits,
       count(*) FILTER (WHERE estimated_cost IS NULL) AS requests_without_cost, sum(saved_cost) AS saved_cost
FROM requests WHERE user_id IS NOT DISTINCT FROM coalesce(%s, user_id)
"""
CANARY = "canary-of-anna"


def call_everything(gateway: Gateway, key: str, tag: str) -> None:
    """Make calls of every kind with a key: both dialects, streamed, repeated, failing, unpriced."""
    headers = {"authorization": f"Bearer {key}", "x-relay-tags": f"{tag},shared", "x-relay-metadata": '{"by":"test"}'}
    with gateway.client(headers=headers) as client:
        for streamed in (False, True):
            body = chat(f"[[mock cached=5 think=7]] some words {tag} {streamed}", stream=streamed)
            for _ in range(2):  # the second one is a hit
                client.post(CHAT, json=body).raise_for_status()
            text = f"[[mock cached=9 cache_write=4]] words {tag} {streamed}"
            client.post(MESSAGES, json=message(text, stream=streamed)).raise_for_status()
        assert client.post(CHAT, json=chat(f"[[mock status=400]] {tag}")).status_code == 400
        assert client.post(MESSAGES, json=message(f"[[mock status=429]] {tag}")).status_code == 429
        assert client.post(CHAT, json=chat(tag, "nobody/nothing")).status_code == 404
        assert client.post(CHAT, content=b"{").status_code == 400
        client.post(EMBEDDINGS, json={"model": "mock/embedding", "input": tag})


@pytest.fixture(scope="module")
def world(shared_gateway: Gateway) -> dict[str, Any]:
    """A gateway with the calls of two users, who have a key each, Anna two of them."""
    shared_gateway.configure(routing={"max_retries": 0})
    keys = {name: make_key(shared_gateway, f"{name}@example.org") for name in ("anna", "bert")}
    call_everything(shared_gateway, keys["anna"], CANARY)
    call_everything(shared_gateway, make_key(shared_gateway, "anna@example.org"), CANARY)
    call_everything(shared_gateway, keys["bert"], "of-bert")
    shared_gateway.flush()
    users = {row["email"].partition("@")[0]: row["id"] for row in query(shared_gateway, "SELECT id, email FROM users")}
    return {"gateway": shared_gateway, "keys": {**keys, "admin": shared_gateway.admin_key}, "users": users}


def ask(world: dict[str, Any], who: str, report: str, **parameters: object) -> httpx.Response:
    with world["gateway"].client(headers={"authorization": f"Bearer {world['keys'][who]}"}) as client:
        return client.get(f"/v1/analytics/{report}", params=parameters)


def get(world: dict[str, Any], who: str, report: str, **parameters: object) -> dict[str, Any]:
    reply = ask(world, who, report, **parameters)
    assert reply.status_code == 200, reply.text
    return reply.json(parse_float=Decimal)


def plain(world: dict[str, Any], who: str) -> dict[str, Any]:
    return query(world["gateway"], PLAIN, None if who == "admin" else world["users"][who])[0]


@pytest.mark.parametrize("who", ["anna", "bert"])
def test_usage_and_costs_are_those_of_the_calls(world, who):
    """What a user is told are the sums of the calls with all of their keys, tokens of all classes together."""
    expected = plain(world, who)
    usage, costs, savings = (get(world, who, report) for report in ("usage", "costs", "optimizations"))
    for name in ("total_requests", "input_tokens", "output_tokens", "total_cost", "failed_requests", "cache_hits"):
        assert usage[name] == expected[name] > 0, name
    assert usage["requests_without_cost"] == costs["requests_without_cost"] == expected["requests_without_cost"] > 0
    assert (costs["total_cost"], costs["saved_cost"]) == (expected["total_cost"], expected["saved_cost"])
    assert (savings["cache_hits"], savings["saved_cost"]) == (expected["cache_hits"], expected["saved_cost"])
    assert savings["saved_cost"] > 0
    assert usage["successful_requests"] + usage["failed_requests"] == usage["total_requests"]
    assert [len(usage["usage"]), usage["total"], usage["next"]] == [1, 1, None]


def test_administrators_see_everybody(world):
    """With an administrator's key everything counts, refused strangers included; a filter narrows it."""
    everything = query(world["gateway"], "SELECT count(*) AS n FROM requests")[0]["n"]
    assert get(world, "admin", "usage")["total_requests"] == everything
    assert get(world, "admin", "requests", limit=1)["total"] == everything
    for name in ("anna", "bert"):
        found = get(world, "admin", "usage", user_id=str(world["users"][name]))
        assert found["total_requests"] == plain(world, name)["total_requests"]
    by_user = {row["user_id"]: row["total_requests"] for row in get(world, "admin", "usage", group_by="user")["usage"]}
    assert by_user[str(world["users"]["anna"])] == 2 * by_user[str(world["users"]["bert"])]


@pytest.mark.parametrize(
    "groups", ["provider,model", "endpoint,status", "cache_status,cache_scope", "api_key", "hour", "day,user"]
)
def test_groups_add_up_to_the_whole(world, groups):
    """The groups of a report are its total, divided."""
    for report in ("usage", "costs", "optimizations"):
        answer = get(world, "anna", report, group_by=groups)
        assert sum(row["total_requests"] for row in answer[report]) == answer["total_requests"]
        assert answer["total"] == len(answer[report])
        assert sum(row.get("total_cost") or 0 for row in answer[report]) == answer.get("total_cost", 0)


def test_only_what_is_grouped_by_is_shown(world):
    """A row has the fields it was grouped by, null where they are not known, and no others."""
    row = get(world, "anna", "usage", group_by="provider,status", bucket="day")["usage"][0]
    assert {"provider", "status_code", "bucket"} <= set(row)
    assert not {"model", "user_id", "api_key_id", "tag", "endpoint", "cache_status", "cache_scope"} & set(row)
    assert row["bucket"].endswith("T00:00:00Z")
    providers = [row["provider"] for row in get(world, "anna", "usage", group_by="provider")["usage"]]
    assert providers == ["mock", None]


def test_tags(world):
    """A call with two tags is in both groups, and in the total once."""
    answer = get(world, "anna", "usage", group_by="tag")
    assert {row["tag"]: row["total_requests"] for row in answer["usage"]} == {
        CANARY: answer["total_requests"],
        "shared": answer["total_requests"],
    }


def test_classes_are_the_cost(world):
    """The token classes of the ledger add up to what the calls cost, in all and in each group."""
    answer = get(world, "anna", "costs", detail="classes", group_by="model")
    for numbers in (answer, *(row for row in answer["costs"] if row["total_cost"])):
        assert sum(entry["cost"] for entry in numbers["classes"]) == numbers["total_cost"] > 0
    assert {"input_tokens", "output_tokens"} <= {entry["token_class"] for entry in answer["classes"]}


def test_calls_are_listed_as_they_are_recorded(world):
    """The list has the columns of the record under their names, newest first, and the key of the own cache entries."""
    answer = get(world, "anna", "requests", limit=1000)
    rows = query(
        world["gateway"],
        "SELECT * FROM requests WHERE user_id = %s ORDER BY request_time DESC, id DESC",
        world["users"]["anna"],
    )
    assert answer["total"] == len(answer["requests"]) == len(rows)
    for shown, row in zip(answer["requests"], rows, strict=True):
        assert set(NAMES) <= set(shown)
        for name in ("request_id", "provider", "model", "input_tokens", "estimated_cost", "status_code", "error_type"):
            assert shown[name] == row[name], name
        assert shown["cache_key"] == (row["cache_key"].hex() if row["cache_key"] else None)
        assert shown["cache_scope"] == (f"user:{world['users']['anna']}" if row["cache_key"] else None)
        assert (shown["tags"], shown["metadata"]) == ([CANARY, "shared"], {"by": "test"})
        assert shown["request_time"].endswith("Z")
    assert any(shown["cache_key"] for shown in answer["requests"])
    assert None in {shown["estimated_cost"] for shown in answer["requests"]}


def test_cache_keys_of_others_stay_hidden(world):
    """An administrator sees the calls of others, but not the keys of their cache entries."""
    found = get(world, "admin", "requests", user_id=str(world["users"]["anna"]), limit=1000)
    assert {row["cache_key"] for row in found["requests"]} == {None}


ATTEMPTS = [
    {},
    {"tag": CANARY},
    {"group_by": "tag"},
    {"group_by": "user,api_key,provider,model,team,organization,endpoint,cache_status,status,tag,cache_scope,hour"},
    {"api_key_id": "of anna"},
    {"status": "4xx", "model": "echo"},
    {"start": "2020-01-01", "end": "2020-12-31"},
]


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("parameters", ATTEMPTS)
def test_one_user_never_sees_another(world, report, parameters):
    """Whatever filter or group somebody sends, nothing of another user's calls is in the answer."""
    anna = str(world["users"]["anna"])
    keys = [str(row["id"]) for row in query(world["gateway"], "SELECT id FROM api_keys WHERE user_id = %s", anna)]
    if report == "requests" and "group_by" in parameters:
        return
    if "api_key_id" in parameters:
        parameters = {"api_key_id": keys[0]}
    reply = ask(world, "bert", report, **parameters)
    assert reply.status_code == 200
    ids = [
        row["request_id"] for row in query(world["gateway"], "SELECT request_id FROM requests WHERE user_id = %s", anna)
    ]
    assert not [secret for secret in (CANARY, anna, *keys, *ids) if secret in reply.text]
    answer = reply.json()
    if report != "requests":
        assert answer["total_requests"] <= plain(world, "bert")["total_requests"]
    if {"tag", "api_key_id"} & set(parameters):
        assert answer.get("total_requests", answer["total"]) == 0


@pytest.mark.parametrize("report", REPORTS)
def test_asking_for_somebody_else(world, report):
    """A user who asks for another one's calls gets a 403 that says so, and may name themselves."""
    reply = ask(world, "bert", report, user_id=str(world["users"]["anna"]))
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_yours")
    assert ask(world, "bert", report, user_id=str(world["users"]["bert"])).status_code == 200


@pytest.mark.parametrize("report", REPORTS)
def test_a_cursor_of_somebody_else(world, report):
    """Another user's cursor is a 400: it gives nothing of theirs."""
    groups = {} if report == "requests" else {"group_by": "status"}
    cursor = get(world, "anna", report, limit=1, **groups)["next"]
    reply = ask(world, "bert", report, limit=1, cursor=cursor, **groups)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "cursor")
    assert ask(world, "anna", report, limit=1, cursor=cursor, **groups).status_code == 200


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("colour", "red"), ("limit", "0"), ("start", "soon"), ("user_id", "me"), ("status", "9xx"), ("cursor", "x")],
)
def test_bad_parameters_over_http(world, report, name, value):
    """A bad or unknown parameter is a 400 in OpenAI's shape that names it."""
    reply = ask(world, "anna", report, **{name: value})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == name
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize(
    "raw", ["provider=%00", "model=%ff%fe", "tag=%ED%A0%80", "start=%2B", "a=1&a=2", "limit=1&limit=2"]
)
def test_odd_bytes_are_never_a_failure(world, report, raw):
    """Nothing in a query string makes a 500."""
    with world["gateway"].client() as client:
        assert client.get(f"/v1/analytics/{report}?{raw}").status_code in {200, 400}


@pytest.mark.parametrize("report", REPORTS)
def test_strangers_are_turned_away(world, report):
    """Without a key there is a 401."""
    with world["gateway"].client(headers={"authorization": "Bearer rk-wrong"}) as client:
        assert client.get(f"/v1/analytics/{report}").status_code == 401


def test_a_report_that_takes_too_long(world):
    """When the database gives up on a report, the answer says what to do about it."""
    with psycopg.connect(world["gateway"].database_url) as connection:
        connection.execute("LOCK TABLE usage_hourly")  # so that it waits until the time limit of statements
        reply = ask(world, "anna", "usage")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "range_too_large")
    assert ask(world, "anna", "usage").status_code == 200
