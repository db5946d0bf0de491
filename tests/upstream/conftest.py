"""Fixtures of the upstream tests."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from app.upstream import Upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """Give a client, and check that neither a task nor an unclosed connection is left behind."""
    client = Upstream()
    yield client
    await client.close()
    await asyncio.sleep(0.02)
    gc.collect()
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    assert [name for one in coroutines if not (name := one.__qualname__).startswith("TestRunner.")] == []


@pytest.fixture(scope="session", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run every test on both event loops: timers, aborts and TLS are theirs."""
    return "asyncio", {"use_uvloop": request.param}
