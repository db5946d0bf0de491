"""Who calls: users, keys and what a key may do."""

from datetime import datetime
from uuid import UUID

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The holder of a credential that was accepted.

    `scope` names whose cached answers may be shared: those of one user's keys. `models` is None when every model may
    be called. `label` names the credential for people.
    """

    user_id: UUID
    key_id: UUID | None
    admin: bool
    scope: bytes
    models: frozenset[str] | None = None
    label: str = ""


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stored key as the local snapshot holds it; `expires_at` is seconds since the epoch."""

    public_id: str
    secret_hash: bytes
    caller: Caller
    live: bool
    expires_at: float | None


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user about to be stored."""

    email: str
    name: str = ""
    role: str = "user"


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key about to be stored; the key itself is never."""

    user_id: UUID
    public_id: str
    secret_hash: bytes
    name: str = ""
    models: tuple[str, ...] | None = None
    expires_at: datetime | None = None
