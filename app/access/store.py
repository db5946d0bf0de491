"""Users and keys in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects import postgresql

from app.access.types import Caller, KeyRecord, NewKey, NewUser
from app.db.connection import Connection as HotConnection
from app.db.tables import api_keys, installation, users
from app.wire.ids import make_uuid7

ADMIN_EMAIL = "admin@localhost"
"""The user that the admin key stands for."""

ADMIN_HASH = "admin key hash"
"""The fact that holds the hash of the admin key that a first start made."""

CHANGED_KEYS = """
SELECT k.public_id, k.secret_hash, k.id, k.models, k.expires_at, k.user_id, u.role,
       k.revoked_at IS NULL AND u.deleted_at IS NULL
FROM api_keys k JOIN users u ON u.id = k.user_id
WHERE k.version > %(since)s OR u.version > %(since)s
"""

KeyLine = tuple[str, bytes, UUID, list[str] | None, datetime | None, UUID, str, bool]


async def list_changed_keys(connection: HotConnection, since: int) -> list[KeyRecord]:
    """Return the keys that changed, or whose user did, after version `since` of the access snapshot."""
    cursor = await connection.execute(CHANGED_KEYS, {"since": since})
    return [_record(cast(KeyLine, line)) for line in await cursor.fetchall()]


def _record(line: KeyLine) -> KeyRecord:
    public_id, secret_hash, key_id, models, expires_at, user_id, role, live = line
    return KeyRecord(
        public_id=public_id,
        secret_hash=bytes(secret_hash),
        live=live,
        expires_at=expires_at.timestamp() if expires_at else None,
        caller=Caller(
            user_id=user_id,
            key_id=key_id,
            admin=role == "admin",
            scope=user_id.bytes,
            models=frozenset(models) if models is not None else None,
        ),
    )


def find_user(connection: Connection, email: str) -> UUID | None:
    """Return the id of the live user with that e-mail address."""
    live = (func.lower(users.c.email) == email.lower()) & users.c.deleted_at.is_(None)
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


def mark_key_revoked(connection: Connection, public_id: str) -> bool:
    """Revoke a key from now on; False when there is no live one with that public id."""
    live = (api_keys.c.public_id == public_id) & api_keys.c.revoked_at.is_(None)
    return connection.execute(update(api_keys).where(live).values(revoked_at=func.now())).rowcount > 0


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
