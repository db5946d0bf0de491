"""The first connections to a Postgres: its database, its password, and whether the vector extension runs."""

import psycopg
from psycopg import sql

from app.db.launch import EmbeddedPostgresError

DATABASE = "relaycore"
_PROBE = (
    "SELECT '[1,2,3,4,5,6,7,8,9]'::vector <=> '[9,8,7,6,5,4,3,2,1]'::vector, '[1,2,3]'::halfvec <=> '[3,2,1]'::halfvec"
)
_CRASHED = (
    "The database server crashed when the vector extension was tried: it was compiled for instructions that this "
    "machine's CPU lacks (AVX2 on x86-64, SVE on arm64). Use another Postgres with pgvector through DATABASE_URL."
)
_MISSING = "The database has no usable vector extension (pgvector 0.8 or newer)."


def create_database(maintenance_url: str, timeout: int) -> None:
    """Make RelayCore's database where it is missing."""
    with psycopg.connect(maintenance_url, autocommit=True, connect_timeout=timeout) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def set_password(url: str, password: str, timeout: int) -> None:
    """Set the password of the superuser; the server sees its hash only."""
    with psycopg.connect(url, autocommit=True, connect_timeout=timeout) as connection:
        secret = connection.pgconn.encrypt_password(password.encode(), b"postgres", b"scram-sha-256")
        statement = sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(secret.decode()))
        connection.execute(statement)


def probe_vector(url: str) -> None:
    """Raise when the vector extension of the database is missing or doesn't run on this machine's CPU.

    pgvector may be compiled for instructions (AVX2, SVE) that a CPU lacks. Using one kills the backend, and all
    other connections with it: so it is tried once, in a connection of its own that leaves nothing behind.
    """
    try:
        connection = psycopg.connect(url, connect_timeout=10)
    except psycopg.Error as error:
        raise EmbeddedPostgresError(f"The database can't be reached: {error}") from error
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(_PROBE)
        connection.rollback()
    except psycopg.Error as error:
        raise EmbeddedPostgresError(f"{_CRASHED if connection.broken else _MISSING} ({error})") from error
    finally:
        connection.close()
