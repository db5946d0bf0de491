"""Who is calling: answered from a local snapshot of all keys, without a round trip."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

import psycopg

from app.access.keys import Secret, find_public_id, hash_key, make_secret
from app.access.types import Caller, KeyRecord
from app.db.connection import DatabaseAwayError
from app.errors import UnauthenticatedError, UnavailableError

LOOK_SECONDS = 0.5
STALE_AFTER_SECONDS = 65.0
"""How long keys are accepted from a snapshot that can no longer be compared with the database."""

NO_KEY = "No API key was sent. Send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'."
BAD_KEY = "The API key is unknown, revoked or expired."
CANNOT_CHECK = "The key cannot be checked: the database is away."
RETRY_SOON = ((b"retry-after", b"1"),)


class Directory:
    """The snapshot of keys. `load` puts in what changed; `find` and `admit` answer from it."""

    def __init__(self, pepper: bytes = b"") -> None:
        self._pepper = pepper
        self._admin_hash = b""
        self._admin: Caller | None = None
        self._keys: dict[str, KeyRecord] = {}
        self._secrets: dict[UUID | None, list[str]] = {}
        self._refresh: Callable[[], Awaitable[None]] | None = None
        self._age: Callable[[], float] = lambda: 0.0

    def follow(self, refresh: Callable[[], Awaitable[None]], age: Callable[[], float]) -> None:
        """Say how to look for newer keys, and how old the snapshot is in seconds."""
        self._refresh = refresh
        self._age = age

    def load(self, records: Iterable[KeyRecord], *, everything: bool = False) -> None:
        """Add or replace keys with all secrets that they have now; with `everything` these are all there are."""
        changed = list(records)
        if everything:
            self._keys, self._secrets = {}, {}
        for key_id in {record.caller.key_id for record in changed}:
            for public_id in self._secrets.pop(key_id, ()):
                self._keys.pop(public_id, None)
        for record in changed:
            self._keys[record.public_id] = record
            self._secrets.setdefault(record.caller.key_id, []).append(record.public_id)

    def load_pepper(self, pepper: bytes) -> None:
        """Say which key the hashes of keys were made with."""
        self._pepper = pepper

    def load_admin(self, admin: Caller, admin_hash: bytes) -> None:
        """Say whom the admin key stands for, and its hash."""
        self._admin, self._admin_hash = admin, admin_hash

    @property
    def admin(self) -> Caller | None:
        """Whom the admin key stands for; None before the first snapshot."""
        return self._admin

    def make_secret(self) -> Secret:
        """Return a new key as this installation accepts it once it is stored."""
        return make_secret(self._pepper)

    def find(self, key: str) -> Caller | None:
        """Return the caller that `key` belongs to, or None when it is not valid now."""
        found = hash_key(self._pepper, key)
        if hmac.compare_digest(found, self._admin_hash):
            return self._admin
        public_id = find_public_id(key)
        record = self._keys.get(public_id) if public_id is not None else None
        if record is None or not hmac.compare_digest(found, record.secret_hash):
            return None
        if not record.live or (record.expires_at is not None and record.expires_at <= time.time()):
            return None
        return record.caller

    def find_holder(self, user_id: UUID, key_id: UUID | None) -> Caller | None:
        """Return the caller who has a key, whether or not it has expired; None when it was revoked.

        Without a key the administrator who works with the admin key.
        """
        if key_id is None:
            return self._admin if self._admin is not None and self._admin.user_id == user_id else None
        records = (self._keys[public_id] for public_id in self._secrets.get(key_id, ()))
        return next((record.caller for record in records if record.live), None)

    async def admit(self, key: str | None) -> Caller:
        """Return the caller of a request.

        Raises UnauthenticatedError for a bad key, and UnavailableError when the database is away and the snapshot
        cannot tell (a key it has never seen, or a snapshot too old to trust).
        """
        if key is None:
            raise UnauthenticatedError(NO_KEY)
        caller = self.find(key)
        if caller is None and self._may_be_new(key):
            await self._look_again()
            caller = self.find(key)
        if self._age() > STALE_AFTER_SECONDS:
            raise UnavailableError(CANNOT_CHECK, headers=RETRY_SOON)
        if caller is None:
            raise UnauthenticatedError(BAD_KEY)
        return caller

    def _may_be_new(self, key: str) -> bool:
        public_id = find_public_id(key)
        return public_id is not None and public_id not in self._keys

    async def _look_again(self) -> None:
        """Fetch what other processes changed a moment ago, before a key is called unknown."""
        if self._refresh is None:
            return
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._refresh()
        except (DatabaseAwayError, psycopg.Error, TimeoutError) as error:
            raise UnavailableError(CANNOT_CHECK, headers=RETRY_SOON) from error
