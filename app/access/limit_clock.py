"""Tells when the database's clock jumped, by the steady clock of this process."""

import msgspec

DRIFT = 0.02
TOLERANCE_SECONDS = 0.25
"""Smaller steps are left to the windows' margin and to the bound that a scope's events stay in order."""


class Reading(msgspec.Struct, frozen=True):
    """The database's time, read at some moment between two moments of the steady clock."""

    at: float
    sent: float
    received: float


class SteadyClock:
    """Remembers the last reading; what a later one can be follows from the time that passed."""

    def __init__(self) -> None:
        self.last: Reading | None = None

    def find_latest(self, now: float) -> float | None:
        """Return a time that the database's clock has not reached yet, unless it jumped or is asked much later."""
        if self.last is None:
            return None
        return self.last.at + (now - self.last.sent) * (1 + DRIFT) + TOLERANCE_SECONDS

    def find_jump(self, reading: Reading) -> float:
        """Return by how many seconds the clock jumped since the last reading: 0.0 when it may not have jumped at all.

        Where it cannot be known exactly it is the later of what is possible, so that nothing is forgotten too soon.
        """
        if self.last is None:
            return 0.0
        least = (reading.sent - self.last.received) * (1 - DRIFT)
        most = (reading.received - self.last.sent) * (1 + DRIFT)
        passed = reading.at - self.last.at
        if least - TOLERANCE_SECONDS <= passed <= most + TOLERANCE_SECONDS:
            return 0.0
        return passed - max(least, 0.0)

    def note(self, reading: Reading) -> None:
        """Go by this reading from now on."""
        self.last = reading
