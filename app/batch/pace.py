"""How many calls a provider gets at a time: more while it answers, half as many when it says that they are too many.

The slow start, additive increase and multiplicative decrease of TCP's congestion control (RFC 5681), for each provider
by itself.
"""

import msgspec

START = 4.0
LEAST = 1.0
LONGEST_REST_SECONDS = 120.0


class _Lane(msgspec.Struct):
    """One provider: how many calls it may have, how many it has, and until when (monotonic) it gets no more."""

    limit: float = START
    calls: int = 0
    refused: bool = False
    rests_until: float = 0.0


class Pace:
    """The providers that batches call, as this process meets them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lanes: dict[str, _Lane] = {}

    def begin(self, provider: str) -> None:
        """Note a call that begins."""
        self._lanes.setdefault(provider, _Lane()).calls += 1

    def end(self, provider: str) -> None:
        """Note that a call is over."""
        self._lanes[provider].calls -= 1

    def succeed(self, provider: str) -> None:
        """Note an answer: there may be more; only a little more once the provider has said that it is too much."""
        lane = self._lanes[provider]
        more = max(1.0 / lane.limit, 0.1) if lane.refused else 1.0
        lane.limit = min(lane.limit + more, float(self.most))

    def slow_down(self, provider: str, wait_seconds: float, now: float) -> None:
        """Note that a provider has had too much; of refusals to calls made together the first one counts."""
        lane = self._lanes[provider]
        if now >= lane.rests_until:
            lane.limit, lane.refused = max(lane.limit / 2, LEAST), True
        lane.rests_until = max(lane.rests_until, now + min(wait_seconds, LONGEST_REST_SECONDS))

    def list_rooms(self, now: float) -> dict[str, int]:
        """Return how many further calls each provider in use gets now; 0 for one that rests."""
        return {
            name: 0 if now < lane.rests_until else max(int(lane.limit) - lane.calls, 0)
            for name, lane in self._lanes.items()
        }
