"""The desk: that whoever leaves in the middle takes nothing from the others."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.batch.desk import Desk
from app.db.connection import Connection
from app.gateway.parts import Parts

pytestmark = pytest.mark.anyio


async def test_a_client_that_leaves_is_no_outage(database_url: str) -> None:
    """A query whose client has left is read to its end: the next one is answered at once, and nothing stays open."""
    desk = Desk(database_url, cast(Parts, SimpleNamespace()))

    async def ask(connection: Connection, seconds: float = 0.0) -> Any:
        return await (await connection.execute("SELECT pg_sleep(%s)", (seconds,))).fetchone()

    await desk.read(ask)
    for way in (desk.read, desk.change):
        leaving = asyncio.create_task(way(lambda c: ask(c, 0.3)))
        await asyncio.sleep(0.1)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await way(ask) is not None
    last = asyncio.create_task(desk.read(lambda c: ask(c, 0.3)))
    await asyncio.sleep(0.1)
    last.cancel()
    await asyncio.gather(last, return_exceptions=True)
    await desk.close()
