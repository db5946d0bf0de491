"""Questions in Postgres: what is found among them, in which order, and what is never compared."""

import random

import msgspec
import psycopg
import pytest

from app.cache.clearing import Clearing
from app.cache.clearing_store import build_deletion
from app.semantic.store import (
    MAX_CANDIDATES,
    delete_old_decisions,
    find_candidates,
    find_scope,
    insert_decisions,
    read_evidence,
)
from app.semantic.types import Evidence
from tests.semantic.samples import (
    EMBEDDER,
    IDENTITY,
    NAMESPACE,
    POLICY,
    USER,
    make_answer,
    make_decision,
    make_key,
    make_likeness,
    normalize,
    store,
)

pytestmark = pytest.mark.anyio

OF = (NAMESPACE, POLICY)


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


async def fetch(database, statement, *values):
    return await (await database.execute(statement, values)).fetchall()


async def search(database, vector, identity=IDENTITY, embedder=EMBEDDER):
    """Return the questions that are found, nearest first."""
    scope = await find_scope(database, identity, embedder)
    assert scope is not None
    found, _ = await find_candidates(database, scope, make_likeness(vector).vector, len(vector), OF)
    return [candidate.question for candidate in found]


async def test_the_nearest_come_first(database):
    """The nearest of all questions are returned, nearest first, each with its cosine, its answer's key and echoes."""
    chance = random.Random(1)
    vectors = [normalize([chance.gauss(0, 1) for _ in range(16)]) for _ in range(200)]
    await store(
        database,
        [
            (make_answer(make_key(n)), make_likeness(vector, f"q{n}", echoes=(f"e{n}", "ü")))
            for n, vector in enumerate(vectors)
        ],
    )
    asked = normalize([chance.gauss(0, 1) for _ in range(16)])
    cosines = [sum(a * b for a, b in zip(asked, vector, strict=True)) for vector in vectors]
    nearest = sorted(range(200), key=lambda n: -cosines[n])[:MAX_CANDIDATES]
    scope = await find_scope(database, IDENTITY, EMBEDDER)
    found, _ = await find_candidates(database, scope, make_likeness(asked).vector, 16, OF)
    assert [(one.key, one.question, one.echoes) for one in found] == [
        (make_key(n), f"q{n}", frozenset({f"e{n}", "ü"})) for n in nearest
    ]
    assert [one.similarity for one in found] == pytest.approx([cosines[n] for n in nearest], abs=2e-3)


async def test_what_has_expired_never_comes(database):
    """A question whose answer's time is over is not found, however near it is."""
    await store(
        database,
        [
            (make_answer(make_key(1), ttl=-1), make_likeness([1, 0], "over")),
            (make_answer(make_key(2)), make_likeness([0, 1], "live")),
        ],
    )
    assert await search(database, [1, 0]) == ["live"]


@pytest.mark.parametrize("changes", [{"identity": b"j" * 32}, {"embedder": "embedder-2"}])
async def test_what_is_never_compared(database, changes):
    """Questions with another identity or another embedder's vector are apart, with the very same words."""
    mine, others = make_likeness([1, 0], "mine"), make_likeness([1, 0], "others", **changes)
    await store(database, [(make_answer(make_key(1)), mine), (make_answer(make_key(2)), others)])
    assert await search(database, [1, 0]) == ["mine"]
    assert await search(database, [1, 0], others.identity, others.embedder) == ["others"]


async def test_vectors_of_other_lengths_are_apart(database):
    """Embedders with vectors of different lengths share the table, each in its own scope."""
    await store(
        database,
        [
            (make_answer(make_key(n)), make_likeness([1.0] * length, f"{length}", embedder=f"e{length}"))
            for n, length in enumerate((1, 384, 1536, 3072))
        ],
    )
    for length in (1, 384, 1536, 3072):
        assert await search(database, [1.0] * length, embedder=f"e{length}") == [f"{length}"]


async def test_where_nothing_was_stored(database):
    """A scope in which nothing was stored is not there, and one that is shared is there once."""
    assert await find_scope(database, IDENTITY, EMBEDDER) is None
    for number in range(3):
        await store(database, [(make_answer(make_key(number)), make_likeness([1, 0]))])
    assert await fetch(database, "SELECT identity, embedder, namespace, indexed FROM semantic_scopes") == [
        (IDENTITY, EMBEDDER, NAMESPACE, False)
    ]


async def test_an_answer_that_is_gone_takes_its_question_along(database):
    """Deleting an entry deletes the question that it answers, and no other."""
    await store(database, [(make_answer(make_key(n)), make_likeness([1, n], f"q{n}")) for n in range(3)])
    await database.execute(*build_deletion(Clearing(key=make_key(0).hex()), at=None))
    assert await search(database, [1, 0]) == ["q1", "q2"]
    await database.execute(*build_deletion(Clearing(user_id=USER), at=None))
    assert await search(database, [1, 0]) == []


async def test_a_question_stored_anew(database):
    """A question that is stored again is there once, with what was said last of it."""
    await store(database, [(make_answer(make_key(1)), make_likeness([1, 0], "same", echoes=("old",)))])
    again = make_likeness([0, 1], "same", echoes=("new",), identity=b"j" * 32)
    await store(database, [(make_answer(make_key(1)), again)])
    assert await search(database, [1, 0]) == []
    scope = await find_scope(database, again.identity, EMBEDDER)
    found, _ = await find_candidates(database, scope, "[0,1]", 2, OF)
    assert [(one.question, one.echoes) for one in found] == [("same", frozenset({"new"}))]
    assert found[0].similarity == pytest.approx(1)


async def test_words_of_all_kinds(database):
    """Questions and echoes come back as they were, whatever is in them."""
    texts = [
        "日本語?",
        "🙂",
        'say "x" \\ {y}, %s',
        "a\nb\tc",
        "'; DROP TABLE semantic_entries; --",
        "x" * 20_000,
        "NULL",
    ]
    await store(
        database,
        [(make_answer(make_key(n)), make_likeness([1, n], text, echoes=(text, ""))) for n, text in enumerate(texts)],
    )
    lines = await fetch(database, "SELECT question, echoes FROM semantic_entries ORDER BY key")
    assert lines == [(text, [text, ""]) for text in texts]


async def test_evidence_comes_with_what_is_found(database):
    """The sums of the namespace under the policy are read with the candidates, and those of no other."""
    await store(database, [(make_answer(make_key(1)), make_likeness([1, 0]))])
    await database.execute(
        "INSERT INTO semantic_evidence (namespace, policy, tier, checked, wrong) VALUES "
        "(%(n)s, %(p)s, 0, 10, 1), (%(n)s, %(p)s, 2, 30, 3), ('other', %(p)s, 1, 5, 5), (%(n)s, 'other', 1, 5, 5)",
        {"n": NAMESPACE, "p": POLICY},
    )
    scope = await find_scope(database, IDENTITY, EMBEDDER)
    _, evidence = await find_candidates(database, scope, "[1,0]", 2, OF)
    assert evidence == Evidence(checked=(10, 0, 30), wrong=(1, 0, 3))
    _, evidence = await find_candidates(database, scope, "[1,0]", 2, (NAMESPACE, "unknown"))
    assert evidence == Evidence()


def test_evidence_of_nothing():
    """Where nothing is known all sums are nought."""
    assert read_evidence(None) == read_evidence([]) == Evidence()


async def test_old_decisions_go(database):
    """Decisions of longer ago than they are kept for go, a bounded number at a time; newer ones stay."""
    decisions = [make_decision(request_id=f"r{number}") for number in range(25)]
    await insert_decisions(database, decisions)
    await database.execute(
        "UPDATE semantic_decisions SET decided_at = now() - interval '31 days' WHERE request_id <> 'r7'"
    )
    assert await delete_old_decisions(database, 32) == 0
    assert [await delete_old_decisions(database, 30, 10) for _ in range(4)] == [10, 10, 4, 0]
    assert await fetch(database, "SELECT request_id FROM semantic_decisions") == [("r7",)]


async def test_a_verdict_that_comes_with_its_decision(database):
    """A decision that was judged before it is written has its verdict and the time of it; another has neither."""
    one = make_decision(verdict="different")
    other = make_decision(probability=None, served=False)
    await insert_decisions(database, [one, other])
    columns = "id, verdict, judged_at IS NOT NULL, probability, served"
    lines = await fetch(database, f"SELECT {columns} FROM semantic_decisions ORDER BY served DESC")
    assert lines == [(one.id, "different", True, pytest.approx(0.98), True), (other.id, None, False, None, False)]


async def test_only_known_verdicts(database):
    """The database takes no verdict that it does not know."""
    with pytest.raises(psycopg.errors.CheckViolation):
        await insert_decisions(database, [msgspec.structs.replace(make_decision(), verdict="maybe")])
