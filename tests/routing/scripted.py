"""Providers that answer as a test tells them, one after the other, and a gateway in front of them."""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable

from tests.routing.misbehaving import EVENTS, WHOLE, error_body
from tests.upstream.faulty import Peer

Step = Callable[[Peer, bool], Awaitable[None]]


class Scripted:
    """One provider: `steps` are used up call by call, then `default` answers. `calls` are (time, key, model)."""

    def __init__(self) -> None:
        self.steps: deque[Step] = deque()
        self.default: Step = good
        self.by_key: dict[str, Step] = {}
        self.calls: list[tuple[float, str, str]] = []
        self.open = 0
        self.url = ""

    def reset(self) -> None:
        self.steps.clear()
        self.by_key.clear()
        self.calls.clear()
        self.default = good

    @property
    def keys(self) -> list[str]:
        return [key for _, key, _ in self.calls]

    @property
    def gaps(self) -> list[float]:
        """The seconds between the calls."""
        return [later[0] - sooner[0] for sooner, later in zip(self.calls, self.calls[1:], strict=False)]

    async def behave(self, peer: Peer) -> None:
        while True:
            head, body = await peer.read_request()
            call = json.loads(body)
            key = _find_line(head, b"authorization").removeprefix("Bearer ") or _find_line(head, b"x-api-key")
            self.calls.append((time.monotonic(), key, call["model"]))
            step = self.steps.popleft() if self.steps else self.by_key.get(key, self.default)
            self.open += 1
            try:
                await step(peer, bool(call.get("stream")))
            finally:
                self.open -= 1


def _find_line(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(name + b": "):
            return line.partition(b": ")[2].decode()
    return ""


async def good(peer: Peer, streamed: bool) -> None:
    body = b"".join(EVENTS[False]) if streamed else WHOLE[False]
    kind = b"text/event-stream" if streamed else b"application/json"
    await peer.answer(body, lines=b"content-type: %b\r\n" % kind)


def refuse(status: int, message: str = "no", lines: bytes = b"", code: str | None = None) -> Step:
    async def step(peer: Peer, _: bool) -> None:
        head = b"content-type: application/json\r\n" + lines
        await peer.answer(error_body(False, "error", message, code), status=f"{status} X", lines=head)

    return step


def late(seconds: float, then: Step = good) -> Step:
    async def step(peer: Peer, streamed: bool) -> None:
        await asyncio.sleep(seconds)
        await then(peer, streamed)

    return step


def begin(events: int, then: Callable[[Peer], Awaitable[None]], pings: int = 0) -> Step:
    """Send so many events of a stream, after so many pings 50 ms apart, and then do something else."""

    async def step(peer: Peer, _: bool) -> None:
        await peer.start_chunked(b"content-type: text/event-stream\r\n")
        for _ping in range(pings):
            await peer.send_chunk(b": ping\n\n")
            await asyncio.sleep(0.05)
        for event in EVENTS[False][:events]:
            await peer.send_chunk(event)
        await asyncio.sleep(0.05)
        await then(peer)

    return step


async def hang(peer: Peer) -> None:
    await peer.wait_closed()
    raise ConnectionError


async def cut(peer: Peer) -> None:
    peer.reset()
    raise ConnectionError


async def hang_up(peer: Peer, _: bool) -> None:
    await cut(peer)


async def say_nothing(peer: Peer, _: bool) -> None:
    await hang(peer)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)
