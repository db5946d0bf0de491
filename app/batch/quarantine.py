"""When a request that may kill its worker gets it to itself, and how long the others wait for that. No I/O."""

from typing import Literal

SUSPECT_FROM = 2
"""From how many deaths on: one says nothing, so many requests were under way."""

QUIET_SECONDS = 5.0
"""How long nothing new begins so that what is under way comes to its end."""

BUSY_SECONDS = 20.0
"""How long all goes on as ever when it did not."""

ALONE_SECONDS = 30.0
"""A request that has run for so long kills nobody; others may run beside it."""

Choice = Literal["others", "suspect", "nothing"]


class Quarantine:
    """What may be claimed now, while suspects wait or run. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._quiet_since: float | None = None
        self._busy_until = 0.0

    def choose(self, now: float, *, waiting: bool, running: int, alone_since: float | None) -> Choice:
        """Return what to claim: `waiting` suspects there are, `running` is how many requests are under way.

        `alone_since`: since when a suspect is under way here.
        """
        if alone_since is not None and now - alone_since < ALONE_SECONDS:
            return "nothing"
        if not waiting or now < self._busy_until:
            self._quiet_since = None
            return "others"
        if running == 0:
            self._quiet_since = None
            return "suspect"
        if self._quiet_since is None:
            self._quiet_since = now
        if now - self._quiet_since >= QUIET_SECONDS:
            self._quiet_since, self._busy_until = None, now + BUSY_SECONDS
            return "others"
        return "nothing"
