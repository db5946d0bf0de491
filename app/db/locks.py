"""The locks by which apps, the server and its keeper know of each other: flocks, which the kernel drops at death.

`start`: who starts. `clients`: shared by the apps. `server`: held by every process of the server.
`keeper`: held by the keeper. All work across containers, but not on a network file system.
"""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager

from app.db.cluster import Cluster, open_file
from app.db.keeper import try_lock
from app.db.launch import EmbeddedPostgresError

_POLL_SECONDS = 0.005


class Deadline:
    """The end of our patience, set when it is made."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left."""
        return max(self._at - time.monotonic(), 0)

    def pause(self, waiting_for: str) -> None:
        """Sleep for a moment; raises when the time is over."""
        if not self.left():
            raise EmbeddedPostgresError(f"Gave up after {self._seconds:g} s waiting for {waiting_for}.")
        time.sleep(_POLL_SECONDS)


def open_lock(cluster: Cluster, name: str) -> int:
    """Open the file of a lock, without taking it."""
    return open_file(cluster.root / f"{name}.lock", cluster.account)


@contextmanager
def opened_lock(cluster: Cluster, name: str) -> Generator[int]:
    """Yield a descriptor of a lock; closing it drops the lock unless a process has inherited it."""
    fd = open_lock(cluster, name)
    try:
        yield fd
    finally:
        os.close(fd)


def wait_for_lock(fd: int, operation: int, deadline: Deadline) -> None:
    """Take a lock when its holders let it go."""
    while not try_lock(fd, operation):
        deadline.pause("another RelayCore that is starting or stopping the database")
