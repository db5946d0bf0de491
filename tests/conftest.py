"""Fixtures shared by all tests: one Postgres for the run, a fresh database and a running gateway on demand."""

import gc
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg
import pytest

from app.catalog.price_data import CATALOGUE, MOCK, build_catalogue_rows, build_mock_rows
from app.catalog.price_store import replace_prices
from app.db.embedded import EmbeddedPostgres
from app.db.engine import open_blocking_engine
from app.db.schema import migrate
from app.settings import Settings, read_settings
from app.start import Ready, fill
from tests.gateway_process import Gateway, run_gateway

SECRET_KEY = "a-secret-key-for-tests-only-0123456789"
ADMIN_KEY = "rk-admin-key-for-tests-only"
TEMPLATE = "relaycore_template"
BARE_TEMPLATE = "relaycore_bare_template"

_numbers = itertools.count()


def pytest_configure() -> None:
    """Heed Ctrl-C even where a shell's background job ignores it: tests interrupt processes that inherit this."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through all that was imported and collected, again and again."""
    gc.collect()
    gc.freeze()


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
            connection.execute(f"CREATE DATABASE {BARE_TEMPLATE}")
            migrate(server.database_url(BARE_TEMPLATE))
            connection.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE {BARE_TEMPLATE} STRATEGY file_copy")
        give_prices(server.database_url(TEMPLATE))
        yield server
    finally:
        server.close()
        shutil.rmtree(root, ignore_errors=True)


def give_prices(url: str) -> None:
    """Put in place the prices that a first start would: they take seconds, and the start of a gateway finds them.

    So does the job that loads them: it counts as done for the half hours of the run, whatever the time of day is.
    """
    engine = open_blocking_engine(url)
    with engine.begin() as connection:
        replace_prices(connection, build_catalogue_rows(datetime.now(UTC)), CATALOGUE)
        replace_prices(connection, build_mock_rows(), MOCK)
        connection.exec_driver_sql(
            "INSERT INTO procrastinate_periodic_defers (task_name, defer_timestamp) SELECT 'relaycore.prices', "
            "(extract(epoch FROM now())::bigint / 1800 + number) * 1800 + 25 * 60 FROM generate_series(-2, 4) AS number"
        )
    engine.dispose()


@pytest.fixture
def database_url(server: EmbeddedPostgres) -> Iterator[str]:
    """A fresh migrated database of the test's own, with the catalogue's prices."""
    yield from _database(server, TEMPLATE)


@pytest.fixture(scope="module")
def module_database_url(server: EmbeddedPostgres) -> Iterator[str]:
    """A fresh migrated database for all tests of a module, with the catalogue's prices."""
    yield from _database(server, TEMPLATE)


@pytest.fixture
def bare_database_url(server: EmbeddedPostgres) -> Iterator[str]:
    """A fresh migrated database of the test's own, with nothing in it."""
    yield from _database(server, BARE_TEMPLATE)


@pytest.fixture(scope="module")
def bare_module_database_url(server: EmbeddedPostgres) -> Iterator[str]:
    """A fresh migrated database for all tests of a module, with nothing in it."""
    yield from _database(server, BARE_TEMPLATE)


def _database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield server.database_url(name)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


Prepare = Callable[..., Ready]


def prepare(url: str, folder: Path, environ: dict[str, str] | None = None, **changes: object) -> Ready:
    """Return a prepared start on a migrated database, as `relaycore serve` would make it but for the prices."""
    settings: Settings = read_settings(
        {"DATABASE_URL": url, "RELAYCORE_SECRET_KEY": SECRET_KEY, "RELAYCORE_ADMIN_KEY": ADMIN_KEY, **(environ or {})},
        data_dir=folder,
        host="127.0.0.1",
        port=0,
    )
    return fill(msgspec.structs.replace(settings, **changes), None, prices=False)  # see `give_prices`


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
