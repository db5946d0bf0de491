"""The connection that never makes its caller wait."""

import asyncio
import gc
import time
from typing import ClassVar

import psycopg
import pytest

from app.db.connection import (
    MAX_ABANDONED,
    RETRY_SECONDS,
    Connection,
    DatabaseAwayError,
    PatientConnection,
    open_connection,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def patient(database_url: str):
    connection = PatientConnection(database_url, name="test patient")
    yield connection
    await connection.close()


async def find_pid(connection: Connection) -> int:
    line = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    return line[0]


async def sleep(connection: Connection) -> None:
    await connection.execute("SELECT pg_sleep(1)")


async def test_one_connection_serves_all(patient):
    """What runs one after the other runs on one connection, opened by the first."""
    assert await patient.run(find_pid, seconds=5) == await patient.run(find_pid, seconds=5)


async def test_a_late_query_is_left_behind(patient):
    """A query that takes longer raises in time; after a moment the next one runs on a new connection."""
    first = await patient.run(find_pid, seconds=5)
    began = time.monotonic()
    with pytest.raises(DatabaseAwayError):
        await patient.run(sleep, seconds=0.1)
    assert time.monotonic() - began < 0.3
    with pytest.raises(DatabaseAwayError):
        await patient.run(find_pid, seconds=5)
    assert time.monotonic() - began < 0.3, "while it is known to be away nobody waits"
    await asyncio.sleep(RETRY_SECONDS)
    assert await patient.run(find_pid, seconds=5) != first


async def test_waiting_in_line_counts(patient):
    """The time behind another user of the connection is part of the limit."""
    slow = asyncio.create_task(patient.run(sleep, seconds=5))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    with pytest.raises(DatabaseAwayError):
        await patient.run(find_pid, seconds=0.1)
    assert time.monotonic() - began < 0.3
    await slow
    assert await patient.run(find_pid, seconds=5)


async def test_a_broken_connection_is_replaced(patient, database_url):
    """When the server ends the session the user is told, and the next one after a moment gets a new one."""
    pid = await patient.run(find_pid, seconds=5)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(DatabaseAwayError):
        await patient.run(find_pid, seconds=5)
    await asyncio.sleep(RETRY_SECONDS)
    assert await patient.run(find_pid, seconds=5) != pid


async def test_what_the_database_says_comes_through(patient):
    """An error in a statement is the caller's, and the connection lives on."""
    pid = await patient.run(find_pid, seconds=5)
    with pytest.raises(psycopg.errors.UndefinedTable):
        await patient.run(lambda c: c.execute("TABLE nowhere"), seconds=5)
    assert await patient.run(find_pid, seconds=5) == pid


async def test_work_that_is_given_up_while_connecting_never_begins(database_url, monkeypatch):
    """What was left behind before it had a connection does not run later, when nobody expects it."""
    patient = PatientConnection(database_url, name="test late")
    ran, may_connect = [], asyncio.Event()

    async def open_late(*args, **options):
        await may_connect.wait()
        return await open_connection(*args, **options)

    monkeypatch.setattr("app.db.connection.open_connection", open_late)

    async def work(connection: Connection) -> None:
        ran.append(connection)

    with pytest.raises(DatabaseAwayError):
        await patient.run(work, seconds=0)
    may_connect.set()
    await asyncio.sleep(RETRY_SECONDS + 0.1)
    assert ran == []
    await patient.run(work, seconds=5)
    assert len(ran) == 1
    await patient.close()


async def test_the_abandoned_are_counted(unused_server):
    """A server that takes connections and says nothing costs a bounded number of them."""
    host, port, connected = unused_server
    patient = PatientConnection(f"postgresql://postgres@{host}:{port}/x", name="test silent")
    for _ in range(MAX_ABANDONED + 2):
        patient._retry_at = 0.0
        with pytest.raises(DatabaseAwayError):
            await patient.run(find_pid, seconds=0.02)
    await asyncio.sleep(0.05)
    assert len(connected) <= MAX_ABANDONED
    began = time.monotonic()
    await patient.close()
    assert time.monotonic() - began < 1.0


async def test_a_caller_that_leaves_does_not_block_the_next(patient):
    """A cancelled caller takes its connection with it; the next one does not wait for the query."""
    task = asyncio.create_task(patient.run(sleep, seconds=5))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(RETRY_SECONDS)
    began = time.monotonic()
    assert await patient.run(find_pid, seconds=5)
    assert time.monotonic() - began < 0.5


@pytest.fixture
async def unused_server():
    """A port that accepts and never answers."""
    connected = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield *server.sockets[0].getsockname(), connected
    server.close()
    for writer in connected:
        writer.close()
    await server.wait_closed()


class Silent(asyncio.Protocol):
    """Takes connections, and whatever comes on them, without a word."""

    open_now: ClassVar[set[asyncio.Transport]] = set()

    def connection_made(self, transport):
        self.transport = transport
        self.open_now.add(transport)

    def connection_lost(self, _):
        self.open_now.discard(self.transport)


async def test_attempts_on_a_server_that_does_not_answer_leave_nothing_open():
    """A server that takes connections and is silent finds none of them open later, without any garbage collection."""
    server = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    patient = PatientConnection(f"postgresql://nobody@127.0.0.1:{port}/nothing", name="test silent")
    gc.disable()
    try:
        for _ in range(3):
            with pytest.raises(DatabaseAwayError):
                await patient.run(find_pid, seconds=0.1)
            await asyncio.sleep(RETRY_SECONDS + 0.05)
        assert Silent.open_now
        for _ in range(40):
            if not Silent.open_now:
                break
            await asyncio.sleep(0.1)
        assert not Silent.open_now
    finally:
        gc.enable()
        await patient.close()
        server.close()
        await server.wait_closed()
