"""Calls that the gateway makes itself: real, recorded, paid for, and without a client."""

import itertools
from contextlib import contextmanager

import httpx
import msgspec
import pytest

from app.errors import Dialect
from app.gateway.inner import CHECK_TAG, EMBEDDING_TAG, InsideEmbeddings, Sink, ask_inside, build_call
from app.mock.embeddings import build_vector
from tests.gateway_process import TLS
from tests.semantic.samples import query

pytestmark = pytest.mark.anyio

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def once(shared_gateway):
    """Whatever fails is not tried again: what one call becomes is the subject."""
    shared_gateway.configure(routing={"max_retries": 0})


@pytest.fixture
def arrivals(shared_gateway):
    """What reached the provider since the test began."""
    httpx.post(f"{shared_gateway.mock_url}/mock/reset", verify=TLS).raise_for_status()
    return lambda: httpx.get(f"{shared_gateway.mock_url}/mock/stats", verify=TLS).json()["requests"]


@pytest.fixture
def make_caller(shared_gateway):
    """Make keys of new users as an administrator does, and return whom they stand for."""

    def make(**fields):
        with shared_gateway.client(headers={"authorization": f"Bearer {shared_gateway.admin_key}"}) as admin:
            user = admin.post("/admin/users", json={"email": f"inner{next(numbers)}@example.org"}).json()["id"]
            key = admin.post("/admin/api-keys", json={"user_id": user, "name": "inner", **fields}).json()["key"]
        caller = shared_gateway.parts.directory.find(key)
        assert caller is not None
        return caller

    return make


def chat(text, **fields):
    return {"model": "mock/echo", "messages": [{"role": "user", "content": text}], **fields}


def ask(gateway, caller, body, path=CHAT, tag=CHECK_TAG):
    """Ask on the gateway's own loop and wait for the row."""
    call = build_call(caller, path, msgspec.json.encode(body), gateway.parts)
    answer = gateway.run(lambda: ask_inside(call, gateway.parts, tag))
    gateway.flush()
    return answer


def rows_of(gateway, caller):
    columns = "endpoint, model, status_code, tags, cache_status, attempts, error_type, input_tokens, estimated_cost"
    lines = query(
        gateway.database_url,
        f"SELECT {columns} FROM requests WHERE user_id = %s ORDER BY request_time",
        caller.user_id,
    )
    return [dict(zip(columns.split(", "), line, strict=True)) for line in lines]


def test_a_call_is_made_and_recorded(shared_gateway, arrivals, make_caller):
    """The provider is asked once and its body returned; the row has the tag beside the key's own, and is billed."""
    caller = make_caller(tags=["team-a"])
    answer = ask(shared_gateway, caller, chat("hello inside"))
    assert answer is not None
    assert "hello inside" in msgspec.json.decode(answer)["choices"][0]["message"]["content"]
    assert arrivals() == 1
    [row] = rows_of(shared_gateway, caller)
    assert (row["endpoint"], row["status_code"], row["error_type"]) == ("chat", 200, None)
    assert row["tags"] == ["team-a", CHECK_TAG]
    assert (row["cache_status"], row["attempts"]) == ("bypass", 1)
    assert row["input_tokens"] > 0
    assert row["estimated_cost"] > 0


def test_no_cache_answers_it(shared_gateway, arrivals, make_caller):
    """The same call twice is two calls, and leaves nothing in the cache."""
    caller = make_caller()
    for _ in range(2):
        assert ask(shared_gateway, caller, chat("asked twice")) is not None
    assert arrivals() == 2
    assert query(shared_gateway.database_url, "SELECT 1 FROM cache_entries WHERE user_id = %s", caller.user_id) == []


def test_a_stream_is_read_to_its_end(shared_gateway, arrivals, make_caller):
    """A call for a stream returns all of its bytes."""
    caller = make_caller()
    answer = ask(shared_gateway, caller, chat("as a stream", stream=True))
    assert answer is not None
    assert answer.startswith(b"data: ")
    assert answer.rstrip().endswith(b"[DONE]")
    [row] = rows_of(shared_gateway, caller)
    assert row["status_code"] == 200
    assert row["estimated_cost"] > 0


def test_an_empty_budget_is_respected(shared_gateway, arrivals, make_caller):
    """Who has nothing left is not charged for what nobody asked: nothing is sent, and the row says why."""
    caller = make_caller(budget_usd=0.0000001, budget_period="day")
    assert ask(shared_gateway, caller, chat("too dear"), CHAT) is None
    assert arrivals() == 0
    [row] = rows_of(shared_gateway, caller)
    assert (row["status_code"], row["error_type"], row["attempts"]) == (402, "budget_exceeded", 0)
    assert not row["estimated_cost"]


def test_it_counts_in_the_budget(shared_gateway, arrivals, make_caller):
    """What such a call costs is spent from the budget of its caller, and nothing stays held."""
    caller = make_caller(budget_usd=10, budget_period="day")
    assert ask(shared_gateway, caller, chat("paid for")) is not None
    [row] = rows_of(shared_gateway, caller)
    counters = query(
        shared_gateway.database_url,
        "SELECT spent_usd FROM budget_counters c JOIN budgets b ON b.id = c.budget_id WHERE b.ref = %s",
        str(caller.key_id),
    )
    assert counters == [(row["estimated_cost"],)]


def test_limits_are_for_clients(shared_gateway, arrivals, make_caller):
    """A call of our own is not counted among the client's, so that no check takes a place of theirs."""
    caller = make_caller(rpm=1)
    assert [ask(shared_gateway, caller, chat(f"call {n}")) is not None for n in range(3)] == [True] * 3


@pytest.mark.parametrize(
    ("how", "stream"),
    [
        *(
            (how, stream)
            for how in (
                "status=500",
                "status=429",
                "status=400",
                "fault=drop",
                "fault=redirect",
                "fault=cut_json",
                "fault=html",
                "cut_after=1",
            )
            for stream in (False, True)
        ),
        ("error_after=1", True),
        ("end_after=1", True),
    ],
)
def test_a_failure_is_no_answer(shared_gateway, arrivals, make_caller, how, stream):
    """Whatever the provider does but answer completely: nothing is returned, nothing is raised, and there is a row."""
    caller = make_caller()
    answer = ask(shared_gateway, caller, chat(f"[[mock {how}]] hello to you all", stream=stream))
    [row] = rows_of(shared_gateway, caller)
    assert answer is None
    assert arrivals() >= 1
    assert row["tags"] == [CHECK_TAG]


@pytest.mark.parametrize("body", [chat("x") | {"model": "nowhere/none"}, chat("x") | {"model": "mock/none-of-these"}])
def test_a_model_that_is_not_there(shared_gateway, make_caller, body):
    """A call that leads nowhere, or where its key may not go, returns nothing and is recorded."""
    caller = make_caller(models=["mock/echo"])
    assert ask(shared_gateway, caller, body) is None
    [row] = rows_of(shared_gateway, caller)
    assert row["status_code"] in {403, 404}
    assert not row["estimated_cost"]


@contextmanager
def embedding(gateway):
    inside = InsideEmbeddings()
    inside.parts = gateway.parts
    yield lambda model, text: gateway.run(lambda: inside.ask(model, text))


def test_numbers_of_a_configured_model(shared_gateway, arrivals):
    """The numbers are the model's, asked for in the name of the administrator and recorded with their own tag."""
    with embedding(shared_gateway) as embed:
        found = embed("mock/embed", "some words to embed")
    assert found == pytest.approx(build_vector("some words to embed", 1536).tolist(), abs=1e-6)
    assert arrivals() == 1
    shared_gateway.flush()
    [row] = [
        row for row in rows_of(shared_gateway, shared_gateway.parts.directory.admin) if EMBEDDING_TAG in row["tags"]
    ]
    assert (row["endpoint"], row["status_code"], row["model"]) == ("embeddings", 200, "embed")


@pytest.mark.parametrize("model", ["mock/none", "nowhere/embed", "embed/"])
def test_numbers_that_cannot_be_had(shared_gateway, model):
    """A model that is not there has no numbers, and nothing is raised."""
    with embedding(shared_gateway) as embed:
        assert embed(model, "[[mock status=500]] x" if model == "mock/none" else "x") is None


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"data": []}', b'{"data": [{}]}', b'{"data": [{"embedding": "AAAA"}]}', b"<html>"]
)
def test_an_answer_without_numbers(shared_gateway, arrivals, body):
    """An answer that has no numbers where they should be is none."""
    script = {"status": 200, "headers": [["content-type", "application/json"]], "chunks": [to_base64(body)]}
    httpx.post(f"{shared_gateway.mock_url}/mock/next", json=script | {"behaviour": {}}, verify=TLS).raise_for_status()
    with embedding(shared_gateway) as embed:
        assert embed("mock/embed", "x") is None
        assert embed("mock/embed", "x") is not None


def to_base64(data):
    return msgspec.json.decode(msgspec.json.encode(data), type=str)


async def test_before_anything_is_ready():
    """Without the parts of a gateway, or before it knows its administrator, there are no numbers yet."""
    assert await InsideEmbeddings().ask("mock/embed", "x") is None


async def test_what_a_sink_keeps():
    """The client's side that is nobody keeps the status and all of the body, and does not leave."""
    sink = Sink()
    await sink.send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"a", b"", b"bc"):
        await sink.send({"type": "http.response.body", "body": part, "more_body": True})
    await sink.send({"type": "http.response.body", "more_body": False})
    assert (sink.status, sink.body) == (200, b"abc")


def test_a_call_of_our_own(shared_gateway):
    """What we ask goes the way of any call, by no cache, in the dialect of its path."""
    caller = shared_gateway.parts.directory.admin
    call = build_call(caller, EMBEDDINGS, b'{"model": "mock/embed"}', shared_gateway.parts)
    assert (call.route.endpoint.name, call.route.dialect, call.options.cache) == (
        "embeddings",
        Dialect.OPENAI,
        "bypass",
    )
    assert (call.fields.model, call.streamed, call.caller) == ("mock/embed", False, caller)
