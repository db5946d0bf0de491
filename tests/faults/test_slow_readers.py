"""Clients that do not read what they asked for."""

import json
import socket
import time

import pytest

from app.gateway import exchange
from tests.faults.serving import wait_until
from tests.gateway_process import Gateway


def ask_and_never_read(gateway: Gateway, text: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = gateway.url.removeprefix("http://").split(":")
    client.connect((host, int(port)))
    body = json.dumps({"model": "mock/echo", "stream": True, "messages": [{"role": "user", "content": text}]})
    client.sendall(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    return client


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "STALL_SECONDS", 0.6)


def test_who_does_not_read_is_cut(gateway: Gateway, impatient: None) -> None:
    """A client that takes nothing of its stream for the limit is given up, and the provider with it."""
    with ask_and_never_read(gateway, "[[mock tokens=200000]] on and on"):
        with gateway.client() as client:
            stats = f"{gateway.mock_url}/mock/stats"
            wait_until(lambda: client.get(stats).json()["aborted"] == 1, 5)
        assert gateway.parts.flights.count == 0


def test_others_are_not_held_up_for_ever(gateway: Gateway, impatient: None) -> None:
    """Who follows the call of a client that does not read gets the whole answer once that one is given up."""
    text = "[[mock tokens=60000]] shared"
    with ask_and_never_read(gateway, text), gateway.client() as client:
        time.sleep(0.2)
        body = {"model": "mock/echo", "stream": True, "messages": [{"role": "user", "content": text}]}
        reply = client.post("/v1/chat/completions", json=body)
        assert reply.text.endswith("data: [DONE]\n\n")
        assert reply.headers["x-aihub-cache-status"] == "hit"
