"""What the pipeline works with."""

import msgspec

from app.access.budgets import Budgets
from app.access.directory import Directory
from app.access.limits import RateLimiter
from app.analytics.recorder import Recorder
from app.cache.exact import ExactCache
from app.cache.flight import Flights
from app.cache.idempotent import IdempotentCalls
from app.catalog.snapshot import Catalog
from app.gateway.checks import Checks
from app.gateway.rules import Routing
from app.gateway.traffic import Traffic
from app.semantic.lookup import SemanticCache
from app.settings import Settings
from app.upstream import Upstream


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What the pipeline works with; the composition root puts it together, a test its own."""

    directory: Directory
    catalog: Catalog
    cache: ExactCache
    flights: Flights
    upstream: Upstream
    recorder: Recorder
    budgets: Budgets
    limiter: RateLimiter
    idempotent: IdempotentCalls
    routing: Routing
    semantic: SemanticCache
    checks: Checks
    traffic: Traffic
    settings: Settings
