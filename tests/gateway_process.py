"""A gateway that runs inside the test's process, on a loop and a port of its own, reached over real HTTP."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

import httpx
import uvicorn
import uvloop

from app.gateway.parts import Parts
from app.serve import build_server_config
from app.start import Ready

T = TypeVar("T")
TLS = httpx.create_ssl_context()
"""One for all clients of the tests: each would read the whole list of authorities again, for a server without TLS."""


class Gateway:
    """Where the running gateway is, the keys it was prepared with, and a way onto its loop."""

    def __init__(self, ready: Ready) -> None:
        self.settings = ready.settings
        self.key = ready.first_key or ""
        self.admin_key = ready.settings.admin_key or ""
        self.database_url = ready.settings.database_url or ""
        self.server = uvicorn.Server(build_server_config(ready.settings))
        self.loop = uvloop.new_event_loop()
        self.url = ""

    @property
    def app(self) -> Any:
        """The application that serves."""
        return self.server.config.loaded_app

    @property
    def parts(self) -> Parts:
        """What the application is made of."""
        return self.app.state.parts

    @property
    def mock_url(self) -> str:
        """The address of the gateway's own mock provider."""
        return self.parts.catalog.current.providers["mock"].base_urls["anthropic"]

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` on the gateway's loop and return what it returns."""

        async def step() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(step(), self.loop).result(30)

    def flush(self) -> None:
        """Wait until every row recorded so far is in the database."""
        self.run(self.parts.recorder.flush)

    def configure(self, **sections: Any) -> None:
        """Change sections of the configuration, as an administrator does."""
        with self.client(headers={"authorization": f"Bearer {self.admin_key}"}) as client:
            client.put("/v1/config", json=sections).raise_for_status()

    def client(self, **options: Any) -> httpx.Client:
        """Return an HTTP client with the gateway's address and first key."""
        headers = {"authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False, verify=TLS, **options)


@contextmanager
def run_gateway(ready: Ready) -> Iterator[Gateway]:
    """Run a prepared gateway until the context ends."""
    gateway = Gateway(ready)
    failure: list[BaseException] = []

    def serve() -> None:
        asyncio.set_event_loop(gateway.loop)
        try:
            gateway.loop.run_until_complete(gateway.server.serve())
        except BaseException as error:  # noqa: BLE001 - raised again on the test's own thread
            failure.append(error)
        finally:
            gateway.loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    try:
        with patch.object(gc, "freeze"):  # a gateway has its process to itself: here the next one collects what it left
            thread.start()
            _wait_until_started(gateway, thread, failure)
        port = gateway.server.servers[0].sockets[0].getsockname()[1]
        gateway.url = f"http://127.0.0.1:{port}"
        yield gateway
    finally:
        gateway.server.should_exit = True
        thread.join(20)
    if failure:
        raise failure[0]


def _wait_until_started(gateway: Gateway, thread: threading.Thread, failure: list[BaseException]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if gateway.server.started:
            return
        if not thread.is_alive():
            raise RuntimeError("the gateway did not start") from next(iter(failure), None)
        pause.wait(0.01)
    raise RuntimeError("the gateway took too long to start")
