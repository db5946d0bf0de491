"""Money as it travels: what is held for a call before it is made, and the lines that say what it cost."""

from decimal import Context, Decimal
from typing import Literal
from uuid import UUID

import msgspec

from app.wire.usage import Usage

SMALLEST_USD = Decimal(1).scaleb(-15)
"""The scale of every money column; amounts are rounded to it line by line, so that sums are exact."""

_WIDE = Context(prec=80)  # wide enough that only quantize rounds
_OUTPUT = ("output", "reasoning")

Kind = Literal["usage", "estimated", "ceiling", "adjustment"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What one token class of a reply cost: quantity * usd_per_unit * factor, rounded to SMALLEST_USD."""

    token_class: str
    quantity: int
    usd_per_unit: Decimal
    factor: Decimal = Decimal(1)
    amount_usd: Decimal


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one request. `estimated`: no usage was reported; `ceiling`: no price was known."""

    kind: Kind
    lines: tuple[Line, ...]

    @property
    def total_usd(self) -> Decimal:
        """The sum of the lines."""
        return sum((line.amount_usd for line in self.lines), Decimal(0))


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator has unpriced calls counted at, in US dollars for a token; None refuses them."""

    input_usd: Decimal
    output_usd: Decimal


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Money held for one call: in a reservation of its own, out of a process's escrow, or as its share of a batch's.

    `booked_at` (seconds since the epoch, the database's clock) decides in which period the cost counts. `ceiling`
    prices the call when its model has no price. `deployment` names the provider and model that were reckoned with.
    """

    reservation_id: UUID
    kind: Literal["call", "escrow", "batch"]
    amount_usd: Decimal
    booked_at: float
    ceiling: Ceiling | None = None
    deployment: str = ""


def list_ceiling_lines(ceiling: Ceiling, usage: Usage) -> tuple[Line, ...]:
    """Return the lines of a usage without a price: whatever goes in at one amount, whatever comes out at the other."""
    lines: list[Line] = []
    for name, count in msgspec.structs.asdict(usage).items():
        if not name.endswith("_tokens") or not count:
            continue
        price = ceiling.output_usd if name.startswith(_OUTPUT) else ceiling.input_usd
        amount = _WIDE.multiply(Decimal(count), price).quantize(SMALLEST_USD, context=_WIDE)
        lines.append(Line(token_class=name, quantity=count, usd_per_unit=price, amount_usd=amount))
    return tuple(lines)
