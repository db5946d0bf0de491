"""How long a search for a similar question takes as they grow in number, and how much of the exact scan it finds.

Run: python -m benchmarks.semantic.lookup [--entries 1000 10000 100000] [--searches 300]

One scope in the embedded Postgres (durable, in a temporary folder), questions of the banking and intent data in many
variations, their real embeddings. Timed are whole searches of `SemanticCache.search`: the embedding of a question that
was not seen before, the query, and the policy on what it found. Recall: of the five nearest by an exact scan of all
vectors, how many the search found, over the same questions.
"""

import argparse
import asyncio
import itertools
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psycopg

from app.db.embedded import EmbeddedPostgres
from app.db.schema import migrate
from app.likeness.embedder import LocalEmbedder
from app.semantic.embedding import LocalVectors, RemoteVectors, write_vector
from app.semantic.index_store import build_indexes, tend_questions
from app.semantic.lookup import SemanticCache, Wanted
from app.semantic.store import find_candidates
from app.wire.caching import SemanticConfig
from benchmarks.semantic.datasets import SHIPPED, find_rows

IDENTITY = b"i" * 32
DATA = ("banking77", "clinc150")
OPENINGS = ("", "Please tell me: ", "I would like to know, ", "Hi, ", "Quick question: ", "One more thing: ", "Sorry, ")
PLACES = ("in Spain", "in Peru", "for a child", "on a phone", "at night", "abroad", "without a card", "for a friend")

COPY = """
COPY semantic_entries (key, slot, scope_id, user_id, question, embedding, expires_at) FROM STDIN
"""


def make_questions(count: int) -> list[str]:
    """Return so many different questions, in an order that is always the same."""
    base = list(dict.fromkeys(row["text"] for name in DATA for row in find_rows(name, [SHIPPED]) or []))
    varied = (f"{opening}{text} {place}" for place in PLACES for opening in OPENINGS for text in base)
    questions = list(itertools.islice(dict.fromkeys(itertools.chain(base, varied)), count))
    random.Random(7).shuffle(questions)
    return questions


def embed_all(model: LocalEmbedder, texts: list[str]) -> np.ndarray:
    """Return the vectors of texts; kept for the next run, since they take a while."""
    kept = Path(tempfile.gettempdir()) / f"relaycore-lookup-{model.id}-{len(texts)}.npy"
    if kept.exists():
        return np.load(kept)
    vectors = np.stack(model.embed(texts))
    np.save(kept, vectors)
    return vectors


def fill(url: str, questions: list[str], vectors: np.ndarray, embedder: str, already: int) -> None:
    """Store questions beyond the `already` first ones."""
    with psycopg.connect(url, autocommit=True) as connection:
        find = "SELECT slot FROM cache_slots WHERE class = 2 AND closed_at IS NULL"
        slot = connection.execute(find).fetchone()[0]
        connection.execute(
            "INSERT INTO semantic_scopes (identity, embedder, namespace) VALUES (%s, %s, 'user:x') "
            "ON CONFLICT DO NOTHING",
            (IDENTITY, embedder),
        )
        scope = connection.execute("SELECT id FROM semantic_scopes").fetchone()[0]
        with connection.cursor().copy(COPY) as copy:
            for number in range(already, len(questions)):
                key, user = number.to_bytes(32, "big"), "00000000-0000-0000-0000-000000000001"
                vector = write_vector(vectors[number].tolist())
                copy.write_row((key, slot, scope, user, questions[number], vector, "2100-01-01"))
        connection.execute("ANALYZE semantic_entries")


async def measure(url: str, asked: list[str], stored: np.ndarray, model: LocalEmbedder) -> dict[str, float]:
    """Return what searches take, and their recall."""
    local = LocalVectors()
    cache = SemanticCache(url, local, lambda name: RemoteVectors(name, lambda _: asyncio.sleep(0)))
    rules = SemanticConfig(enabled=True)
    whole, queries, found = [], [], []
    await cache.search(Wanted(question=asked[0], identity=IDENTITY, namespace="user:x", shared=False, rules=rules))
    scope = await cache._reader.run(find_scope, seconds=5)  # noqa: SLF001 - a look behind the cache
    for text in asked[1:]:
        began = time.perf_counter()
        await cache.search(Wanted(question=text, identity=IDENTITY, namespace="user:x", shared=False, rules=rules))
        whole.append(time.perf_counter() - began)
        vector = await local.embed(text)
        began = time.perf_counter()
        candidates, _ = await cache._reader.run(  # noqa: SLF001
            lambda c, v=vector: find_candidates(c, scope, v, local.dimensions, ("user:x", "p")), seconds=5
        )
        queries.append(time.perf_counter() - began)
        nearest = np.argsort(-(stored @ model.embed([text])[0]))[: len(candidates)]
        keys = {int.from_bytes(one.key, "big") for one in candidates}
        found.append(len(keys & set(nearest.tolist())) / max(len(candidates), 1))
    await cache.close()
    return {
        "p50": percentile(whole, 50),
        "p99": percentile(whole, 99),
        "query_p50": percentile(queries, 50),
        "query_p99": percentile(queries, 99),
        "recall": statistics.fmean(found),
        "indexed": float(scope[1]),
    }


async def find_scope(connection) -> tuple[int, bool]:
    """Return the one scope that there is."""
    return await (await connection.execute("SELECT id, indexed FROM semantic_scopes")).fetchone()


def percentile(seconds: list[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return float(np.percentile(seconds, share)) * 1000


async def tend(url: str) -> float:
    """Do what the worker does every minute, and return the seconds that it took to build what was missing."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        await connection.execute("SET maintenance_work_mem = '256MB'")
        await tend_questions(connection, 30)
        began = time.perf_counter()
        await build_indexes(connection)
        return time.perf_counter() - began


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--searches", type=int, default=300)
    chosen = parser.parse_args()
    model = LocalEmbedder.load()
    questions = make_questions(max(chosen.entries) + chosen.searches + 1)
    stored, asked = questions[: max(chosen.entries)], questions[max(chosen.entries) :]
    vectors = embed_all(model, stored)
    folder = Path(tempfile.mkdtemp())
    server = EmbeddedPostgres.open(folder / "pg")
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE lookup")
        url = server.database_url("lookup")
        migrate(url)
        sys.stdout.write("entries  search p50/p99 ms  query alone p50/p99 ms  recall of 5  by  index built in s\n")
        already = 0
        for count in sorted(chosen.entries):
            fill(url, stored[:count], vectors, model.id, already)
            already = count
            built = asyncio.run(tend(url))
            seen = asyncio.run(measure(url, asked, vectors[:count], model))
            by = "index" if seen["indexed"] else "all"
            times = f"{seen['p50']:6.1f} / {seen['p99']:5.1f}      {seen['query_p50']:6.2f} / {seen['query_p99']:5.2f}"
            sys.stdout.write(f"{count:7}  {times}          {seen['recall']:.3f}        {by:5}  {built:.1f}\n")
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
