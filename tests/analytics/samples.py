"""Rows and database helpers for the tests of the analytics writer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

from app.analytics.recorder import Recorder, RecorderBounds
from app.analytics.types import RequestRow
from app.analytics.writer import OnSettled
from app.wire.ids import make_uuid7
from app.wire.money import SMALLEST_USD, Hold, Line
from app.wire.usage import Usage

CENT = Decimal("0.01")


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


def find_lines(provider: str, model: str, usage: Usage, *, at: float | None = None) -> tuple[Line, ...] | None:
    """One cent a token of gpt-4o, a line for each class; nothing else has a price."""
    if model != "gpt-4o":
        return None
    counts = {name: getattr(usage, name) for name in Usage.__struct_fields__ if name != "service_tier"}
    return tuple(
        Line(token_class=name, quantity=count, usd_per_unit=CENT, amount_usd=(count * CENT).quantize(SMALLEST_USD))
        for name, count in counts.items()
        if count
    )


@asynccontextmanager
async def recording(
    url: str, folder: Path, *, on_settled: OnSettled | None = None, **options: Any
) -> AsyncIterator[Recorder]:
    bounds = RecorderBounds(**({"flush_seconds": 0.02, "write_seconds": 2.0} | options))
    recorder = Recorder(url, folder, find_lines, on_settled=on_settled, bounds=bounds)
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


BY_THE_HOUR = """
SELECT date_trunc('hour', request_time, 'UTC') AS hour, user_id, api_key_id, team_id, organization_id, provider, model,
       endpoint, cache_status, status_code, count(*), coalesce(sum(input_tokens), 0),
       coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_5m_tokens), 0),
       coalesce(sum(cache_write_1h_tokens), 0), coalesce(sum(input_audio_tokens), 0),
       coalesce(sum(input_image_tokens), 0), coalesce(sum(output_tokens), 0),
       coalesce(sum(reasoning_tokens), 0), coalesce(sum(output_audio_tokens), 0),
       coalesce(sum(output_image_tokens), 0), coalesce(sum(web_searches), 0),
       count(*) FILTER (WHERE input_tokens IS NULL), coalesce(sum(estimated_cost), 0), coalesce(sum(saved_cost), 0),
       count(*) FILTER (WHERE estimated_cost IS NULL),
       count(*) FILTER (WHERE saved_cost IS NULL AND cache_status IN ('hit', 'semantic-hit')),
       round(sum(latency)::numeric, 3)
FROM requests GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
"""
ROLLED_UP = """
SELECT hour, user_id, api_key_id, team_id, organization_id, provider, model, endpoint, cache_status, status_code,
       requests, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, input_audio_tokens,
       input_image_tokens, output_tokens, reasoning_tokens, output_audio_tokens, output_image_tokens, web_searches,
       unknown_usage, estimated_cost, saved_cost,
       unknown_cost, unknown_saving, round(latency_ms::numeric, 3)
FROM usage_hourly
"""


async def list_faults(url: str) -> list[tuple[Any, ...]]:
    """What is wrong with the books: the ledger's own check, and roll-ups that are not the sums of the rows."""
    wrong = await query(url, "SELECT * FROM relaycore_ledger_check()")
    wrong += await query(url, f"({BY_THE_HOUR}) EXCEPT ({ROLLED_UP})")
    return wrong + await query(url, f"({ROLLED_UP}) EXCEPT ({BY_THE_HOUR})")


async def insert_budget(url: str, user_id: UUID, amount: str = "1000", period: str = "total") -> UUID:
    statement = (
        "INSERT INTO budgets (id, scope, ref, amount_usd, period) VALUES (gen_random_uuid(), 'user', %s, %s, %s)"
        " RETURNING id"
    )
    return (await query(url, statement, str(user_id), amount, period))[0][0]


async def reserve(url: str, row: RequestRow, amount: str = "1", kind: Literal["call", "escrow"] = "call") -> Hold:
    """Hold money of the user's budget for a row as the gateway would."""
    process, reservation = uuid4(), make_uuid7()
    await query(url, "INSERT INTO processes (id, lease_until) VALUES (%s, now() + interval '1 hour')", process)
    facts = {
        "request_id": str(row.id),
        "request_time": row.request_time,
        "public_request_id": row.request_id,
        "user_id": str(row.user_id),
        "provider": row.provider,
        "model": "asked-first",
        "endpoint": row.endpoint,
        "streamed": row.streamed,
    }
    scopes = [["user", str(row.user_id)]]
    ask = {"id": str(reservation), "kind": kind, "scopes": scopes, "wanted": amount, "minimum": amount, "seconds": 600}
    answers = await query(
        url, "SELECT granted, reserved_at FROM relaycore_reserve(%s, %s)", process, Jsonb([ask | {"facts": facts}])
    )
    granted, reserved_at = answers[0]
    assert granted == Decimal(amount)
    return Hold(reservation_id=reservation, kind=kind, amount_usd=granted, booked_at=reserved_at.timestamp())


async def find_counter(url: str, budget_id: UUID) -> tuple[Decimal, Decimal]:
    """What a budget counts as spent and as reserved."""
    found = await query(url, "SELECT spent_usd, reserved_usd FROM budget_counters WHERE budget_id = %s", budget_id)
    return found[0]
