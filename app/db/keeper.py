"""The keeper: a small detached process that stops the embedded server once every app that used it is gone.

It runs as `python -I -S keeper.py ...`, so it imports nothing outside the standard library.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE_SECONDS = 10
_POLL_SECONDS = 0.01
_SLOW_POLL_SECONDS = 0.2
_PROC = Path("/proc")


def try_lock(fd: int, operation: int) -> bool:
    """Take the flock `operation` on `fd` if that is possible at once."""
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_postmaster_file(data: Path) -> list[str]:
    """Return the lines of `postmaster.pid`: pid, folder, start, port, socket folder, address, shm key, status."""
    try:
        text = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines()]


def is_server(pid: int, marker: str, proc: Path = _PROC) -> bool:
    """Tell whether `pid` is the live server with `marker` on its command line.

    A zombie has an empty command line, a reused pid another one, and a pid of another container none at all.
    """
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        # Without /proc (macOS) the pid is all there is to go by.
        return not (proc / "self").exists() and _is_process(pid)
    return marker.encode() in words


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def find_server(data: Path, marker: str) -> int | None:
    """Return the pid of the server on `data`, or None when no process that we can see is it."""
    lines = read_postmaster_file(data)
    # The last line is still being written when there is no status; a standalone backend writes a negative pid.
    if not lines or not lines[0].isdecimal():
        return None
    pid = int(lines[0])
    return pid if is_server(pid, marker) else None


def _send(pid: int | None, number: signal.Signals) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def stop_server(data: Path, marker: str, server_fd: int, patience_seconds: float = PATIENCE_SECONDS) -> bool:
    """Stop the server and return True when the last of its processes is gone.

    First fast (SIGINT: clients are disconnected, a checkpoint is written), after `patience_seconds` immediate
    (SIGQUIT: the next start recovers from the WAL); waits as long again for that. PostgreSQL 18 can hang for ever
    when a fast shutdown meets the restart after a crashed backend.
    """
    began = time.monotonic()
    sent: signal.Signals | None = None
    while not try_lock(server_fd, fcntl.LOCK_EX):
        waited = time.monotonic() - began
        if waited > 2 * patience_seconds:
            return False
        wanted = signal.SIGQUIT if waited > patience_seconds or _is_starting(data) else signal.SIGINT
        if wanted > (sent or 0) and _send(find_server(data, marker), wanted):
            sent = wanted
        time.sleep(_POLL_SECONDS if waited < 1 else _SLOW_POLL_SECONDS)
    return True


def _is_starting(data: Path) -> bool:
    return read_postmaster_file(data)[7:8] == ["starting"]


def keep(keeper_fd: int, clients_fd: int, server_fd: int, data: Path, marker: str) -> None:
    """Wait until no app holds `clients_fd` any more, then stop the server."""
    fcntl.flock(clients_fd, fcntl.LOCK_EX)
    while not stop_server(data, marker, server_fd):
        pass
    # An app that gets at `clients_fd` from here on must find that it has no keeper: this lock goes first.
    os.close(keeper_fd)
    os.close(server_fd)
    os.close(clients_fd)


def main(arguments: Sequence[str]) -> None:
    """Run the keeper on the inherited locks that the command line names."""
    keeper_fd, clients_fd, server_fd = (int(word) for word in arguments[:3])
    keep(keeper_fd, clients_fd, server_fd, Path(arguments[3]), arguments[4])


if __name__ == "__main__":
    main(sys.argv[1:])
