"""Whether and when to try again: full jitter, the provider's word on waiting, and a budget over all requests."""

from collections import deque
from random import Random

import msgspec

from app.routing.failure import AGAIN, Failure

MIN_RETRIES = 3
MEMORY_SECONDS = 1.0
QUIET_REQUESTS = 4


class RetryRules(msgspec.Struct, frozen=True, kw_only=True):
    """`max_retries` per request; waits grow from `backoff_seconds` by doubling up to `max_backoff_seconds`.

    A provider that asks for more than `max_wait_seconds` is not waited for.
    """

    max_retries: int = 2
    backoff_seconds: float = 0.5
    max_backoff_seconds: float = 8.0
    max_wait_seconds: float = 5.0


class RetryBudget:
    """Counts the requests under way and the retries that these have made, so that retries never become a storm.

    What ended less than a second ago still counts, so that quick failures are held to the same share; only retries
    that helped are forgotten at once. A request that is alone in quiet times is no storm.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0
        self._ended: deque[tuple[float, int]] = deque()
        self._in_vain = 0

    def allows(self, share: float, now: float) -> bool:
        """Return whether one more retry may start now."""
        self._forget(now)
        if self.requests <= 1 and len(self._ended) < QUIET_REQUESTS:
            return self.retries < MIN_RETRIES
        return self.retries + self._in_vain < max(MIN_RETRIES, share * (self.requests + len(self._ended)))

    def end(self, retries: int, now: float, *, helped: bool) -> None:
        """Note that a request which made so many retries is over."""
        self.requests -= 1
        self.retries -= retries
        in_vain = 0 if helped else retries
        self._ended.append((now, in_vain))
        self._in_vain += in_vain
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._ended and self._ended[0][0] < now - MEMORY_SECONDS:
            self._in_vain -= self._ended.popleft()[1]


def find_delay(failure: Failure, tries: int, rules: RetryRules, random: Random) -> float | None:
    """Return the seconds to wait before the next try of the same deployment, None when there should be none.

    `tries` is how many were made. The provider's own wait is kept to the second or not at all.
    """
    if failure.kind not in AGAIN or tries > rules.max_retries:
        return None
    if failure.wait_seconds is not None:
        return failure.wait_seconds if failure.wait_seconds <= rules.max_wait_seconds else None
    ceiling = min(rules.max_backoff_seconds, rules.backoff_seconds * 2 ** (tries - 1))
    return random.uniform(0, ceiling)
