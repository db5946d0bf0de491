"""How much memory a process takes, idle and under load."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import ADMIN_KEY, SECRET_KEY
from tests.faults.serving import Served, chat, forget_peak, note, read_rss_mb

STREAMS = 200
BIG = 30 * 2**20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Iterator[Served]:
    """One process on a database of its operator, so that only the gateway's memory counts."""
    environment = {
        "DATABASE_URL": module_database_url,
        "RELAYCORE_SECRET_KEY": SECRET_KEY,
        "RELAYCORE_ADMIN_KEY": ADMIN_KEY,
    }
    one = Served(tmp_path_factory.mktemp("memory"), **environment)
    try:
        one.wait_until_ready()
        assert one.client(ADMIN_KEY).post("/v1/chat/completions", json=chat("warm")).status_code == 200
        yield one
    finally:
        one.kill()


async def read_slow_stream(client: httpx.AsyncClient) -> bytes:
    body = chat("[[mock tokens=20 chunk_ms=100]]", stream=True)
    return (await client.post("/v1/chat/completions", json=body)).content


async def open_streams(gateway: Served) -> tuple[list[bytes], float]:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    limits = httpx.Limits(max_connections=STREAMS)
    async with httpx.AsyncClient(
        base_url=gateway.url, headers=headers, timeout=60, trust_env=False, limits=limits
    ) as client:
        under_way = [asyncio.create_task(read_slow_stream(client)) for _ in range(STREAMS)]
        await asyncio.sleep(1.5)
        rss = read_rss_mb(gateway.process.pid)
        return await asyncio.gather(*under_way), rss


def test_many_slow_streams_take_little(gateway):
    """200 slow streams at a time take less than 100 KB each, and give it back or keep it for the next ones."""
    idle = read_rss_mb(gateway.process.pid)
    bodies, rss = asyncio.run(open_streams(gateway))
    assert all(body.endswith(b"data: [DONE]\n\n") for body in bodies)
    bodies, again = asyncio.run(open_streams(gateway))
    note(f"idle {idle:.0f} MB; {STREAMS} streams +{rss - idle:.0f} MB, the next {STREAMS} +{again - idle:.0f} MB")
    assert idle < 150
    assert rss - idle < STREAMS * 0.1 + 10
    assert again - rss < 10


def test_a_large_answer_is_not_multiplied(gateway):
    """A whole answer of 30 MB costs a small multiple of its size at its peak, and repeating it adds nothing."""
    pid, client = gateway.process.pid, gateway.client(ADMIN_KEY)
    idle = read_rss_mb(pid)

    def measure_peak() -> float:
        forget_peak(pid)
        body = chat(f"[[mock big={BIG}]]")
        answer = client.post("/v1/chat/completions", json=body, headers={"x-aihub-cache": "bypass"})
        assert (answer.status_code, len(answer.content) > BIG) == (200, True)
        return read_rss_mb(pid, "VmHWM") - idle

    peaks = [measure_peak() for _ in range(4)]
    left = read_rss_mb(pid) - idle
    note(f"30 MB answers: peaks {', '.join(f'+{peak:.0f}' for peak in peaks)} MB, +{left:.0f} MB afterwards")
    assert peaks[-1] < peaks[0] + 40
    assert peaks[0] < 300  # the mock, which makes the answer, lives in the same process
    assert left < 60
