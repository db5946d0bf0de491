"""The mock behind a real HTTP server inside the running loop: for the quick start, tests and benchmarks."""

import asyncio
import logging
import time
from email.utils import formatdate
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.mock.app import HANG_UP, MockApp
from app.mock.asgi import ASGIApp

_HOST = "127.0.0.1"


def create_mock_app() -> ASGIApp:
    """Return a mock provider with a memory of its own."""
    return MockApp()


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol without an access log, that lets the mock break a connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = logging.getLogger("relaycore.mock")
        self.access_log = False

    def on_message_begin(self) -> None:
        """Offer the app a way to hang up before the answer is complete."""
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP: {"call": self.transport.close}}


class MockServer:
    """A mock provider listening on this machine only; it takes no signals and writes no access log."""

    def __init__(self) -> None:
        self.url = ""
        self.app = MockApp()
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._clock: asyncio.TimerHandle | None = None

    async def start(self, port: int = 0) -> None:
        """Listen on `port`, or on a free one; `url` says where."""
        loop = asyncio.get_running_loop()
        config = Config(
            self.app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            timeout_keep_alive=75,
        )
        config.load()
        self._server = await loop.create_server(
            lambda: _Protocol(config, self._state, {}, loop), _HOST, port, backlog=2048
        )
        self.url = f"http://{_HOST}:{self._server.sockets[0].getsockname()[1]}"
        self._tick(loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
        self._clock = loop.call_later(1, self._tick, loop)

    async def stop(self) -> None:
        """Close the port and every connection, whatever is under way on it."""
        if self._server is None or self._clock is None:
            return
        self._clock.cancel()
        self._server.close()
        for connection in list(self._state.connections):
            connection.transport.close()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=1)
        await self._server.wait_closed()
        self._server = None
