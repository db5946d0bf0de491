"""What the hot path knows of the configuration: one immutable value, swapped whole."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from app.catalog.prices import PriceBook, sum_lines
from app.catalog.secrets import SecretUnreadableError, Vault
from app.catalog.store import KEY_SEPARATOR, PROVIDER_KEY, StoredConfig
from app.catalog.types import (
    BatchConfig,
    BudgetConfig,
    CacheConfig,
    LimitsConfig,
    ModelConfig,
    ProviderConfig,
    RoutingConfig,
)
from app.providers.registry import VENDORS, Provider, build_provider
from app.wire.money import Line
from app.wire.usage import Usage


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One version of everything configured. `unreadable` names providers whose stored key does not open."""

    version: int
    providers: Mapping[str, Provider]
    cache: CacheConfig
    models: Mapping[str, ModelConfig] = {}
    routing: RoutingConfig = RoutingConfig()
    budgets: BudgetConfig = BudgetConfig()
    limits: LimitsConfig = LimitsConfig()
    batch: BatchConfig = BatchConfig()
    unreadable: tuple[str, ...] = ()


class Catalog:
    """Holds the newest snapshot and the newest prices. `vault` opens what is stored encrypted."""

    def __init__(self, vault: Vault, mock_url: str | None) -> None:
        self.vault = vault
        self._mock_url = mock_url
        self.current = Snapshot(version=0, providers={}, cache=CacheConfig())
        self.prices = PriceBook.build([])

    def find_lines(
        self, provider: str, model: str, usage: Usage, *, at: float | None = None
    ) -> tuple[Line, ...] | None:
        """Return what `usage` costs at a configured provider, class by class; None when that is unknown.

        `at` (seconds since the epoch, default now) chooses between prices of other times.
        """
        known = self.current.providers.get(provider)
        if known is None:
            return self.prices.find_lines(provider, model, usage, at=at)
        return self.prices.find_lines(known.prices, model, usage, name=provider, factor=known.price_factor, at=at)

    def find_cost(self, provider: str, model: str, usage: Usage, *, at: float | None = None) -> Decimal | None:
        """Return what `usage` costs at a configured provider, in US dollars; None when that is unknown."""
        lines = self.find_lines(provider, model, usage, at=at)
        return sum_lines(lines) if lines is not None else None

    def load(self, stored: StoredConfig) -> None:
        """Take over a stored configuration."""
        self.current = build_snapshot(stored, self.vault, self._mock_url)


def build_snapshot(stored: StoredConfig, vault: Vault, mock_url: str | None) -> Snapshot:
    """Return the snapshot of a stored configuration; without any provider the built-in mock is active."""
    providers: dict[str, Provider] = {}
    unreadable: list[str] = []
    entries = stored.document.providers or {"mock": ProviderConfig(type="mock")}
    for name, entry in entries.items():
        sealed = stored.sealed_keys.get(name)
        try:
            keys = vault.open(PROVIDER_KEY, name, sealed).split(KEY_SEPARATOR) if sealed is not None else []
        except SecretUnreadableError:
            unreadable.append(name)
            continue
        is_mock = entry.type == "mock" and entry.base_url is None
        base_url = mock_url if is_mock else entry.base_url
        providers[name] = build_provider(
            name,
            VENDORS[entry.type],
            base_url,
            ("mock",) if is_mock else tuple(keys),
            api_version=entry.api_version,
            region=entry.region,
            price_factor=entry.price_factor,
        )
    return Snapshot(
        version=stored.version,
        providers=providers,
        cache=stored.document.cache,
        models=stored.document.models,
        routing=stored.document.routing,
        budgets=stored.document.budgets,
        limits=stored.document.limits,
        batch=stored.document.batch,
        unreadable=tuple(unreadable),
    )
