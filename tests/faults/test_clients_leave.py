"""Clients that leave, and what is left of their requests: nothing."""

import asyncio
import gc
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest

from tests.db.conftest import wait_until
from tests.faults.serving import chat, count_fds, note
from tests.gateway_process import TLS, Gateway

LATE_SECONDS = 1.0
IDLE_SECONDS = 2.0


def write_request(gateway: Gateway, body: bytes, *, announced: int | None = None) -> bytes:
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {gateway.key}",
        "content-type: application/json",
        f"content-length: {len(body) if announced is None else announced}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connect(gateway: Gateway) -> socket.socket:
    url = httpx.URL(gateway.url)
    return socket.create_connection((url.host, url.port), timeout=10)


def leave_at_upload(gateway: Gateway) -> None:
    with connect(gateway) as client:
        client.sendall(write_request(gateway, b'{"model":', announced=1000))
        time.sleep(0.05)


def leave_while_waiting(gateway: Gateway) -> None:
    arrived = count_calls(gateway)
    with connect(gateway) as client:
        client.sendall(write_request(gateway, json.dumps(chat("[[mock delay_ms=60000]]")).encode()))
        wait_until(lambda: count_calls(gateway) > arrived)


def count_calls(gateway: Gateway) -> int:
    return read_mock(gateway)["paths"].get("/v1/chat/completions", 0)


def leave_while_streaming(gateway: Gateway) -> None:
    body = json.dumps(chat("[[mock tokens=10000 chunk_ms=20]]", stream=True)).encode()
    with connect(gateway) as client:
        client.sendall(write_request(gateway, body))
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def count_tasks(gateway: Gateway) -> int:
    async def count() -> int:
        return len(asyncio.all_tasks())

    return gateway.run(count)


def find_idle(gateway: Gateway) -> tuple[int, int]:
    """Return the most tasks and descriptors there are while nobody asks: a young gateway still opens connections."""
    gateway.flush()
    gc.collect()
    end, seen = time.monotonic() + IDLE_SECONDS, [(0, 0)]
    while time.monotonic() < end:
        seen.append((count_tasks(gateway), count_fds()))
        time.sleep(0.02)
    return max(tasks for tasks, _ in seen), max(fds for _, fds in seen)


def read_mock(gateway: Gateway) -> dict[str, Any]:
    return httpx.get(f"{gateway.mock_url}/mock/stats", trust_env=False, verify=TLS).json()


@pytest.mark.parametrize("leave", [leave_at_upload, leave_while_waiting, leave_while_streaming])
def test_a_client_that_leaves_costs_nothing(shared_gateway: Gateway, leave: Callable[[Gateway], None]) -> None:
    """Whenever clients leave, the provider is hung up on within a second, and tasks and descriptors return to base."""
    gateway = shared_gateway
    with gateway.client() as client:
        assert client.post("/v1/chat/completions", json=chat("warm")).status_code == 200
    before = find_idle(gateway)
    aborted = read_mock(gateway)["aborted"]
    for _ in range(5):
        leave(gateway)
    left_at = time.monotonic()
    wait_until(lambda: read_mock(gateway)["in_flight"] == 0, LATE_SECONDS)
    if leave is not leave_at_upload:
        assert read_mock(gateway)["aborted"] - aborted == 5
    wait_until(lambda: count_tasks(gateway) <= before[0] and count_fds() <= before[1] + 1, 2)
    note(f"{leave.__name__}: back to base after {time.monotonic() - left_at:.2f} s")
    gateway.flush()
    with psycopg.connect(gateway.database_url) as connection:
        newest = connection.execute("SELECT status_code FROM requests ORDER BY id DESC LIMIT 5").fetchall()
    assert newest == [(499,)] * 5
    with gateway.client() as client:
        assert client.post("/v1/chat/completions", json=chat("next")).status_code == 200


def test_a_thousand_requests_leave_nothing_behind(shared_gateway: Gateway) -> None:
    """After 1,000 calls of all kinds there is no task and no descriptor more than after the first ten."""
    gateway = shared_gateway
    with gateway.client() as client:

        def call(number: int) -> None:
            body = chat(f"call {number}", stream=number % 2 == 0)
            headers = {"x-aihub-cache": "use" if number % 3 else "bypass"}
            path = "/v1/chat/completions" if number % 10 else "/v1/nowhere"
            client.post(path, json=body, headers=headers)

        for number in range(10):
            call(number)
        before = find_idle(gateway)
        began = time.monotonic()
        for number in range(1000):
            call(number)
        note(f"1,000 calls in {time.monotonic() - began:.1f} s")
        gateway.flush()
        wait_until(lambda: count_tasks(gateway) <= before[0], 2)
        assert count_fds() <= before[1] + 1
