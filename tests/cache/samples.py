"""Stored answers for the cache's tests."""

import time
from uuid import UUID

from app.cache.types import Entry
from app.wire.usage import Usage

USER = UUID(int=7)


def make_entry(key: bytes = b"k" * 32, body: bytes = b"{}", *, ttl: float = 60, streamed: bool = False) -> Entry:
    """Return an entry that lives for `ttl` seconds from now."""
    now = time.time()
    return Entry(
        key=key,
        scope=f"user:{USER}",
        user_id=USER,
        api_key_id=None,
        provider="openai",
        model="gpt-4o",
        endpoint="chat",
        streamed=streamed,
        content_type="application/json",
        body=body,
        usage=Usage(input_tokens=3, output_tokens=2),
        created_at=now,
        expires_at=now + ttl,
    )
