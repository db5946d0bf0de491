"""What is cleared: a filter over entries, the same in SQL and in memory."""

from collections.abc import Iterable
from uuid import UUID

import msgspec

from app.cache.types import Entry
from app.wire.caching import NAMESPACE


class Clearing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Entries that meet everything that is said here; nothing said: all of them.

    `key` is one entry's (hexadecimal), `scope` as entries have it, `namespace` the name of one, whoever shares it; of
    `tags` one is enough. `in_memory`: what the processes remember of it, the table has a newer one.
    """

    key: str | None = None
    scope: str | None = None
    namespace: str | None = None
    user_id: UUID | None = None
    api_key_id: UUID | None = None
    provider: str | None = None
    model: str | None = None
    endpoint: str | None = None
    tags: tuple[str, ...] | None = None
    in_memory: bool = False

    def fits(self, entry: Entry) -> bool:
        """Return whether `entry` is among what is cleared."""
        if self.key is not None and entry.key.hex() != self.key:
            return False
        if self.namespace is not None and name_of(entry.scope) != self.namespace:
            return False
        if self.tags is not None and not set(self.tags) & set(entry.tags):
            return False
        return all(
            wanted is None or wanted == getattr(entry, name)
            for name in ("scope", "user_id", "api_key_id", "provider", "model", "endpoint")
            if (wanted := getattr(self, name)) is not None
        )


def name_of(scope: str) -> str:
    """Return the name of the namespace that a scope of entries is: "namespace:faq" and "team:<uuid>/faq"; or ""."""
    return scope.removeprefix(NAMESPACE) if scope.startswith(NAMESPACE) else scope.partition("/")[2]


class Cleared(msgspec.Struct, frozen=True, kw_only=True):
    """A clearing and when it was made, in seconds since the epoch by the database's clock."""

    what: Clearing
    at: float

    def takes(self, entry: Entry) -> bool:
        """Return whether `entry` was there when it was cleared."""
        return entry.created_at <= self.at and self.what.fits(entry)


def any_takes(clearings: Iterable[Cleared], entry: Entry) -> bool:
    """Return whether one of `clearings` takes `entry`."""
    return any(one.takes(entry) for one in clearings)
