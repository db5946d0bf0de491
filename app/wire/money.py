"""Money as it travels: what is held for a call before it is made, and the lines that say what it cost."""

from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

SMALLEST_USD = Decimal(1).scaleb(-15)
"""The scale of every money column; amounts are rounded to it line by line, so that sums are exact."""

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
    """Money held for one call, in a reservation of its own or out of a process's escrow.

    `booked_at` (seconds since the epoch, the database's clock) decides in which period the cost counts. `ceiling`
    prices the call when its model has no price. `deployment` names the provider and model that were reckoned with.
    """

    reservation_id: UUID
    kind: Literal["call", "escrow"]
    amount_usd: Decimal
    booked_at: float
    ceiling: Ceiling | None = None
    deployment: str = ""
