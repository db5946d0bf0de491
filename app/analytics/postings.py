"""What rows mean in money: their lines in the ledger, and what the budgets are told."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from app.analytics.rows import POSTGRES_EPOCH, PricedRow, microseconds
from app.wire.money import Line

_EPOCH = datetime.fromtimestamp(POSTGRES_EPOCH, UTC)
_NOTHING = Decimal(0)

Key = tuple[UUID, datetime]
"""The primary key of a row of `requests`."""

LEDGER_COLUMNS: tuple[tuple[str, str], ...] = (
    ("request_id", "bytea"),
    ("request_time", "int8"),
    ("entry", "int2"),
    ("token_class", "text"),
    ("kind", "text"),
    ("booked_at", "int8"),
    ("user_id", "bytea"),
    ("api_key_id", "bytea"),
    ("team_id", "bytea"),
    ("organization_id", "bytea"),
    ("provider", "text"),
    ("model", "text"),
    ("requested_model", "text"),
    ("tags", "text[]"),
    ("quantity", "numeric"),
    ("usd_per_unit", "numeric"),
    ("factor", "numeric"),
    ("amount_usd", "numeric"),
)
"""The columns in the order of list_ledger_values; as in rows.COLUMNS, the types are those of the binary forms."""


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an amount is booked to: what it has in common with others of its request."""

    request_id: UUID
    request_time: datetime
    booked_at: datetime
    user_id: UUID | None
    api_key_id: UUID | None
    team_id: UUID | None
    organization_id: UUID | None
    provider: str | None
    model: str | None
    requested_model: str | None
    tags: Sequence[str] | None


class Settlement(Posting, frozen=True, kw_only=True):
    """What a request cost in all, and the reservation that this ends; of a batch's as much as is `freed` with it."""

    reservation_id: UUID | None
    kind: str | None
    amount: Decimal
    freed: Decimal | None = None


class Adjustment(Posting, frozen=True, kw_only=True):
    """A correction of one token class of a request: the difference."""

    token_class: str
    quantity: Decimal
    usd_per_unit: Decimal | None
    factor: Decimal
    amount_usd: Decimal


def find_key(priced: PricedRow) -> Key:
    """Return the primary key of a row as Postgres tells it."""
    return priced.row.id, _instant(priced.row.request_time)


def list_lines(priced: PricedRow) -> tuple[Line, ...]:
    """Return what a row's cost is made of; nothing when it is 0 or unknown."""
    return () if priced.bill is None else priced.bill.lines


def list_ledger_values(priced: PricedRow) -> Iterator[tuple[object, ...]]:
    """Yield the values of a row's ledger lines in the order of LEDGER_COLUMNS, in Postgres' binary forms."""
    if priced.bill is None:
        return
    row, kind = priced.row, priced.bill.kind
    request_id, request_time, booked_at = row.id.bytes, microseconds(row.request_time), microseconds(_booked_at(priced))
    booked_to = (
        row.user_id and row.user_id.bytes,
        row.api_key_id and row.api_key_id.bytes,
        row.team_id and row.team_id.bytes,
        row.organization_id and row.organization_id.bytes,
        row.provider,
        row.model,
        row.requested_model,
        row.tags and list(row.tags),
    )
    for line in priced.bill.lines:
        amounts = (line.quantity, line.usd_per_unit, line.factor, line.amount_usd)
        yield (request_id, request_time, 0, line.token_class, kind, booked_at, *booked_to, *amounts)


def has_money(priced: PricedRow) -> bool:
    """Return whether a row concerns the books: it costs something, or money is held for it."""
    return priced.bill is not None or priced.row.hold is not None


def list_settlements(rows: Iterable[PricedRow]) -> list[Settlement]:
    """Return what the budgets are to be told of `rows`: those that cost something or for which money is held."""
    return [_settle(priced) for priced in rows if has_money(priced)]


def list_adjustments(priced: PricedRow, posted: Iterable[Adjustment]) -> list[Adjustment]:
    """Return what turns the lines that are `posted` of a request (one a class) into those of its bill."""
    taken_back = {
        line.token_class: replace(line, quantity=-line.quantity, amount_usd=-line.amount_usd) for line in posted
    }
    posting = _describe(priced)
    due = {line.token_class: _adjust(line, posting, taken_back.get(line.token_class)) for line in list_lines(priced)}
    return list((taken_back | due).values())


def _adjust(line: Line, posting: dict[str, Any], taken_back: Adjustment | None) -> Adjustment:
    return Adjustment(
        **posting,
        token_class=line.token_class,
        quantity=line.quantity + (taken_back.quantity if taken_back else _NOTHING),
        usd_per_unit=line.usd_per_unit,
        factor=line.factor,
        amount_usd=line.amount_usd + (taken_back.amount_usd if taken_back else _NOTHING),
    )


def _settle(priced: PricedRow) -> Settlement:
    hold = priced.row.hold
    return Settlement(
        **_describe(priced),
        reservation_id=hold and hold.reservation_id,
        kind=hold and hold.kind,
        amount=priced.costs.estimated_cost or _NOTHING,
        freed=hold.amount_usd if hold is not None and hold.kind == "batch" else None,
    )


def _describe(priced: PricedRow) -> dict[str, Any]:
    row = priced.row
    return {
        "request_id": row.id,
        "request_time": _instant(row.request_time),
        "booked_at": _instant(_booked_at(priced)),
        "user_id": row.user_id,
        "api_key_id": row.api_key_id,
        "team_id": row.team_id,
        "organization_id": row.organization_id,
        "provider": row.provider,
        "model": row.model,
        "requested_model": row.requested_model,
        "tags": row.tags,
    }


def _booked_at(priced: PricedRow) -> float:
    hold = priced.row.hold
    return priced.row.request_time if hold is None else hold.booked_at


def _instant(at: float) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds(at))
