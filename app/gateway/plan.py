"""Where a call goes: from a path and a model's name to a provider, decided without I/O."""

from collections.abc import Mapping

import msgspec

from app.errors import BadRequestError, Dialect, NotFoundError
from app.gateway.paths import Route
from app.providers.registry import VENDORS, Provider

DEFAULT = {Dialect.OPENAI: "openai", Dialect.ANTHROPIC: "anthropic"}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One provider to try, in one of its dialects. `model` is the name it knows, None where the call names none."""

    provider: Provider
    dialect: Dialect
    base_url: str
    model: str | None


def plan(route: Route, model: str | None, providers: Mapping[str, Provider]) -> Target:
    """Return where the call goes.

    Raises NotFoundError when no provider answers to the path or the model, BadRequestError when the one that does
    speaks another dialect.
    """
    provider, name = _choose(route, model, providers)
    dialect = route.dialect
    if dialect not in provider.base_urls and route.endpoint is None:
        dialect = next(iter(provider.base_urls))
    base_url = provider.base_urls.get(dialect)
    if base_url is None:
        raise BadRequestError(
            f"The provider {provider.name!r} does not speak the API of this path; "
            f"use a path of {' or '.join(dialect.value for dialect in provider.base_urls)}.",
            code="dialect_not_supported",
        )
    return Target(provider=provider, dialect=dialect, base_url=base_url, model=name)


def _choose(route: Route, model: str | None, providers: Mapping[str, Provider]) -> tuple[Provider, str | None]:
    if route.provider is not None:
        return _get(route.provider, providers), model
    if model is None:
        return _default(route.dialect, providers), None
    prefix, separator, rest = model.partition("/")
    if separator and rest and prefix in providers:
        return providers[prefix], rest
    return _owner(route.dialect, model, providers), model


def _get(name: str, providers: Mapping[str, Provider]) -> Provider:
    provider = providers.get(name)
    if provider is None:
        raise NotFoundError(f"The provider {name!r} is not configured{_hint(name)}.", code="provider_not_configured")
    return provider


def _owner(dialect: Dialect, model: str, providers: Mapping[str, Provider]) -> Provider:
    """Return the one provider whose own models are named like this, else the only or the default one of the dialect."""
    owners = [provider for provider in providers.values() if model.startswith(provider.owns or "\0")]
    if len(owners) == 1:
        return owners[0]
    candidates = [provider for provider in providers.values() if dialect in provider.base_urls]
    vendor = _known_vendor(model)
    if vendor is not None:
        candidates = [provider for provider in candidates if provider.vendor != "mock"]
    if len(candidates) == 1:
        return candidates[0]
    default = DEFAULT[dialect]
    if default in providers and providers[default] in candidates:
        return providers[default]
    raise NotFoundError(
        f"No provider is known for the model {model!r}{_hint(vendor) if vendor else ''}; "
        f"name one as 'provider/model'. Configured: {', '.join(sorted(providers)) or 'none'}.",
        code="model_not_found",
        param="model",
    )


def _default(dialect: Dialect, providers: Mapping[str, Provider]) -> Provider:
    """Return the provider of a path that names neither a provider nor a model."""
    default = DEFAULT[dialect]
    if default in providers:
        return providers[default]
    speaking = [provider for provider in providers.values() if dialect in provider.base_urls]
    if speaking:
        return speaking[0]
    if providers:
        return next(iter(providers.values()))
    raise NotFoundError("No provider is configured.", code="provider_not_configured")


def _known_vendor(model: str) -> str | None:
    return next((vendor.name for vendor in VENDORS.values() if vendor.owns and model.startswith(vendor.owns)), None)


def _hint(name: str) -> str:
    vendor = VENDORS.get(name)
    return f" (set {vendor.key_names[0]} to use {name})" if vendor is not None and vendor.key_names else ""
