"""Limits over several real processes: exact in every window, with waits that are true."""

import asyncio
import json
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from app.access.limit_types import Asking, LimitReachedError
from app.access.limits import RateLimiter
from app.access.types import Limit
from tests.access.limit_load import take_lease, wait_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
WINDOW = 1.0


def start(**order: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.access.limit_load", json.dumps(order)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen) -> dict:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def find_most(instants: list[float], window: float) -> int:
    """Return the most instants in any half-open window of that length."""
    ordered = sorted(instants)
    return max((index - bisect_left(ordered, at - window + 1e-6) + 1 for index, at in enumerate(ordered)), default=0)


def find_overlap(spans: list[list[float]]) -> int:
    """Return how many spans there are at most at the same time."""
    changes = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


@contextmanager
def killed(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """End a process for certain."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_no_window_has_more_requests_than_the_limit(database_url) -> None:
    """Three processes of 20 tasks each far over the limit: in no window of any position are more than it admits."""
    order = {"url": database_url, "window": WINDOW, "limit": {"rpm": 60}, "tasks": 20, "seconds": 4}
    results = [end(process) for process in [start(**order, seed=seed) for seed in range(3)]]
    instants = [at for result in results for at in result["at"]]
    assert find_most(instants, WINDOW) <= 60
    assert sum(result["refused"] for result in results) > 3 * 60, "the limit was not reached"
    assert len(instants) >= 60 * 3, "the limit was not used"
    observed = [began for result in results for began, _ in result["spans"]]
    assert find_most(observed, WINDOW - 0.5) <= 60, "an observer with his own clock finds more within the margin"


def test_no_window_has_more_tokens_than_the_limit(database_url) -> None:
    """Calls that used less than they were admitted for make room at once, and still no window has too many tokens."""
    order = {"url": database_url, "window": WINDOW, "limit": {"tpm": 6000}, "tokens": 500, "used": 100, "hold": 0.01}
    results = [end(process) for process in [start(**order, tasks=10, seconds=3, seed=seed) for seed in range(3)]]
    instants = [at for result in results for at in result["at"]]
    assert find_most(instants, WINDOW) <= 60, "a call used 100 tokens: 60 of them are the limit"
    assert find_most(instants, WINDOW) > 12, "what was given back was not used"


def test_never_more_at_once_than_the_limit(database_url) -> None:
    """Thirty tasks in three processes never have more calls under way together than the limit of parallel calls."""
    order = {"url": database_url, "window": WINDOW, "limit": {"max_parallel": 5}, "tasks": 10, "seconds": 3}
    processes = [start(**order, hold=0.01, seed=seed) for seed in range(3)]
    results = [end(process) for process in processes]
    spans = [span for result in results for span in result["spans"]]
    assert len(spans) > 100
    assert find_overlap(spans) <= 5


async def test_a_killed_process_frees_its_calls(database_url) -> None:
    """Calls of a process that was killed count until its lease is over, and not any longer."""
    limit = {"max_parallel": 3}
    asking = Asking(limits=(Limit(scope="key:shared", **limit),))
    order = {"url": database_url, "window": WINDOW, "limit": limit, "tasks": 0, "seconds": 0, "hang": 3, "lease": 2}
    mine = uuid4()
    take_lease(database_url, mine, 60)
    limiter = RateLimiter(database_url, mine, window_seconds=WINDOW)
    with killed(start(**order)) as process:
        assert process.stdout is not None
        began = time.monotonic()
        assert await asyncio.to_thread(process.stdout.readline) == "hanging\n"
        with pytest.raises(LimitReachedError):
            await limiter.admit(asking)
    with pytest.raises(LimitReachedError):
        await limiter.admit(asking)
    while True:
        try:
            await limiter.admit(asking)
            break
        except LimitReachedError:
            assert time.monotonic() - began < 4
            await asyncio.sleep(0.05)
    await limiter.close()


@pytest.mark.parametrize(
    ("limit", "tokens"), [({"rpm": 3}, 0), ({"tpm": 100}, 30), ({"rpm": 5, "tpm": 70}, 30)], ids=["rpm", "tpm", "both"]
)
async def test_a_wait_of_exactly_that_long_is_admitted(database_url, limit, tokens) -> None:
    """Whoever waits as long as a refusal says, and not longer, is admitted: 70 of 70, the refusals of two processes."""
    limiters = [RateLimiter(database_url, uuid4(), window_seconds=0.03) for _ in range(2)]
    asking = Asking(limits=(Limit(scope="key:shared", **limit),), tokens=tokens)
    waited = 0
    turn = 0
    while waited < 70:
        turn += 1
        limiter = limiters[turn % 2]
        try:
            await limiter.admit(asking)
            continue
        except LimitReachedError as error:
            until = time.monotonic() + wait_of(error)
        while time.monotonic() < until:
            await asyncio.sleep(max(until - time.monotonic(), 0))
        await limiter.admit(asking)
        waited += 1
    for limiter in limiters:
        await limiter.close()


def test_batch_class_calls_leave_the_interactive_share(database_url) -> None:
    """A flood of batch-class calls never takes what is left to interactive ones: those are not refused once."""
    order = {"url": database_url, "window": WINDOW, "limit": {"rpm": 100}}
    flood = [start(**order, share=0.8, tasks=20, seconds=4, seed=seed) for seed in range(2)]
    time.sleep(0.7)
    interactive = start(**order, tasks=1, seconds=2.5, pause=WINDOW / 18)
    talk, *floods = [end(process) for process in [interactive, *flood]]
    batch = [at for result in floods for at in result["at"]]
    assert find_most(batch, WINDOW) <= 80
    assert len(talk["at"]) > 20
    assert talk["refused"] == 0
    assert find_most(batch + talk["at"], WINDOW) <= 100
