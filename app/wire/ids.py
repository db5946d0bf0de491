"""Identifiers that sort by the time they were made (UUID version 7, RFC 9562)."""

import os
import time
from uuid import UUID

_VERSION = 7 << 76
_VARIANT = 2 << 62
_RANDOM_74 = (1 << 74) - 1
_LOW_62 = (1 << 62) - 1


def make_uuid7() -> UUID:
    """Return a new UUIDv7: 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big") & _RANDOM_74
    return UUID(int=(milliseconds << 80) | _VERSION | ((random >> 62) << 64) | _VARIANT | (random & _LOW_62))
