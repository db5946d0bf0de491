"""A load generator that costs less than what it measures: keep-alive connections on plain asyncio protocols."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import httptools

EVENT = b"data: "


class Target(NamedTuple):
    """Where requests go, and what has to stand in the first bytes of every answer."""

    port: int
    expected: bytes


class Tally:
    """What came back: seconds to the first byte and to the end, events, strays (not of the expected sort), failures."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.whole: list[float] = []
        self.events = 0
        self.strays = 0
        self.failed = 0
        self.seconds = 0.0


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way at a time."""

    def __init__(self, tally: Tally, expected: bytes, done: Callable[["Connection"], None]) -> None:
        self._tally = tally
        self._expected = expected
        self._done = done
        self._sent_at = 0.0
        self._begun = True
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._begun:
            raise SystemExit(f"The connection was closed before an answer: {exc}")

    def send(self, request: bytes) -> None:
        self._begun = False
        self._sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._tally.first.append(time.perf_counter() - self._sent_at)
            self._tally.strays += self._expected not in data
        self._tally.events += data.count(EVENT)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._tally.whole.append(time.perf_counter() - self._sent_at)
        self._tally.failed += self._parser.get_status_code() != 200
        self._done(self)


async def run_closed(target: Target, requests: Iterator[bytes], connections: int, seconds: float) -> Tally:
    """Keep `connections` busy until the time is over or there is no request left."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    over = loop.create_future()
    busy = connections
    deadline = time.perf_counter() + seconds

    def again(connection: Connection) -> None:
        nonlocal busy
        request = next(requests, None) if time.perf_counter() < deadline else None
        if request is not None:
            connection.send(request)
            return
        busy -= 1
        if busy == 0:
            over.set_result(None)

    opened = await open_connections(target, tally, connections, again)
    start = time.perf_counter()
    deadline = start + seconds
    for connection in opened:
        connection.send(next(requests))
    await over
    tally.seconds = time.perf_counter() - start
    close(opened)
    return tally


async def run_open(target: Target, requests: Iterator[bytes], connections: int, rate: float, seconds: float) -> Tally:
    """Send `rate` requests a second whatever comes back, each on an idle connection."""
    tally = Tally()
    idle: deque[Connection] = deque()
    opened = await open_connections(target, tally, connections, idle.append)
    idle.extend(opened)
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        while not idle:
            await asyncio.sleep(0.001)
        idle.popleft().send(next(requests))
    while len(idle) < connections:
        await asyncio.sleep(0.001)
    tally.seconds = time.perf_counter() - start
    close(opened)
    return tally


async def open_connections(
    target: Target, tally: Tally, count: int, done: Callable[[Connection], object]
) -> list[Connection]:
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(tally, target.expected, done), "127.0.0.1", target.port)
        for _ in range(count)
    ]
    return [connection for _, connection in made]


def close(opened: Iterable[Connection]) -> None:
    for connection in opened:
        connection.transport.close()
