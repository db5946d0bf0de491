"""CPU per request and per chunk of app.upstream, aiohttp's and httpx's own clients, against one local upstream.

Run: python benchmarks/upstream_client.py [--requests 10000] [--rounds 3]
"""

import argparse
import asyncio
import platform
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx
import uvicorn
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
from app.upstream import Limits, Outgoing, Upstream

CONNECTIONS = 32
STREAMS = 32
CHUNKS = 100
BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 950 + b'"}]}'
HEADERS = [(b"authorization", b"Bearer sk-x"), (b"content-type", b"application/json"), (b"user-agent", b"bench")]
TEXT = {name.decode(): value.decode() for name, value in HEADERS}
LIMITS = Limits()
Work = Callable[[str], Awaitable[int]]


async def upstream_app(scope, receive, send) -> None:
    """Answer 1 kB of JSON, or a stream whose chunks are network writes of their own."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    await send(start)
    if scope["path"] == "/stream":
        for _ in range(CHUNKS):
            await send({"type": "http.response.body", "body": b"data: " + b"x" * 120 + b"\n\n", "more_body": True})
            await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": BODY})


def serve(port: int) -> None:
    uvicorn.run(upstream_app, port=port, access_log=False, log_level="error", lifespan="off")


async def with_ours(use: Callable[[Work], Awaitable[float]]) -> float:
    client = Upstream()

    async def work(url: str) -> int:
        outgoing = Outgoing(method="POST", url=url, headers=HEADERS, body=BODY, limits=LIMITS)
        answer = await client.send(outgoing)
        if url.endswith("stream"):
            return sum([1 async for _ in answer.chunks()])
        return len(await answer.read())

    result = await use(work)
    await client.close()
    return result


async def with_aiohttp(use: Callable[[Work], Awaitable[float]]) -> float:
    timeout = aiohttp.ClientTimeout(total=600, sock_connect=5, sock_read=60)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=timeout,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    ) as client:

        async def work(url: str) -> int:
            async with client.post(url, data=BODY, headers=TEXT, allow_redirects=False) as answer:
                if url.endswith("stream"):
                    return sum([1 async for _ in answer.content.iter_any()])
                return len(await answer.read())

        return await use(work)


async def with_httpx(use: Callable[[Work], Awaitable[float]]) -> float:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    timeout = httpx.Timeout(60, connect=5)
    async with httpx.AsyncClient(limits=limits, timeout=timeout) as client:

        async def work(url: str) -> int:
            async with client.stream("POST", url, content=BODY, headers=TEXT) as answer:
                if url.endswith("stream"):
                    return sum([1 async for _ in answer.aiter_raw()])
                return len(await answer.aread())

        return await use(work)


CLIENTS = {"app.upstream": with_ours, "aiohttp.ClientSession": with_aiohttp, "httpx default transport": with_httpx}


async def measure_requests(work: Work, url: str, requests: int) -> float:
    """Return CPU microseconds of this process per request."""

    async def run(count: int) -> None:
        for _ in range(count):
            await work(url)

    await asyncio.gather(*(run(3) for _ in range(CONNECTIONS)))
    start = time.process_time()
    each = requests // CONNECTIONS
    await asyncio.gather(*(run(each) for _ in range(CONNECTIONS)))
    return (time.process_time() - start) / (each * CONNECTIONS) * 1e6


async def measure_chunks(work: Work, url: str) -> float:
    """Return CPU microseconds of this process per chunk that was passed on."""
    await asyncio.gather(*(work(url) for _ in range(2)))
    start = time.process_time()
    counts = await asyncio.gather(*(work(url) for _ in range(STREAMS)))
    return (time.process_time() - start) / sum(counts) * 1e6


def wait_until_listening(url: str) -> None:
    for _ in range(100):
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the upstream did not start")


def compare(base: str, requests: int, rounds: int) -> None:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CLIENTS}
    for _ in range(rounds):
        for name, client in CLIENTS.items():
            count = requests // 10 if name.startswith("httpx") else requests

            async def use(work: Work, count: int = count) -> float:
                return await measure_requests(work, base + "/whole", count)

            async def stream(work: Work) -> float:
                return await measure_chunks(work, base + "/stream")

            found[name].append((uvloop.run(client(use)), uvloop.run(client(stream))))
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    pgo = "with" if "--enable-optimizations" in flags else "without"
    print(f"Python {platform.python_version()} {pgo} PGO, {CONNECTIONS} connections, {rounds} rounds, medians")
    print(f"{'client':28}{'us CPU/request':>16}{'us CPU/chunk':>14}")
    for name, pairs in found.items():
        whole, chunk = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:28}{whole:16.0f}{chunk:14.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=18431)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.port)
        return
    command = [sys.executable, __file__, "--serve", "--port", str(options.port)]
    with subprocess.Popen(command) as upstream:
        try:
            base = f"http://127.0.0.1:{options.port}"
            wait_until_listening(base)
            compare(base, options.requests, options.rounds)
        finally:
            upstream.terminate()


if __name__ == "__main__":
    main()
