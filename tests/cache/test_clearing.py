"""What a clearing takes, in memory; and that Postgres takes the same."""

import asyncio
from uuid import UUID

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.clearing import Cleared, Clearing, any_takes
from app.cache.clearing_store import build_deletion
from app.cache.exact import ExactCache
from tests.cache.samples import USER, make_entry

KEY, OTHER = UUID(int=8), UUID(int=9)
ENTRY = msgspec.structs.replace(make_entry(b"\xabc" * 16), api_key_id=KEY, tags=("a", "b"))
BARE = msgspec.structs.replace(ENTRY, key=b"\x01" * 32, api_key_id=None, tags=())

TABLE = [
    ({}, True, True),
    ({"key": "ab63" * 16}, True, False),
    ({"key": "01" * 32}, False, True),
    ({"key": "ab63"}, False, False),
    ({"scope": f"user:{USER}"}, True, True),
    ({"scope": f"user:{USER}/faq"}, False, False),
    ({"scope": "user"}, False, False),
    ({"namespace": "faq"}, False, False),
    ({"user_id": USER}, True, True),
    ({"user_id": OTHER}, False, False),
    ({"api_key_id": KEY}, True, False),
    ({"api_key_id": OTHER}, False, False),
    ({"provider": "openai"}, True, True),
    ({"provider": "OpenAI"}, False, False),
    ({"model": "gpt-4o"}, True, True),
    ({"model": "gpt-4"}, False, False),
    ({"endpoint": "chat"}, True, True),
    ({"endpoint": "messages"}, False, False),
    ({"tags": ("a",)}, True, False),
    ({"tags": ("c", "b")}, True, False),
    ({"tags": ("c",)}, False, False),
    ({"tags": ("A",)}, False, False),
    ({"tags": ()}, False, False),
    ({"user_id": USER, "model": "gpt-4o", "tags": ("a",)}, True, False),
    ({"user_id": USER, "model": "gpt-4", "tags": ("a",)}, False, False),
    ({"user_id": OTHER, "model": "gpt-4o"}, False, False),
]


@pytest.mark.parametrize(("what", "takes", "takes_bare"), TABLE)
def test_what_fits(what, takes, takes_bare):
    """An entry is cleared when it meets everything that is said; of the tags one will do."""
    assert (Clearing(**what).fits(ENTRY), Clearing(**what).fits(BARE)) == (takes, takes_bare)


@pytest.fixture(scope="module")
def stored(module_database_url):
    """A database with both entries in it."""

    async def fill():
        cache = ExactCache(module_database_url, 2**20)
        cache.start()
        for entry in (ENTRY, BARE):
            cache.put(entry)
        await cache.close()

    asyncio.run(fill())
    return module_database_url


@pytest.mark.parametrize(("what", "takes", "takes_bare"), TABLE)
def test_postgres_takes_the_same(stored, what, takes, takes_bare):
    """The statement deletes as many entries as the filter in memory takes."""
    statement, values = build_deletion(Clearing(**what), at=None)
    with psycopg.connect(stored) as connection:
        assert connection.execute(statement, values).fetchone() == (takes + takes_bare,)
        connection.rollback()


@pytest.mark.parametrize(("after", "takes"), [(0.0, True), (1.0, True), (-1e-3, False), (-60.0, False)])
def test_only_what_was_there(after, takes):
    """A clearing takes what was made up to its moment; what is made afterwards stays."""
    cleared = Cleared(what=Clearing(), at=ENTRY.created_at + after)
    assert cleared.takes(ENTRY) is takes


def test_one_of_several():
    """An entry is gone when one of several clearings takes it."""
    past = Cleared(what=Clearing(), at=0.0)
    others = Cleared(what=Clearing(model="gpt-4"), at=ENTRY.created_at)
    own = Cleared(what=Clearing(model="gpt-4o"), at=ENTRY.created_at)
    assert not any_takes([], ENTRY)
    assert not any_takes([past, others], ENTRY)
    assert any_takes([past, others, own], ENTRY)


WORDS = st.sampled_from(["x", "y"])
IDS = st.sampled_from([USER, KEY, OTHER])
CLEARINGS = st.builds(
    Clearing,
    key=st.none() | st.just(ENTRY.key.hex()) | st.just("00"),
    scope=st.none() | st.just(ENTRY.scope) | WORDS,
    user_id=st.none() | IDS,
    api_key_id=st.none() | IDS,
    provider=st.none() | st.just("openai") | WORDS,
    model=st.none() | st.just("gpt-4o") | WORDS,
    endpoint=st.none() | st.just("chat") | WORDS,
    tags=st.none() | st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
)


@given(CLEARINGS, st.sampled_from(["key", "scope", "user_id", "api_key_id", "provider", "model", "endpoint", "tags"]))
def test_saying_more_takes_less(clearing, name):
    """A clearing that says one thing less takes at least as much."""
    if clearing.fits(ENTRY):
        assert msgspec.structs.replace(clearing, **{name: None}).fits(ENTRY)


@given(CLEARINGS)
def test_clearings_travel(clearing):
    """A clearing that other processes read is the one that was made."""
    assert msgspec.convert(msgspec.to_builtins(clearing), Clearing) == clearing
