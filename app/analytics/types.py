"""What is recorded of a request."""

from uuid import UUID

import msgspec

from app.wire.money import Hold, Line
from app.wire.usage import Usage


class RequestRow(msgspec.Struct, kw_only=True):
    """One request as the gateway saw it; the writer adds its cost.

    Times are seconds since the epoch (UTC), durations milliseconds. `billed` is False when no provider was paid for
    the answer (a cache hit): its price then counts as saved. `tags` and `metadata` come from the client (metadata is
    the JSON text of an object). `hold` is the money held for the call; `estimated_usage` is then charged when a
    provider may be owed something and reported no usage. `lines` is what `usage` costs where that was worked out
    already, to tell the client.
    """

    id: UUID
    request_id: str
    request_time: float
    response_time: float
    user_id: UUID | None = None
    api_key_id: UUID | None = None
    team_id: UUID | None = None
    organization_id: UUID | None = None
    provider: str | None = None
    model: str | None = None
    requested_model: str | None = None
    endpoint: str = "unknown"
    streamed: bool = False
    status_code: int = 500
    error_type: str | None = None
    usage: Usage | None = None
    billed: bool = True
    cache_status: str = "disabled"
    cache_key: bytes | None = None
    cache_scope: str | None = None
    optimizations_applied: tuple[str, ...] = ()
    latency: float = 0.0
    overhead_ms: float | None = None
    first_byte_ms: float | None = None
    upstream_ms: float | None = None
    attempts: int = 0
    upstream_request_id: str | None = None
    session_id: str | None = None
    retry_count: int | None = None
    tags: tuple[str, ...] | None = None
    metadata: str | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    hold: Hold | None = None
    estimated_usage: Usage | None = None
    lines: tuple[Line, ...] | None = None
