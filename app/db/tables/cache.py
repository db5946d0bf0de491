"""Answers that are kept: the exact cache, the semantic cache over it, and those of calls with an Idempotency-Key."""

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from app.db.tables.columns import INSTANT, NOTHING, NOW, created_at, metadata
from app.db.tables.vectors import HalfVector

NO_TAGS = text("'{}'")

# What is kept together leaves together: a slot is one partition of `cache_entries` and one of `semantic_entries`. Each
# class of times to live (0: up to two hours, 1: up to a day, 2: longer) has one that is open to new entries.
cache_slots = Table(
    "cache_slots",
    metadata,
    Column("slot", BigInteger, Identity(always=True), primary_key=True),
    Column("class", SmallInteger, nullable=False),
    Column("opened_at", INSTANT, nullable=False, server_default=NOW),
    Column("closed_at", INSTANT),
    Index("uq_cache_slots_open", "class", unique=True, postgresql_where=text("closed_at IS NULL")),
)

# Logged, though a cache could be rebuilt: an unlogged table is emptied by a crash, and each lost answer is paid for
# again. Its writes commit asynchronously instead. `scope` says who shares the answer, `user_id` whose call made it;
# `encoding` 1: `body` is compressed with zstandard. A key may be in several slots: the newest counts.
cache_entries = Table(
    "cache_entries",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("scope", Text, nullable=False),
    Column("user_id", UUID(as_uuid=True), nullable=False),
    Column("api_key_id", UUID(as_uuid=True)),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("streamed", Boolean, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("encoding", SmallInteger, nullable=False, server_default=NOTHING),
    Column("body", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("usage", LargeBinary),
    Column("tags", ARRAY(Text), nullable=False, server_default=NO_TAGS),
    created_at(),
    Column("expires_at", INSTANT, nullable=False, index=True),
    Index("ix_cache_entries_scope", "scope"),
    Index("ix_cache_entries_user_id", "user_id"),
    Index("ix_cache_entries_tags", "tags", postgresql_using="gin", postgresql_where=text("tags <> '{}'")),
    postgresql_partition_by="LIST (slot)",
)

# Who makes the call that others with the same key wait for, in whatever process; given up when `until` is over.
cache_leases = Table(
    "cache_leases",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("owner", UUID(as_uuid=True), nullable=False),
    Column("until", INSTANT, nullable=False),
    prefixes=["UNLOGGED"],
)

# What was cleared, for the memory of the other processes: entries that fit `what` and were made before `at`.
cache_clearings = Table(
    "cache_clearings",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("what", JSONB, nullable=False),
    Column("at", INSTANT, nullable=False),
)

# Questions may only be compared within one of these: `identity` covers everything but the words of the question, and
# `embedder` made the vectors. `indexed`: so many entries that a search by index is worth it.
semantic_scopes = Table(
    "semantic_scopes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("identity", LargeBinary, nullable=False),
    Column("embedder", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("indexed", Boolean, nullable=False, server_default=text("false")),
    Column("used_at", INSTANT, nullable=False, server_default=NOW),
    UniqueConstraint("identity", "embedder", name="uq_semantic_scopes_identity"),
)

# The question that an entry of the exact cache answers. `echoes` are words of it that the answer repeats.
semantic_entries = Table(
    "semantic_entries",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("scope_id", BigInteger, nullable=False),
    Column("user_id", UUID(as_uuid=True), nullable=False),
    Column("question", Text, nullable=False),
    Column("echoes", ARRAY(Text), nullable=False, server_default=NO_TAGS),
    Column("embedding", HalfVector, nullable=False),
    created_at(),
    Column("expires_at", INSTANT, nullable=False),
    Index("ix_semantic_entries_scope_id", "scope_id"),
    postgresql_partition_by="LIST (slot)",
)

# Every time a similar entry was found that could have answered: whether it did, and what a check said of it later.
# `tier` says how sure the policy was (0 is surest); `verdict` is "same", "different" or "reported" (by a client).
semantic_decisions = Table(
    "semantic_decisions",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("decided_at", INSTANT, nullable=False, server_default=NOW),
    Column("namespace", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("tier", SmallInteger, nullable=False),
    Column("user_id", UUID(as_uuid=True), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("entry_key", LargeBinary, nullable=False),
    Column("similarity", REAL, nullable=False),
    Column("probability", REAL),
    Column("served", Boolean, nullable=False),
    Column("verdict", Text),
    Column("judged_at", INSTANT),
    Index("ix_semantic_decisions_judged", "namespace", "policy", "tier", "judged_at", postgresql_include=["verdict"]),
    Index("ix_semantic_decisions_decided_at", "decided_at"),
    Index("ix_semantic_decisions_request_id", "request_id"),
    CheckConstraint("verdict IN ('same', 'different', 'reported')", name="verdict"),
)

# The sums of the verdicts of a namespace, by how sure the policy was: what decides whether it is served. `recent_*` are
# of each tier's newest 500, `newest_wrong` of its newest 50.
semantic_evidence = Table(
    "semantic_evidence",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("policy", Text, primary_key=True),
    Column("tier", SmallInteger, primary_key=True, autoincrement=False),
    Column("checked", Integer, nullable=False),
    Column("wrong", Integer, nullable=False),
    Column("recent_checked", Integer, nullable=False, server_default=NOTHING),
    Column("recent_wrong", Integer, nullable=False, server_default=NOTHING),
    Column("newest_wrong", Integer, nullable=False, server_default=NOTHING),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
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
