"""The tier in memory: the most recently used answers, bounded in bytes."""

import time
from collections import OrderedDict
from collections.abc import Callable

from app.cache.types import Entry

OVERHEAD_BYTES = 512


class LocalCache:
    """Least recently used entries leave first; an expired entry is never returned."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: bytes) -> Entry | None:
        """Return the live entry under `key`."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at <= time.time():
            self.discard(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, entry: Entry) -> None:
        """Keep `entry`, and let go of the oldest ones beyond the bound."""
        self.discard(entry.key)
        size = _size(entry)
        if size > self._max_bytes:
            return
        self._entries[entry.key] = entry
        self.size_bytes += size
        while self.size_bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.size_bytes -= _size(oldest)

    def clear(self, takes: Callable[[Entry], bool]) -> None:
        """Forget the entries that `takes` says yes to."""
        for key in [key for key, entry in self._entries.items() if takes(entry)]:
            self.discard(key)

    def discard(self, key: bytes) -> bool:
        """Forget the entry under `key` and say whether there was one."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size_bytes -= _size(entry)
        return entry is not None


def _size(entry: Entry) -> int:
    return len(entry.body) + OVERHEAD_BYTES
