"""Decisions and verdicts on their way to Postgres, and the sums of evidence, against plain SQL."""

import asyncio
import random
import time
from uuid import UUID

import msgspec
import psycopg
import pytest

from app.db.engine import open_blocking_engine
from app.semantic import log as log_module
from app.semantic.evidence import WINDOW
from app.semantic.log import DecisionLog, write
from app.semantic.reports import find_reported, report_wrong
from app.semantic.store import sum_evidence
from tests.semantic.samples import NAMESPACE, POLICY, USER, make_decision, make_verdict, query

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
EVIDENCE = "SELECT namespace, policy, tier, checked, wrong FROM semantic_evidence ORDER BY 1, 2, 3"
SUMS = """
SELECT namespace, policy, tier, checked, wrong, recent_checked, recent_wrong, newest_wrong FROM semantic_evidence
ORDER BY 1, 2, 3
"""
PLAINLY = """
SELECT n.namespace, n.policy, t.tier, count(d.tier), count(*) FILTER (WHERE d.verdict IN ('different', 'reported')),
    count(*) FILTER (WHERE d.place <= 500),
    count(*) FILTER (WHERE d.place <= 500 AND d.verdict IN ('different', 'reported')),
    count(*) FILTER (WHERE d.place <= 50 AND d.verdict IN ('different', 'reported'))
FROM (SELECT DISTINCT namespace, policy FROM semantic_decisions WHERE verdict IS NOT NULL) AS n
CROSS JOIN generate_series(0, 2) AS t (tier)
LEFT JOIN (
    SELECT *, row_number() OVER (PARTITION BY namespace, policy, tier ORDER BY judged_at DESC) AS place
    FROM semantic_decisions WHERE verdict IS NOT NULL
) AS d ON d.namespace = n.namespace AND d.policy = n.policy AND d.tier = t.tier AND d.place <= %s
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


@pytest.fixture
async def log(database_url):
    opened = DecisionLog(database_url)
    opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


async def wait_for(database_url, statement, expected):
    async with asyncio.timeout(10):
        while (seen := query(database_url, statement)) != expected:
            await asyncio.sleep(0.02)
    return seen


async def settle(log):
    async with asyncio.timeout(10):
        while log._decisions or log._verdicts:
            await asyncio.sleep(0.02)


async def test_a_decision_lands_as_it_was_made(log, database_url):
    """Every field of a decision is in the table a moment later; it has no verdict and is no evidence."""
    one = make_decision(tier=2, namespace="namespace:help", request_id="r", entry_key=b"k" * 32, probability=0.5)
    log.note(one)
    await wait_for(database_url, "SELECT count(*) FROM semantic_decisions", [(1,)])
    columns = "id, namespace, policy, tier, user_id, request_id, entry_key, similarity, probability, served, verdict"
    [line] = query(
        database_url, f"SELECT {columns}, judged_at, now() - decided_at < interval '1 minute' FROM semantic_decisions"
    )
    assert line == (
        one.id, "namespace:help", POLICY, 2, USER, "r", b"k" * 32, pytest.approx(0.97), 0.5, True, None, None, True,
    )  # fmt: skip
    assert query(database_url, EVIDENCE) == []


@pytest.mark.parametrize("apart", [False, True])
async def test_a_verdict_finds_its_decision(log, database_url, apart):
    """A verdict lands on its decision, whether it comes with the same batch or long after, and is evidence at once."""
    one, other = make_decision(tier=1), make_decision(tier=1)
    log.note(one)
    log.note(other)
    if apart:
        await settle(log)
    log.judge(make_verdict(one, "different"))
    log.judge(make_verdict(other, "same"))
    await wait_for(
        database_url,
        EVIDENCE,
        [(NAMESPACE, POLICY, 0, 0, 0), (NAMESPACE, POLICY, 1, 2, 1), (NAMESPACE, POLICY, 2, 0, 0)],
    )
    lines = query(database_url, "SELECT id, verdict, judged_at IS NOT NULL FROM semantic_decisions")
    assert set(lines) == {(one.id, "different", True), (other.id, "same", True)}


async def test_a_decision_that_comes_with_its_verdict(log, database_url):
    """What was compared before it was written is one row and one piece of evidence."""
    log.note(make_decision(tier=0, served=False, verdict="same"))
    log.note(make_decision(tier=2, served=False, verdict="different"))
    await wait_for(
        database_url,
        EVIDENCE,
        [(NAMESPACE, POLICY, 0, 1, 0), (NAMESPACE, POLICY, 1, 0, 0), (NAMESPACE, POLICY, 2, 1, 1)],
    )


async def test_a_verdict_counts_once(log, database_url):
    """The first verdict on a decision stays; another one, and one on no decision at all, change nothing."""
    one = make_decision(tier=0)
    log.note(one)
    log.judge(make_verdict(one, "same"))
    log.judge(make_verdict(make_decision(), "different"))
    await settle(log)
    log.judge(make_verdict(one, "different"))
    await settle(log)
    assert query(database_url, "SELECT verdict FROM semantic_decisions") == [("same",)]
    assert query(database_url, EVIDENCE)[0] == (NAMESPACE, POLICY, 0, 1, 0)


async def test_the_sums_are_those_of_plain_sql(database_url, database):
    """Over namespaces, policies and tiers, with more verdicts than count, the sums are what plain SQL counts."""
    chance, span = random.Random(3), 250
    names = [(f"n{number}", f"p{number % 2}") for number in range(3)]
    for _ in range(24):
        batch = []
        for _ in range(150):
            namespace, policy = chance.choice(names)
            verdict = chance.choice([None, "same", "same", "same", "different"])
            batch.append(make_decision(namespace=namespace, policy=policy, tier=chance.randrange(3), verdict=verdict))
        later = [make_verdict(one, chance.choice(["same", "different"])) for one in batch if one.verdict is None]
        await write(database, batch, chance.sample(later, 10))
        await spread_times(database)
        await sum_evidence(database, names, span)
        assert query(database_url, SUMS) == query(database_url, PLAINLY, span)
    assert {line[3] for line in query(database_url, SUMS)} == {span}


async def spread_times(database):
    """Have no two verdicts of the same moment, among which it would be anybody's guess which ones are the newest."""
    await database.execute(
        "UPDATE semantic_decisions d SET judged_at = judged_at + n.place * interval '1 microsecond' FROM ("
        "SELECT id, row_number() OVER (PARTITION BY judged_at ORDER BY id) AS place FROM semantic_decisions"
        ") AS n WHERE n.id = d.id AND judged_at IS NOT NULL"
    )


async def test_only_the_newest_count(database_url, database, monkeypatch):
    """A tier's evidence is its newest verdicts: old ones leave as new ones of the same tier come, and of no other."""
    monkeypatch.setattr(log_module, "WINDOW", 40)
    await write(database, [make_decision(tier=2, verdict="different") for _ in range(60)], [])
    assert query(database_url, EVIDENCE)[2] == (NAMESPACE, POLICY, 2, 40, 40)
    await write(database, [make_decision(tier=0, verdict="same") for _ in range(39)], [])
    assert [line[3:] for line in query(database_url, EVIDENCE)] == [(39, 0), (0, 0), (40, 40)]
    await write(database, [make_decision(tier=2, verdict="same") for _ in range(30)], [])
    assert [line[3:] for line in query(database_url, EVIDENCE)] == [(39, 0), (0, 0), (40, 10)]


@pytest.mark.parametrize("first", ["check", "report"])
async def test_a_report_stays(log, database_url, first):
    """What a client reported as wrong is wrong, whether a check said otherwise before or says so afterwards."""
    one = make_decision(tier=0, request_id="reported")
    log.note(one)
    await settle(log)
    engine = open_blocking_engine(database_url)
    for turn in ("check", "report") if first == "check" else ("report", "check"):
        if turn == "check":
            log.judge(make_verdict(one, "same"))
            await settle(log)
        else:
            with engine.begin() as connection:
                found = find_reported(connection, "reported", USER)
                assert found is not None
                assert (found.id, found.entry_key) == (one.id, one.entry_key)
                report_wrong(connection, found)
    engine.dispose()
    assert query(database_url, "SELECT verdict FROM semantic_decisions") == [("reported",)]
    assert query(database_url, EVIDENCE)[0] == (NAMESPACE, POLICY, 0, 1, 1)


async def test_whose_answers_are_reported(log, database_url):
    """Only a served answer is reported, by the user it was served to or by whom may see all, the newest of its id."""
    older, newer, shadow = make_decision(request_id="r"), make_decision(request_id="r"), make_decision(request_id="s")
    log.note(older)
    await settle(log)
    log.note(newer)
    log.note(msgspec.structs.replace(shadow, served=False))
    await settle(log)
    engine = open_blocking_engine(database_url)
    with engine.begin() as connection:
        assert find_reported(connection, "r", UUID(int=99)) is None
        assert find_reported(connection, "s", None) is None
        assert find_reported(connection, "", None) is None
        assert find_reported(connection, "r", None).id == find_reported(connection, "r", USER).id == newer.id
        for _ in range(2):
            report_wrong(connection, find_reported(connection, "r", None))
    engine.dispose()
    assert query(database_url, EVIDENCE)[1] == (NAMESPACE, POLICY, 1, 1, 1)


async def test_the_database_comes_back(database_url, monkeypatch):
    """While the database is away nothing is lost and nobody waits; what was decided lands once it is back."""
    monkeypatch.setattr(log_module, "AGAIN_SECONDS", 0.05)
    log = DecisionLog(NOWHERE)
    log.start()
    decisions = [make_decision(tier=1) for _ in range(20)]
    began = time.monotonic()
    for one in decisions:
        log.note(one)
        log.judge(make_verdict(one))
    assert time.monotonic() - began < 0.5
    await asyncio.sleep(0.3)
    assert len(log._decisions) == 20
    log._connection._url = database_url
    await settle(log)
    await log.close()
    assert query(database_url, EVIDENCE)[1] == (NAMESPACE, POLICY, 1, 20, 0)


async def test_closing_without_a_database():
    """A process ends without its database, and soon."""
    log = DecisionLog(NOWHERE)
    log.start()
    log.note(make_decision())
    began = time.monotonic()
    await log.close()
    assert time.monotonic() - began < 2


async def test_what_waits_is_bounded(monkeypatch):
    """Of more than there is room for, what is new is dropped."""
    monkeypatch.setattr(log_module, "MAX_WAITING", 10)
    log = DecisionLog(NOWHERE)
    decisions = [make_decision() for _ in range(15)]
    for one in decisions:
        log.note(one)
        log.judge(make_verdict(one))
    assert list(log._decisions) == [one.id for one in decisions[:10]]
    assert len(log._verdicts) == 10
    await log.close()


async def test_more_than_a_batch(log, database_url):
    """More decisions than fit into a batch all land, and the verdicts on them after them."""
    decisions = [make_decision(tier=1) for _ in range(log_module.MAX_BATCH * 2 + 100)]
    for one in decisions:
        log.note(one)
    for one in decisions[-50:]:
        log.judge(make_verdict(one, "different"))
    await settle(log)
    assert query(database_url, "SELECT count(*), count(verdict) FROM semantic_decisions") == [(len(decisions), 50)]
    assert query(database_url, EVIDENCE)[1] == (NAMESPACE, POLICY, 1, 50, 50)


async def test_what_postgres_refuses_holds_nothing_up(log, database_url):
    """A decision that cannot be stored is not tried for ever."""
    log.note(make_decision(request_id="a\0b"))
    await settle(log)
    log.note(make_decision())
    await wait_for(database_url, "SELECT count(*) FROM semantic_decisions", [(1,)])


async def test_two_processes_judge_at_once(database_url):
    """Two processes that judge the same namespaces at the same time leave sums that hold all verdicts of both."""
    logs = [DecisionLog(database_url), DecisionLog(database_url)]
    for _ in range(25):
        for log in logs:
            for number in range(4):
                log.note(make_decision(namespace=f"n{number % 2}", tier=number % 3, verdict="different"))
        await asyncio.gather(*(log._write_some() for log in logs))
        assert [line[:5] for line in query(database_url, PLAINLY, WINDOW)] == query(database_url, EVIDENCE)
    for log in logs:
        await log.close()
    assert query(database_url, "SELECT count(*) FROM semantic_decisions") == [(25 * 2 * 4,)]


async def test_flushing_while_it_is_written(log, database_url, database):
    """A flush that comes while a batch is on its way writes what came since, and loses none of it."""
    async with database.transaction():
        await database.execute("LOCK TABLE semantic_decisions IN SHARE MODE")
        log.note(make_decision())
        async with asyncio.timeout(10):
            while not query(database_url, "SELECT 1 FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
        log.note(make_decision())
        flushing = asyncio.create_task(log.flush())
        await asyncio.sleep(0.05)
    await flushing
    assert query(database_url, "SELECT count(*) FROM semantic_decisions") == [(2,)]


async def test_what_was_written_already(log, database_url, database):
    """A batch that is tried again after it had landed all the same costs nothing of what came to it since."""
    one, other = make_decision(), make_decision()
    await write(database, [one], [])
    log.note(one)
    log.note(other)
    log.judge(make_verdict(one))
    await settle(log)
    assert query(database_url, "SELECT count(*), count(verdict) FROM semantic_decisions") == [(2, 1)]
