"""What happened: one row per request, and the hourly sums of them."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from app.db.tables.columns import INSTANT, MONEY, NOTHING, metadata

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
    Column("team_id", UUID(as_uuid=True)),
    Column("organization_id", UUID(as_uuid=True)),
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
    Column("input_image_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("output_audio_tokens", BigInteger),
    Column("output_image_tokens", BigInteger),
    Column("web_searches", BigInteger),
    Column("service_tier", Text),
    Column("estimated_cost", MONEY),
    Column("saved_cost", MONEY),
    Column("cache_status", Text, nullable=False),
    Column("cache_key", LargeBinary),
    Column("cache_scope", Text),
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
    Index("ix_requests_optimized", "request_time", postgresql_where=text("optimizations_applied <> '[]'::jsonb")),
    postgresql_partition_by="RANGE (request_time)",
)


def _sum(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=NOTHING)


# Kept in the transaction that inserts the requests, so it is never behind and never counts one twice. A NULL in a
# dimension is a value like others.
usage_hourly = Table(
    "usage_hourly",
    metadata,
    Column("hour", INSTANT, nullable=False),
    Column("user_id", UUID(as_uuid=True)),
    Column("api_key_id", UUID(as_uuid=True)),
    Column("team_id", UUID(as_uuid=True)),
    Column("organization_id", UUID(as_uuid=True)),
    Column("provider", Text),
    Column("model", Text),
    Column("endpoint", Text, nullable=False),
    Column("cache_status", Text, nullable=False),
    Column("status_code", Integer, nullable=False),
    _sum("requests"),
    _sum("input_tokens"),
    _sum("cache_read_tokens"),
    _sum("cache_write_5m_tokens"),
    _sum("cache_write_1h_tokens"),
    _sum("input_audio_tokens"),
    _sum("input_image_tokens"),
    _sum("output_tokens"),
    _sum("reasoning_tokens"),
    _sum("output_audio_tokens"),
    _sum("output_image_tokens"),
    _sum("web_searches"),
    _sum("unknown_usage"),
    Column("estimated_cost", MONEY, nullable=False, server_default=NOTHING),
    Column("saved_cost", MONEY, nullable=False, server_default=NOTHING),
    _sum("unknown_cost"),
    _sum("unknown_saving"),
    Column("latency_ms", Float(53), nullable=False, server_default=NOTHING),
)
Index(
    "uq_usage_hourly",
    usage_hourly.c.hour,
    usage_hourly.c.user_id,
    usage_hourly.c.api_key_id,
    usage_hourly.c.team_id,
    usage_hourly.c.organization_id,
    usage_hourly.c.provider,
    usage_hourly.c.model,
    usage_hourly.c.endpoint,
    usage_hourly.c.cache_status,
    usage_hourly.c.status_code,
    unique=True,
    postgresql_nulls_not_distinct=True,
)
Index("ix_usage_hourly_user_id_hour", usage_hourly.c.user_id, usage_hourly.c.hour)
