"""A fresh mock server for every test, and the vendors' own clients pointed at it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from app.mock.server import MockServer
from tests.gateway_process import TLS


@pytest.fixture
async def mock(anyio_backend) -> AsyncIterator[MockServer]:
    server = MockServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def openai(mock) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="k", base_url=f"{mock.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(mock) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(api_key="k", base_url=mock.url, max_retries=0) as client:
        yield client


@pytest.fixture
async def http(mock) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": "Bearer k"}
    async with httpx.AsyncClient(base_url=mock.url, headers=headers, timeout=5, verify=TLS) as client:
        yield client
