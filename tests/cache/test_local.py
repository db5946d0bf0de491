"""The tier in memory."""

import time

import pytest

from app.cache.local import OVERHEAD_BYTES, LocalCache
from tests.cache.samples import make_entry

ROOM = 3 * (OVERHEAD_BYTES + 100)


def put(cache, *names, size=100):
    for name in names:
        cache.put(make_entry(name.encode(), b"x" * size))


def names(cache):
    return "".join(name for name in "abcdef" if cache.find(name.encode()) is not None)


def test_found_and_forgotten():
    """What was put in is found until it is discarded."""
    cache = LocalCache(ROOM)
    put(cache, "a")
    assert cache.find(b"a").body == b"x" * 100
    assert cache.find(b"b") is None
    assert (cache.discard(b"a"), cache.discard(b"a")) == (True, False)
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_the_least_used_leaves_first():
    """Beyond the bound the entry that was not asked for longest leaves."""
    cache = LocalCache(ROOM)
    put(cache, "a", "b", "c")
    cache.find(b"a")
    put(cache, "d")
    assert names(cache) == "acd"
    assert cache.size_bytes <= ROOM


def test_replacing_counts_once():
    """An entry that replaces another one takes its place in the sum as well."""
    cache = LocalCache(ROOM)
    put(cache, "a", "a", "a", size=50)
    assert cache.size_bytes == 50 + OVERHEAD_BYTES
    assert len(cache) == 1


@pytest.mark.parametrize("room", [0, OVERHEAD_BYTES + 99])
def test_what_is_larger_than_everything(room):
    """An entry larger than the bound is not kept, and drives nobody out."""
    cache = LocalCache(room)
    put(cache, "a", size=100)
    assert (names(cache), cache.size_bytes) == ("", 0)


def test_expiry():
    """An expired entry is not returned, and its room is free."""
    cache = LocalCache(ROOM)
    cache.put(make_entry(b"a", ttl=0.02))
    assert cache.find(b"a") is not None
    time.sleep(0.03)
    assert cache.find(b"a") is None
    assert cache.size_bytes == 0


def test_clearing():
    """Clearing forgets what it takes and gives its room back; the others stay, in their order."""
    cache = LocalCache(ROOM)
    put(cache, "a", "b", "c")
    cache.clear(lambda entry: entry.key in {b"a", b"c", b"x"})
    assert (len(cache), cache.size_bytes) == (1, OVERHEAD_BYTES + 100)
    assert names(cache) == "b"
    put(cache, "d", "e")
    put(cache, "f")
    assert names(cache) == "def"


def test_clearing_all_and_nothing():
    """A clearing may take everything or nothing."""
    cache = LocalCache(ROOM)
    put(cache, "a", "b")
    cache.clear(lambda _: False)
    assert names(cache) == "ab"
    cache.clear(lambda _: True)
    assert (names(cache), cache.size_bytes) == ("", 0)
