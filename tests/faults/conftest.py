"""Installations of their own, and what is started on them."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.db.embedded import EmbeddedPostgres
from app.db.schema import migrate
from tests.conftest import give_prices
from tests.db.conftest import folder, make_folder
from tests.faults.serving import ADMIN, REPOSITORY, Served

__all__ = ["folder"]


@pytest.fixture(scope="session")
def kept_server() -> Iterator[Path]:
    """The folder of a stopped server, with all in its database that a first start takes seconds for: to be copied."""
    made = make_folder()
    with EmbeddedPostgres.open(made / "pg", fast_and_unsafe=True) as server:
        migrate(server.url)
        give_prices(server.url)
    yield made / "pg"
    shutil.rmtree(made)


@pytest.fixture
def postgres(folder: Path, kept_server: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, to be maltreated."""
    subprocess.run(["cp", "-a", kept_server, folder / "pg"], check=True)
    with EmbeddedPostgres.open(folder / "pg", fast_and_unsafe=True) as server:
        yield server


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Served]]:
    """Start commands on the test's folder; what still runs at its end is killed."""
    started: list[Served] = []

    def start(*words: str, **options) -> Served:
        started.append(Served(options.pop("where", folder), *words, **options))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def upstream() -> Iterator[str]:
    """A provider that outlives the gateway's processes, and counts what it answered."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app.mock"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def served(serve: Callable[..., Served], database_url: str, upstream: str, folder: Path) -> Served:
    """Three gateway processes on one database."""
    (folder / "relaycore.config.yaml").write_text(
        f"providers:\n  upstream:\n    type: mock\n    base_url: {upstream}/v1\n    api_key: any\n"
    )
    return serve(
        "serve",
        "--port",
        "0",
        "--workers",
        "3",
        DATABASE_URL=database_url,
        RELAYCORE_SECRET_KEY="s" * 32,
        RELAYCORE_ADMIN_KEY=ADMIN,
    ).wait_until_ready()
