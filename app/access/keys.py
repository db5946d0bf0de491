"""API keys: how they look, how they are made and what is kept of them.

A key is `rk-<public id>-<secret><check>`. The public id (12 characters) finds the row and may stand in logs; the secret
has 32 characters of base 62 (190 bits); the check (6 characters, CRC-32) lets scanners recognise a leaked key and the
gateway refuse a mistyped one without asking the database.
"""

import hashlib
import hmac
import secrets
import string
import zlib
from typing import NamedTuple

PREFIX = "rk-"
PUBLIC_LENGTH = 12
SECRET_LENGTH = 32
CHECK_LENGTH = 6
LENGTH = len(PREFIX) + PUBLIC_LENGTH + 1 + SECRET_LENGTH + CHECK_LENGTH

_PUBLIC_ALPHABET = string.digits + string.ascii_lowercase
_SECRET_ALPHABET = string.digits + string.ascii_letters


def make_key() -> str:
    """Return a new random key."""
    public_id = "".join(secrets.choice(_PUBLIC_ALPHABET) for _ in range(PUBLIC_LENGTH))
    secret = "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(SECRET_LENGTH))
    body = f"{PREFIX}{public_id}-{secret}"
    return body + _check(body)


class Secret(NamedTuple):
    """A new key and what is kept of it."""

    key: str
    public_id: str
    secret_hash: bytes


def make_secret(pepper: bytes) -> Secret:
    """Return a new random key with what is to be stored."""
    key = make_key()
    return Secret(key, key[len(PREFIX) : len(PREFIX) + PUBLIC_LENGTH], hash_key(pepper, key))


def find_public_id(key: str) -> str | None:
    """Return the public id of something that has a key's shape and a right check, else None."""
    if len(key) != LENGTH or not key.startswith(PREFIX) or key[len(PREFIX) + PUBLIC_LENGTH] != "-":
        return None
    if not key.isascii() or _check(key[:-CHECK_LENGTH]) != key[-CHECK_LENGTH:]:
        return None
    return key[len(PREFIX) : len(PREFIX) + PUBLIC_LENGTH]


def hash_key(pepper: bytes, key: str) -> bytes:
    """Return what is stored of a key: HMAC-SHA-256 under the installation's pepper.

    A slow password hash would add nothing: the key itself is random and long.
    """
    return hmac.digest(pepper, key.encode("utf-8", "surrogateescape"), hashlib.sha256)


def _check(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECK_LENGTH):
        number, digit = divmod(number, 62)
        digits = _SECRET_ALPHABET[digit] + digits
    return digits
