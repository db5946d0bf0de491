"""Clearing in Postgres: the entries, the questions that they answer, and a line for the other processes."""

from typing import cast
from uuid import UUID

import msgspec
from psycopg.sql import SQL
from psycopg.types.json import Jsonb
from sqlalchemy import Connection as ControlConnection
from sqlalchemy import select, text

from app.cache.clearing import Cleared, Clearing
from app.cache.types import Entry
from app.db.connection import Connection
from app.db.tables import api_keys

_CONDITIONS = {
    "key": SQL("key = decode(%(key)s, 'hex')"),
    "scope": SQL("scope = %(scope)s"),
    "namespace": SQL(
        "%(namespace)s = CASE WHEN starts_with(scope, 'namespace:') THEN substr(scope, 11)"
        " WHEN strpos(scope, '/') > 0 THEN substr(scope, strpos(scope, '/') + 1) ELSE '' END"
    ),
    "user_id": SQL("user_id = %(user_id)s"),
    "api_key_id": SQL("api_key_id = %(api_key_id)s"),
    "provider": SQL("provider = %(provider)s"),
    "model": SQL("model = %(model)s"),
    "endpoint": SQL("endpoint = %(endpoint)s"),
    "tags": SQL("tags <> '{}' AND tags && %(tags)s::text[]"),
}
_AT = SQL("created_at <= to_timestamp(%(at)s::float8)")
_DELETE = SQL("""
WITH gone AS (DELETE FROM cache_entries WHERE {where} RETURNING key),
questions AS (DELETE FROM semantic_entries AS q USING gone WHERE q.key = gone.key),
leases AS (DELETE FROM cache_leases AS l USING gone WHERE l.key = gone.key AND l.until <= now() + interval '1 second')
SELECT count(*) FROM gone""")


NOTE_OLDER = """
INSERT INTO cache_clearings (version, what, at) SELECT relaycore_bump('cache'), %s, to_timestamp(%s::float8)
"""
CLOCK_STEP_SECONDS = 0.001


def build_deletion(what: Clearing, *, at: float | None) -> tuple[bytes, dict[str, object]]:
    """Return the statement that deletes what fits, made up to `at`, with its questions; it returns how many there were.

    Made of constants alone; what is asked for goes in as parameters.
    """
    said = {name: value for name in _CONDITIONS if (value := getattr(what, name)) is not None}
    values: dict[str, object] = {name: list(value) if name == "tags" else value for name, value in said.items()}
    conditions = [_CONDITIONS[name] for name in said]
    if at is not None:
        conditions.append(_AT)
        values["at"] = at
    where = SQL(" AND ").join(conditions) if conditions else SQL("true")
    return _DELETE.format(where=where).as_bytes(), values


async def delete_cleared(connection: Connection, cleared: Cleared) -> int:
    """Delete what was there when it was cleared, and return how many entries that were."""
    statement, values = build_deletion(cleared.what, at=cleared.at)
    line = await (await connection.execute(statement, values)).fetchone()
    return 0 if line is None else cast(int, line[0])


def clear(connection: ControlConnection, what: Clearing) -> int:
    """Delete what fits, tell all processes, and return how many entries there were in Postgres."""
    driver = connection.connection.cursor()
    statement, values = build_deletion(what, at=None)
    driver.execute(statement, values)
    line = driver.fetchone()
    version = connection.execute(text("SELECT relaycore_bump('cache')")).scalar_one()
    driver.execute(
        "INSERT INTO cache_clearings (version, what, at) VALUES (%s, %s, clock_timestamp())",
        (version, Jsonb(msgspec.to_builtins(what))),
    )
    return 0 if line is None else int(line[0])


async def forget_older(connection: Connection, entry: Entry) -> None:
    """Tell all processes to forget what they have under the key of `entry` that is older than it."""
    what = Clearing(key=entry.key.hex(), in_memory=True)
    at = entry.created_at - CLOCK_STEP_SECONDS
    await connection.execute(NOTE_OLDER, (Jsonb(msgspec.to_builtins(what)), at))


def find_key_user(connection: ControlConnection, key_id: UUID) -> UUID | None:
    """Return whose an API key is."""
    return connection.execute(select(api_keys.c.user_id).where(api_keys.c.id == key_id)).scalar()


def find_entry_owner(connection: ControlConnection, key: bytes) -> tuple[UUID, str] | None:
    """Return whose call made the live entry under `key`, and the scope that shares it."""
    statement = text(
        "SELECT user_id, scope FROM cache_entries WHERE key = :key AND expires_at > now() "
        "ORDER BY created_at DESC LIMIT 1"
    )
    line = connection.execute(statement, {"key": key}).first()
    return None if line is None else (line[0], line[1])
