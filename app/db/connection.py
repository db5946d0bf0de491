"""One psycopg connection that never makes its caller wait longer than it said.

Cancelling a query on a database that has stopped answering takes many seconds (the cancel request itself has to time
out), so a late query is left behind with its connection instead, and the next one gets a new connection.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from traceback import clear_frames
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")
Connection = psycopg.AsyncConnection[tuple[object, ...]]

RETRY_SECONDS = 0.25
MAX_ABANDONED = 8
LATE_SECONDS = 0.005
"""From which delay of its own timers on the event loop counts as late."""


class DatabaseAwayError(Exception):
    """The database did not answer in time, or cannot be reached; nothing is known of what it did."""


class PatientConnection:
    """A connection opened when first needed, reopened when broken, with one user at a time."""

    def __init__(self, url: str, *, name: str, options: str = "") -> None:
        self._url = url
        self._name = name
        self._options = options
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._running: asyncio.Future[Any] | None = None
        self._retry_at = 0.0
        self._abandoned: set[asyncio.Task[object]] = set()

    @property
    def away(self) -> bool:
        """Whether the database is known not to answer just now."""
        return time.monotonic() < self._retry_at or len(self._abandoned) >= MAX_ABANDONED

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, seconds: float) -> T:
        """Return what `work` returns on the connection, within `seconds`.

        Raises DatabaseAwayError when it takes longer (waiting for the user before included) or the connection breaks,
        at once while the database is known to be away; errors that the database answers with (psycopg.DatabaseError
        on a live connection) come through.
        """
        until = time.monotonic() + seconds
        await self._take(seconds)
        try:
            if self.away:
                raise DatabaseAwayError(self._name)
            return await self._run(work, max(until - time.monotonic(), 0.0))
        finally:
            self._lock.release()

    async def _take(self, seconds: float) -> None:
        if not self._lock.locked():
            await self._lock.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._lock.acquire()
        except TimeoutError as error:
            raise DatabaseAwayError(self._name) from error

    async def _run(self, work: Callable[[Connection], Awaitable[T]], seconds: float) -> T:
        task = self._running = asyncio.ensure_future(self._attempt(work))
        try:
            done = await _wait(task, seconds)
        except asyncio.CancelledError:
            self._leave_behind(task)
            raise
        if not done:
            self._leave_behind(task)
            raise DatabaseAwayError(self._name)
        return self._outcome(task)

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        if self._connection is None or self._connection.closed:
            opened = await open_connection(
                self._url,
                connect_timeout=2,
                application_name=self._name,
                options=self._options or None,
                prepare_threshold=1,
            )
            if self._running is not asyncio.current_task():  # left behind while it connected: too late to begin
                opened.pgconn.finish()
                raise DatabaseAwayError(self._name)
            self._connection = opened
        return await work(self._connection)

    def _outcome(self, task: "asyncio.Future[T]") -> T:
        try:
            return task.result()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._drop()
            raise DatabaseAwayError(self._name) from error

    def _leave_behind(self, task: "asyncio.Future[T]") -> None:
        """Forget a query that did not come back; its connection closes when it does."""
        connection, self._connection = self._connection, None
        self._running = None
        self._retry_at = time.monotonic() + RETRY_SECONDS
        late = asyncio.ensure_future(_see_off(task, connection))
        self._abandoned.add(late)
        late.add_done_callback(self._abandoned.discard)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if connection is not None:
            connection.pgconn.finish()

    async def close(self) -> None:
        """Close the connection and those of queries that were left behind."""
        await asyncio.sleep(0)  # what was left behind just now has to begin before it can be told to end
        for late in list(self._abandoned):
            late.cancel()
        await asyncio.gather(*self._abandoned, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _wait(task: "asyncio.Future[T]", seconds: float) -> bool:
    """Wait for `task` for so long, and say whether it is done.

    When the event loop itself is late, the answer may be there and not read yet: then it is given the time it lost,
    at most `seconds` more.
    """
    end = time.monotonic() + seconds
    done, _ = await asyncio.wait({task}, timeout=seconds)
    late = time.monotonic() - end
    if not done and late > LATE_SECONDS:
        done, _ = await asyncio.wait({task}, timeout=min(late, seconds))
    return bool(done)


async def open_connection(
    url: str, *, application_name: str, connect_timeout: int, options: str | None = None, prepare_threshold: int = 5
) -> Connection:
    """Return a new connection in autocommit mode; one that fails leaves nothing open."""
    try:
        return await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            connect_timeout=connect_timeout,
            application_name=application_name,
            options=options,
            prepare_threshold=prepare_threshold,
        )
    except BaseException as error:
        # A connection that timed out is still among the locals of psycopg, in a cycle with this exception: open until
        # the garbage collector comes by. A server that was frozen would find one for each time that we tried.
        clear_frames(error.__traceback__)
        raise


async def _see_off(task: "asyncio.Future[T]", connection: Connection | None) -> None:
    try:
        await asyncio.wait({task})
    finally:
        if connection is not None:
            connection.pgconn.finish()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
