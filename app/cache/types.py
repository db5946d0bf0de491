"""A stored answer."""

import msgspec

from app.wire.usage import Usage


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One complete answer. Times are seconds since the epoch; `streamed` says whether `body` is SSE or a whole body."""

    key: bytes
    scope: bytes
    provider: str
    model: str
    endpoint: str
    streamed: bool
    content_type: str
    body: bytes
    usage: Usage | None
    created_at: float
    expires_at: float
