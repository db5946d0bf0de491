"""`python -m app.mock` as a process of its own, and the app under any ASGI server."""

import subprocess
import sys

import httpx
import pytest

from app.mock.server import MockServer, create_mock_app


def test_it_prints_its_url_serves_and_ends_on_sigterm():
    """The first line is the URL, printed once it answers; SIGTERM ends it without an error."""
    command = [sys.executable, "-m", "app.mock", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        answer = httpx.get(f"{url}/v1/models", headers={"x-api-key": "k"})
        process.terminate()
        _, problems = process.communicate(timeout=10)
    assert answer.status_code == 200
    assert (process.returncode, problems) == (0, "")


@pytest.mark.anyio
async def test_the_app_answers_in_any_asgi_server():
    """create_mock_app needs no server of its own, and each app has its own memory."""
    transport = httpx.ASGITransport(create_mock_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://mock") as client:
        assert (await client.get("/v1/models", headers={"x-api-key": "k"})).status_code == 200
        assert (await client.get("/mock/stats")).json()["requests"] == 1
    sent = []

    async def send(message):
        sent.append(message["type"])

    phases = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))

    async def receive():
        return next(phases)

    await create_mock_app()({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.anyio
async def test_stopping_hangs_up_on_everyone(http, mock):
    """stop() ends at once even with a request that would hang, and may be called twice."""
    other = MockServer()
    await other.start()
    async with httpx.AsyncClient(headers={"x-api-key": "k"}) as client:
        body = {"model": "stall-stream", "messages": [{"role": "user", "content": "x"}], "stream": True}
        async with client.stream("POST", f"{other.url}/v1/chat/completions", json=body) as answer:
            await anext(answer.aiter_raw())
            await other.stop()
        await other.stop()
