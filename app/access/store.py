"""Users and keys in Postgres."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.dialects import postgresql

from app.access.records import LEVELS, KeyLine, read_records
from app.access.types import KeyRecord, NewKey, NewUser
from app.db.connection import Connection as HotConnection
from app.db.tables import api_keys, installation, users
from app.wire.ids import make_uuid7

ADMIN_EMAIL = "admin@localhost"
"""The user that the admin key stands for."""

ADMIN_HASH = "admin key hash"
"""The fact that holds the hash of the admin key that a first start made."""

# A key is live when nobody in its chain is deleted or blocked, and while its user belongs to its team.
CHANGED_KEYS = """
SELECT k.public_id, k.secret_hash, k.previous_public_id, k.previous_secret_hash, k.previous_until, k.expires_at,
       k.revoked_at IS NULL AND NOT k.blocked AND u.deleted_at IS NULL AND NOT u.blocked
         AND (k.team_id IS NULL OR t.deleted_at IS NULL AND NOT t.blocked AND m.user_id IS NOT NULL
           AND (t.organization_id IS NULL OR t.organization_id IS NOT DISTINCT FROM u.organization_id))
         AND (o.id IS NULL OR o.deleted_at IS NULL AND NOT o.blocked),
       u.role, k.tags, k.priority, k.scopes, k.cache_scope, k.semantic, o.id, t.id, u.id, k.id,
       o.models, o.routes, o.rpm, o.tpm, o.max_parallel, t.models, t.routes, t.rpm, t.tpm, t.max_parallel,
       u.models, u.routes, u.rpm, u.tpm, u.max_parallel, k.models, k.routes, k.rpm, k.tpm, k.max_parallel
FROM api_keys k
JOIN users u ON u.id = k.user_id
LEFT JOIN teams t ON t.id = k.team_id
LEFT JOIN team_members m ON m.team_id = k.team_id AND m.user_id = k.user_id
LEFT JOIN organizations o ON o.id = coalesce(t.organization_id, u.organization_id)
WHERE k.version > %(since)s OR u.version > %(since)s OR t.version > %(since)s OR o.version > %(since)s
"""
RIGHTS_BEGIN = len(KeyLine._fields) - 2 + len(LEVELS)


async def list_changed_keys(connection: HotConnection, since: int) -> list[KeyRecord]:
    """Return the keys that changed, or anything they depend on, after version `since` of the access snapshot."""
    cursor = await connection.execute(CHANGED_KEYS, {"since": since})
    lines = cast(list[tuple[Any, ...]], await cursor.fetchall())
    return [record for line in lines for record in read_records(_split(line))]


def _split(line: tuple[Any, ...]) -> KeyLine:
    ids = RIGHTS_BEGIN - len(LEVELS)
    return KeyLine(*line[:ids], ids=line[ids:RIGHTS_BEGIN], rights=line[RIGHTS_BEGIN:])


def find_user(connection: Connection, email: str) -> UUID | None:
    """Return the id of the live user with that e-mail address."""
    live = (func.lower(users.c.email) == func.lower(email)) & users.c.deleted_at.is_(None)
    return connection.execute(select(users.c.id).where(live)).scalar()


def insert_user(connection: Connection, user: NewUser) -> UUID:
    """Store a user and return the new id; sqlalchemy.exc.IntegrityError when the address is taken."""
    user_id = make_uuid7()
    connection.execute(insert(users).values(id=user_id, email=user.email, name=user.name, role=user.role))
    return user_id


def insert_key(connection: Connection, key: NewKey) -> UUID:
    """Store a key and return its id."""
    key_id = make_uuid7()
    connection.execute(
        insert(api_keys).values(
            id=key_id,
            public_id=key.public_id,
            secret_hash=key.secret_hash,
            user_id=key.user_id,
            name=key.name,
            models=list(key.models) if key.models is not None else None,
            expires_at=key.expires_at,
        )
    )
    return key_id


def count_keys(connection: Connection) -> int:
    """Return how many keys were ever made."""
    return connection.execute(select(func.count()).select_from(api_keys)).scalar_one()


def find_fact(connection: Connection, name: str) -> bytes | None:
    """Return a fact of this installation."""
    return connection.execute(select(installation.c.value).where(installation.c.name == name)).scalar()


def keep_fact(connection: Connection, name: str, value: bytes) -> bytes:
    """Store a fact unless there is one, and return the one that is kept."""
    statement = postgresql.insert(installation).values(name=name, value=value)
    connection.execute(statement.on_conflict_do_nothing(index_elements=["name"]))
    kept = find_fact(connection, name)
    return kept if kept is not None else value


def list_key_lines(connection: Connection) -> Sequence[tuple[str, str, str]]:
    """Return (public id, name, user's e-mail) of the live keys, oldest first."""
    statement = (
        select(api_keys.c.public_id, api_keys.c.name, users.c.email)
        .join_from(api_keys, users)
        .where(api_keys.c.revoked_at.is_(None), users.c.deleted_at.is_(None))
        .order_by(api_keys.c.created_at)
    )
    return [(line[0], line[1], line[2]) for line in connection.execute(statement)]


async def find_admin(connection: HotConnection, email: str) -> UUID:
    """Return the id of the user that the admin key stands for; LookupError before the first start has made it."""
    cursor = await connection.execute("SELECT id FROM users WHERE email = %s AND deleted_at IS NULL", (email,))
    line = await cursor.fetchone()
    if line is None:
        raise LookupError("the database was not prepared: run `relaycore migrate` or `relaycore serve` first")
    return cast(UUID, line[0])


async def load_admin_hash(connection: HotConnection, name: str) -> bytes:
    """Return the hash of the admin key that a first start made; empty when there is none."""
    cursor = await connection.execute("SELECT value FROM installation WHERE name = %s", (name,))
    line = await cursor.fetchone()
    return b"" if line is None else bytes(cast(bytes, line[0]))
