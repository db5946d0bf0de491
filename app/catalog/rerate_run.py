"""Re-rating a range of requests, batch by batch: each in a transaction of its own, and a second run finds nothing."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Engine

from app.catalog.price_store import list_prices_between
from app.catalog.price_terms import load_providers
from app.catalog.prices import PriceBook
from app.catalog.rerate import Correction, RatedRequest, Rates, Tally, list_corrections
from app.catalog.rerate_store import (
    Place,
    RateRange,
    begin_posting,
    list_rated_requests,
    post_corrections,
)
from app.db.audit import Actor, Auditor

BATCH = 2000
AROUND = timedelta(days=1)
"""Calls are booked when money was held for them, which is close to when they came, by another clock."""


ACTION, KIND = "prices.rerate", "prices"
"""How the audit log calls what was corrected."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch did. `place` is where the next begins; None: this was the last."""

    tally: Tally
    place: Place | None


def load_rates(connection: Connection, wanted: RateRange) -> Rates:
    """Return what is known now of the prices in a range, and of the providers."""
    rows = list_prices_between(connection, wanted.start - AROUND, wanted.end + AROUND)
    return Rates(PriceBook.build(rows), load_providers(connection))


def rerate_batch(
    connection: Connection,
    wanted: RateRange,
    rates: Rates,
    *,
    after: Place | None = None,
    limit: int = BATCH,
    dry_run: bool = False,
) -> Batch:
    """Price the next requests of a range again and post what differs, in the caller's transaction.

    First everything is looked at without a lock. What differs is then looked at again when nobody else posts any more,
    so that no difference is posted twice.
    """
    found = list_rated_requests(connection, wanted, limit=limit, after=after)
    rated = _rate(found, rates)
    differing = [request.id for request in found if rated[request.id]]
    if differing and not dry_run:
        begin_posting(connection)
        again = list_rated_requests(connection, wanted, limit=limit, after=after, ids=differing)
        rated |= {request_id: [] for request_id in differing} | _rate(again, rates)
        lines = [line for corrections in rated.values() for line in corrections or ()]
        if lines:
            post_corrections(connection, lines)
    tally = Tally()
    for request in found:
        tally.add(request, rated[request.id])
    more = len(found) == limit
    return Batch(tally=tally, place=Place(found[-1].request_time, found[-1].id) if more else None)


def rerate_all(engine: Engine, wanted: RateRange, auditor: Auditor | None, actor: Actor) -> Tally:
    """Price all requests of a range again, each batch in its own transaction; without an auditor only as a trial."""
    with engine.begin() as connection:
        rates = load_rates(connection, wanted)
    tally = Tally()
    place: Place | None = None
    while True:
        with engine.begin() as connection:
            batch = rerate_batch(connection, wanted, rates, after=place, dry_run=auditor is None)
            if auditor is not None and batch.tally.total.corrected:
                of = (KIND, describe_range(wanted))
                auditor.record(connection, actor, ACTION, of, None, describe_batch(wanted, batch))
        tally.merge(batch.tally)
        place = batch.place
        if place is None:
            return tally


def describe_range(wanted: RateRange) -> str:
    """Return what the audit log says was priced again."""
    names = "/".join(name for name in (wanted.provider, wanted.model) if name is not None)
    return f"{wanted.start.isoformat()} to {wanted.end.isoformat()} {names}".strip()


def describe_batch(wanted: RateRange, batch: Batch) -> dict[str, object]:
    """Return what the audit log keeps of a batch."""
    models = [one for one in batch.tally.models if one.corrected]
    return {"range": wanted, "corrected": models, "up_to": batch.place and batch.place.request_time}


def _rate(requests: Sequence[RatedRequest], rates: Rates) -> dict[UUID, list[Correction] | None]:
    rated: dict[UUID, list[Correction] | None] = {}
    for request in requests:
        lines = rates.find_lines(request)
        rated[request.id] = list_corrections(request, lines) if lines is not None else None
    return rated
