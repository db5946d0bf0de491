"""What a request costs: its lines by token class, by one table of rules."""

from collections.abc import Callable
from decimal import Context, Decimal
from functools import partial
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from app.analytics.types import RequestRow
from app.wire.money import SMALLEST_USD, Bill, Kind, Line, list_ceiling_lines
from app.wire.usage import Usage

Lines = tuple[Line, ...]


class FindLines(Protocol):
    """The price book."""

    def __call__(self, provider: str, model: str, usage: Usage, *, at: float | None = None) -> Lines | None:
        """Return a line for each token class of a reply at that time; None when its cost cannot be known."""
        ...


MAX_COST = Decimal(10**9)  # what NUMERIC(24, 15) can hold
NOTHING = Decimal(0)
BATCH = "batch"  # the service tier of answers that came out of a vendor's batch
WHOLE = "total"  # the class of a cost that is not split by classes

_WIDE = Context(prec=80)  # wide enough that only quantize rounds


class Costs(NamedTuple):
    """What a request cost, and what it would have cost beyond that; None is unknown, never zero.

    Something is saved where a cache answered, and where a vendor took less because the call was in a batch.
    """

    estimated_cost: Decimal | None
    saved_cost: Decimal | None


def build_bill(row: RequestRow, find_lines: FindLines) -> tuple[Costs, Bill | None]:
    """Return the costs of `row`, and the bill whose lines add up to what was paid; None when that is nothing."""
    if not row.billed:
        lines = _find_lines(row, row.usage, find_lines)
        return Costs(NOTHING, None if lines is None else _sum(lines)), None
    bill = _find_bill(row, find_lines)
    if bill is None:
        return Costs(None, None), None
    total = bill.total_usd
    return Costs(total, _find_saving(row, total, find_lines)), bill if total else None


def build_unsplit_bill(cost: Decimal) -> Bill:
    """Return the bill of a cost whose token classes nobody knows any more."""
    amount = cost.quantize(SMALLEST_USD, context=_WIDE)
    return Bill(kind="usage", lines=(Line(token_class=WHOLE, quantity=1, usd_per_unit=amount, amount_usd=amount),))


def _find_saving(row: RequestRow, paid_usd: Decimal, find_lines: FindLines) -> Decimal | None:
    """Return what a vendor's batch saved: the price of the same answer at once, less what was paid for it."""
    if row.usage is None or row.usage.service_tier != BATCH:
        return None
    lines = _find_lines(row, replace(row.usage, service_tier=None), find_lines)
    return None if lines is None else max(_sum(lines) - paid_usd, NOTHING)


def _find_bill(row: RequestRow, find_lines: FindLines) -> Bill | None:
    kind: Kind = "usage"
    usage, ceiling = row.usage, row.hold and row.hold.ceiling
    if usage is None and row.hold is not None:
        kind, usage = "estimated", row.estimated_usage
    lines = _find_known_lines(row) or _find_lines(row, usage, find_lines)
    if lines is None and ceiling is not None:
        lines = _try(usage, partial(list_ceiling_lines, ceiling))
        kind = "ceiling" if kind == "usage" else kind
    return None if lines is None else Bill(kind=kind, lines=lines)


def _find_known_lines(row: RequestRow) -> Lines | None:
    """Return the lines that came with the row, if they are of its usage and can be stored."""
    known = row.usage is not None and row.lines is not None and _sum(row.lines) < MAX_COST
    return row.lines if known else None


def _find_lines(row: RequestRow, usage: Usage | None, find_lines: FindLines) -> Lines | None:
    if row.provider is None or row.model is None:
        return None
    at = row.hold.booked_at if row.hold is not None else row.request_time
    return _try(usage, partial(find_lines, row.provider, row.model, at=at))


def _try(usage: Usage | None, price: Callable[[Usage], Lines | None]) -> Lines | None:
    """Return the lines of `usage` by `price`; None when there are none that could be stored."""
    if usage is None:
        return None
    try:
        lines = price(usage)
        return lines if lines is None or _sum(lines) < MAX_COST else None
    except Exception:  # noqa: BLE001 - whatever is wrong with a price, it must not lose the row
        return None


def _sum(lines: Lines) -> Decimal:
    return sum((line.amount_usd for line in lines), NOTHING)
