"""Secrets at rest: AES-256-GCM, bound to the row and the purpose they were made for."""

import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_LENGTH = 12


class SecretUnreadableError(Exception):
    """A stored secret does not open: another secret key, or the row was changed or moved."""


class Vault:
    """Encrypts and decrypts with one key (32 bytes); `key_id` says which without telling anything about it."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(b"relaycore key id" + key).hexdigest()[:16]

    def seal(self, purpose: str, name: str, secret: str) -> bytes:
        """Return nonce + ciphertext of `secret`, which opens only for the same purpose and name."""
        nonce = secrets.token_bytes(NONCE_LENGTH)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), _bind(purpose, name))

    def open(self, purpose: str, name: str, sealed: bytes) -> str:
        """Return the secret; SecretUnreadableError when it does not open."""
        try:
            plain = self._cipher.decrypt(sealed[:NONCE_LENGTH], sealed[NONCE_LENGTH:], _bind(purpose, name))
        except (InvalidTag, ValueError) as error:
            raise SecretUnreadableError(f"the stored secret {purpose}/{name} does not open with this key") from error
        return plain.decode()


def _bind(purpose: str, name: str) -> bytes:
    return f"secrets\0{purpose}\0{name}".encode()
