"""Answers that are kept: the exact cache, and those of calls with an Idempotency-Key."""

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import UUID

from app.db.tables.columns import INSTANT, created_at, metadata

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
    created_at(),
    Column("expires_at", INSTANT, nullable=False, index=True),
    Index("ix_cache_entries_scope", "scope"),
)

# One row for an Idempotency-Key of a caller; `body_hash` tells a repetition from another call. While the call runs,
# `process_id` is who makes it, and `token` which of its calls it is.
idempotent_calls = Table(
    "idempotent_calls",
    metadata,
    Column("scope", LargeBinary, primary_key=True),
    Column("key_hash", LargeBinary, primary_key=True),
    Column("body_hash", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("process_id", UUID(as_uuid=True), nullable=False),
    Column("token", UUID(as_uuid=True), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("status", Integer),
    Column("headers", LargeBinary),
    Column("body", LargeBinary),
    created_at(),
    Column("expires_at", INSTANT, nullable=False, index=True),
    CheckConstraint("state IN ('running', 'done', 'unknown', 'too_large')", name="state"),
)
