"""Pricing calls again by what is known now: what their ledger lines come to, what they should, and the difference."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from app.catalog.price_terms import find_terms
from app.catalog.prices import ONE, PriceBook
from app.catalog.types import ProviderConfig
from app.wire.money import Line
from app.wire.usage import Usage

NOTHING = Decimal(0)


class RatedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that a provider was paid for, with what the ledger has for it.

    `booked_at` chooses the prices. `posted` is the sum of its lines by token class, `factor` the one of those lines;
    None when it has none that tell. `cost` None: it was not priced.
    """

    id: UUID
    request_time: datetime
    booked_at: datetime
    provider: str
    model: str
    usage: Usage
    cost: Decimal | None
    posted: Mapping[str, Decimal]
    factor: Decimal | None


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger to post: the difference that one token class of a request makes."""

    request_id: UUID
    request_time: datetime
    token_class: str
    quantity: int
    usd_per_unit: Decimal | None
    factor: Decimal
    amount_usd: Decimal


class ModelSum(msgspec.Struct, kw_only=True):
    """What re-rating did to the requests of one model. `unpriced` ones have no price now, and stay as they are."""

    provider: str
    model: str
    requests: int = 0
    corrected: int = 0
    unpriced: int = 0
    difference_usd: Decimal = NOTHING

    def add(self, other: "ModelSum") -> None:
        """Add the sums of another."""
        self.requests += other.requests
        self.corrected += other.corrected
        self.unpriced += other.unpriced
        self.difference_usd += other.difference_usd


class Rates:
    """The prices to rate by, with the discounts and margins of the providers as they are configured."""

    def __init__(self, book: PriceBook, providers: Mapping[str, ProviderConfig]) -> None:
        self._book = book
        self._providers = providers

    def find_lines(self, request: RatedRequest) -> tuple[Line, ...] | None:
        """Return what `request` costs, class by class; None when that is not known."""
        terms = find_terms(self._providers, request.provider)
        return self._book.find_lines(
            terms.prices,
            request.model,
            request.usage,
            name=request.provider,
            factor=terms.factor if request.factor is None else request.factor,
            at=request.booked_at.timestamp(),
        )


class Tally:
    """The sums of a run, by model."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], ModelSum] = {}

    def add(self, request: RatedRequest, corrections: Sequence[Correction] | None) -> None:
        """Count a request with its corrections; None: it has no price."""
        found = self._find(request.provider, request.model)
        found.requests += 1
        if corrections is None:
            found.unpriced += 1
        elif corrections:
            found.corrected += 1
            found.difference_usd += sum((line.amount_usd for line in corrections), NOTHING)

    def merge(self, other: "Tally") -> None:
        """Add what another run counted."""
        for one in other.models:
            self._find(one.provider, one.model).add(one)

    @property
    def models(self) -> list[ModelSum]:
        """The sums in order of provider and model."""
        return [self._sums[key] for key in sorted(self._sums)]

    @property
    def total(self) -> ModelSum:
        """The sum of them all."""
        total = ModelSum(provider="", model="")
        for one in self._sums.values():
            total.add(one)
        return total

    def _find(self, provider: str, model: str) -> ModelSum:
        return self._sums.setdefault((provider, model), ModelSum(provider=provider, model=model))


def list_corrections(request: RatedRequest, lines: Sequence[Line]) -> list[Correction]:
    """Return what to post so that the ledger has `lines` for `request`; nothing when it does.

    A cost that was booked in one sum is not split up unless it changes.
    """
    new = {line.token_class: line for line in lines}
    total = sum((line.amount_usd for line in lines), NOTHING)
    if request.cost is not None and new.keys() != request.posted.keys() and total == sum(request.posted.values()):
        return []
    found: list[Correction] = []
    for name in sorted(new.keys() | request.posted.keys()):
        line = new.get(name)
        difference = (line.amount_usd if line is not None else NOTHING) - request.posted.get(name, NOTHING)
        if difference or (request.cost is None and line is not None):
            found.append(_correct(request, name, line, difference))
    return found


def _correct(request: RatedRequest, name: str, line: Line | None, difference: Decimal) -> Correction:
    return Correction(
        request_id=request.id,
        request_time=request.request_time,
        token_class=name,
        quantity=line.quantity if line is not None else 0,
        usd_per_unit=line.usd_per_unit if line is not None else None,
        factor=line.factor if line is not None else ONE,
        amount_usd=difference,
    )
