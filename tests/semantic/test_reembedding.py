"""New vectors for stored questions once another embedder is configured."""

import asyncio
import time

import psycopg
import pytest

from app.semantic import reembedding
from app.semantic.embedding import LocalVectors, RemoteVectors
from app.semantic.lookup import SemanticCache, Wanted
from app.semantic.reembedding import Reembedding
from app.wire.caching import SemanticConfig
from tests.semantic.samples import IDENTITY, NAMESPACE, make_answer, make_key, make_likeness, query, store

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
OLD = "old-embedder"
QUESTIONS = [f"What is the capital of {name}?" for name in ("France", "Spain", "Italy", "Poland")]


@pytest.fixture(scope="module")
def local():
    """The packaged model, loaded once."""
    return LocalVectors()


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


class Remote:
    """A model that counts what it is asked, and may refuse or be away."""

    def __init__(self, refuse=lambda _: False):
        self.asked = []
        self.refuse = refuse

    async def ask(self, text):
        if text != "ready":
            self.asked.append(text)
        await asyncio.sleep(0)
        return None if self.refuse(text) else [float(len(text)), 1.0, 2.0]

    def open(self, name):
        return RemoteVectors(name, self.ask)


@pytest.fixture
async def build(database_url, local):
    """Make the reembedding of a process; each has a semantic cache of its own."""
    made = []

    def make(name="local", remote=None, vectors=None):
        semantic = SemanticCache(database_url, vectors or local, (remote or Remote()).open)
        made.append((semantic, Reembedding(database_url, semantic, lambda: name)))
        return made[-1][1]

    yield make
    for semantic, one in made:
        await one._connection.close()
        await semantic.close()


async def fill(database, questions=QUESTIONS, embedder=OLD, first=0, **changes):
    await store(
        database,
        [
            (make_answer(make_key(first + n)), make_likeness([1, n], question, embedder=embedder, **changes))
            for n, question in enumerate(questions)
        ],
    )


def list_embedders(database_url):
    return query(
        database_url,
        "SELECT s.embedder, count(*) FROM semantic_entries e JOIN semantic_scopes s ON s.id = e.scope_id "
        "GROUP BY 1 ORDER BY 1",
    )


async def test_all_questions_move(database, database_url, build, local):
    """After a look every question has the vector that the model in use makes of it, within the same identity."""
    await fill(database)
    await fill(database, ["How are you?"], first=50, identity=b"j" * 32, namespace="namespace:x")
    assert await build().look() == 5
    assert list_embedders(database_url) == [(local.id, 5)]
    for question, vector, dimensions, identity, namespace in query(
        database_url,
        "SELECT e.question, e.embedding::text, vector_dims(e.embedding), s.identity, s.namespace "
        "FROM semantic_entries e JOIN semantic_scopes s ON s.id = e.scope_id",
    ):
        assert dimensions == local.dimensions
        expected = await local.embed(question)
        [(cosine,)] = query(database_url, "SELECT 1 - (%s::halfvec <=> %s::halfvec)", vector, expected)
        assert cosine > 0.999
        mine = question in QUESTIONS
        assert (identity, namespace) == ((IDENTITY, NAMESPACE) if mine else (b"j" * 32, "namespace:x"))


async def test_answers_are_found_again(database, build):
    """Searches of the model in use find what was stored with another one's vectors, once they have moved."""
    await fill(database)
    one = build()
    wanted = Wanted(
        question="what's the capital of Spain",
        identity=IDENTITY,
        namespace=NAMESPACE,
        shared=False,
        rules=SemanticConfig(enabled=True),
    )
    assert (await one._semantic.search(wanted)).similar is None
    await one.look()
    similar, _ = await one._semantic.search(wanted)
    assert similar is not None
    assert similar.candidate.key == make_key(1)


async def test_nothing_is_done_twice(database, build):
    """What has moved stays; only what is still of another embedder moves later."""
    await fill(database)
    one = build()
    assert [await one.look() for _ in range(2)] == [4, 0]
    await fill(database, ["How tall is the Eiffel Tower?"], first=10)
    assert [await one.look() for _ in range(2)] == [1, 0]


async def test_more_than_a_batch(database, database_url, build):
    """However many there are, all of them move, each asked for once."""
    remote = Remote()
    await fill(database, [f"question {n}" for n in range(100)])
    assert await build("mock/embed", remote).look() == 100
    assert list_embedders(database_url) == [("mock/embed 3", 100)]
    assert sorted(remote.asked) == sorted(f"question {n}" for n in range(100))


async def test_slots_stay_what_they_are(database, database_url, build):
    """A question stays in the slot of its answer and keeps its time, whatever its vector is."""
    await fill(database)
    await database.execute("SELECT relaycore_open_cache_slot(0::smallint)")
    await fill(database, ["How are you?"], first=10)
    look = "SELECT key, slot, created_at, expires_at, echoes, user_id FROM semantic_entries ORDER BY key"
    before = query(database_url, look)
    await build("mock/embed").look()
    assert query(database_url, look) == before


async def test_what_has_expired_stays_behind(database, database_url, build):
    """What does not count any more is not worth a vector."""
    await fill(database)
    await database.execute("UPDATE semantic_entries SET expires_at = now() WHERE key <> %s", (make_key(0),))
    remote = Remote()
    assert await build("mock/embed", remote).look() == 1
    assert remote.asked == QUESTIONS[:1]


async def test_a_question_without_a_vector_is_forgotten(database, database_url, build):
    """What the local model cannot read is not compared any more; its answer stays where it is."""
    long = " ".join(["word"] * 2000)
    await fill(database, [QUESTIONS[0], long])
    await build().look()
    assert query(database_url, "SELECT question FROM semantic_entries") == [(QUESTIONS[0],)]
    assert query(database_url, "SELECT count(*) FROM cache_entries") == [(2,)]


async def test_a_model_that_is_away_is_asked_later(database, database_url, build):
    """While a configured model does not answer all stays as it is, and moves when it does."""
    await fill(database)
    remote = Remote(refuse=lambda _: True)
    one = build("mock/embed", remote)
    async with asyncio.timeout(10):
        assert await one.look() == 0
    assert list_embedders(database_url) == [(OLD, 4)]
    remote.refuse = lambda _: False
    assert await one.look() == 4


async def test_what_a_model_refuses_does_not_hold_it_up_for_ever(database, database_url, build):
    """When a configured model has no vector for some questions, the look ends, and the others have moved."""
    await fill(database)
    one = build("mock/embed", Remote(refuse=lambda text: "Italy" in text))
    async with asyncio.timeout(10):
        await one.look()
    assert dict(list_embedders(database_url))["mock/embed 3"] == 3


async def test_two_at_once_do_the_work_once(database, database_url, build):
    """Of processes that look at the same time one does the work, and every question is asked for once."""
    remote = Remote()
    await fill(database, [f"question {n}" for n in range(60)])
    moved = await asyncio.gather(*(build("mock/embed", remote).look() for _ in range(3)))
    assert sorted(moved) == [0, 0, 60]
    assert len(remote.asked) == 60
    assert list_embedders(database_url) == [("mock/embed 3", 60)]


async def test_the_turn_is_given_back(database, build, monkeypatch):
    """After a look that failed on the way the next process has its turn."""
    await fill(database)

    async def fail(connection, **_):
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr(reembedding, "move", fail)
        with pytest.raises(RuntimeError):
            await build("mock/embed").look()
    assert await build("mock/embed").look() == 4


async def test_nothing_stored_nothing_loaded(build):
    """Where no question is stored the model is not loaded: most installations never need it."""
    vectors = LocalVectors()
    assert await build(vectors=vectors).look() == 0
    assert vectors.id == ""


async def test_without_a_model_all_stays(database, database_url, build, tmp_path):
    """When the model cannot be loaded the questions stay as they are."""
    await fill(database)
    assert await build(vectors=LocalVectors(tmp_path)).look() == 0
    assert list_embedders(database_url) == [(OLD, 4)]


async def test_it_looks_now_and_then(database, database_url, build, monkeypatch):
    """Beside everything else it looks again and again, through times without a database, until it is told to end."""
    monkeypatch.setattr(reembedding, "LOOK_EVERY_SECONDS", 0.05)
    await fill(database)
    one = build("mock/embed")
    one._connection._url = NOWHERE
    task = asyncio.create_task(one.run())
    await asyncio.sleep(0.3)
    assert not task.done()
    one._connection._url = database_url
    end = time.monotonic() + 10
    while list_embedders(database_url) != [("mock/embed 3", 4)]:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
