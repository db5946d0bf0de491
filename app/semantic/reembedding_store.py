"""Stored questions whose vectors are of an embedder that is not in use any more, and the way to new ones."""

from collections.abc import Sequence
from typing import NamedTuple, cast

from app.db.connection import Connection

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
WHERE s.embedder <> %(embedder)s AND e.expires_at > now() AND e.key <> ALL(%(left)s::bytea[]) LIMIT %(limit)s
"""
MOVE = """
WITH given AS (
    SELECT * FROM unnest(%(keys)s::bytea[], %(scopes)s::bigint[], %(identities)s::bytea[], %(namespaces)s::text[],
        %(vectors)s::text[]) AS g (key, old_scope_id, identity, namespace, vector)
), scopes AS (
    INSERT INTO semantic_scopes AS held (identity, embedder, namespace)
    SELECT DISTINCT identity, %(embedder)s, namespace FROM given
    ON CONFLICT (identity, embedder) DO UPDATE SET used_at = now()
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


async def list_embedders(connection: Connection) -> set[str]:
    """Return whose vectors there are among those that still count."""
    lines = await (await connection.execute(EMBEDDERS)).fetchall()
    return {str(name) for (name,) in lines}


async def take_turn(connection: Connection) -> bool:
    """Take the turn that one process at a time has; False when another has it."""
    return await (await connection.execute(TAKE_TURN)).fetchone() == (True,)


async def end_turn(connection: Connection) -> None:
    """Give the turn back."""
    await connection.execute(END_TURN)


async def list_stale(connection: Connection, embedder: str, left: Sequence[bytes]) -> list[Stale]:
    """Return some questions with vectors of another embedder, but for those that are `left` alone."""
    values = {"embedder": embedder, "limit": BATCH, "left": list(left)}
    lines = await (await connection.execute(STALE, values)).fetchall()
    found = cast(list[tuple[bytes, str, int, bytes, str]], lines)
    return [Stale(bytes(key), question, scope, bytes(identity), name) for key, question, scope, identity, name in found]


async def move(connection: Connection, embedder: str, made: Sequence[tuple[Stale, str]], gone: Sequence[Stale]) -> None:
    """Store new vectors, and forget the questions that are `gone`; their answers stay in the exact cache."""
    async with connection.transaction():
        if made:
            values = {
                "keys": [one.key for one, _ in made],
                "scopes": [one.scope_id for one, _ in made],
                "identities": [one.identity for one, _ in made],
                "namespaces": [one.namespace for one, _ in made],
                "vectors": [vector for _, vector in made],
                "embedder": embedder,
            }
            await connection.execute(MOVE, values)
        if gone:
            await connection.execute(DROP, ([one.key for one in gone], [one.scope_id for one in gone]))
