"""Which model of the price catalogue a name means, by the catalogue's own rules."""

from functools import cache

import msgspec
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Provider

MAX_NAME = 256
_VENDOR_NAMES = {"x-ai": "xai"}


class CatalogueModel(msgspec.Struct, frozen=True):
    """A model of the catalogue; `provider` differs from the one asked when that one resells another's models."""

    provider: str
    model: str


def to_vendor_name(catalogue_id: str) -> str:
    """Return RelayCore's name of the provider that the catalogue calls `catalogue_id`."""
    return _VENDOR_NAMES.get(catalogue_id, catalogue_id)


def list_catalogue_providers() -> list[Provider]:
    """Return the providers of the data that ships with the catalogue; nothing is fetched."""
    return get_snapshot().providers


def find_catalogue_model(provider: str, model: str) -> CatalogueModel | None:
    """Return the model that `provider` (exactly that name) means by `model`: a dated id, an alias, a regional form."""
    source = _providers_by_name().get(provider)
    if source is None or len(model) > MAX_NAME:
        return None
    found = source.find_model(model, all_providers=list_catalogue_providers())
    if found is None:
        return None
    return CatalogueModel(_owners()[id(found)], found.id)


@cache
def _providers_by_name() -> dict[str, Provider]:
    return {to_vendor_name(provider.id): provider for provider in list_catalogue_providers()}


@cache
def _owners() -> dict[int, str]:
    """Return the provider of each model by identity: ids repeat, because resellers list the same models."""
    return {
        id(model): to_vendor_name(provider.id) for provider in list_catalogue_providers() for model in provider.models
    }
