"""Every table of RelayCore; alembic compares the database with this module."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

MONEY = Numeric(24, 15)
"""US dollars: fifteen decimals hold one token at the cheapest published price without rounding to zero."""

INSTANT = DateTime(timezone=True)
NOW = text("now()")


def _created_at() -> Column[object]:
    return Column("created_at", INSTANT, nullable=False, server_default=NOW)


# One row per local snapshot (access, config, prices). Whoever changes what a snapshot is made of raises its version in
# the same transaction (triggers do it), which also puts the writers of one snapshot in order of commit.
snapshot_versions = Table(
    "snapshot_versions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
)

# Facts of this installation that are made once, such as the hash of the random admin key.
installation = Table(
    "installation",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    _created_at(),
)

users = Table(
    "users",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=text("''")),
    Column("role", Text, nullable=False, server_default=text("'user'")),
    _created_at(),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
    Column("deleted_at", INSTANT),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("role IN ('user', 'admin')", name="role"),
)
Index(
    "uq_users_email_live",
    text("lower(email)"),
    unique=True,
    postgresql_where=users.c.deleted_at.is_(None),
    _table=users,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("public_id", Text, nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("user_id", UUID(as_uuid=True), ForeignKey("users.id"), nullable=False, index=True),
    Column("name", Text, nullable=False, server_default=text("''")),
    Column("models", ARRAY(Text)),
    _created_at(),
    Column("expires_at", INSTANT),
    Column("revoked_at", INSTANT),
    Column("version", BigInteger, nullable=False, server_default=text("0"), index=True),
)

config_versions = Table(
    "config_versions",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("document", JSONB, nullable=False),
    Column("origin", Text, nullable=False),
    _created_at(),
)

# AES-256-GCM ciphertexts; the additional data binds each to its table, name and purpose, so none can be moved.
secrets = Table(
    "secrets",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
)

prices = Table(
    "prices",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("token_class", Text, primary_key=True),
    Column("from_input_tokens", BigInteger, primary_key=True, server_default=text("0")),
    Column("usd_per_unit", MONEY, nullable=False),
    Column("source", Text, nullable=False),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
    CheckConstraint("usd_per_unit >= 0", name="not_negative"),
)

# Deployments out of rotation, so that every process leaves alone what one of them found out.
deployment_health = Table(
    "deployment_health",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("out_until", INSTANT, nullable=False),
    Column("ejections", Integer, nullable=False),
    Column("reporter", UUID(as_uuid=True), nullable=False),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
)

# Logged, though a cache could be rebuilt: an unlogged table is emptied by a crash, and each lost answer is paid for
# again. Its writes commit asynchronously instead.
cache_entries = Table(
    "cache_entries",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("streamed", Boolean, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("usage", LargeBinary),
    _created_at(),
    Column("expires_at", INSTANT, nullable=False, index=True),
    Index("ix_cache_entries_scope", "scope"),
)

# One row per request whatever happened to it; daily partitions, so that retention drops tables instead of rows.
# `latency` and the other durations are milliseconds. Token classes are disjoint. NULL is unknown, never zero.
requests = Table(
    "requests",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("request_time", INSTANT, primary_key=True),
    Column("response_time", INSTANT, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("user_id", UUID(as_uuid=True)),
    Column("api_key_id", UUID(as_uuid=True)),
    Column("provider", Text),
    Column("model", Text),
    Column("requested_model", Text),
    Column("endpoint", Text, nullable=False),
    Column("streamed", Boolean, nullable=False, server_default=text("false")),
    Column("status_code", Integer, nullable=False),
    Column("error_type", Text),
    Column("input_tokens", BigInteger),
    Column("cache_read_tokens", BigInteger),
    Column("cache_write_5m_tokens", BigInteger),
    Column("cache_write_1h_tokens", BigInteger),
    Column("input_audio_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("output_audio_tokens", BigInteger),
    Column("web_searches", BigInteger),
    Column("service_tier", Text),
    Column("estimated_cost", MONEY),
    Column("saved_cost", MONEY),
    Column("cache_status", Text, nullable=False),
    Column("cache_key", LargeBinary),
    Column("optimizations_applied", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("latency", Float(53), nullable=False),
    Column("overhead_ms", Float(53)),
    Column("first_byte_ms", Float(53)),
    Column("upstream_ms", Float(53)),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("upstream_request_id", Text),
    Column("session_id", Text),
    Column("retry_count", Integer),
    Column("tags", ARRAY(Text)),
    Column("metadata", JSONB),
    Column("request_bytes", BigInteger),
    Column("response_bytes", BigInteger),
    Index("ix_requests_user_id_request_time", "user_id", "request_time"),
    Index("ix_requests_request_time", "request_time"),
    Index("ix_requests_request_id", "request_id"),
    postgresql_partition_by="RANGE (request_time)",
)
