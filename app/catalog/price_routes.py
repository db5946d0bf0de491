"""Prices over HTTP: what they are and were, setting them, and correcting what calls were charged."""

from typing import Annotated

import msgspec
from litestar import delete, get, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from sqlalchemy import Connection

from app.catalog.price_edit import PriceChange, build_new_price, parse_instant
from app.catalog.price_edit_store import (
    Price,
    PriceFilter,
    count_prices,
    end_price,
    get_price,
    list_price_page,
    set_price,
)
from app.catalog.rerate_api import RerateOrder, RerateResult, run_rerate
from app.db.audit import Actor
from app.db.control import Change, Control
from app.errors import BadRequestError, NotFoundError

TAGS = ["Prices"]
KIND = "price"
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="How many at most.")]
Words = str | None


class PricePage(msgspec.Struct, frozen=True, kw_only=True):
    """Prices in order of provider, model, class and tier. `next` leads to those behind them; None: these were all."""

    prices: list[Price]
    total: int
    next: str | None


def read_filter(
    provider: FromQuery[Words] = None,
    model: FromQuery[Words] = None,
    token_class: FromQuery[Words] = None,
    at: FromQuery[Words] = None,
    known_at: FromQuery[Words] = None,
    history: FromQuery[bool] = False,
) -> PriceFilter:
    """Return which prices a query asks for; BadRequestError for what cannot be asked."""
    given = {"provider": provider, "model": model, "token_class": token_class}
    for name, value in given.items():
        if value is not None and not value.isprintable():
            raise BadRequestError(f"'{name}' cannot be the name of anything.", param=name)
    return PriceFilter(
        provider=provider,
        model=model,
        token_class=token_class,
        at=parse_instant("at", at),
        known_at=parse_instant("known_at", known_at),
        history=history,
    )


@get(
    "/admin/prices",
    tags=TAGS,
    status_code=200,
    dependencies={"wanted": Provide(read_filter, sync_to_thread=False)},
)
async def list_prices(
    control: NamedDependency[Control],
    wanted: NamedDependency[PriceFilter],
    limit: Limit = 100,
    cursor: FromQuery[Words] = None,
) -> PricePage:
    """List prices.

    Those that apply at `at` as they were known at `known_at`, both now when not given. With `history` those of all
    times and also those that an admin's price stands in for; `at` and `known_at` narrow that down.
    """
    return await control.read(lambda connection: _read_page(connection, wanted, limit, cursor))


@put("/admin/prices", tags=TAGS, status_code=200)
async def change_price(
    control: NamedDependency[Control], actor: NamedDependency[Actor], data: JSONBody[PriceChange]
) -> Price:
    """Set a price.

    It holds from now on, or in the time that is given: in the past for a late correction, or from a later instant.
    It replaces what admins set for that time, and the catalogue's prices of the class do not count then.
    """
    new = build_new_price(data)

    def work(change: Change) -> Price:
        price, changed = set_price(change.connection, new)
        if changed:
            change.note("price.set", KIND, price.id, after=price)
        return price

    return await control.change(actor, work)


@delete("/admin/prices/{price_id:str}", tags=TAGS, status_code=204)
async def delete_price(
    control: NamedDependency[Control],
    actor: NamedDependency[Actor],
    price_id: FromPath[str],
    valid_until: FromQuery[Words] = None,
) -> None:
    """End a price that an admin set.

    The catalogue's price applies again: for all of its time, or with `valid_until` from that instant on.
    """
    number, until = _read_id(price_id), parse_instant("valid_until", valid_until)

    def work(change: Change) -> None:
        before = end_price(change.connection, number, until)
        after = {"valid_until": until} if until is not None else None
        change.note("price.end", KIND, number, before=before, after=after)

    await control.change(actor, work)


@post("/admin/prices/rerate", tags=TAGS, status_code=200)
async def rerate_requests(
    control: NamedDependency[Control], actor: NamedDependency[Actor], data: JSONBody[RerateOrder]
) -> RerateResult:
    """Price past requests again.

    By what is known now, at the time of each request. The differences are posted as adjustments to the ledger; nothing
    that is there is changed. Doing it twice changes nothing more. One answer covers as much as fits into some seconds:
    send the same again with `cursor` set to its `next` until that is null.
    """
    return await run_rerate(control, actor, data)


def _read_page(connection: Connection, wanted: PriceFilter, limit: int, cursor: str | None) -> PricePage:
    after = _read_cursor(connection, cursor)
    found = list_price_page(connection, wanted, limit=limit + 1, after=after)
    return PricePage(
        prices=found[:limit],
        total=count_prices(connection, wanted),
        next=str(found[limit - 1].id) if len(found) > limit else None,
    )


def _read_cursor(connection: Connection, value: str | None) -> Price | None:
    if value is None:
        return None
    try:
        return get_price(connection, _read_id(value))
    except NotFoundError as error:
        raise BadRequestError("This cursor is none of ours.", param="cursor") from error


def _read_id(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise NotFoundError("There is no such price.", code="price_not_found")
    return int(value)


PRICE_HANDLERS = [list_prices, change_price, delete_price, rerate_requests]
