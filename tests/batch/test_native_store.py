"""Vendors' batches are claimed by one worker at a time, and no more of them than were asked for."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from app.batch.native.store import claim_natives
from app.db.connection import Connection, open_connection
from app.wire.ids import make_uuid7

pytestmark = pytest.mark.anyio
NATIVE = """
INSERT INTO native_batches (id, protocol, provider, model, path, requests, give_up_at, remote_files)
VALUES (%s, 'openai', %s, 'gpt-4o-mini', '/v1/chat/completions', 2, now() + interval '1 day', '{}')
"""


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    """A connection to a database of the test's own."""
    async with await open_connection(database_url, connect_timeout=5, application_name="test") as opened:
        yield opened


async def store_natives(connection: Connection, count: int, provider: str = "openai") -> list[UUID]:
    ids = [make_uuid7() for _ in range(count)]
    for native_id in ids:
        await connection.execute(NATIVE, (native_id, provider))
    return ids


@pytest.mark.parametrize("known", [1, 2, 8])
async def test_no_more_are_claimed_than_asked_for(connection: Connection, known: int):
    """Whatever the database believes of the table: one that it took for a single row was once claimed as a whole."""
    await store_natives(connection, known)
    await connection.execute("ANALYZE native_batches")
    await store_natives(connection, 9 - known)
    sizes = [len(await claim_natives(connection, uuid4(), count, 60.0)) for count in (1, 3, 3, 3)]
    assert sizes == [1, 3, 3, 2]


async def test_busy_providers_are_passed_over(connection: Connection):
    """What waits for a provider that has its share stays for later."""
    await store_natives(connection, 4)
    [other] = await store_natives(connection, 1, "anthropic")
    assert [one.id for one in await claim_natives(connection, uuid4(), 5, 60.0, busy=["openai"])] == [other]
    assert len(await claim_natives(connection, uuid4(), 5, 60.0)) == 4


async def test_each_is_claimed_once(connection: Connection, database_url: str):
    """Workers that look at the same time share the batches."""
    ids = await store_natives(connection, 40)
    others = [await open_connection(database_url, connect_timeout=5, application_name="test") for _ in range(4)]

    async def work(one: Connection) -> list[UUID]:
        return [native.id for _ in range(40) for native in await claim_natives(one, uuid4(), 1, 60.0)]

    claimed = [native_id for found in await asyncio.gather(*map(work, others)) for native_id in found]
    for one in others:
        await one.close()
    assert sorted(claimed) == sorted(ids)
