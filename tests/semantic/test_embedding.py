"""Vectors of questions: what shares a batch, what is asked once, and what has none."""

import asyncio
import json
import logging
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.likeness.embedder import LocalEmbedder
from app.semantic import embedding
from app.semantic.embedding import MAX_BATCH, MAX_WAITING, LocalVectors, RemoteVectors, write_vector

pytestmark = pytest.mark.anyio


class Watched:
    """The real model, and what it was asked for in each turn."""

    def __init__(self, model):
        self.model = model
        self.turns = []
        self.threads = set()

    def fits(self, text):
        return self.model.fits(text)

    def embed(self, texts):
        self.turns.append(list(texts))
        self.threads.add(threading.get_ident())
        return self.model.embed(texts)


@pytest.fixture(scope="module")
def model():
    return LocalEmbedder.load()


@pytest.fixture
def watched(model):
    return Watched(model)


@pytest.fixture
async def vectors(watched):
    """Vectors by the real model, which is there already."""
    opened = LocalVectors()
    opened._model = watched
    yield opened
    await opened.close()


def read(vector):
    return json.loads(vector)


def cosine(one, other):
    return sum(a * b for a, b in zip(read(one), read(other), strict=True))


async def embed_all(vectors, texts):
    return await asyncio.gather(*(vectors.embed(text) for text in texts))


async def test_loading():
    """The model is there once it was asked for, and then tells its name and the length of its vectors."""
    opened = LocalVectors()
    assert (opened.id, opened.dimensions) == ("", 0)
    assert await opened.embed("before") is None
    assert await opened.ready()
    assert opened.id.startswith("all-MiniLM-L6-v2")
    assert opened.dimensions == 384
    assert opened.calibrated
    assert len(read(await opened.embed("after"))) == opened.dimensions
    await opened.close()


async def test_loading_once(monkeypatch, watched):
    """Whoever asks while the model is being loaded waits for the same one."""
    loads = []

    def load(path):
        loads.append(path)
        watched.id, watched.dimensions = "watched", 384
        return watched

    monkeypatch.setattr(embedding.LocalEmbedder, "load", load)
    opened = LocalVectors()
    assert await asyncio.gather(*(opened.ready() for _ in range(5))) == [True] * 5
    assert loads == [None]


async def test_near_and_far(vectors):
    """Questions that mean the same have vectors of length one that lie close together, and others do not."""
    near = "How do I reset my password?", "How can I reset my password?"
    one, other, far = await embed_all(vectors, [*near, "Which river flows through Cairo?"])
    assert math.isclose(math.hypot(*read(one)), 1, abs_tol=1e-4)
    assert cosine(one, other) > 0.95
    assert cosine(one, far) < 0.3


async def test_vectors_do_not_depend_on_their_batch(vectors, model):
    """A text has the same vector alone, in a batch, and from the model itself."""
    texts = [f"What is the capital of country number {number}?" for number in range(5)]
    together = await embed_all(vectors, texts)
    assert together == [write_vector(vector.tolist()) for vector in model.embed(texts)]


async def test_questions_meanwhile_share_the_next_batch(vectors, watched):
    """What is asked for while the model works waits for its next turn, and all of it is done then."""
    texts = [f"question {number}" for number in range(2 * MAX_BATCH + 3)]
    assert None not in await embed_all(vectors, texts)
    assert [len(turn) for turn in watched.turns] == [MAX_BATCH, MAX_BATCH, 3]
    assert [text for turn in watched.turns for text in turn] == texts
    assert threading.get_ident() not in watched.threads


async def test_the_same_text_is_asked_once(vectors, watched):
    """Those who ask for the same text at once, and who ask for it later, share one piece of work."""
    together = await embed_all(vectors, ["again"] * 5 + ["other"])
    later = await vectors.embed("again")
    assert len(set(together)) == 2
    assert later == together[0]
    assert watched.turns == [["again", "other"]]


async def test_what_is_remembered(monkeypatch, vectors, watched):
    """The texts that were asked for last are remembered; those that nobody asks for any more leave first."""
    monkeypatch.setattr(embedding, "MAX_REMEMBERED", 2)
    for text in ("a", "b", "a", "c", "a", "b"):
        await vectors.embed(text)
    assert watched.turns == [["a"], ["b"], ["c"], ["b"]]


async def test_texts_that_are_too_long(vectors, watched):
    """A text that the model would not read to its end has no vector, and does not keep others waiting."""
    fits, long = "word " * 254, "word " * 255
    found = await embed_all(vectors, [long, fits, long + "other"])
    assert [vector is None for vector in found] == [True, False, True]
    assert watched.turns == [[fits]]


async def test_too_many_at_once(vectors, watched):
    """Beyond so many texts at once the others have no vector now; who asks for one that is on its way gets it."""
    texts = [f"question {number}" for number in range(MAX_WAITING + 10)]
    found = await embed_all(vectors, [*texts, texts[0]])
    assert [vector is None for vector in found] == [False] * MAX_WAITING + [True] * 10 + [False]
    assert await vectors.embed(texts[-1]) is not None


async def test_who_leaves_spoils_nothing(vectors, watched):
    """A caller that goes away leaves those alone who wait for the same text."""
    tasks = [asyncio.create_task(vectors.embed("shared")) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1] == found[2] is not None
    assert len(watched.turns) == 1


async def test_whom_nobody_waits_for_any_more(vectors, watched):
    """Work whose callers are all gone ends by itself, and its text is remembered."""
    task = asyncio.create_task(vectors.embed("left"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await vectors.close()
    assert await vectors.embed("left") is not None
    assert watched.turns == [["left"]]


@pytest.mark.parametrize("files", [{}, {"model.onnx": b"x"}, {"model.onnx": b"x", "tokenizer.json": b"{"}])
async def test_a_model_that_is_not_there(tmp_path, caplog, files):
    """A model that cannot be loaded is said so once, whoever asks for it, and no text has a vector."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    opened = LocalVectors(tmp_path)
    with caplog.at_level(logging.WARNING, "relaycore.semantic"):
        assert await asyncio.gather(*(opened.ready() for _ in range(3))) == [False] * 3
        assert await opened.ready() is False
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path) in caplog.text
    assert await opened.embed("text") is None
    assert opened.id == ""
    await opened.close()


NUMBERS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8)


@given(NUMBERS)
def test_writing(numbers):
    """A vector is written in the form that pgvector reads, far more exactly than the halves that it is kept in."""
    written = write_vector(numbers)
    assert " " not in written
    assert all(math.isclose(a, b, rel_tol=5e-5, abs_tol=1e-30) for a, b in zip(read(written), numbers, strict=True))


@pytest.mark.parametrize(
    ("numbers", "written"),
    [
        ([1.0], "[1]"),
        ([0, -0.5], "[0,-0.5]"),
        ([1 / 3, 2 / 3], "[0.33333,0.66667]"),
        ([1e-7, 123456.0], "[1e-07,1.2346e+05]"),
    ],
)
def test_what_is_written(numbers, written):
    """Five digits are written, which is short and more than a half has."""
    assert write_vector(numbers) == written


async def test_what_writing_costs(model):
    """What writing leaves out of a real vector does not change a similarity that anybody looks at."""
    for vector in model.embed(["How do I reset my password?", "Who wrote Faust?"]):
        numbers = vector.tolist()
        written = read(write_vector(numbers))
        assert math.isclose(sum(a * b for a, b in zip(numbers, written, strict=True)), 1, abs_tol=2e-5)


def answer(*answers):
    """Return what a remote model is asked by, and the texts that it was asked."""
    asked, left = [], list(answers)

    async def ask(text):
        asked.append(text)
        return left.pop(0)

    return ask, asked


async def test_a_remote_model():
    """A remote model's numbers are written the same way; their length, known from the first answer on, is in its id."""
    ask, asked = answer([0.25, -1, 1 / 3], [0.25, -1, 1 / 3])
    remote = RemoteVectors("openai/text-embedding-3-small", ask)
    assert (remote.id, remote.dimensions, remote.calibrated) == ("", 0, False)
    assert await remote.ready()
    assert await remote.embed("a text") == "[0.25,-1,0.33333]"
    assert await remote.ready()
    assert (remote.id, remote.dimensions) == ("openai/text-embedding-3-small 3", 3)
    assert asked == ["ready", "a text"]


@pytest.mark.parametrize("numbers", [[float("inf"), 1.0], [float("nan")], [70000.0], [0.5] * 4001])
async def test_vectors_that_cannot_be_kept(numbers):
    """A vector with numbers that half precision has no place for, or too long for an index, is none."""
    remote = RemoteVectors("openai/m", answer(numbers, numbers)[0])
    assert await remote.embed("x") is None
    assert not await remote.ready()


async def test_a_remote_model_that_does_not_answer():
    """No answer, or an empty one, is no vector; the next call asks again."""
    ask, asked = answer(None, [], [1.0])
    remote = RemoteVectors("openai/m", ask)
    assert [await remote.embed("x"), await remote.embed("x")] == [None, None]
    assert remote.dimensions == 0
    assert await remote.embed("x") == "[1]"
    assert len(asked) == 3


async def test_a_remote_model_that_hangs_or_breaks(monkeypatch, caplog):
    """A model that takes too long, or fails as nobody foresaw, has no vector, and rests: nobody waits for it again."""
    monkeypatch.setattr(embedding, "ASK_SECONDS", 0.05)
    asked, ended = [], []

    async def ask(text):
        asked.append(text)
        if text == "breaks":
            raise RuntimeError(text)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(text)

    hanging, breaking = RemoteVectors("openai/hangs", ask), RemoteVectors("openai/breaks", ask)
    assert [await hanging.embed("hangs"), await hanging.embed("hangs")] == [None, None]
    assert [await breaking.embed("breaks"), await breaking.embed("breaks")] == [None, None]
    await asyncio.sleep(0)
    assert (asked, ended) == (["hangs", "breaks"], ["hangs"])
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
