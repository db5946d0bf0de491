"""The SQLAlchemy engine of the control plane and the one place that shapes database URLs."""

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

STATEMENT_TIMEOUT = "-c statement_timeout=5s -c idle_in_transaction_session_timeout=10s"


def alchemy_url(url: str) -> str:
    """Return `url` (libpq form) for SQLAlchemy with psycopg 3."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def open_engine(url: str, *, size: int = 5) -> AsyncEngine:
    """Return the engine for control-plane statements: at most `size` connections, each statement within 5 s."""
    return create_async_engine(
        alchemy_url(url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=2,
        pool_pre_ping=True,
        connect_args={"options": STATEMENT_TIMEOUT, "connect_timeout": 2, "application_name": "relaycore"},
    )


def open_blocking_engine(url: str) -> Engine:
    """Return an engine for commands and start-up, without a time limit on statements."""

    def connect() -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(url, connect_timeout=5, application_name="relaycore start")

    # The URL goes to libpq as it is: SQLAlchemy reads some of what libpq allows differently.
    return create_engine("postgresql+psycopg://", creator=connect, pool_size=1)
