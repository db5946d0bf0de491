"""Secrets at rest: AES-256-GCM, bound to the row and the purpose they were made for."""

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_LENGTH = 12


class SecretUnreadableError(Exception):
    """A stored secret does not open: another secret key, or the row was changed or moved."""


class Vault:
    """Encrypts with the newest of its keys (32 bytes each) and decrypts with every one.

    `key_id` says which is the newest, without telling anything about it.
    """

    def __init__(self, *keys: bytes) -> None:
        self._ciphers: tuple[AESGCM, ...] = ()
        self.key_id = ""
        if keys:
            self.load(keys)

    def load(self, keys: Sequence[bytes]) -> None:
        """Take over the keys, newest first, in place of those before."""
        self._ciphers = tuple(AESGCM(key) for key in keys)
        self.key_id = hashlib.sha256(b"relaycore key id" + keys[0]).hexdigest()[:16]

    def seal(self, purpose: str, name: str, secret: str) -> bytes:
        """Return nonce + ciphertext of `secret`, which opens only for the same purpose and name."""
        nonce = secrets.token_bytes(NONCE_LENGTH)
        return nonce + self._ciphers[0].encrypt(nonce, secret.encode(), _bind(purpose, name))

    def open(self, purpose: str, name: str, sealed: bytes) -> str:
        """Return the secret; SecretUnreadableError when it does not open."""
        bound = _bind(purpose, name)
        for cipher in self._ciphers:
            with suppress(InvalidTag, ValueError):
                return cipher.decrypt(sealed[:NONCE_LENGTH], sealed[NONCE_LENGTH:], bound).decode()
        raise SecretUnreadableError(f"the stored secret {purpose}/{name} does not open with this key")


def _bind(purpose: str, name: str) -> bytes:
    return f"secrets\0{purpose}\0{name}".encode()
