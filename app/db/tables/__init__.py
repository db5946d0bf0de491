"""Every table of RelayCore; alembic compares the database with this package."""

from app.db.tables.access import (
    api_keys,
    audit_log,
    installation,
    keyring,
    organizations,
    snapshot_versions,
    team_members,
    teams,
    users,
)
from app.db.tables.analytics import requests, usage_hourly
from app.db.tables.cache import cache_entries, idempotent_calls
from app.db.tables.catalog import config_versions, deployment_health, price_versions, secrets
from app.db.tables.columns import MONEY, metadata
from app.db.tables.money import (
    budget_alerts,
    budget_counters,
    budget_slices,
    budgets,
    ledger,
    parallel_calls,
    processes,
    rate_events,
    rate_windows,
    reservations,
)

__all__ = [
    "MONEY",
    "api_keys",
    "audit_log",
    "budget_alerts",
    "budget_counters",
    "budget_slices",
    "budgets",
    "cache_entries",
    "config_versions",
    "deployment_health",
    "idempotent_calls",
    "installation",
    "keyring",
    "ledger",
    "metadata",
    "organizations",
    "parallel_calls",
    "price_versions",
    "processes",
    "rate_events",
    "rate_windows",
    "requests",
    "reservations",
    "secrets",
    "snapshot_versions",
    "team_members",
    "teams",
    "usage_hourly",
    "users",
]
