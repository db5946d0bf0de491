"""Rows and database helpers for the tests of the analytics writer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.analytics.recorder import Recorder
from app.analytics.types import RequestRow
from app.wire.ids import make_uuid7
from app.wire.usage import Usage


def build_row(**changes: Any) -> RequestRow:
    now = time.time()
    values: dict[str, Any] = {
        "id": make_uuid7(),
        "request_id": "req_1",
        "request_time": now,
        "response_time": now + 0.25,
        "provider": "openai",
        "model": "gpt-4o",
        "endpoint": "chat.completions",
        "status_code": 200,
        "usage": Usage(input_tokens=10, output_tokens=5),
        "cache_status": "miss",
        "latency": 250.0,
    }
    return RequestRow(**(values | changes))


def find_cost(provider: str, model: str, usage: Usage) -> Decimal | None:
    """One cent a token of gpt-4o; nothing else has a price."""
    return Decimal("0.01") * (usage.input_tokens + usage.output_tokens) if model == "gpt-4o" else None


@asynccontextmanager
async def recording(url: str, folder: Path, **options: Any) -> AsyncIterator[Recorder]:
    recorder = Recorder(url, folder, find_cost, **({"flush_seconds": 0.02, "write_seconds": 2.0} | options))
    await recorder.start()
    try:
        yield recorder
    finally:
        await recorder.close()


async def query(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []


async def count_rows(url: str) -> int:
    return (await query(url, "SELECT count(*) FROM requests"))[0][0]


async def eventually(check: Callable[[], Any], seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if (await found) if asyncio.iscoroutine(found) else found:
            return
        assert time.monotonic() < deadline, "did not become true in time"
        await asyncio.sleep(0.02)


class Door:
    """A port of 127.0.0.1 that leads to the database while it is open, and where nothing listens while it is shut."""

    def __init__(self, url: str) -> None:
        self._target = conninfo_to_dict(url)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return make_conninfo(**(self._target | {"host": "127.0.0.1", "port": self.port, "sslmode": "disable"}))

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = str(self._target["host"]), self._target.get("port", 5432)
        if host.startswith("/"):
            inner_reader, inner_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        self._writers |= {writer, inner_writer}
        for source, sink in ((reader, inner_writer), (inner_reader, writer)):
            task = asyncio.create_task(_pump(source, sink))
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()
