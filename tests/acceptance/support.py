"""What the acceptance tests share: what reached the provider, what was recorded, keys, and raw HTTP."""

import asyncio
import base64
import http.client
import io
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import httpx
import psycopg
import uvloop
from psycopg.rows import dict_row

from app.access.store import find_user, insert_user
from app.access.types import NewUser
from app.db.engine import open_blocking_engine
from app.mock.server import MockServer
from app.start import store_new_key
from tests.gateway_process import Gateway

_numbers = itertools.count()


def fresh(text: str = "hello") -> str:
    """Return a text that no other call of the run has sent: nothing about it is in any cache."""
    return f"{text} {next(_numbers)}"


class Arrived(NamedTuple):
    """One request as the provider saw it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    names: list[str]
    body: bytes
    outcome: str | None


class Provider:
    """The mock provider's own paths: what arrived there, and what it is to answer next."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _call(self, method: str, path: str, content: bytes = b"") -> Any:
        with closing(http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)) as connection:
            connection.request(method, path, content)
            return json.loads(connection.getresponse().read())

    def reset(self) -> None:
        self._call("POST", "/mock/reset")

    def stats(self) -> dict[str, Any]:
        return self._call("GET", "/mock/stats")

    def count(self) -> int:
        return self.stats()["requests"]

    def arrivals(self) -> list[Arrived]:
        return [
            Arrived(
                method=one["method"],
                path=one["path"],
                query=one["query"],
                headers=dict(one["headers"]),
                names=[name for name, _ in one["headers"]],
                body=base64.b64decode(one["body"]),
                outcome=one["outcome"],
            )
            for one in self.stats()["last"]
        ]

    def last(self) -> Arrived:
        return self.arrivals()[-1]

    def answer_next(self, *chunks: bytes, status: int = 200, headers: dict[str, str] | None = None, **how: Any) -> None:
        """Script the answer to the next POST, byte for byte."""
        lines = {"content-type": "application/json", **(headers or {})}
        script = {
            "status": status,
            "headers": list(lines.items()),
            "chunks": [base64.b64encode(chunk).decode() for chunk in chunks],
            "behaviour": how,
        }
        self._call("POST", "/mock/next", json.dumps(script).encode())

    def wait_for(self, check: Callable[[dict[str, Any]], bool], seconds: float = 3.0) -> dict[str, Any]:
        """Return the statistics once `check` holds; fail when it does not in time."""
        return wait_until(self.stats, check, seconds)


def wait_until(look: Callable[[], Any], check: Callable[[Any], bool], seconds: float = 3.0) -> Any:
    """Return what `look` sees once `check` holds for it; AssertionError when it does not in time."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while True:
        seen = look()
        if check(seen):
            return seen
        assert time.monotonic() < end, seen
        pause.wait(0.01)


@contextmanager
def run_mock() -> Iterator[str]:
    """Run a mock provider beside the gateway and yield its address."""
    loop = uvloop.new_event_loop()
    server = MockServer()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield server.url
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def find_rows(gateway: Gateway, request_id: str) -> list[dict[str, Any]]:
    """Return the recorded rows of a request."""
    gateway.flush()
    return query(gateway, "SELECT * FROM requests WHERE request_id = %s", request_id)


def get_row(gateway: Gateway, request_id: str) -> dict[str, Any]:
    """Return the one row of a request."""
    rows = find_rows(gateway, request_id)
    assert len(rows) == 1, rows
    return rows[0]


def row_of(gateway: Gateway, reply: httpx.Response) -> dict[str, Any]:
    """Return the one row of an answered request."""
    return get_row(gateway, reply.headers["x-request-id"])


def wait_for_row(gateway: Gateway, request_id: str) -> dict[str, Any]:
    """Return the row of a request that may still be under way."""
    return wait_until(lambda: find_rows(gateway, request_id), bool)[0]


def query(gateway: Gateway, statement: str, *values: Any) -> list[dict[str, Any]]:
    """Return what a statement yields in the gateway's database."""
    with psycopg.connect(gateway.database_url, autocommit=True, row_factory=dict_row) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def make_key(
    gateway: Gateway, email: str, *, models: tuple[str, ...] | None = None, expires_at: datetime | None = None
) -> str:
    """Return a new key of the user with that address."""
    engine = open_blocking_engine(gateway.database_url)
    try:
        with engine.begin() as connection:
            user_id = find_user(connection, email) or insert_user(connection, NewUser(email=email))
            return store_new_key(
                connection, gateway.settings, user_id, name="test", models=models, expires_at=expires_at
            )
    finally:
        engine.dispose()


def chat(text: str, model: str = "mock/echo", **fields: Any) -> dict[str, Any]:
    """Return the body of a chat call."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def message(text: str, model: str = "mock/echo", **fields: Any) -> dict[str, Any]:
    """Return the body of a Messages call."""
    return {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": text}], **fields}


def data_of(stream: str) -> list[str]:
    """Return the data lines of a stream of events."""
    return [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]


class Raw(NamedTuple):
    """An answer to a request that was written by hand."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class _Sock:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def send_raw(gateway: Gateway, request: bytes, seconds: float = 15.0) -> Raw:
    """Send bytes and read until the gateway hangs up; `Connection: close` has to be among them."""
    port = int(gateway.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(request)
        data = b"".join(iter(lambda: connection.recv(65536), b""))
    reply = http.client.HTTPResponse(_Sock(data), method=request.split(b" ")[0].decode("latin-1"))
    reply.begin()
    return Raw(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())


def send_path(
    gateway: Gateway, method: str, path: str, body: bytes = b"", *, key: str | None = None, **headers: str
) -> Raw:
    """Send a request with exactly this path, which no client library has a chance to tidy."""
    lines = {"host": "gateway", "connection": "close", "content-length": str(len(body))}
    lines |= {"authorization": f"Bearer {gateway.key if key is None else key}"} if key != "" else {}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return send_raw(gateway, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
