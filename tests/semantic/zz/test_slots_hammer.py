from tests.cache.test_slots import *
from tests.cache.test_slots import database
import pytest
pytestmark = pytest.mark.anyio
async def test_bug_hammer(database, database_url):
    """Entries written while slots are closed and dropped are all there, none is refused."""
    async with await open_database(database_url) as writer:

        async def write():
            for number in range(200):
                await store(writer, [(build(number, SHORT), make_likeness([1, number]))])
                await asyncio.sleep(0)

        writing = asyncio.create_task(write())
        while not writing.done():
            await age(database, await find_open(database, SHORT), "1 hour")
            await turn_slots(database, ROOM, AGE)
        await writing
    assert await found(database, range(200)) == set(range(200))
    assert await fetch(database, "SELECT count(*), count(DISTINCT key) FROM semantic_entries") == [(200, 200)]
    assert len(await list_slots(database)) > 4


