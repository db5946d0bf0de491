"""One call for identical misses over three processes, whatever becomes of the one that makes it."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path

import aiohttp
import psycopg
import pytest

from tests.faults.serving import Served, chat, find_children, make_key, note
from tests.faults.test_limits import open_session

pytestmark = pytest.mark.anyio
CALLS = 300
FEW = 60


def count_upstream(upstream: str, text: str) -> int:
    """Return how many calls with `text` the provider has had among its last ones."""
    with urllib.request.urlopen(f"{upstream}/mock/stats", timeout=10) as answer:
        return json.load(answer)["paths"].get("/v1/chat/completions", 0)


async def ask(
    session: aiohttp.ClientSession, url: str, text: str, cache: str = "use", **fields: object
) -> tuple[int, str, bytes]:
    body = chat(text, model="upstream/echo", **fields)
    headers = {"x-aihub-cache": cache}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        return answer.status, answer.headers.get("x-aihub-cache-status", ""), await answer.read()


async def test_three_hundred_misses_make_one_call(served: Served, upstream: str):
    """300 identical misses at once over three processes make one call, and all get its answer."""
    async with open_session(make_key(served)) as session:
        text = "[[mock delay_ms=1200]] what three hundred ask"
        began = time.monotonic()
        answers = await asyncio.gather(*(ask(session, served.url, text, stream=n % 2 == 0) for n in range(CALLS)))
        seconds = time.monotonic() - began
    seen = Counter((status, cached) for status, cached, _ in answers)
    note(f"{dict(seen)} in {seconds:.2f} s, {count_upstream(upstream, text)} upstream")
    assert seen == {(200, "miss"): 1, (200, "hit"): CALLS - 1}
    assert {body[-8:] for _, _, body in answers[::2]} == {b"[DONE]\n\n"}
    assert all(b"what three hundred ask" in body for _, _, body in answers[1::2])
    assert count_upstream(upstream, text) == 1


async def wait_for_lease(database_url: str) -> None:
    """Wait until some process makes the call."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        for _ in range(100):
            line = await (await connection.execute("SELECT count(*) FROM cache_leases WHERE until > now()")).fetchone()
            if line == (1,):
                return
            await asyncio.sleep(0.02)
    raise AssertionError(line)


def list_leaders(served: Served, upstream: str) -> list[int]:
    """Return the workers that have a connection to the provider open."""
    wanted = f":{int(upstream.rpartition(':')[2]):04X}"
    found = []
    for pid in find_children(served.process.pid):
        process = Path(f"/proc/{pid}")
        lines = [line.split() for line in (process / "net/tcp").read_text().splitlines()[1:]]
        sockets = {f"socket:[{line[9]}]" for line in lines if line[2].endswith(wanted)}
        if any(str(entry.readlink()) in sockets for entry in (process / "fd").iterdir() if entry.is_symlink()):
            found.append(pid)
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_a_leader_that_is_gone_is_replaced(served: Served, database_url: str, upstream: str, how: signal.Signals):
    """When the process that makes the call dies or freezes, another one makes it within its lease: two calls in all."""
    text = "[[mock delay_ms=2500]] asked of a process that is lost"
    async with open_session(make_key(served)) as session:
        tasks = [asyncio.create_task(ask(session, served.url, text))]
        await wait_for_lease(database_url)
        for _ in range(FEW):  # one after the other, so that every process gets some
            tasks.append(asyncio.create_task(ask(session, served.url, text)))
            await asyncio.sleep(0.01)
        [leader] = list_leaders(served, upstream)
        began = time.monotonic()
        os.kill(leader, how)
        done, late = await asyncio.wait(tasks, timeout=20)
        seconds = time.monotonic() - began
        if how == signal.SIGSTOP:
            with suppress(ProcessLookupError):  # its supervisor may have given it up
                os.kill(leader, signal.SIGCONT)
            done, late = await asyncio.wait(tasks, timeout=20)
    assert not late
    answers = [task.result() for task in done if task.exception() is None]
    note(f"{len(answers)} of {FEW} answered, {seconds:.1f} s after, {count_upstream(upstream, text)} upstream")
    assert answers
    assert {status for status, _, _ in answers} == {200}
    assert count_upstream(upstream, text) == 2


async def test_a_leader_that_fails_lets_another_try(served: Served, upstream: str):
    """When the call comes to nothing that can be kept, those who waited for it in other processes go on."""
    text = "[[mock delay_ms=300 status=500 times=3]] fails three times"
    async with open_session(make_key(served)) as session:
        answers = await asyncio.gather(*(ask(session, served.url, text) for _ in range(FEW)))
    seen = Counter(status for status, _, _ in answers)
    note(f"{dict(seen)}, {count_upstream(upstream, text)} upstream")
    assert seen[200] >= FEW - 6
    assert count_upstream(upstream, text) <= 12


async def test_a_clearing_reaches_every_process(served: Served, upstream: str):
    """What all processes have in memory is forgotten by all of them within a second of a clearing."""
    async with open_session(make_key(served)) as session:
        text = "held in three memories"
        for _ in range(FEW):
            await ask(session, served.url, text)
        assert count_upstream(upstream, text) == 1
        async with session.post(f"{served.url}/v1/cache/clear", json={}) as answer:
            assert (answer.status, await answer.json()) == (200, {"cleared": 1})
        await asyncio.sleep(1)
        seen = Counter([(await ask(session, served.url, text))[1] for _ in range(FEW)])
    note(f"{dict(seen)}")
    assert seen == {"miss": 1, "hit": FEW - 1}
    assert count_upstream(upstream, text) == 2


async def test_a_refresh_reaches_every_process(served: Served, upstream: str):
    """What a refresh brings takes the place of what other processes have in memory, within a second."""
    async with open_session(make_key(served)) as session:
        text = "refreshed in three memories"
        for _ in range(FEW):
            _, _, old = await ask(session, served.url, text)
        _, cached, new = await ask(session, served.url, text, "refresh")
        assert (cached, count_upstream(upstream, text)) == ("refresh", 2)
        await asyncio.sleep(1)
        seen = Counter([(await ask(session, served.url, text))[1:] for _ in range(FEW)])
    assert old != new
    assert seen == {("hit", new): FEW}


async def test_who_takes_only_what_is_kept_leaves_a_call_alone(served: Served, upstream: str):
    """Calls that want a kept answer or none change nothing about the call that others make and wait for."""
    text = "[[mock delay_ms=12000]] asked among those who want it at once"
    async with open_session(make_key(served)) as session:
        tasks = []
        for number in range(FEW):
            tasks.append(asyncio.create_task(ask(session, served.url, text)))
            if number % 10 == 5:
                tasks.append(asyncio.create_task(ask(session, served.url, text, "only")))
            await asyncio.sleep(0.01)
        statuses = Counter([(await task)[0] for task in tasks])
    assert statuses == {200: FEW, 504: FEW // 10}
    assert count_upstream(upstream, text) == 1
