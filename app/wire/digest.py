"""One hash over several values, so that no two different lists of them run into the same bytes."""

import hashlib
from collections.abc import Iterable


def hash_parts(parts: Iterable[bytes]) -> bytes:
    """Return the SHA-256 of `parts`, each with its length before it: 32 bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
