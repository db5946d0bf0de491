"""On what terms a configured provider is charged: whose list prices, times which factor."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import Connection

from app.catalog.price_store import list_prices_at
from app.catalog.prices import ONE, PriceBook, PriceRow
from app.catalog.store import get_newest
from app.catalog.types import ProviderConfig
from app.providers.registry import VENDORS


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Whose prices apply, by the name in the price table, and what they are multiplied with."""

    prices: str
    factor: Decimal = ONE


def find_terms(providers: Mapping[str, ProviderConfig], name: str) -> Terms:
    """Return the terms of a provider by its name in the configuration; one that is not there goes by its own name."""
    entry = providers.get(name)
    if entry is None:
        return Terms(prices=name)
    vendor = VENDORS[entry.type]
    return Terms(prices=vendor.prices or vendor.name, factor=entry.price_factor)


def load_providers(connection: Connection) -> Mapping[str, ProviderConfig]:
    """Return the configured providers; without any the built-in mock is active."""
    return get_newest(connection)[1].providers or {"mock": ProviderConfig(type="mock")}


def list_charges(
    connection: Connection, provider: str, model: str, at: datetime, known_at: datetime
) -> tuple[Decimal, list[PriceRow]]:
    """Return the factor and the list prices by which calls of a model are charged at some time."""
    terms = find_terms(load_providers(connection), provider)
    book = PriceBook.build(list_prices_at(connection, at, known_at))
    return terms.factor, book.list_rows(terms.prices, model, name=provider, at=at.timestamp())
