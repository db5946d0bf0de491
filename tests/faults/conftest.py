"""Installations of their own, and what is started on them."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.db.conftest import folder
from tests.faults.serving import ADMIN, REPOSITORY, Served

__all__ = ["folder"]


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
