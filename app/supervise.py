"""Keeps one child process at work: whatever it ends with, another one takes its place, until somebody says stop."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

RESTART_SECONDS = 0.2
MOST_SECONDS = 5.0
STEADY_SECONDS = 10.0
"""A child that ran for so long did not fail at its start."""

STOP_SECONDS = 15.0

Target = Callable[[], None]


def keep_at_work(target: Target, say: Callable[[str], None]) -> None:
    """Run `target` in a process of its own, again and again, until SIGINT or SIGTERM. Blocking.

    `target` must be picklable. It gets SIGTERM when it is to stop, and is ended when it does not.
    """
    context = multiprocessing.get_context("spawn")
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    wait = RESTART_SECONDS
    while not stop.is_set():
        child = context.Process(target=run_child, args=(target,))
        started = time.monotonic()
        child.start()
        while child.is_alive() and not stop.wait(0.1):
            pass
        if stop.is_set():
            child.terminate()
            child.join(STOP_SECONDS)
            child.kill()
            return
        wait = RESTART_SECONDS if time.monotonic() - started > STEADY_SECONDS else min(wait * 2, MOST_SECONDS)
        say(f"The worker ended with exit code {child.exitcode}; it starts again.")
        stop.wait(wait)


def run_child(target: Target) -> None:
    """Run `target` in this process, and leave when the one that started it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who presses Ctrl-C reaches the parent as well, and it tells us
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=(parent.join,), daemon=True).start()
    target()


def _leave_after(wait: Callable[[], None]) -> None:
    wait()
    os.kill(os.getpid(), signal.SIGTERM)
