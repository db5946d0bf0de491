"""Re-rating as administrators ask for it over HTTP: as many batches as fit into one answer, and where to go on."""

import base64
import time
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import msgspec

from app.catalog.price_edit import check_instant
from app.catalog.rerate import ModelSum, Rates, Tally
from app.catalog.rerate_run import ACTION, KIND, Batch, describe_batch, describe_range, load_rates, rerate_batch
from app.catalog.rerate_store import Place, RateRange
from app.catalog.types import ModelName, Name
from app.db.audit import Actor
from app.db.control import Change, Control
from app.errors import BadRequestError

SECONDS = 5.0
"""How long an answer goes on beginning new batches."""


class RerateOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """Which requests to price again: those that came at `from` or later and before `to` (default: now)."""

    start: datetime
    to: datetime | None = None
    provider: Name | None = None
    model: ModelName | None = None
    dry_run: bool = False
    cursor: str | None = None


class RerateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, or with `dry_run` would be: all requests, those corrected, and by how much they changed.

    `unpriced` ones have no price now and stay as they are. `next` is the cursor to go on with; None: it is done.
    """

    dry_run: bool
    requests: int
    corrected: int
    unpriced: int
    difference_usd: Decimal
    models: list[ModelSum]
    next: str | None


async def run_rerate(control: Control, actor: Actor, order: RerateOrder) -> RerateResult:
    """Do what is ordered, batch by batch, until it is done or takes too long for one answer."""
    wanted, place = _read_range(order), _read_cursor(order.cursor)
    rates = await control.read(lambda connection: load_rates(connection, wanted))
    tally, until = Tally(), time.monotonic() + SECONDS
    while True:
        if order.dry_run:
            batch = await control.read(partial(rerate_batch, wanted=wanted, rates=rates, after=place, dry_run=True))
        else:
            batch = await control.change(actor, partial(_change_batch, wanted=wanted, rates=rates, place=place))
        tally.merge(batch.tally)
        place = batch.place
        if place is None or time.monotonic() > until:
            return _build_result(order, tally, place)


def _change_batch(change: Change, wanted: RateRange, rates: Rates, place: Place | None) -> Batch:
    batch = rerate_batch(change.connection, wanted, rates, after=place)
    if batch.tally.total.corrected:
        change.note(ACTION, KIND, describe_range(wanted), after=describe_batch(wanted, batch))
    return batch


def _build_result(order: RerateOrder, tally: Tally, place: Place | None) -> RerateResult:
    total = tally.total
    return RerateResult(
        dry_run=order.dry_run,
        requests=total.requests,
        corrected=total.corrected,
        unpriced=total.unpriced,
        difference_usd=total.difference_usd,
        models=tally.models,
        next=_write_cursor(place) if place is not None else None,
    )


def _read_range(order: RerateOrder) -> RateRange:
    start = check_instant("from", order.start) or datetime.now(UTC)
    end = check_instant("to", order.to) or datetime.now(UTC)
    if end <= start:
        late = order.to is None
        raise BadRequestError(
            "'from' lies in the future." if late else "'to' must be later than 'from'.", param="from" if late else "to"
        )
    return RateRange(start=start, end=end, provider=order.provider, model=order.model)


def _write_cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _read_cursor(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    try:
        place = msgspec.json.decode(base64.b64decode(cursor, altchars=b"-_", validate=True), type=Place)
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadRequestError("This cursor is none of ours.", param="cursor") from error
    check_instant("cursor", place.request_time)
    return place
