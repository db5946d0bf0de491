"""Where a call goes: from a path and a model's name to deployments to try, decided without I/O."""

from collections.abc import Mapping

import msgspec

from app.catalog.snapshot import Snapshot
from app.catalog.types import FallbackConfig, ModelConfig
from app.errors import BadRequestError, Dialect, NotFoundError
from app.gateway.paths import Route
from app.providers.registry import VENDORS, Provider

DEFAULT = {Dialect.OPENAI: "openai", Dialect.ANTHROPIC: "anthropic"}
TRANSLATED = frozenset({"chat", "messages", "responses"})
"""The endpoints whose calls reach providers of any dialect."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One provider to try. `model` is the name it knows, None where the call names none.

    `dialect` is the provider's where the call goes through in its own dialect; else `tongue` names the chat dialect
    that it is translated to. `pool` are the deployments that it is one of.
    """

    provider: Provider
    dialect: Dialect
    base_url: str
    model: str | None
    tongue: str = ""
    weight: float = 1.0
    pool: tuple[tuple[str, str], ...] = ()

    @property
    def deployment(self) -> tuple[str, str]:
        """What health is kept of."""
        return self.provider.name, self.model or ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that may answer a call. `name` is what the answer is kept under: the same for all of them."""

    name: str
    targets: tuple[Target, ...]
    strategy: str = "weighted"
    fallbacks: FallbackConfig = FallbackConfig()


def name_for_counting(target: Target) -> tuple[str, str]:
    """Return the model and the vendor whose tokens it counts; "" where a server has a vendor's dialect only."""
    return target.model or "", target.provider.vendor if target.provider.at_home else ""


def plan(route: Route, model: str | None, snapshot: Snapshot) -> Plan:
    """Return where the call may go.

    Raises NotFoundError when no provider answers to the path or the model, BadRequestError when the one that does
    speaks another dialect and the call cannot be translated.
    """
    group = snapshot.models.get(model) if route.provider is None and model is not None else None
    if group is not None and model is not None:
        return _plan_group(route, model, group, snapshot)
    provider, name = _choose(route, model, snapshot.providers)
    target = aim(route, provider, name)
    return Plan(name=f"{provider.name}/{name or ''}", targets=(target,))


def _plan_group(route: Route, model: str, group: ModelConfig, snapshot: Snapshot) -> Plan:
    targets = tuple(
        msgspec.structs.replace(aim(route, snapshot.providers[entry.provider], entry.model), weight=entry.weight)
        for entry in group.targets
        if entry.provider in snapshot.providers
    )
    if not targets:
        raise NotFoundError(f"No provider of the model {model!r} is usable now.", code="model_not_found", param="model")
    members = sorted({f"{target.provider.name}/{target.model}" for target in targets})
    name = members[0] if len(targets) == 1 else "\0".join(("", model, *members))
    return Plan(name=name, targets=targets, strategy=group.strategy, fallbacks=group.fallbacks)


def aim(route: Route, provider: Provider, model: str | None) -> Target:
    """Return the target that `provider` is for `route`: in the client's dialect where it can be, else translated."""
    base_url = provider.base_urls.get(route.dialect)
    endpoint = route.endpoint
    if base_url is not None and (provider.responses or endpoint is None or endpoint.name != "responses"):
        return Target(provider=provider, dialect=route.dialect, base_url=base_url, model=model)
    if endpoint is None and provider.base_urls:
        dialect = next(iter(provider.base_urls))
        return Target(provider=provider, dialect=dialect, base_url=provider.base_urls[dialect], model=model)
    if endpoint is not None and endpoint.name in TRANSLATED:
        return Target(
            provider=provider,
            dialect=route.dialect,
            base_url=provider.tongue_url,
            model=model,
            tongue=provider.tongue,
        )
    raise BadRequestError(
        f"The provider {provider.name!r} has nothing that answers this path.", code="dialect_not_supported"
    )


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
    if not candidates and len(providers) == 1 and vendor is None:
        candidates = list(providers.values())  # the only one, in whatever dialect
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
