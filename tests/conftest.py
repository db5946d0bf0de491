"""Fixtures shared by all tests: one Postgres for the run, a fresh database and a running gateway on demand."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest

from app.db.embedded import EmbeddedPostgres
from app.db.schema import migrate
from app.settings import Settings, read_settings
from app.start import Ready, fill
from tests.gateway_process import Gateway, run_gateway

SECRET_KEY = "a-secret-key-for-tests-only-0123456789"
ADMIN_KEY = "rk-admin-key-for-tests-only"
TEMPLATE = "relaycore_template"

_numbers = itertools.count()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run every async test on asyncio, the loop the gateway runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    """One Postgres for the whole run, in memory where there is room: durability is not what most tests are about."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * 2**30
    root = Path(tempfile.mkdtemp(prefix="relaycore-tests-", dir=memory if roomy else None))
    server = EmbeddedPostgres.open(root / "pg", fast_and_unsafe=True, settings={"max_connections": "200"})
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        migrate(server.database_url(TEMPLATE))
        yield server
    finally:
        server.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def database_url(server: EmbeddedPostgres) -> Iterator[str]:
    """A fresh migrated database of the test's own."""
    yield from _database(server)


@pytest.fixture(scope="module")
def module_database_url(server: EmbeddedPostgres) -> Iterator[str]:
    """A fresh migrated database for all tests of a module."""
    yield from _database(server)


def _database(server: EmbeddedPostgres) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
    yield server.database_url(name)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


Prepare = Callable[..., Ready]


def prepare(url: str, folder: Path, environ: dict[str, str] | None = None, **changes: object) -> Ready:
    """Return a prepared start on a migrated database, as `relaycore serve` would make it."""
    settings: Settings = read_settings(
        {"DATABASE_URL": url, "RELAYCORE_SECRET_KEY": SECRET_KEY, "RELAYCORE_ADMIN_KEY": ADMIN_KEY, **(environ or {})},
        data_dir=folder,
        host="127.0.0.1",
        port=0,
    )
    return fill(msgspec.structs.replace(settings, **changes), None)


@pytest.fixture
def gateway(database_url: str, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of the test's own, with the mock as its only provider."""
    with run_gateway(prepare(database_url, tmp_path)) as running:
        yield running


@pytest.fixture(scope="module")
def shared_gateway(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that the tests of a module share, with the mock as its only provider."""
    with run_gateway(prepare(module_database_url, tmp_path_factory.mktemp("gateway"))) as running:
        yield running
