"""The configuration document: what an operator may set, with its defaults and bounds."""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from app.catalog.cache_types import CacheConfig

# Patterns end with this, since "$" lets a newline follow.
_END = r"(?![\s\S])"
Name = Annotated[str, Meta(pattern=rf"^[a-z0-9][a-z0-9_.-]{{0,63}}{_END}")]
Url = Annotated[
    str, Meta(pattern=rf"^https?://[^\s/@?#\x00-\x1f\x7f]+([/?#][^\s\x00-\x1f\x7f]*)?{_END}", max_length=2048)
]
"""An address without a user and password in it: those would stand in the open; keys have a field of their own."""

MASK = "********"
"""What is shown in place of a stored secret."""


SMALLEST_FACTOR = Decimal(1).scaleb(-6)

MAPS = frozenset({"providers", "models"})
"""The sections with named entries, which are replaced as a whole."""

PARTS = frozenset({"semantic"})
"""What within a section is changed field by field as the section is."""

HostPattern = Annotated[str, Meta(pattern=rf"^(\*\.)?[A-Za-z0-9.:\[\]_-]{{1,253}}{_END}")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256, pattern=rf"^[^\s\x00-\x1f\x7f]+{_END}")]


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One provider. `type` names a vendor row; `base_url` overrides the vendor's.

    `api_key`, or `api_keys` for several that are used in turn, are only ever read in: they are stored encrypted beside
    the document and shown masked. `api_version` is Azure's, `region` Bedrock's. What a call costs is its list price
    less `discount` (what the vendor grants) plus `margin` (what is charged on top), both shares of one.
    """

    type: Name
    base_url: Url | None = None
    api_key: Annotated[str, Meta(max_length=4096)] | None = None
    api_keys: Annotated[tuple[str, ...], Meta(max_length=64)] | None = None
    api_version: Annotated[str, Meta(pattern=rf"^[A-Za-z0-9._-]{{1,32}}{_END}")] | None = None
    region: Annotated[str, Meta(pattern=rf"^[a-z0-9-]{{1,32}}{_END}")] | None = None
    discount: Annotated[float, Meta(ge=0, le=1)] = 0.0
    margin: Annotated[float, Meta(ge=0, le=100)] = 0.0

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are in this entry, whichever field they came in."""
        given = self.api_keys or ((self.api_key,) if self.api_key else ())
        return tuple(key for key in given if key)

    @property
    def price_factor(self) -> Decimal:
        """What list prices are multiplied with, in as many decimals as the ledger has for it."""
        factor = (1 - Decimal(str(self.discount))) * (1 + Decimal(str(self.margin)))
        return factor.quantize(SMALLEST_FACTOR)


class DeploymentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to answer for a model's name: a provider and the name it knows."""

    provider: Name
    model: ModelName
    weight: Annotated[float, Meta(gt=0, le=1_000_000)] = 1.0


class FallbackConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names to try in order when a model fails: after any failure, or only after those of one kind."""

    any: Annotated[tuple[ModelName, ...], Meta(max_length=16)] = ()
    context_window: Annotated[tuple[ModelName, ...], Meta(max_length=16)] = ()
    content_policy: Annotated[tuple[ModelName, ...], Meta(max_length=16)] = ()


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name that clients may call: an alias when it has one deployment, a group when it has several."""

    targets: Annotated[tuple[DeploymentConfig, ...], Meta(min_length=1, max_length=64)]
    strategy: Literal["weighted", "least-latency", "cheapest"] = "weighted"
    fallbacks: FallbackConfig = FallbackConfig()


class RoutingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retries, ejection and the limits of one answer. Times are seconds.

    `retry_budget` is the share of the requests under way that may be retries; `max_wait` the longest Retry-After that
    is waited for; `first_token` (None: no guard) the time a stream may take to its first event before another
    deployment is tried; `slow_stream` (None: no guard) the longest silence within one.
    """

    max_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    backoff: Seconds = 0.5
    max_backoff: Seconds = 8.0
    max_wait: Annotated[float, Meta(ge=0, le=120)] = 5.0
    retry_budget: Annotated[float, Meta(ge=0, le=1)] = 0.2
    eject_after: Annotated[int, Meta(ge=1, le=1000)] = 5
    eject_seconds: Seconds = 30.0
    max_ejected: Annotated[float, Meta(ge=0, le=1)] = 0.5
    first_token: Seconds | None = None
    slow_stream: Seconds | None = None


Usd = Annotated[float, Meta(ge=0, le=1_000_000_000)]


class BudgetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How money is held for calls of whoever has a budget.

    `assumed_output_tokens` bounds answers of models whose own limit is not known, when the call names none. The
    `unpriced_*` amounts (US dollars for a million tokens) count calls of models without a price; None refuses them.
    """

    assumed_output_tokens: Annotated[int, Meta(ge=16, le=10_000_000)] = 4096
    unpriced_input_usd: Usd | None = None
    unpriced_output_usd: Usd | None = None


class LimitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a model may be called, by everybody together: calls and tokens a minute, calls at a time."""

    rpm: Annotated[int, Meta(ge=0, le=10_000_000)] | None = None
    tpm: Annotated[int, Meta(ge=0, le=10_000_000_000)] | None = None
    max_parallel: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of models by the name that is called or "provider/model".

    `interactive_share` is the part of every limit that batch-class traffic leaves to interactive calls.
    """

    models: dict[ModelName, LimitConfig] = {}
    interactive_share: Annotated[float, Meta(ge=0, le=1)] = 0.2


class BatchConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How batches are worked off. Times are seconds.

    `concurrency` is how many requests a process has under way for batches, `max_tries` how often one is called in all
    when its provider fails. `native`: requests may go into the vendors' own batches, for half the price, but at the
    `direct_providers`, or when less than `native_min_seconds` are left. `pool_seconds` is how long single calls wait
    for others to come along; `reserve_seconds` before its deadline a request is taken out of a vendor's batch and
    called directly. `webhook_hosts` may be told of results wherever they are ("*.example.com" stands for all below);
    any public address may where `webhook_public`.
    """

    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 16
    max_requests: Annotated[int, Meta(ge=1, le=1_000_000)] = 100_000
    max_tries: Annotated[int, Meta(ge=1, le=20)] = 4
    native: bool = True
    direct_providers: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    native_min_seconds: Annotated[float, Meta(ge=0, le=604_800)] = 3600.0
    reserve_seconds: Annotated[float, Meta(ge=0, le=604_800)] = 900.0
    pool_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    poll_seconds: Annotated[float, Meta(ge=0.1, le=3600)] = 30.0
    retention_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    webhook_hosts: Annotated[tuple[HostPattern, ...], Meta(max_length=256)] = ()
    webhook_public: bool = True


class ConfigDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be configured while running; one document, validated whole."""

    providers: dict[Name, ProviderConfig] = {}
    models: dict[ModelName, ModelConfig] = {}
    routing: RoutingConfig = RoutingConfig()
    cache: CacheConfig = msgspec.field(default_factory=CacheConfig)
    budgets: BudgetConfig = BudgetConfig()
    limits: LimitsConfig = msgspec.field(default_factory=LimitsConfig)
    batch: BatchConfig = BatchConfig()
