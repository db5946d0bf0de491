"""The pool of keys of one provider: which one next, and which are out."""

from collections.abc import Sequence

REST_SECONDS = 300.0


class KeyPool:
    """Keys in turn; one that was refused rests, one that was limited waits as long as the provider said."""

    def __init__(self) -> None:
        self._out_until: dict[tuple[str, str], float] = {}
        self._turn: dict[str, int] = {}

    def find(self, provider: str, keys: Sequence[str], now: float) -> str | None:
        """Return the key to use now; None when all are out."""
        if not keys:
            return None
        start = self._turn.get(provider, 0)
        for offset in range(len(keys)):
            index = (start + offset) % len(keys)
            if self._out_until.get((provider, keys[index]), 0.0) <= now:
                self._turn[provider] = index if len(keys) == 1 else (index + 1) % len(keys)
                return keys[index]
        return None

    def rest(self, provider: str, key: str, now: float, seconds: float = REST_SECONDS) -> None:
        """Leave a key alone for a while."""
        self._out_until[provider, key] = now + seconds

    def use(self, provider: str, key: str) -> None:
        """Note that a key works."""
        self._out_until.pop((provider, key), None)
