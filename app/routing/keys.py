"""The pool of keys of one provider: which one next, and which are out."""

from collections.abc import Sequence

import msgspec

REST_SECONDS = 300.0


class Rest(msgspec.Struct, frozen=True):
    """Until when a key is left alone; `limited`: it is good, but was used too much."""

    until: float
    limited: bool


class KeyPool:
    """Keys in turn; one that was refused rests, one that was limited waits as long as the provider said."""

    def __init__(self) -> None:
        self._rests: dict[tuple[str, str], Rest] = {}
        self._turn: dict[str, int] = {}

    def find(self, provider: str, keys: Sequence[str], now: float) -> str | None:
        """Return the key to use now; None when all are out."""
        start = self._turn.get(provider, 0)
        for offset in range(len(keys)):
            index = (start + offset) % len(keys)
            if not self._is_out(provider, keys[index], now):
                self._turn[provider] = (index + 1) % len(keys)
                return keys[index]
        return None

    def has_free(self, provider: str, keys: Sequence[str], now: float) -> bool:
        """Return whether there is a key to use now, without using up its turn."""
        return any(not self._is_out(provider, key, now) for key in keys)

    def find_wait(self, provider: str, keys: Sequence[str], now: float) -> float | None:
        """Return the seconds until the first limited key may be used again; None when all were refused."""
        rests = (self._rests.get((provider, key)) for key in keys)
        waits = [max(rest.until - now, 0.0) for rest in rests if rest is not None and rest.limited]
        return min(waits) if waits else None

    def rest(
        self, provider: str, key: str, now: float, seconds: float = REST_SECONDS, *, limited: bool = False
    ) -> None:
        """Leave a key alone for a while; a shorter rest does not replace a longer one."""
        known = self._rests.get((provider, key))
        if known is None or known.until < now + seconds:
            self._rests[provider, key] = Rest(now + seconds, limited)

    def _is_out(self, provider: str, key: str, now: float) -> bool:
        rest = self._rests.get((provider, key))
        return rest is not None and rest.until > now
