"""How what the database says of a key becomes the caller that it stands for."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from app.access.rights import Rights, meet_all
from app.access.types import Caller, KeyRecord, Limit, Priority
from app.wire.caching import SemanticRules

LEVELS = ("organization", "team", "user", "key")
WIDTH = 5


class KeyLine(NamedTuple):
    """A line about a key. `ids` are those of LEVELS; `rights` are WIDTH values for each of them.

    The values: models, routes, rpm, tpm, max_parallel.
    """

    public_id: str
    secret_hash: bytes
    previous_public_id: str | None
    previous_secret_hash: bytes | None
    previous_until: datetime | None
    expires_at: datetime | None
    live: bool
    role: str
    tags: list[str]
    priority: Priority
    scopes: list[str] | None
    cache_scope: str | None
    semantic: object
    ids: Sequence[Any]
    rights: Sequence[Any]


def read_records(line: KeyLine) -> Iterator[KeyRecord]:
    """Yield what is held of a key: its secret and, after a rotation, the one before."""
    caller = read_caller(line)
    ends = line.expires_at.timestamp() if line.expires_at else None
    yield KeyRecord(
        public_id=line.public_id, secret_hash=bytes(line.secret_hash), caller=caller, live=line.live, expires_at=ends
    )
    if line.previous_public_id and line.previous_secret_hash and line.previous_until:
        until = line.previous_until.timestamp()
        yield KeyRecord(
            public_id=line.previous_public_id,
            secret_hash=bytes(line.previous_secret_hash),
            caller=caller,
            live=line.live,
            expires_at=min(until, ends) if ends is not None else until,
        )


def read_caller(line: KeyLine) -> Caller:
    """Return the caller that a key stands for, with what all levels allow."""
    organization_id, team_id, user_id, key_id = line.ids
    rights = meet_all(read_levels(line))
    return Caller(
        user_id=user_id,
        key_id=key_id,
        admin=line.role == "admin" and (rights.scopes is None or "admin" in rights.scopes),
        scope=user_id.bytes,
        team_id=team_id,
        organization_id=organization_id,
        tags=tuple(line.tags),
        priority=line.priority,
        label=f"rk-{line.public_id}",
        models=rights.models,
        routes=rights.routes,
        scopes=rights.scopes,
        limits=tuple(sorted(rights.limits, key=lambda limit: limit.scope)),
        cache_scope=line.cache_scope,
        semantic=msgspec.convert(line.semantic, SemanticRules) if line.semantic is not None else None,
    )


def read_levels(line: KeyLine) -> Iterator[Rights]:
    """Yield the rights of every level that narrows anything."""
    if line.scopes is not None:
        yield Rights(scopes=frozenset(line.scopes))
    for number, kind in enumerate(LEVELS):
        values = line.rights[number * WIDTH : (number + 1) * WIDTH]
        if values.count(None) < WIDTH:
            yield build_level(f"{kind}:{line.ids[number]}", values)


def build_level(scope: str, values: Sequence[Any]) -> Rights:
    """Return the rights of one level out of its WIDTH values; `scope` is what its limits count for."""
    models, routes, rpm, tpm, parallel = values
    limit = Limit(scope=scope, rpm=rpm, tpm=tpm, max_parallel=parallel)
    limited = rpm is not None or tpm is not None or parallel is not None
    return Rights(
        models=None if models is None else frozenset(models),
        routes=None if routes is None else frozenset(routes),
        limits=frozenset((limit,)) if limited else frozenset(),
    )
