"""Fixtures shared by all tests."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run every async test on asyncio, the loop the gateway runs on."""
    return "asyncio"
