"""Installations of their own, and what is started on them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.db.conftest import folder
from tests.faults.serving import Served

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
