"""Gives stored questions the vectors of another embedder, once that is the one in use; a process at a time does it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar, cast

import psycopg

from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.semantic.embedding import Embedder
from app.semantic.lookup import SemanticCache

T = TypeVar("T")

logger = logging.getLogger("relaycore.semantic")

LOOK_EVERY_SECONDS = 30.0
QUERY_SECONDS = 10.0
BATCH = 16

TAKE_TURN = "SELECT pg_try_advisory_lock(hashtext('relaycore reembedding'))"
END_TURN = "SELECT pg_advisory_unlock(hashtext('relaycore reembedding'))"
EMBEDDERS = """
SELECT DISTINCT s.embedder FROM semantic_scopes s
WHERE EXISTS (SELECT FROM semantic_entries e WHERE e.scope_id = s.id AND e.expires_at > now())
"""
STALE = """
SELECT e.key, e.question, s.id, s.identity, s.namespace
FROM semantic_entries e JOIN semantic_scopes s ON s.id = e.scope_id
WHERE s.embedder <> %(embedder)s AND e.expires_at > now() LIMIT %(limit)s
"""
MOVE = """
WITH given AS (
    SELECT * FROM unnest(%(keys)s::bytea[], %(scopes)s::bigint[], %(identities)s::bytea[], %(namespaces)s::text[],
        %(vectors)s::text[]) AS g (key, old_scope_id, identity, namespace, vector)
), scopes AS (
    INSERT INTO semantic_scopes AS held (identity, embedder, namespace)
    SELECT DISTINCT identity, %(embedder)s, namespace FROM given
    ON CONFLICT (identity, embedder) DO UPDATE SET namespace = held.namespace
    RETURNING id, identity
)
UPDATE semantic_entries AS e SET scope_id = s.id, embedding = g.vector::halfvec
FROM given g JOIN scopes s ON s.identity = g.identity
WHERE e.key = g.key AND e.scope_id = g.old_scope_id
"""
DROP = "DELETE FROM semantic_entries WHERE key = ANY(%s) AND scope_id = ANY(%s)"


class Stale(NamedTuple):
    """A question with a vector of an embedder that is not in use any more."""

    key: bytes
    question: str
    scope_id: int
    identity: bytes
    namespace: str


class Reembedding:
    """Looks now and then for questions with vectors of another embedder. `name` tells which one is configured."""

    def __init__(self, url: str, semantic: SemanticCache, name: Callable[[], str]) -> None:
        self._semantic = semantic
        self._name = name
        self._connection = PatientConnection(url, name="relaycore reembedding")

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_SECONDS)
                try:
                    await self.look()
                except (DatabaseAwayError, psycopg.Error):
                    continue
        finally:
            await self._connection.close()

    async def look(self) -> int:
        """Give all that is stale a new vector, unless another process does; return how many there were."""
        kept = await self._run(_list_embedders)
        if not kept:
            return 0
        embedder = await self._semantic.find_embedder(self._name())
        if embedder is None or kept == {embedder.id} or not await self._run(_take_turn):
            return 0
        try:
            return await self._move_all(embedder)
        finally:
            await self._run(_end_turn)

    async def _move_all(self, embedder: Embedder) -> int:
        moved = 0
        while True:
            stale = await self._run(lambda c: _list_stale(c, embedder.id))
            if not stale:
                break
            vectors = [await embedder.embed(one.question) for one in stale]
            if vectors.count(None) == len(vectors) and not embedder.calibrated:
                break  # a model that does not answer now may later
            await self._run(lambda c, s=stale, v=vectors: _move(c, embedder.id, s, v))
            moved += len(stale)
        if moved:
            logger.info("%d stored questions have vectors of %s now", moved, embedder.id)
        return moved

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        return await self._connection.run(work, seconds=QUERY_SECONDS)


async def _list_embedders(connection: Connection) -> set[str]:
    lines = await (await connection.execute(EMBEDDERS)).fetchall()
    return {str(name) for (name,) in lines}


async def _take_turn(connection: Connection) -> bool:
    return await (await connection.execute(TAKE_TURN)).fetchone() == (True,)


async def _end_turn(connection: Connection) -> None:
    await connection.execute(END_TURN)


async def _list_stale(connection: Connection, embedder: str) -> list[Stale]:
    lines = await (await connection.execute(STALE, {"embedder": embedder, "limit": BATCH})).fetchall()
    found = cast(list[tuple[bytes, str, int, bytes, str]], lines)
    return [Stale(bytes(key), question, scope, bytes(identity), name) for key, question, scope, identity, name in found]


async def _move(connection: Connection, embedder: str, stale: Sequence[Stale], vectors: Sequence[str | None]) -> None:
    """Store the new vectors; a question that has none is forgotten, its answer stays in the exact cache."""
    pairs = [(one, vector) for one, vector in zip(stale, vectors, strict=True) if vector is not None]
    gone = [one for one, vector in zip(stale, vectors, strict=True) if vector is None]
    async with connection.transaction():
        if pairs:
            values = {
                "keys": [one.key for one, _ in pairs],
                "scopes": [one.scope_id for one, _ in pairs],
                "identities": [one.identity for one, _ in pairs],
                "namespaces": [one.namespace for one, _ in pairs],
                "vectors": [vector for _, vector in pairs],
                "embedder": embedder,
            }
            await connection.execute(MOVE, values)
        if gone:
            await connection.execute(DROP, ([one.key for one in gone], [one.scope_id for one in gone]))
