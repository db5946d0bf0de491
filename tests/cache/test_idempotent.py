"""One call for an Idempotency-Key, over processes, whatever becomes of them."""

import asyncio
import uuid
from contextlib import asynccontextmanager

import psycopg
import pytest

from app.cache import idempotent
from app.cache.idempotent import MAX_KEPT_BYTES, IdempotentCalls, Replay
from app.cache.idempotent_store import Started, delete_expired_calls
from app.errors import RelayError

pytestmark = pytest.mark.anyio

SCOPE, OTHERS = b"tenant-one", b"tenant-two"
HEADERS = [(b"content-type", b"application/json"), (b"x-relay-model", b"echo")]
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1"


async def run(url, statement, *values):
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def process(url, *, alive=True):
    """A process with its own connections, and a lease that holds or has run out."""
    process_id = uuid.uuid4()
    lease = "INSERT INTO processes (id, lease_until) VALUES (%s, now() + make_interval(secs => %s))"
    await run(url, lease, process_id, 60 if alive else -1)
    calls = IdempotentCalls(url, process_id)
    try:
        yield calls
    finally:
        await calls.close()


async def begin(calls, key="key-1", body=b"body", scope=SCOPE, request_id="req-1"):
    return await calls.begin(scope, key, body, request_id)


async def refused(calls, **how):
    with pytest.raises(RelayError) as caught:
        await begin(calls, **how)
    return caught.value


async def test_the_answer_comes_again(database_url):
    """The same key and body give the first call's status, headers, body and request id, on every process."""
    async with process(database_url) as one, process(database_url) as other:
        started = await begin(one)
        assert isinstance(started, Started)
        await one.finish(started, 418, HEADERS, b"\x00answer\xff")
        for calls in (one, other):
            found = await begin(calls, request_id="req-2")
            assert found == Replay(status=418, headers=HEADERS, body=b"\x00answer\xff", request_id="req-1")


async def test_another_body_is_refused(database_url):
    """A key that was used for another request is a 422, while the call runs and when it is over."""
    async with process(database_url) as one, process(database_url) as other:
        started = await begin(one)
        for _ in range(2):
            error = await refused(other, body=b"another")
            assert (error.status, error.code) == (422, "idempotency_key_reused")
            await one.finish(started, 200, HEADERS, b"{}")


async def test_a_call_under_way_is_a_conflict(database_url):
    """Until the first call is over its repetition is a 409 that is worth another try."""
    async with process(database_url) as one, process(database_url) as other:
        await begin(one)
        for calls in (one, other):
            error = await refused(calls)
            assert (error.status, error.code) == (409, "idempotency_in_flight")
            assert (b"retry-after", b"1") in error.headers


async def test_of_many_at_once_one_is_made(database_url):
    """Twenty at once over two processes: exactly one may be made, all others learn that it is."""
    async with process(database_url) as one, process(database_url) as other:
        outcomes = await asyncio.gather(
            *(begin(calls) for calls in (one, other) for _ in range(10)), return_exceptions=True
        )
        assert sum(isinstance(outcome, Started) for outcome in outcomes) == 1
        refusals = [outcome.code for outcome in outcomes if isinstance(outcome, RelayError)]
        assert refusals == ["idempotency_in_flight"] * 19


async def test_many_repetitions_at_once_are_all_answered(database_url):
    """Repetitions of a call that is over do not stand in each other's way."""
    async with process(database_url) as one, process(database_url) as other:
        await one.finish(await begin(one), 200, HEADERS, b"{}")
        outcomes = await asyncio.gather(*(begin(calls) for calls in (one, other) for _ in range(10)))
        assert all(isinstance(outcome, Replay) for outcome in outcomes)


async def test_keys_belong_to_their_caller(database_url):
    """Another caller's same key is another key."""
    async with process(database_url) as calls:
        await calls.finish(await begin(calls), 200, HEADERS, b"mine")
        assert isinstance(await begin(calls, scope=OTHERS), Started)
        assert isinstance(await begin(calls, key="key-2"), Started)


async def test_an_abandoned_key_is_free(database_url):
    """A call that was not made leaves its key to the next, with another body as well."""
    async with process(database_url) as calls:
        await calls.abandon(await begin(calls))
        assert isinstance(await begin(calls, body=b"another"), Started)


async def test_an_unknown_outcome_is_said(database_url):
    """A call of which nobody knows what it came to is never made again under its key, and the client is told so."""
    async with process(database_url) as calls:
        await calls.lose(await begin(calls))
        error = await refused(calls, request_id="req-2")
        assert (error.status, error.code) == (409, "idempotency_outcome_unknown")
        assert "may have been made" in error.message
        assert "req-1" in error.message
        assert (b"x-should-retry", b"false") in error.headers


async def test_a_dead_process_leaves_an_unknown_outcome(database_url):
    """A call whose process let its lease run out counts as unknown; should it live after all, its answer stands."""
    async with process(database_url, alive=False) as dead, process(database_url) as other:
        started = await begin(dead)
        assert (await refused(other)).code == "idempotency_outcome_unknown"
        assert (await refused(dead)).code == "idempotency_in_flight"
        assert (await refused(other, body=b"another")).status == 422
        await dead.finish(started, 200, HEADERS, b"late")
        assert (await begin(other)).body == b"late"


@pytest.mark.parametrize("body", [bytes(MAX_KEPT_BYTES + 1), None], ids=["large", "let go"])
async def test_a_large_answer_is_not_kept(database_url, body):
    """An answer over the bound is not kept, and its repetition neither answered nor made."""
    async with process(database_url) as calls:
        await calls.finish(await begin(calls), 200, HEADERS, body)
        error = await refused(calls)
        assert (error.status, error.code) == (409, "idempotency_answer_not_kept")
        assert await run(database_url, "SELECT body FROM idempotent_calls") == [(b"",)]


async def test_an_answer_at_the_bound_is_kept(database_url):
    """Up to the bound an answer comes back whole."""
    async with process(database_url) as calls:
        await calls.finish(await begin(calls), 200, HEADERS, bytes(MAX_KEPT_BYTES))
        assert len((await begin(calls)).body) == MAX_KEPT_BYTES


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "a\x7f", "ä", "\x00"], ids=repr)
async def test_a_key_must_be_one(database_url, key):
    """A key that is too long or not printable ASCII is a 400 naming the header."""
    async with process(database_url) as calls:
        error = await refused(calls, key=key)
        assert (error.status, error.param) == (400, "Idempotency-Key")
        assert isinstance(await begin(calls, key="x" * 255), Started)


async def test_keys_expire_after_a_day(database_url):
    """A key is kept for 24 hours; then it is new again, and its row goes."""
    async with process(database_url) as calls:
        for key in ("key-1", "key-2", "key-3"):
            await calls.finish(await begin(calls, key=key), 200, HEADERS, b"{}")
        kept = "SELECT expires_at - created_at = interval '24 hours' FROM idempotent_calls"
        assert await run(database_url, kept) == [(True,)] * 3
        await run(database_url, "UPDATE idempotent_calls SET expires_at = now()")
        assert isinstance(await begin(calls, body=b"another"), Started)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            assert [await delete_expired_calls(connection, 1) for _ in range(3)] == [1, 1, 0]
        assert (await refused(calls)).status == 422


async def test_without_the_database_no_call_is_made():
    """When nobody can tell whether a key was used, the call is refused with a 503 that is worth another try."""
    calls = IdempotentCalls(NOWHERE, uuid.uuid4())
    try:
        error = await refused(calls)
        assert (error.status, error.code) == (503, "gateway_unavailable")
        assert (b"retry-after", b"1") in error.headers
    finally:
        await calls.close()


async def test_an_ending_is_saved_when_the_database_is_back(database_url):
    """An answer that could not be kept at once is kept as soon as it can be."""
    async with process(database_url) as calls:
        started = await begin(calls)
        async with await psycopg.AsyncConnection.connect(database_url) as blocker:
            await blocker.execute("LOCK idempotent_calls IN ACCESS EXCLUSIVE MODE")
            await calls.finish(started, 200, HEADERS, b"late")
        for _ in range(100):
            try:
                found = await begin(calls)
                break
            except RelayError:
                await asyncio.sleep(0.1)
        assert isinstance(found, Replay)


async def test_closing_saves_what_waits(database_url):
    """A process that stops saves the endings it still has."""
    async with process(database_url) as calls:
        started = await begin(calls)
        async with await psycopg.AsyncConnection.connect(database_url) as blocker:
            await blocker.execute("LOCK idempotent_calls IN ACCESS EXCLUSIVE MODE")
            await calls.finish(started, 200, HEADERS, b"late")
        await asyncio.sleep(0.3)  # a late query leaves the connection alone for a moment
    async with process(database_url) as other:
        assert (await begin(other)).body == b"late"


async def test_a_key_that_could_not_be_checked_is_free_again(database_url):
    """A call refused because the database was slow did not take its key, though the database noted it later."""
    async with process(database_url) as calls:
        assert isinstance(await begin(calls, key="warm"), Started)
        async with await psycopg.AsyncConnection.connect(database_url) as blocker:
            await blocker.execute("LOCK idempotent_calls IN ACCESS EXCLUSIVE MODE")
            assert (await refused(calls)).status == 503
        await asyncio.sleep(0.5)
        assert isinstance(await begin(calls, body=b"another"), Started)
        await asyncio.sleep(1.5)
        assert (await refused(calls, body=b"another")).code == "idempotency_in_flight"


async def test_a_key_that_was_noted_after_a_long_outage_is_free_again(database_url, monkeypatch):
    """However long the database was away: a call that it notes late and nobody makes does not keep its key."""
    monkeypatch.setattr(idempotent, "LOST_SECONDS", 0.5)
    monkeypatch.setattr(idempotent, "AGAIN_SECONDS", 0.1)
    async with process(database_url) as calls:
        for connection in (calls._begins, calls._ends):
            connection._url = NOWHERE
        assert (await refused(calls)).status == 503
        await asyncio.sleep(1.0)
        (lost,) = calls._lost.values()
        statement = (
            "INSERT INTO idempotent_calls "
            "(scope, key_hash, body_hash, state, process_id, token, request_id, expires_at) "
            "VALUES (%s, %s, '', 'running', %s, %s, 'req-1', now() + interval '1 day')"
        )
        one = lost.started
        await run(database_url, statement, one.scope, one.key_hash, calls._process_id, one.token)
        for connection in (calls._begins, calls._ends):
            connection._url = database_url
        for _ in range(50):
            if not calls._lost:
                break
            await asyncio.sleep(0.1)
        assert await run(database_url, "SELECT state FROM idempotent_calls") == []
