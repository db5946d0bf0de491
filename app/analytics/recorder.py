"""Takes one row per request off the hot path and has them written to Postgres in bulk, a moment behind."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.analytics.bills import FindLines
from app.analytics.rows import PricedRow, build_priced_row
from app.analytics.spool import Spool
from app.analytics.store import ROWS_A_TURN, SESSION_OPTIONS
from app.analytics.types import RequestRow
from app.analytics.writer import SCAN_SECONDS, OnSettled, RowWriter
from app.db.connection import PatientConnection

BATCH_ROWS = 2000
ROW_BYTES = 1024  # about what a waiting row takes beside its metadata
CLOSE_SECONDS = 3.0
RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)


class RecorderBounds(msgspec.Struct, frozen=True, kw_only=True):
    """How long rows wait for others, how long a write may take, and how much may wait in memory and on disk."""

    flush_seconds: float = 0.1
    write_seconds: float = 5.0
    pending_bytes: int = 32 * 2**20
    spool_bytes: int = 256 * 2**20


BOUNDS = RecorderBounds()


class RecorderStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows since the start; a spooled row counts again as `replayed` once it is in Postgres."""

    written: int
    spooled: int
    replayed: int
    rejected: int
    dropped: int
    pending: int
    last_error_at: float | None


class Recorder:
    """The one writer of `requests` and their cost in this process.

    Over the bound of its memory the newest rows are dropped. `on_settled` hears of each row with a hold once it is in
    Postgres, be it by way of the spool; of other processes' holds too, where their files were adopted.
    """

    def __init__(
        self,
        database_url: str,
        spool_folder: Path,
        find_lines: FindLines,
        *,
        on_settled: OnSettled | None = None,
        bounds: RecorderBounds = BOUNDS,
    ) -> None:
        self._connection = PatientConnection(database_url, name="relaycore recorder", options=SESSION_OPTIONS)
        self._spool = Spool(spool_folder, bounds.spool_bytes)
        self._writer = RowWriter(
            self._connection, self._spool, write_seconds=bounds.write_seconds, on_settled=on_settled
        )
        self._find_lines = find_lines
        self._flush_seconds = bounds.flush_seconds
        self._max_pending_bytes = bounds.pending_bytes
        self._pending: list[RequestRow] = []
        self._batch: list[PricedRow] = []
        self._pending_bytes = self._batch_bytes = self._dropped = 0
        self._stuck = self._replaying = self._closing = False
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    def record(self, row: RequestRow) -> None:
        """Take `row`, which is the recorder's from now on. To be called on the loop's own thread."""
        size = _size(row)
        if self._pending_bytes + size > self._max_pending_bytes:
            self._dropped += 1
            return
        self._pending_bytes += size
        self._pending.append(row)
        self._wake.set()

    @property
    def stats(self) -> RecorderStats:
        """The counts at this moment."""
        writer = self._writer
        return RecorderStats(
            written=writer.written,
            spooled=writer.spooled,
            replayed=writer.replayed,
            rejected=writer.rejected,
            dropped=self._dropped,
            pending=len(self._pending) + len(self._batch),
            last_error_at=writer.last_error_at,
        )

    async def start(self) -> None:
        """Start writing; Postgres need not be there."""
        self._task = asyncio.create_task(self._run())

    async def flush(self) -> None:
        """Return when every row recorded so far is in Postgres or in the spool, or neither took it.

        Only between `start` and `close`.
        """
        while self._pending or self._batch:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self._hurry_up()
            await waiter
            if self._stuck:
                return

    async def close(self) -> None:
        """Write what is left to Postgres, else to the spool, within a few seconds; later rows are dropped."""
        self._max_pending_bytes = -1
        self._closing = True
        self._hurry_up()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._put_rest_aside()
        await asyncio.to_thread(self._spool.close)
        await self._connection.close()

    async def _put_rest_aside(self) -> None:
        rest = self._batch + await self._price(self._pending)
        self._batch, self._pending = [], []
        if rest and not await self._writer.put_aside(rest):
            self._dropped += len(rest)

    def _hurry_up(self) -> None:
        self._hurry.set()
        self._wake.set()

    async def _run(self) -> None:
        while not self._closing or (self._pending and not self._stuck):
            await self._wait()
            waiters, self._waiters = self._waiters, []
            try:
                await self._work()
            except Exception:
                log.exception("A round of the analytics writer failed")
                await asyncio.sleep(RETRY_SECONDS)
            for waiter in waiters:
                waiter.set_result(None)

    async def _wait(self) -> None:
        """Wait for the first row, then a little for others to come along."""
        if not self._replaying and not self._pending:
            await _wait_for(self._wake, RETRY_SECONDS if self._writer.has_spooled else SCAN_SECONDS)
        self._wake.clear()
        if self._stuck:
            await _wait_for(self._hurry, RETRY_SECONDS)
        elif 0 < len(self._pending) < BATCH_ROWS:
            await _wait_for(self._hurry, self._flush_seconds)
        if not self._closing:
            self._hurry.clear()

    async def _work(self) -> None:
        if not self._batch:
            await self._take_batch()
        if self._batch:
            self._stuck = not await self._writer.settle(self._batch, again=self._stuck)
            if self._stuck:
                return
            self._batch = []
        self._pending_bytes -= self._batch_bytes
        self._batch_bytes = 0
        self._replaying = not self._closing and await self._writer.replay()

    async def _take_batch(self) -> None:
        """Move rows from those that wait to the batch; at no moment are they in neither."""
        rows = self._pending[:BATCH_ROWS]
        self._batch_bytes = sum(map(_size, rows))
        self._batch = await self._price(rows)
        del self._pending[: len(rows)]

    async def _price(self, rows: Sequence[RequestRow]) -> list[PricedRow]:
        priced: list[PricedRow] = []
        for count, row in enumerate(rows, 1):
            try:
                priced.append(build_priced_row(row, self._find_lines))
            except (AttributeError, TypeError, ValueError) as error:
                self._writer.reject(row, error)
            if count % ROWS_A_TURN == 0:
                await asyncio.sleep(0)  # requests wait for the same loop
        return priced


def _size(row: RequestRow) -> int:
    return ROW_BYTES if row.metadata is None else ROW_BYTES + len(row.metadata)


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
