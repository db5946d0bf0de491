"""Loading the prices that RelayCore comes with: what differs is stored, logged and noted in the audit log."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from sqlalchemy import Connection

from app.catalog.price_data import CATALOGUE, MOCK, build_catalogue_rows, build_mock_rows
from app.catalog.price_diff import PriceDiff, summarize
from app.catalog.price_store import find_price_changes, replace_prices
from app.catalog.prices import PriceRow
from app.db.audit import Actor, Auditor
from app.db.engine import open_blocking_engine
from app.db.keyring_store import provide_keyring

ACTOR = Actor(label="price update")
ACTION = "prices.update"
HALF_HOUR = timedelta(minutes=30)

logger = logging.getLogger("relaycore.prices")

Load = Callable[[Connection, Sequence[PriceRow], str, datetime | None], PriceDiff]


def compare_catalogue(connection: Connection) -> PriceDiff:
    """Return what `update_prices` would change."""
    return _load(connection, None, find_price_changes)


def update_prices(connection: Connection, auditor: Auditor, actor: Actor, at: datetime | None = None) -> PriceDiff:
    """Make the catalogue's prices of `at` (default: now) hold from then on, and return what changed."""
    diff = _load(connection, at, replace_prices)
    if diff.count:
        source = f"{CATALOGUE} {version(CATALOGUE)}"
        logger.info("Prices of %s: %s", source, diff)
        auditor.record(connection, actor, ACTION, ("prices", source), None, summarize(diff))
    return diff


def run_price_update(url: str, secret_key: str) -> PriceDiff:
    """Load the prices of now and of the next half hour, at which some vendors change theirs. Blocking.

    What is loaded ahead takes effect to the second; what was missed is made up for.
    """
    engine = open_blocking_engine(url)
    try:
        with engine.begin() as connection:
            auditor = Auditor(provide_keyring(connection, secret_key).audit_key)
            now = update_prices(connection, auditor, ACTOR)
            return now.merge(update_prices(connection, auditor, ACTOR, find_next_half_hour(datetime.now(UTC))))
    finally:
        engine.dispose()


def find_next_half_hour(now: datetime) -> datetime:
    """Return the next instant at which a vendor's hour of the day begins or ends."""
    return now.replace(minute=0, second=0, microsecond=0) + HALF_HOUR * (now.minute // 30 + 1)


def _load(connection: Connection, at: datetime | None, load: Load) -> PriceDiff:
    catalogue = load(connection, build_catalogue_rows(at or datetime.now(UTC)), CATALOGUE, at)
    return catalogue.merge(load(connection, build_mock_rows(), MOCK, at))
