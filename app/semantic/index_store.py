"""What has to be done to the stored questions now and then."""

import logging
from typing import cast

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from app.db.connection import Connection
from app.semantic.store import EXACT_UP_TO, INDEX_FROM, delete_old_decisions

logger = logging.getLogger("relaycore.semantic")

OLD_DECISIONS_PER_TURN = 1000
BUILD_OPTIONS = "-c maintenance_work_mem=256MB -c statement_timeout=0"

TAKE_TURN = "SELECT pg_try_advisory_lock(hashtext('relaycore index'))"
END_TURN = "SELECT pg_advisory_unlock(hashtext('relaycore index'))"

# Scopes with so many questions (their index alone counts them) that comparing all takes long; those that shrank are
# compared again.
MARK_LARGE = """
WITH counted AS (
    SELECT scope_id, count(*) AS questions FROM semantic_entries GROUP BY scope_id
), large AS (SELECT scope_id FROM counted WHERE questions > %s)
UPDATE semantic_scopes AS s SET indexed = NOT s.indexed
WHERE s.indexed <> (s.id IN (SELECT scope_id FROM large))
"""
FORGET_EMPTY = """
DELETE FROM semantic_scopes AS s
WHERE s.used_at < now() - interval '1 day' AND NOT EXISTS (SELECT FROM semantic_entries e WHERE e.scope_id = s.id)
"""

# What of each large scope lies in which partition, as far as an index of it is worth it and there is none.
MISSING = """
SELECT e.tableoid::regclass::text, e.scope_id, min(vector_dims(e.embedding)), count(*)
FROM semantic_entries e JOIN semantic_scopes s ON s.id = e.scope_id AND s.indexed
GROUP BY 1, 2 HAVING count(*) >= %s
"""
INDEXES = """
SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relname LIKE 'semantic_entries_s%%_near_%%'
"""


_INDEX = SQL(
    "CREATE INDEX CONCURRENTLY {name} ON {partition} USING hnsw ((embedding::halfvec({length})) halfvec_cosine_ops) "
    "WITH (m = 16, ef_construction = 64) WHERE scope_id = {scope}"
)


async def tend_questions(connection: Connection, keep_days: int) -> None:
    """Note which scopes have grown large, and forget what nobody needs any more."""
    await connection.execute(MARK_LARGE, (EXACT_UP_TO,))
    await connection.execute(FORGET_EMPTY)
    while await delete_old_decisions(connection, keep_days, OLD_DECISIONS_PER_TURN) == OLD_DECISIONS_PER_TURN:
        pass


async def build_indexes(connection: Connection) -> int:
    """Build the indexes that large scopes lack and return how many; others go on reading and writing meanwhile.

    The connection is in autocommit mode. An index whose building broke off is dropped and built anew. One connection
    at a time builds; the others return 0 at once. Its turn ends with it, whatever it ends by.
    """
    if await (await connection.execute(TAKE_TURN)).fetchone() != (True,):
        return 0
    try:
        return await _build_missing(connection)
    finally:
        if not connection.closed:
            await connection.execute(END_TURN)


async def _build_missing(connection: Connection) -> int:
    built = 0
    lines = await (await connection.execute(MISSING, (INDEX_FROM,))).fetchall()
    found = dict(cast(list[tuple[str, bool]], await (await connection.execute(INDEXES)).fetchall()))
    for partition, scope_id, dimensions, _ in cast(list[tuple[str, int, int, int]], lines):
        name = f"{partition}_near_{scope_id}"
        if found.get(name):
            continue
        try:
            if name in found:
                await connection.execute(write_drop(name))
            await connection.execute(write_index(partition, name, scope_id, dimensions))
            built += 1
        except psycopg.errors.UndefinedTable:
            continue  # the slot was dropped meanwhile
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded):
            logger.exception("the index %s cannot be built; its questions are compared one by one", name)
    return built


def write_index(partition: str, name: str, scope_id: int, dimensions: int) -> bytes:
    """Return the statement that builds the index of one scope in one partition; the names are the database's own."""
    return _INDEX.format(
        name=Identifier(name), partition=Identifier(partition), length=Literal(dimensions), scope=Literal(scope_id)
    ).as_bytes()


def write_drop(name: str) -> bytes:
    """Return the statement that drops an index that was not finished."""
    return SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(Identifier(name)).as_bytes()
