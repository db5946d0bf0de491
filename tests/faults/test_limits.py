"""Rate limits over three processes: never more than the limit, and the wait that is told is true."""

import asyncio
import time
from collections import Counter

import aiohttp
import pytest

from tests.faults.serving import Served, chat, make_key, note

pytestmark = pytest.mark.anyio

RPM = 40
CALLS = 300
AT_ONCE = 4


async def call(session: aiohttp.ClientSession, url: str, text: str) -> aiohttp.ClientResponse:
    async with session.post(f"{url}/v1/chat/completions", json=chat(text, model="upstream/echo")) as answer:
        await answer.read()
        return answer


def open_session(key: str) -> aiohttp.ClientSession:
    """Return a session whose calls spread over all processes: each has a connection of its own."""
    headers = {"authorization": f"Bearer {key}", "x-aihub-cache": "bypass"}
    return aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=64, force_close=True))


async def test_a_burst_over_three_processes_gets_exactly_the_limit(served: Served):
    """300 calls at once at 40 a minute: 40 are answered, the others are told how long to wait, and that is true."""
    async with open_session(make_key(served, rpm=RPM)) as session:
        began = time.monotonic()
        answers = await asyncio.gather(*(call(session, served.url, f"burst {n}") for n in range(CALLS)))
        seconds = time.monotonic() - began
        seen = Counter(answer.status for answer in answers)
        note(f"{dict(seen)} in {seconds:.1f} s")
        assert seen == {200: RPM, 429: CALLS - RPM}
        refused = next(answer for answer in answers if answer.status == 429)
        assert refused.headers["x-ratelimit-limit-requests"] == str(RPM)
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        wait = int(refused.headers["retry-after"])
        assert 61 - seconds - 1 <= wait <= 61


async def test_calls_at_a_time_are_counted_over_all_processes(served: Served):
    """With four at a time, no more than four are under way anywhere; a slot that is free is free for all at once."""
    async with open_session(make_key(served, max_parallel=AT_ONCE)) as session:
        slow = [call(session, served.url, f"[[mock delay_ms=1500]] slow {n}") for n in range(AT_ONCE * 5)]
        seen = Counter(answer.status for answer in await asyncio.gather(*slow))
        note(f"{dict(seen)}")
        assert seen == {200: AT_ONCE, 429: AT_ONCE * 4}
        for count in range(10):
            assert (await call(session, served.url, f"after {count}")).status == 200
