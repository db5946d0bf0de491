"""Searching with the real embedder over a real Postgres: what is found, what it is worth, and what fails in silence."""

import asyncio
import time

import psycopg
import pytest

from app.likeness.embedder import LocalEmbedder
from app.likeness.judge import POLICY_VERSION
from app.semantic.embedding import LocalVectors, RemoteVectors
from app.semantic.evidence import judge_standing
from app.semantic.lookup import Search, SemanticCache, Wanted, choose
from app.semantic.types import TIERS, Candidate, Evidence
from app.wire.caching import SemanticConfig
from tests.semantic.samples import IDENTITY, NAMESPACE, make_answer, make_key, query, store

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
STORED = "What is the capital of France?"
SAME_WORDS = "what's the capital of France"
OTHER_WORDS = [
    ("How old is the universe?", "What is the age of the universe?"),
    ("Who wrote Hamlet?", "Who is the author of Hamlet?"),
    ("How can I lose weight quickly?", "How can I lose weight fast?"),
    ("How do I reset my password?", "What is the way to reset my password?"),
    ("How can I learn to swim quickly?", "What is a quick way to learn to swim?"),
    ("How do I become a good writer?", "How can I become a good writer fast?"),
]


@pytest.fixture(scope="module")
def local():
    """The packaged model, loaded once."""
    return LocalVectors()


def open_nothing(name):
    raise AssertionError(f"no model is configured: {name}")


@pytest.fixture
async def semantic(database_url, local):
    opened = SemanticCache(database_url, local, open_nothing)
    opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def database(database_url):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


def want(question, *, floor=None, identity=IDENTITY, shared=False, **rules):
    return Wanted(
        question=question,
        identity=identity,
        namespace=NAMESPACE,
        shared=shared,
        rules=SemanticConfig(enabled=True, **rules),
        floor=floor,
    )


async def teach(semantic, database, *questions, first=1, **changes):
    """Have questions stored as the first call with each would have them stored."""
    for number, question in enumerate(questions, first):
        search = await semantic.search(want(question, **changes))
        assert search.likeness is not None
        await store(database, [(make_answer(make_key(number)), search.likeness)])


async def teach_others(semantic, database):
    """Have a question stored that another asks in other words, as far as the policy can tell, and return the other."""
    for number, (stored, asked) in enumerate(OTHER_WORDS, 100):
        await teach(semantic, database, stored, first=number)
        similar, _ = await semantic.search(want(asked))
        if similar is not None and similar.tier > 0:
            return asked
    raise AssertionError("the policy takes nothing in other words for the same")


def prove(database_url, policy, **sums):
    """Have evidence for tiers: tier_0=(checked, wrong)."""
    for name, (checked, wrong) in sums.items():
        query(
            database_url,
            "INSERT INTO semantic_evidence (namespace, policy, tier, checked, wrong) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (namespace, policy, tier) DO UPDATE SET checked = excluded.checked, wrong = excluded.wrong",
            NAMESPACE, policy, int(name[-1]), checked, wrong,
        )  # fmt: skip


async def test_the_same_words_are_found_and_served(semantic, database):
    """A question with the words of a stored one is found and served before there is any evidence, and says by what."""
    await teach(semantic, database, STORED)
    similar, likeness = await semantic.search(want(SAME_WORDS))
    assert similar is not None
    assert (similar.candidate.key, similar.candidate.question) == (make_key(1), STORED)
    assert similar.candidate.similarity > 0.9
    assert TIERS[similar.tier] == "same_words"
    assert (similar.standing.served, similar.standing.checked, similar.evidence) == (True, 0, Evidence())
    assert similar.policy == f"{semantic._local.id} {POLICY_VERSION}"
    assert likeness is not None
    assert (likeness.question, likeness.identity, likeness.namespace) == (SAME_WORDS, IDENTITY, NAMESPACE)
    assert likeness.embedder == semantic._local.id
    assert len(likeness.vector.split(",")) == semantic._local.dimensions == 384


async def test_the_first_question_finds_nothing(semantic):
    """Where nothing was stored nothing is found, and the question is there to be kept."""
    search = await semantic.search(want(STORED))
    assert search.similar is None
    assert search.likeness is not None


async def test_other_words_are_a_shadow(semantic, database):
    """What the policy takes for the same in other words is found, and not served while nothing is proven."""
    asked = await teach_others(semantic, database)
    similar, _ = await semantic.search(want(asked))
    assert similar is not None
    assert similar.tier > 0
    assert similar.probability is not None
    assert 0.8 <= similar.probability <= 1
    assert (similar.standing.served, similar.standing.bound) == (False, 1.0)


async def test_another_question_is_not_found(semantic, database):
    """What asks something else is not found, however near its vector is."""
    await teach(semantic, database, STORED, "How do I enable dark mode?", "Who wrote Hamlet?")
    for asked in (
        "What is the capital of Germany?",
        "How do I disable dark mode?",
        "When was Hamlet written?",
        "Cheese",
    ):
        assert (await semantic.search(want(asked))).similar is None


async def test_the_best_of_several(semantic, database):
    """Of stored questions that could answer, the surest is taken, which need not be the nearest of all."""
    await teach(semantic, database, "What is the capital of Italy?", STORED, "Which city is the capital of France?")
    similar, _ = await semantic.search(want(SAME_WORDS))
    assert similar is not None
    assert similar.candidate.key == make_key(2)


@pytest.mark.parametrize(
    ("sums", "served"),
    [
        ({}, True),
        ({"tier_0": (3000, 0)}, True),
        ({"tier_0": (1, 1)}, False),
        ({"tier_0": (400, 40), "tier_2": (400, 40)}, False),
    ],
)
async def test_the_evidence_decides(semantic, database, database_url, sums, served):
    """The checks of the namespace under the policy decide whether it is served, as they are in the database now."""
    await teach(semantic, database, STORED)
    prove(database_url, f"{semantic._local.id} {POLICY_VERSION}", **sums)
    prove(database_url, "another policy", tier_0=(10, 10))
    similar, _ = await semantic.search(want(SAME_WORDS))
    assert similar is not None
    names = [f"tier_{tier}" for tier in range(len(TIERS))]
    checked, wrong = zip(*(sums.get(name, (0, 0)) for name in names), strict=True)
    assert similar.evidence == Evidence(checked=checked, wrong=wrong)
    assert similar.standing == judge_standing(0, similar.evidence, SemanticConfig())
    assert similar.standing.served is served


async def test_proven_tiers_are_served(semantic, database, database_url):
    """Other words are served once enough checks of all tiers up to theirs found nothing wrong, and no longer if not."""
    asked = await teach_others(semantic, database)
    policy = f"{semantic._local.id} {POLICY_VERSION}"
    prove(database_url, policy, tier_0=(1500, 0), tier_1=(1500, 0), tier_2=(1500, 0))
    assert (await semantic.search(want(asked))).similar.standing.served
    prove(database_url, policy, tier_1=(1500, 300))
    assert not (await semantic.search(want(asked))).similar.standing.served


async def test_nothing_unproven(semantic, database):
    """With `unproven: nothing` even the same words wait for their own proof; with `everything` all goes at once."""
    await teach(semantic, database, STORED)
    asked = await teach_others(semantic, database)
    assert not (await semantic.search(want(SAME_WORDS, unproven="nothing"))).similar.standing.served
    assert (await semantic.search(want(SAME_WORDS, unproven="everything"))).similar.standing.served
    assert (await semantic.search(want(asked, unproven="everything"))).similar.standing.served
    assert not (await semantic.search(want(asked, unproven="nothing"))).similar.standing.served


async def test_a_floor_of_ones_own(semantic, database):
    """Below the floor that a client names nothing is found, whatever the policy says of it."""
    await teach(semantic, database, STORED)
    similar, _ = await semantic.search(want(SAME_WORDS, floor=0.8))
    assert similar is not None
    over = min(similar.candidate.similarity + 0.001, 1.0)
    assert (await semantic.search(want(SAME_WORDS, floor=over))).similar is None


async def test_what_is_asked_within(semantic, database):
    """Another identity's questions are never found, and what has no likeness is neither searched nor kept."""
    await teach(semantic, database, STORED)
    assert (await semantic.search(want(SAME_WORDS, identity=b"j" * 32))).similar is None
    assert await semantic.search(want("What is the weather today?")) == Search()
    assert await semantic.search(want("")) == Search()
    assert await semantic.search(want("Why was my card refused?", shared=True)) == Search()
    assert (await semantic.search(want("Why was my card refused?", shared=False))).likeness is not None


async def test_a_text_that_the_model_cannot_read_whole(semantic):
    """A question longer than the model reads has no vector: it is neither compared nor kept."""
    asked = " ".join(f"supercalifragilistic{chr(97 + n % 26)}" for n in range(190))
    assert await semantic.search(want(asked)) == Search()


async def test_what_was_stored_by_another_process(database_url, database, local, semantic):
    """A scope in which nothing was found a moment ago is looked at again: others may have stored something."""
    assert (await semantic.search(want(SAME_WORDS))).similar is None
    other = SemanticCache(database_url, local, open_nothing)
    await teach(other, database, STORED)
    await other.close()
    assert (await semantic.search(want(SAME_WORDS))).similar is not None


async def test_many_at_once(semantic, database):
    """Questions that are asked at the same time each get what is nearest to themselves."""
    names = ["France", "Spain", "Italy", "Poland", "Norway", "Greece", "Austria", "Portugal", "Finland", "Denmark"]
    await teach(semantic, database, *(f"What is the capital of {name}?" for name in names))
    found = await asyncio.gather(*(semantic.search(want(f"what's the capital of {name}")) for name in names * 3))
    assert [one.similar.candidate.question for one in found] == [
        f"What is the capital of {name}?" for name in names
    ] * 3


async def test_without_a_database(local):
    """When the database is away nothing similar is found, quickly, and the question may be kept by a later call."""
    semantic = SemanticCache(NOWHERE, local, open_nothing)
    assert await semantic.find_embedder("local") is not None
    for _ in range(3):
        began = time.monotonic()
        search = await semantic.search(want(STORED))
        assert search.similar is None
        assert time.monotonic() - began < 2
    await semantic.close()


async def test_a_database_that_is_held_up(semantic, database, database_url):
    """A search that is held up is given up after its time."""
    await teach(semantic, database, STORED)
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE semantic_entries IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        assert (await semantic.search(want(SAME_WORDS))).similar is None
        assert time.monotonic() - began < 3
    await asyncio.sleep(0.3)
    assert (await semantic.search(want(SAME_WORDS))).similar is not None


async def test_without_a_model(database_url, tmp_path, caplog):
    """Where the model cannot be loaded nothing is found and nothing fails; the log says so once."""
    semantic = SemanticCache(database_url, LocalVectors(tmp_path), open_nothing)
    for _ in range(3):
        assert await semantic.search(want(STORED)) == Search()
    assert await semantic.find_embedder("local") is None
    assert await semantic.compare("one", "two") == "different"
    await semantic.close()
    assert [record.message for record in caplog.records if "semantic" in record.message] == [
        next(record.message for record in caplog.records)
    ]


async def test_a_remote_model(database_url, database, local):
    """A configured model's vectors are asked for once a question, kept apart, and judged by words, not by cosine."""
    asked = []

    async def ask(text):
        asked.append(text)
        return None if "unknown" in text else [1.0, float(len(text)), 0.5]

    opened = []

    def open_remote(name):
        opened.append(name)
        return RemoteVectors(name, ask)

    semantic = SemanticCache(database_url, local, open_remote)
    rules = {"embedder": "mock/embed", "unproven": "everything"}
    await teach(semantic, database, STORED, **rules)
    similar, likeness = await semantic.search(want(SAME_WORDS, **rules))
    assert similar is not None
    assert similar.policy == f"{likeness.embedder} {POLICY_VERSION}"
    assert likeness.embedder.startswith("mock/embed ")
    assert await semantic.search(want("What is unknown?", **rules)) == Search()
    assert (await semantic.search(want(SAME_WORDS))).similar is None, "the local model's questions are others"
    assert opened == ["mock/embed"]
    assert asked == ["ready", STORED, SAME_WORDS, "What is unknown?"]
    await semantic.close()


async def test_how_alike_answers_are(semantic):
    """Two answers are compared with the model at hand; texts that it cannot read to their end are different."""
    said = "The universe is about 13.8 billion years old."
    verdicts = [
        await semantic.compare(said, other)
        for other in (said, "The age of the universe is approximately 13.8 billion years.", "Cats like to sleep.")
    ]
    assert verdicts == ["same", "same", "different"]
    assert await semantic.compare("word " * 5000, "word") == "different"


def test_who_is_chosen_among_equals():
    """With nothing to choose from nothing is chosen; among those with the same words the nearest is."""
    wanted = want(SAME_WORDS)
    assert choose(wanted, [], calibrated=True) is None
    candidates = [
        Candidate(key=make_key(n), question=STORED, echoes=frozenset(), similarity=similarity)
        for n, similarity in enumerate((0.99, 0.97, 0.95))
    ]
    chosen = choose(wanted, candidates, calibrated=True)
    assert chosen is not None
    assert (chosen[0].key, chosen[2]) == (make_key(0), 0)


def test_no_more_is_computed_than_it_takes():
    """The same words need no tokens, wherever they stand; a sure candidate ends the search, a likely one does not."""
    looked: list[str] = []
    said = {
        "How can I learn to sing well?": 5.0,
        "What should I do to learn singing?": 2.0,
        "Teach me how to sing": 5.0,
    }

    def align(_, stored):
        looked.append(stored)
        return embedder.align(STORED, STORED)[0], lambda: said[stored]

    def pick(*texts):
        looked.clear()
        candidates = [
            Candidate(key=make_key(n), question=text, echoes=frozenset(), similarity=0.96 - n / 100)
            for n, text in enumerate(texts)
        ]
        chosen = choose(want("How do I learn to sing?"), candidates, calibrated=True, align=align)
        return chosen and (chosen[0].question, chosen[2])

    embedder = LocalEmbedder.load()
    sure, likely, sure_too = said
    same = "how do i learn to sing"
    assert (pick(sure, likely, same), looked) == ((same, 0), [])
    assert (pick(sure, sure_too), looked) == ((sure, 1), [sure])
    assert (pick(likely, sure, sure_too)[0], looked) == (sure, [likely, sure])


def test_an_answer_about_something_else_is_not_chosen():
    """A question whose answer repeats a word that is not asked for answers another question."""
    candidate = Candidate(key=b"k", question=STORED, echoes=frozenset({"france"}), similarity=0.99)
    assert choose(want(SAME_WORDS), [candidate], calibrated=True) is not None
    assert choose(want("What is the capital of Spain?"), [candidate], calibrated=True) is None
