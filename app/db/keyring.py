"""The keys that an installation works with, and how they are wrapped by the one key that it is given from outside.

The secret key (RELAYCORE_SECRET_KEY) encrypts nothing itself: it makes the key that wraps the data keys, so it can be
replaced without touching what they protect.
"""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Purpose = Literal["provider keys", "key pepper", "audit log"]

VAULT, PEPPER, AUDIT = "provider keys", "key pepper", "audit log"
PURPOSES: tuple[Purpose, ...] = ("provider keys", "key pepper", "audit log")
KEY_LENGTH = 32
NONCE_LENGTH = 12


class KeyringError(Exception):
    """The data keys do not open; the message says why."""


class DataKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key for one purpose, in the clear."""

    purpose: str
    version: int
    key: bytes

    def __repr__(self) -> str:
        """Name the key without telling it."""
        return f"DataKey({self.purpose!r}, {self.version})"


class WrappedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A data key as it is stored: readable for whoever has the secret key that `wrapped_by` names."""

    purpose: str
    version: int
    wrapped_by: str
    wrapped: bytes


class Wrapper:
    """Wraps and unwraps data keys under a secret key; `key_id` names it without telling anything about it."""

    def __init__(self, secret_key: str) -> None:
        key = derive(secret_key, "key wrapping")
        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(b"relaycore key id" + key).hexdigest()[:16]

    def wrap(self, data: DataKey) -> WrappedKey:
        """Return a data key for storage."""
        nonce = secrets.token_bytes(NONCE_LENGTH)
        bound = _bind(data.purpose, data.version, self.key_id)
        return WrappedKey(
            purpose=data.purpose,
            version=data.version,
            wrapped_by=self.key_id,
            wrapped=nonce + self._cipher.encrypt(nonce, data.key, bound),
        )

    def unwrap(self, stored: WrappedKey) -> DataKey:
        """Return a stored data key; KeyringError when it was wrapped by another key, or changed or moved since."""
        bound = _bind(stored.purpose, stored.version, self.key_id)
        nonce, sealed = stored.wrapped[:NONCE_LENGTH], stored.wrapped[NONCE_LENGTH:]
        try:
            key = self._cipher.decrypt(nonce, sealed, bound)
        except (InvalidTag, ValueError) as error:
            raise KeyringError(
                f"The stored key for {stored.purpose}, version {stored.version}, was changed."
            ) from error
        return DataKey(purpose=stored.purpose, version=stored.version, key=key)


class Keyring(msgspec.Struct, frozen=True):
    """The data keys of an installation, in the clear; only in memory."""

    keys: tuple[DataKey, ...]

    @property
    def pepper(self) -> bytes:
        """The key of the hashes that are kept of API keys. There is one: no hash can be made anew without its key."""
        return self._get(PEPPER)

    @property
    def audit_key(self) -> bytes:
        """The key of the audit log's chain. There is one: with another the lines written so far would not fit."""
        return self._get(AUDIT)

    @property
    def vault_keys(self) -> tuple[bytes, ...]:
        """The keys of provider keys, newest first: that one seals, all open."""
        found = sorted((one for one in self.keys if one.purpose == VAULT), key=lambda one: -one.version)
        return tuple(one.key for one in found)

    def __repr__(self) -> str:
        """Say how many keys there are, and none of them."""
        return f"Keyring({len(self.keys)} keys)"

    def _get(self, purpose: str) -> bytes:
        found = max((one for one in self.keys if one.purpose == purpose), key=lambda one: one.version, default=None)
        if found is None:
            raise KeyringError(f"There is no key for {purpose}.")
        return found.key


def derive(secret_key: str, purpose: str) -> bytes:
    """Return 32 bytes for one purpose from the installation's secret key (HKDF-SHA-256)."""
    return HKDF(SHA256(), KEY_LENGTH, salt=None, info=f"relaycore {purpose}".encode()).derive(secret_key.encode())


def make_data_key(purpose: str, version: int) -> DataKey:
    """Return a new random data key."""
    return DataKey(purpose=purpose, version=version, key=secrets.token_bytes(KEY_LENGTH))


def derive_data_keys(secret_key: str) -> tuple[DataKey, ...]:
    """Return the data keys of installations from the time before there was a keyring."""
    return tuple(DataKey(purpose=purpose, version=1, key=derive(secret_key, purpose)) for purpose in PURPOSES)


def open_keys(wrapper: Wrapper, stored: Iterable[WrappedKey]) -> Keyring | None:
    """Return the keyring as far as `wrapper` opens it; None when it has no part in it."""
    mine = tuple(wrapper.unwrap(one) for one in stored if one.wrapped_by == wrapper.key_id)
    return Keyring(mine) if mine else None


def _bind(purpose: str, version: int, key_id: str) -> bytes:
    return f"keyring\0{purpose}\0{version}\0{key_id}".encode()
