"""Reading the audit log: newest first, a page at a time."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Connection, cast, func, or_, select
from sqlalchemy.types import Text

from app.db.tables import audit_log

EQUAL = ("action", "object_kind", "object_id")


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit log; `hash` covers it and the line before."""

    sequence: int
    at: datetime
    actor: str
    actor_user_id: UUID | None
    actor_key_id: UUID | None
    action: str
    object_kind: str
    object_id: str
    before: Any
    after: Any
    request_id: str | None
    hash: str


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines are wanted; None is no condition. `actor` is a label, or the id of a user or a key."""

    actor: str | None = None
    action: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None


def list_audit_lines(
    connection: Connection, wanted: AuditFilter, *, limit: int, before: int | None = None
) -> list[AuditLine]:
    """Return at most `limit` lines, newest first; with `before` those older than the line with that number."""
    where = _build_conditions(wanted)
    if before is not None:
        where.append(audit_log.c.sequence < before)
    statement = select(audit_log).where(*where).order_by(audit_log.c.sequence.desc()).limit(limit)
    return [
        AuditLine(
            **{name: line[name] for name in AuditLine.__struct_fields__ if name != "hash"}, hash=line["hash"].hex()
        )
        for line in connection.execute(statement).mappings()
    ]


def count_audit_lines(connection: Connection, wanted: AuditFilter) -> int:
    """Return how many lines there are that are wanted."""
    return connection.execute(
        select(func.count()).select_from(audit_log).where(*_build_conditions(wanted))
    ).scalar_one()


def find_head(connection: Connection) -> str | None:
    """Return the hash of the newest line: kept elsewhere, it shows later that no line was taken off the end."""
    newest = select(audit_log.c.hash).order_by(audit_log.c.sequence.desc()).limit(1)
    found: bytes | None = connection.execute(newest).scalar()
    return found.hex() if found is not None else None


def _build_conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    line = audit_log.c
    given = {name: value for name in EQUAL if (value := getattr(wanted, name)) is not None}
    where = [line[name] == value for name, value in given.items()]
    if wanted.actor is not None:
        ids = (cast(column, Text) == wanted.actor.lower() for column in (line.actor_user_id, line.actor_key_id))
        where.append(or_(line.actor == wanted.actor, *ids))
    if wanted.start is not None:
        where.append(line.at >= wanted.start)
    if wanted.end is not None:
        where.append(line.at < wanted.end)
    return where
