"""Limits in one process: what the database decides, and how it is asked."""

import asyncio
import json
import time
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.access.limit_clock import Reading
from app.access.limit_store import CLOCK_IS_LATE, sweep_limits
from app.access.limit_types import Admission, Asking, LimitReachedError
from app.access.limits import AGAIN_SECONDS, QUERY_SECONDS, RateLimiter
from app.access.types import Limit
from app.db.connection import RETRY_SECONDS
from app.errors import UnavailableError
from tests.access.limit_load import take_lease, wait_of

pytestmark = pytest.mark.anyio

SPAN = 60.5
ME = UUID(int=1)


class Table:
    """The SQL functions as psql would call them, and a hand on the clock: what happened can be made older."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)

    def admit(self, *asks: dict, done: dict | None = None, process: UUID = ME) -> list[dict]:
        cursor = self.connection.cursor(row_factory=psycopg.rows.dict_row)
        statement = "SELECT * FROM relaycore_admit(%s, %s::jsonb, %s::jsonb) ORDER BY ask"
        return cursor.execute(statement, (process, json.dumps(asks), json.dumps(done or {}))).fetchall()

    def finish(self, process: UUID = ME, **done: object) -> None:
        self.connection.execute("SELECT relaycore_finish_calls(%s, %s::jsonb)", (process, json.dumps(done)))

    def age(self, seconds: float) -> None:
        """Have everything happened `seconds` earlier."""
        by = timedelta(seconds=seconds)
        self.connection.execute("UPDATE rate_events SET at = at - %s", (by,))
        self.connection.execute("UPDATE rate_windows SET last_at = last_at - %s, pruned_to = pruned_to - %s", (by, by))
        self.connection.execute("UPDATE processes SET lease_until = lease_until - %s", (by,))

    def find(self, query: str, *values: object) -> list[tuple]:
        return self.connection.execute(query, values).fetchall()


@pytest.fixture
def table(database_url):
    table = Table(database_url)
    yield table
    table.connection.close()


def ask(scope: str = "key:a", *, tokens: int = 0, share: float = 1.0, **limit: int) -> dict:
    return {"limits": [{"scope": scope, **limit}], "tokens": tokens, "share": share}


def asking(scope: str = "key:a", *, tokens: int = 0, share: float = 1.0, **limit: int) -> Asking:
    return Asking(limits=(Limit(scope=scope, **limit),), tokens=tokens, share=share)


def verdicts(rows: list[dict]) -> list[bool]:
    return [row["admitted"] for row in rows]


def test_the_limit_and_not_one_more(table) -> None:
    """A batch is served in order up to the limit; the next batch finds it full."""
    assert verdicts(table.admit(*[ask(rpm=3)] * 5)) == [True, True, True, False, False]
    assert verdicts(table.admit(ask(rpm=3), ask("key:b", rpm=1))) == [False, True]


def test_an_event_leaves_exactly_after_the_window(table) -> None:
    """What was admitted counts for the whole window and the wait that is told is what is left of it."""
    table.admit(ask(rpm=1))
    table.age(SPAN - 1)
    (row,) = table.admit(ask(rpm=1))
    assert not row["admitted"]
    assert 0.5 < row["wait_seconds"] <= 1
    table.age(row["wait_seconds"])
    assert verdicts(table.admit(ask(rpm=1))) == [True]


@pytest.mark.parametrize(
    ("limit", "ages", "wanted", "seconds"),
    [
        ({"rpm": 3}, [30, 20, 10], {}, 30.5),
        ({"rpm": 1}, [30, 20, 10], {}, 50.5),
        ({"tpm": 100}, [30, 20, 10], {"tokens": 30}, 30.5),
        ({"tpm": 100}, [30, 20, 10], {"tokens": 50}, 40.5),
        ({"tpm": 100}, [30, 20, 10], {"tokens": 100}, 50.5),
        ({"rpm": 3, "tpm": 100}, [30, 20, 10], {"tokens": 50}, 40.5),
        ({"rpm": 4}, [30, 20, 10], {"share": 0.5}, 40.5),
    ],
)
def test_the_wait_is_until_enough_has_left(table, limit, ages, wanted, seconds) -> None:
    """A refusal tells when as many requests and tokens have left as the call needs, of the limit that takes longest."""
    for before, after in zip(ages, [*ages[1:], 0], strict=True):
        table.admit(ask(rpm=1000, tpm=100_000, tokens=30))
        table.age(before - after)
    (row,) = table.admit(ask(**{"tokens": 0, **wanted}, **limit))
    assert not row["admitted"]
    assert row["wait_seconds"] == pytest.approx(seconds, abs=0.5)
    table.age(row["wait_seconds"])
    assert verdicts(table.admit(ask(**{"tokens": 0, **wanted}, **limit))) == [True]


def test_a_full_batch_waits_for_itself(table) -> None:
    """What is refused because of others in its own batch waits for the whole window."""
    rows = table.admit(ask(rpm=1), ask(rpm=1), ask(tpm=50, tokens=50), ask(tpm=50, tokens=10))
    assert [row["wait_seconds"] for row in rows] == [None, SPAN, None, SPAN]


def test_each_of_a_batch_has_its_own_wait(table) -> None:
    """Calls of one batch that need more or less room wait for different events to leave."""
    for _ in range(4):
        table.admit(ask(rpm=100, tpm=1000, tokens=10))
        table.age(10)
    table.admit(ask("key:b", tpm=1000, tokens=10))
    needy = (
        ask(rpm=4, share=0.5),
        ask(rpm=4),
        ask(tpm=40, tokens=30),
        ask("key:b", tpm=10, tokens=5),
        ask(tpm=40, tokens=9),
    )
    waits = [row["wait_seconds"] for row in table.admit(*needy)]
    assert waits == pytest.approx([40.5, 20.5, 40.5, 60.5, 20.5], abs=0.5)


@pytest.mark.parametrize("hopeless", [ask(rpm=0), ask(tpm=10, tokens=11), ask(max_parallel=0)])
def test_what_no_waiting_helps(table, hopeless) -> None:
    """A call that could never be admitted has to wait for ever, and is told so."""
    (row,) = table.admit(hopeless)
    assert row["wait_seconds"] == float("inf")


def test_all_limits_or_nothing(table) -> None:
    """A call that one of its scopes refuses is counted in none of them."""
    both = {"limits": [{"scope": "key:a", "rpm": 5}, {"scope": "user:u", "rpm": 1}]}
    rows = table.admit(both, both)
    assert verdicts(rows) == [True, False]
    assert rows[1]["refused_scope"] == "user:u"
    assert table.find("SELECT scope, requests FROM rate_windows ORDER BY scope") == [("key:a", 1), ("user:u", 1)]


def test_the_figures_are_those_of_the_tightest(table) -> None:
    """Limit, remaining and reset are of the limit with the least left, after the call itself."""
    many = {"limits": [{"scope": "key:a", "rpm": 10, "tpm": 900}, {"scope": "user:u", "rpm": 3}], "tokens": 100}
    first, second = table.admit(many, many)
    assert (first["limit_requests"], first["remaining_requests"]) == (3, 2)
    assert (second["limit_requests"], second["remaining_requests"]) == (3, 1)
    assert (second["limit_tokens"], second["remaining_tokens"]) == (900, 700)
    assert second["reset_requests_seconds"] == second["reset_tokens_seconds"] == SPAN


def test_one_event_for_a_scope_and_batch(table) -> None:
    """However many calls a batch admits, a scope gets one event of them."""
    rows = table.admit(*[ask(rpm=100, tpm=1000, tokens=5)] * 10)
    assert table.find("SELECT id, requests, tokens FROM rate_events") == [(rows[0]["event_id"], 10, 50)]


def test_corrections_reach_the_window(table) -> None:
    """Tokens that were not used are free at once; those of an event that has left change nothing."""
    (row,) = table.admit(ask(tpm=100, tokens=100))
    event = str(row["event_id"])
    table.finish(tokens=[["key:a", event, -60]])
    assert verdicts(table.admit(ask(tpm=100, tokens=60), ask(tpm=100, tokens=1))) == [True, False]
    table.age(SPAN)
    table.admit(ask(tpm=100, tokens=0))
    table.finish(tokens=[["key:a", event, 50]])
    assert table.find("SELECT tokens FROM rate_windows") == [(0,)]


def test_finished_goes_before_asked(table) -> None:
    """In one round trip what is finished makes room for what is asked."""
    (row,) = table.admit(ask(tpm=100, max_parallel=1, tokens=100))
    done = {"tokens": [["key:a", str(row["event_id"]), -50]], "calls": {"key:a": 0}}
    assert verdicts(table.admit(ask(tpm=100, max_parallel=1, tokens=50), done=done)) == [True]


def test_parallel_calls_of_those_who_live(table, database_url) -> None:
    """Calls under way count for every process with a lease and for the asking one, and not for the dead."""
    other = UUID(int=2)
    take_lease(database_url, other, 30)
    assert verdicts(table.admit(*[ask(max_parallel=3)] * 2, process=other)) == [True, True]
    assert verdicts(table.admit(*[ask(max_parallel=3)] * 2)) == [True, False]
    table.age(31)
    assert verdicts(table.admit(*[ask(max_parallel=3)] * 3)) == [True, True, False]


def test_batch_class_fills_its_part_only(table) -> None:
    """With a share of 0.8 a call finds a limit of 10 full at 8, and a limit of 1 not at all smaller."""
    part = ask(rpm=10, share=0.8)
    assert verdicts(table.admit(*[part] * 9)) == [True] * 8 + [False]
    assert verdicts(table.admit(ask(rpm=10), ask(rpm=10), ask(rpm=10))) == [True, True, False]
    assert verdicts(table.admit(ask("key:one", max_parallel=1, share=0.8))) == [True]


def test_what_is_unlimited_stays_so_for_batch(table) -> None:
    """A limit that is not set is none, whatever the share."""
    assert verdicts(table.admit(*[ask(rpm=100, share=0.5, tokens=10**6)] * 3)) == [True] * 3


def test_the_clock_going_back_opens_nothing(table) -> None:
    """After the clock went back two hours what was admitted counts for a window from then on, and no longer."""
    table.admit(ask(rpm=1))
    table.age(-7200)
    (row,) = table.admit(ask(rpm=1))
    assert not row["admitted"]
    assert row["wait_seconds"] <= SPAN


def test_a_clock_that_is_too_late_decides_nothing(table) -> None:
    """Past the time that it can be, the function says so and leaves everything as it was."""
    with pytest.raises(psycopg.Error) as caught:
        table.find("SELECT relaycore_admit(%s, %s::jsonb, latest => clock_timestamp())", ME, json.dumps([ask(rpm=1)]))
    assert caught.value.sqlstate == CLOCK_IS_LATE
    assert table.find("SELECT FROM rate_windows") == []


def test_the_sweep_takes_what_is_over(table) -> None:
    """Scopes whose window is empty leave no row behind, others stay whole."""
    table.admit(ask("key:old", rpm=5, max_parallel=2))
    table.finish(calls={"key:old": 0})
    table.age(SPAN)
    table.admit(ask("key:new", rpm=1))
    assert table.find("SELECT relaycore_sweep_limits()") == [(3,)]
    assert table.find("SELECT scope FROM rate_windows") == [("key:new",)]
    assert verdicts(table.admit(ask("key:new", rpm=1), ask("key:old", rpm=5))) == [False, True]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("age"), st.sampled_from([5, 10, 20, 30, 55])),
        st.tuples(
            st.just("ask"),
            st.lists(st.tuples(st.integers(0, 40), st.sampled_from([1.0, 0.8, 0.5])), min_size=1, max_size=4),
        ),
        st.tuples(st.just("correct"), st.integers(0, 60)),
    ),
    max_size=12,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rpm=st.integers(1, 6), tpm=st.integers(20, 120), steps=STEPS)
def test_as_a_plain_list_of_events_would_decide(table, rpm, tpm, steps) -> None:
    """Whatever is asked, corrected and how much time passes: the decisions are those of a list that is summed up."""
    table.connection.execute("TRUNCATE rate_windows, rate_events")
    events: list[list] = []
    for step, value in steps:
        if step == "age":
            table.age(value)
            events = [[age + value, tokens, event] for age, tokens, event in events]
        elif step == "correct" and events:
            _, tokens, event = events[-1]
            table.finish(tokens=[["key:a", str(event), value - tokens]])
            events[-1][1] = value
        elif step == "ask":
            rows = table.admit(*[ask(rpm=rpm, tpm=tpm, tokens=tokens, share=share) for tokens, share in value])
            for (tokens, share), row in zip(value, rows, strict=True):
                live = [event for event in events if event[0] < SPAN]
                fits = len(live) < max(1, int(rpm * share + 1e-9)) or (share == 1 and len(live) < rpm)
                fits = fits and sum(event[1] for event in live) + tokens <= (int(tpm * share + 1e-9))
                assert row["admitted"] == fits
                if fits:
                    events.append([0, tokens, row["event_id"]])


# The limiter.


@pytest.fixture
async def limiter(database_url):
    limiter = RateLimiter(database_url, ME)
    yield limiter
    await limiter.close()


async def refuse(limiter: RateLimiter, wanted: Asking) -> LimitReachedError:
    with pytest.raises(LimitReachedError) as caught:
        await limiter.admit(wanted)
    return caught.value


async def settled(limiter: RateLimiter) -> None:
    """Wait until the limiter has told all it has to tell."""
    while limiter._timer or limiter._runner or limiter._untold or limiter._corrections:
        await asyncio.sleep(0.005)


async def test_a_refusal_says_whose_limit_and_how_long(limiter) -> None:
    """A refusal is a 429 with the wait in both headers, a sentence about the limit, and how the limits stand."""
    await limiter.admit(asking(rpm=1))
    error = await refuse(limiter, asking(rpm=1))
    headers = dict(error.headers)
    assert (error.status, error.openai_type, error.code) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert headers[b"retry-after"] == b"61"
    assert 60_000 < int(headers[b"retry-after-ms"]) <= 60_501
    assert error.message.startswith("This API key may make 1 requests a minute. Try again in ")
    assert error.standing.requests is not None
    assert error.standing.requests.remaining == 0


async def test_what_cannot_be_admitted_is_not_to_be_tried_again(limiter) -> None:
    """A call that is larger than the limit is told that waiting does not help."""
    error = await refuse(limiter, asking(tpm=10, tokens=11))
    assert dict(error.headers) == {b"x-should-retry": b"false"}
    assert "this call counts for 11. Waiting does not help." in error.message


async def test_the_full_are_refused_without_the_database(limiter, table) -> None:
    """A scope that made all its requests is refused from memory, a higher limit and other scopes are not."""
    await limiter.admit(asking(rpm=1))
    first = await refuse(limiter, asking(rpm=1))
    with table.connection.transaction():
        table.connection.execute("SELECT FROM rate_windows FOR UPDATE")
        again = await asyncio.wait_for(refuse(limiter, asking(rpm=1)), 0.5)
    assert wait_of(again) <= wait_of(first)
    assert await limiter.admit(asking(rpm=2))
    assert await limiter.admit(asking("key:b", rpm=1))


async def test_finishing_gives_tokens_and_places_back(limiter) -> None:
    """What a call did not use, and its place, are free after it is finished; a second finish changes nothing."""
    limits = {"tpm": 100, "max_parallel": 1}
    admission = await limiter.admit(asking(tokens=80, **limits))
    error = await refuse(limiter, asking(tokens=10, **limits))
    assert "may have 1 calls at a time" in error.message
    limiter.finish(admission, 20)
    limiter.finish(admission, 0)
    second = await limiter.admit(asking(tokens=80, **limits))
    limiter.finish(second, None)
    await refuse(limiter, asking(tokens=1, **limits))


async def test_a_place_that_frees_up_in_a_moment_is_taken(limiter) -> None:
    """A call that found too many under way is tried once more before it is refused."""
    admission = await limiter.admit(asking(max_parallel=1))
    asyncio.get_running_loop().call_later(0.02, limiter.finish, admission, None)
    assert await limiter.admit(asking(max_parallel=1))


async def test_a_client_that_leaves_gives_back_what_it_got(limiter, table) -> None:
    """Whoever is cancelled while the database decides gives tokens and place back; the request stays counted."""
    wanted = asking(rpm=10, tpm=100, tokens=100, max_parallel=1)
    await limiter.admit(asking("key:other", rpm=1))
    for pause in (0, 0.0005, 0.001, 0.002):
        task = asyncio.create_task(limiter.admit(wanted))
        await asyncio.sleep(pause)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(outcome, Admission):
            limiter.finish(outcome, 0)
        await settled(limiter)
    assert table.find("SELECT tokens FROM rate_windows WHERE scope = 'key:a'") in ([(0,)], [])
    assert table.find("SELECT sum(calls) FROM parallel_calls")[0][0] in (0, None)
    assert await limiter.admit(wanted)


async def test_a_client_that_leaves_in_the_last_moment(limiter, table) -> None:
    """Whoever is cancelled when the decision is there already, and not yet taken, gives it back as well."""
    leaving: list[asyncio.Task] = []

    async def go_first() -> None:
        await limiter.admit(asking("key:b", rpm=5))
        leaving[0].cancel()

    first = asyncio.create_task(go_first())
    leaving.append(asyncio.create_task(limiter.admit(asking(rpm=5, tpm=100, tokens=100, max_parallel=1))))
    await first
    with pytest.raises(asyncio.CancelledError):
        await leaving[0]
    await settled(limiter)
    assert table.find("SELECT requests, tokens FROM rate_windows WHERE scope = 'key:a'") == [(1, 0)]
    assert table.find("SELECT calls FROM parallel_calls") == [(0,)]


async def test_the_last_is_told_when_it_closes(database_url, table) -> None:
    """What was finished just before the process stops reaches the database."""
    limiter = RateLimiter(database_url, ME)
    admission = await limiter.admit(asking(tpm=100, tokens=80, max_parallel=1))
    limiter.finish(admission, 30)
    await limiter.close()
    assert table.find("SELECT tokens FROM rate_windows") == [(30,)]
    assert table.find("SELECT calls FROM parallel_calls") == [(0,)]


async def test_without_a_database_nobody_is_admitted() -> None:
    """With the database away the answer is a 503 worth another try, quickly for all who ask."""
    limiter = RateLimiter("postgresql://nobody@127.0.0.1:1/nothing", ME)
    began = time.monotonic()
    outcomes = await asyncio.gather(*(limiter.admit(asking(rpm=1)) for _ in range(300)), return_exceptions=True)
    assert time.monotonic() - began < 1
    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
    assert outcomes[0].headers == ((b"retry-after", b"1"),)
    await limiter.close()


async def test_calls_under_way_are_told_anew_after_an_outage(limiter, table) -> None:
    """When nobody knows whether a call was admitted, its place is not lost: the database is told how many there are."""
    wanted = asking(max_parallel=1)
    limiter.finish(await limiter.admit(wanted), None)
    await settled(limiter)
    with table.connection.transaction():
        table.connection.execute("SELECT FROM rate_windows FOR UPDATE")
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            await limiter.admit(wanted)
        assert time.monotonic() - began < QUERY_SECONDS + 0.5
    await asyncio.sleep(RETRY_SECONDS + AGAIN_SECONDS)
    await settled(limiter)
    assert await limiter.admit(wanted)


async def test_a_finish_that_got_lost_is_told_again(limiter, table, database_url) -> None:
    """When the connection breaks before a finished call was told, its place becomes free a little later."""
    admission = await limiter.admit(asking(max_parallel=1))
    table.find("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'relaycore limits'")
    limiter.finish(admission, None)
    await settled(limiter)
    assert table.find("SELECT calls FROM parallel_calls") == [(0,)]


async def test_calls_that_are_none_shut_nobody_out(limiter, table) -> None:
    """An admission that came too late for anybody to know of it does not hold a place for ever."""
    await limiter.admit(asking("key:b", max_parallel=1))
    table.find("INSERT INTO parallel_calls (scope, process_id, calls) VALUES ('key:a', %s, 1) RETURNING 1", ME)
    limiter.finish(await limiter.admit(asking(max_parallel=1)), 0)
    await settled(limiter)
    assert dict(table.find("SELECT scope, calls FROM parallel_calls")) == {"key:a": 0, "key:b": 1}


async def test_who_was_taken_for_dead_counts_again(limiter, table) -> None:
    """Calls that go on after others took the process for dead are counted as soon as it knows."""
    await limiter.admit(asking(max_parallel=3))
    table.find("DELETE FROM parallel_calls RETURNING 1")
    limiter.tell_anew()
    await settled(limiter)
    assert table.find("SELECT scope, calls FROM parallel_calls") == [("key:a", 1)]


@pytest.mark.parametrize("seconds", [7200, -7200], ids=["forward", "back"])
async def test_a_jump_of_the_clock_opens_nothing(limiter, table, seconds) -> None:
    """When the database's clock jumps by two hours, requests and calls under way count as if it had not."""
    take_lease(limiter._connection._url, UUID(int=2), 30)
    table.admit(ask("key:p", max_parallel=1), process=UUID(int=2))
    await limiter.admit(asking(rpm=1))
    await limiter.admit(asking("key:b", rpm=1))
    limiter._full = type(limiter._full)()
    table.age(seconds)
    last = limiter._clock.last
    limiter._clock.note(Reading(last.at - seconds, last.sent, last.received))
    for scope in ("key:a", "key:b", "key:a"):
        error = await refuse(limiter, asking(scope, rpm=1))
        assert 55 < wait_of(error) <= SPAN + 0.5
    await refuse(limiter, asking("key:p", max_parallel=1))
    (lease,) = table.find("SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 FROM processes")
    assert 20 < lease[0] < 31


async def test_the_sweep_returns_what_went(limiter, table, database_url) -> None:
    """The tidy task's call deletes and counts."""
    await limiter.admit(asking(rpm=1))
    table.age(SPAN)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        assert await sweep_limits(connection) == 2


async def test_many_share_a_round_trip(limiter, table) -> None:
    """What is asked at the same moment is decided together: few events for many calls."""
    await asyncio.gather(*(limiter.admit(asking(rpm=1000)) for _ in range(300)))
    ((requests, events),) = table.find("SELECT sum(requests), count(*) FROM rate_events")
    assert requests == 300
    assert events <= 5


async def test_other_processes_see_it_at_once(limiter, database_url) -> None:
    """Two processes share one limit."""
    other = RateLimiter(database_url, uuid4())
    await limiter.admit(asking(rpm=2))
    await other.admit(asking(rpm=2))
    await refuse(limiter, asking(rpm=2))
    await refuse(other, asking(rpm=2))
    await other.close()
