"""Rate limits in Postgres: one round trip for all that is asked and finished at the same time."""

from collections.abc import Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

import msgspec

from app.access.limit_types import Asking, Decision, Done, Figures, Refusal, Standing
from app.db.connection import Connection

SESSION_OPTIONS = "-c statement_timeout=3s"
"""Nobody waits that long; what is left behind ends before it can confuse what came after it."""

CLOCK_IS_LATE = "RC001"

ADMIT = """
SELECT event_id, extract(epoch FROM decided_at)::float8,
    limit_requests, remaining_requests, reset_requests_seconds, limit_tokens, remaining_tokens, reset_tokens_seconds,
    refused_scope, refused_limit, refused_value, wait_seconds
FROM relaycore_admit(%b::uuid, %t::jsonb, %t::jsonb, %b::interval, to_timestamp(%b::float8))
ORDER BY ask
"""
FINISH = "SELECT relaycore_finish_calls(%b::uuid, %t::jsonb)"
READ_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"
MOVE_CLOCK = "SELECT relaycore_move_clock(%b::interval)"
SWEEP = "SELECT relaycore_sweep_limits()"

Line = tuple[
    UUID, float, int | None, int, float, int | None, int, float, str | None, str, int, float
]  # fmt: skip

_encode = msgspec.json.Encoder().encode


async def admit(
    connection: Connection,
    *,
    process_id: UUID,
    askings: Sequence[Asking],
    done: Done,
    window_seconds: float,
    latest: float | None,
) -> list[Decision]:
    """Return what is decided about each asking, after `done` is taken into account.

    Raises psycopg.Error with the state CLOCK_IS_LATE, having done nothing, when the database's clock is past `latest`
    (seconds since the epoch).
    """
    window = timedelta(seconds=window_seconds)
    values = (process_id, _write(list(askings)), _write(done), window, latest)
    cursor = await connection.execute(ADMIT, values, binary=True)
    return [_read(cast(Line, line)) for line in await cursor.fetchall()]


async def finish(connection: Connection, *, process_id: UUID, done: Done) -> None:
    """Take `done` into account."""
    await connection.execute(FINISH, (process_id, _write(done)))


async def read_clock(connection: Connection) -> float:
    """Return the database's time in seconds since the epoch."""
    line = await (await connection.execute(READ_CLOCK, binary=True)).fetchone()
    return cast(tuple[float], line)[0]


async def move_clock(connection: Connection, jump_seconds: float) -> None:
    """Have what was admitted before the clock jumped stay in its window."""
    await connection.execute(MOVE_CLOCK, (timedelta(seconds=jump_seconds),))


async def sweep_limits(connection: Connection) -> int:
    """Delete scopes that nobody used lately and return how many rows went."""
    line = await (await connection.execute(SWEEP)).fetchone()
    return 0 if line is None else cast(int, line[0])


def _write(value: object) -> str:
    return _encode(value).decode()


def _read(line: Line) -> Decision:
    event_id, at, *figures, scope, limit, value, wait_seconds = line
    requests, tokens = figures[:3], figures[3:]
    refusal = None
    if scope is not None:
        refusal = Refusal(scope=scope, limit=limit, value=value, wait_seconds=wait_seconds)
    standing = Standing(at=at, requests=_read_figures(requests), tokens=_read_figures(tokens))
    return Decision(event_id=event_id, standing=standing, refusal=refusal)


def _read_figures(values: Sequence[object]) -> Figures | None:
    limit, remaining, reset_seconds = cast(tuple[int | None, int, float], values)
    return None if limit is None else Figures(limit=limit, remaining=remaining, reset_seconds=reset_seconds)
