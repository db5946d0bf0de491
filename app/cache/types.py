"""A stored answer."""

from typing import Protocol
from uuid import UUID

import msgspec

from app.wire.usage import Usage


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One complete answer. Times are seconds since the epoch; `streamed` says whether `body` is SSE or a whole body.

    `scope` says who shares it ("user:<uuid>", "namespace:<name>" …), `user_id` and `api_key_id` whose call made it.
    """

    key: bytes
    scope: str
    user_id: UUID
    api_key_id: UUID | None
    provider: str
    model: str
    endpoint: str
    streamed: bool
    content_type: str
    body: bytes
    usage: Usage | None
    created_at: float
    expires_at: float
    tags: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a look-up came to: the entry, or else whether the call is ours to make (`leads`).

    It is not when a process that lives makes it already. `away`: the database did not say, so that nobody is known to.
    """

    entry: Entry | None = None
    leads: bool = True
    away: bool = False


class Asker(Protocol):
    """Who asks: what others have is an administrator's affair."""

    @property
    def user_id(self) -> UUID:
        """The user."""
        ...

    @property
    def admin(self) -> bool:
        """Whether all may be seen and changed."""
        ...

    @property
    def key_id(self) -> UUID | None:
        """The key, if it is a stored one."""
        ...

    @property
    def team_id(self) -> UUID | None:
        """The team that the key acts for."""
        ...

    @property
    def organization_id(self) -> UUID | None:
        """The organization that the key belongs to."""
        ...
