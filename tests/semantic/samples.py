"""Questions, decisions and answers for the tests of likeness, and ways to look at what is stored of them."""

import random
import time
from collections.abc import Sequence
from math import sqrt
from uuid import UUID

import msgspec
import psycopg

from app.cache.store import upsert_entries
from app.cache.types import Entry
from app.db.connection import Connection
from app.semantic.embedding import write_vector
from app.semantic.store import insert_likenesses
from app.semantic.types import Decision, Likeness, Verdict
from app.wire.ids import make_uuid7

USER = UUID(int=7)
IDENTITY = b"i" * 32
EMBEDDER = "embedder-1"
NAMESPACE = f"user:{USER}"
POLICY = "embedder-1 policy-1"
HOUR = 3600.0


def make_key(number: int) -> bytes:
    """Return the key of an answer."""
    return number.to_bytes(32, "big")


def make_answer(key: bytes, text: str = "Paris.", *, ttl: float = HOUR) -> Entry:
    """Return a whole answer of a chat that says `text`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    now = time.time()
    return Entry(
        key=key,
        scope=NAMESPACE,
        user_id=USER,
        api_key_id=None,
        provider="mock",
        model="echo",
        endpoint="chat",
        streamed=False,
        content_type="application/json",
        body=msgspec.json.encode({"id": "c", "object": "chat.completion", "model": "echo", "choices": [choice]}),
        usage=None,
        created_at=now,
        expires_at=now + ttl,
    )


def make_likeness(vector: Sequence[float], question: str = "?", **changes: object) -> Likeness:
    """Return a question with that vector."""
    one = Likeness(
        identity=IDENTITY, embedder=EMBEDDER, namespace=NAMESPACE, question=question, vector=write_vector(vector)
    )
    return msgspec.structs.replace(one, **changes)


def make_decision(**changes: object) -> Decision:
    """Return a decision to serve, of a new id."""
    one = Decision(
        id=make_uuid7(),
        namespace=NAMESPACE,
        policy=POLICY,
        tier=1,
        user_id=USER,
        request_id="request-1",
        entry_key=make_key(1),
        similarity=0.97,
        probability=0.98,
        served=True,
    )
    return msgspec.structs.replace(one, **changes)


def make_verdict(decision: Decision, verdict: str = "same") -> Verdict:
    """Return what a check says of a decision."""
    return Verdict(decision_id=decision.id, namespace=decision.namespace, policy=decision.policy, verdict=verdict)


async def store(connection: Connection, pairs: Sequence[tuple[Entry, Likeness | None]]) -> None:
    """Store answers with their questions, as the writer does."""
    async with connection.transaction():
        await upsert_entries(connection, [entry for entry, _ in pairs])
        likenesses = [(entry, one) for entry, one in pairs if one is not None]
        if likenesses:
            await insert_likenesses(connection, likenesses)


def make_clusters(
    seed: int, clusters: int, each: int, dimensions: int, spread: float = 0.35
) -> list[tuple[float, ...]]:
    """Return unit vectors that lie in clusters, as those of questions about the same things do."""
    chance = random.Random(seed)
    found = []
    for _ in range(clusters):
        middle = normalize([chance.gauss(0, 1) for _ in range(dimensions)])
        found += [
            normalize([number + chance.gauss(0, spread / sqrt(dimensions)) for number in middle]) for _ in range(each)
        ]
    return found


def normalize(vector: Sequence[float]) -> tuple[float, ...]:
    """Return the unit vector in the direction of `vector`."""
    length = sqrt(sum(number * number for number in vector))
    return tuple(number / length for number in vector)


def query(database_url: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Return what a statement yields."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []
