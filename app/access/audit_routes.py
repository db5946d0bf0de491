"""The audit log over HTTP."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery, QueryParameter
from sqlalchemy import Connection

from app.access.audit_store import AuditFilter, AuditLine, count_audit_lines, list_audit_lines
from app.access.pages import Limit
from app.db.control import Control
from app.errors import BadRequestError

TAGS = ["Audit"]
DATE_LENGTH = len("2026-01-31")
Words = str | None
Who = Annotated[Words, QueryParameter(name="actor", description="A label, or the id of a user or a key.")]


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of the audit log, newest first. `next` leads to older ones; None: these were the last."""

    audit: list[AuditLine]
    total: int
    next: str | None


def read_filter(
    who: Who = None,
    action: FromQuery[Words] = None,
    object_kind: FromQuery[Words] = None,
    object_id: FromQuery[Words] = None,
    start: FromQuery[Words] = None,
    end: FromQuery[Words] = None,
) -> AuditFilter:
    """Return which lines a query asks for; BadRequestError for what cannot be asked."""
    given = {"actor": who, "action": action, "object_kind": object_kind, "object_id": object_id}
    words = {name: _read_words(name, value) for name, value in given.items()}
    return AuditFilter(**words, start=_read_instant("start", start), end=_read_instant("end", end))


@get(
    "/admin/audit",
    tags=TAGS,
    status_code=200,
    dependencies={"wanted": Provide(read_filter, sync_to_thread=False)},
)
async def read_audit(
    control: NamedDependency[Control],
    wanted: NamedDependency[AuditFilter],
    limit: FromQuery[Limit] = 100,
    cursor: FromQuery[Words] = None,
) -> AuditPage:
    """Read the audit log, newest first.

    `start` is included, `end` is not.
    """
    before = _read_cursor(cursor)
    return await control.read(lambda connection: _read_page(connection, wanted, limit, before))


def _read_page(connection: Connection, wanted: AuditFilter, limit: int, before: int | None) -> AuditPage:
    lines = list_audit_lines(connection, wanted, limit=limit + 1, before=before)
    more = len(lines) > limit
    return AuditPage(
        audit=lines[:limit],
        total=count_audit_lines(connection, wanted),
        next=str(lines[limit - 1].sequence) if more else None,
    )


def _read_words(name: str, value: str | None) -> str | None:
    if value is not None and (not value.isprintable()):
        raise BadRequestError("This cannot be in the audit log.", param=name)
    return value


def _read_instant(name: str, value: str | None) -> datetime | None:
    """Return an instant, of a day its beginning; a plus sign may come as a blank, and without an offset it is UTC."""
    if value is None:
        return None
    text = value.strip().replace(" ", "+")
    try:
        found = msgspec.convert(f"{text}T00:00:00Z" if len(text) == DATE_LENGTH else text, datetime)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"'{name}' must be like 2026-01-31T12:00:00Z or 2026-01-31.", param=name) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _read_cursor(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise BadRequestError("This cursor is none of ours.", param="cursor")
    return int(value)


AUDIT_HANDLERS = [read_audit]
