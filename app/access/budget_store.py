"""Budgets in Postgres as calls meet them: money is held, given back, and settled for those who died."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec

from app.access.budget_types import Answer, Ask
from app.db.connection import Connection

RESERVE = """
SELECT granted, extract(epoch FROM reserved_at)::float8, budget_id, scope, ref, period, coalesce(rolling, false),
       coalesce(limit_usd, 0), coalesce(spent_usd, 0), coalesce(reserved_usd, 0), coalesce(remaining_usd, 0),
       extract(epoch FROM resets_at)::float8
FROM relaycore_reserve(%s, %s::jsonb, %s) ORDER BY ask
"""
RELEASE = "SELECT relaycore_release(%s, %s::uuid[])"
RELEASE_SPARE = "SELECT relaycore_release(%s, %s::uuid[], %s::numeric[])"
END_TURNS = "SELECT relaycore_end_turns(%s, %s)"
REFUND = "SELECT relaycore_refund(%s::uuid[])"
RENEW = """
WITH before AS (SELECT lease_until FROM processes WHERE id = %(id)s)
INSERT INTO processes (id, lease_until, turns_over)
VALUES (%(id)s, now() + make_interval(secs => %(seconds)s), %(turns_over)s)
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until,
                               turns_over = greatest(processes.turns_over, excluded.turns_over)
RETURNING EXISTS (SELECT FROM before WHERE lease_until >= now())
"""
END = """
WITH ended AS (DELETE FROM processes WHERE id = %(id)s)
DELETE FROM parallel_calls WHERE process_id = %(id)s
"""
REAP = "SELECT relaycore_reap()"
REAPED_A_TURN = 500
LIST_BUDGETED = "SELECT DISTINCT scope, ref FROM budgets WHERE deleted_at IS NULL"

_Line = tuple[
    Decimal | None,
    float,
    UUID | None,
    str | None,
    str | None,
    str | None,
    bool,
    Decimal,
    Decimal,
    Decimal,
    Decimal,
    float | None,
]
_encode = msgspec.json.Encoder(decimal_format="string").encode


async def reserve(
    connection: Connection, process_id: UUID, asks: Sequence[Ask], turn: int | None = None
) -> list[Answer]:
    """Hold money for `asks`, in order, and return the answer to each.

    Money whose answer was lost may be asked for again under the same id: it is held once. After `end_turns` nothing
    is held in that turn any more, however late the database comes to it: it then raises psycopg.Error.
    """
    cursor = await connection.execute(RESERVE, (process_id, write_asks(asks), turn))
    lines = cast(list[_Line], await cursor.fetchall())
    return [_read_answer(ask, line) for ask, line in zip(asks, lines, strict=True)]


def write_asks(asks: Sequence[Ask]) -> str:
    """Return the JSON of `asks` as the database takes it: without what no text of Postgres can hold."""
    return _encode([_build_ask(ask) for ask in asks]).decode()


def _build_ask(ask: Ask) -> dict[str, Any]:
    return {
        "id": ask.id,
        "kind": ask.kind,
        "scopes": [(scope, clean(ref)) for scope, ref in ask.scopes],
        "wanted": ask.wanted_usd,
        "minimum": ask.minimum_usd,
        "seconds": ask.seconds,
        "facts": clean(ask.facts),
    }


def clean(value: Any) -> Any:
    """Return `value` with NUL left out of its texts, and with '?' in the place of lone surrogates."""
    match value:
        case str():
            return value if value.isprintable() else value.replace("\0", "").encode("utf-8", "replace").decode()
        case dict():
            return {clean(name): clean(one) for name, one in cast(dict[Any, Any], value).items()}
        case list() | tuple():
            return [clean(one) for one in cast(Sequence[Any], value)]
        case _:
            return value


def _read_answer(ask: Ask, line: _Line) -> Answer:
    granted, reserved_at, budget_id, scope, ref, period, rolling, limit, spent, reserved, remaining, resets_at = line
    return Answer(
        reservation_id=ask.id,
        granted_usd=granted,
        reserved_at=reserved_at,
        budget_id=budget_id,
        scope=scope,
        ref=ref,
        period=period,
        rolling=rolling,
        limit_usd=limit,
        spent_usd=spent,
        reserved_usd=reserved,
        remaining_usd=remaining,
        resets_at=resets_at,
    )


async def release(connection: Connection, process_id: UUID, ids: Sequence[UUID]) -> None:
    """Give back what this process holds under `ids` and nobody used; what is not there any more is no error."""
    await connection.execute(RELEASE, (process_id, list(ids)))


async def release_spare(connection: Connection, process_id: UUID, kept: Sequence[tuple[UUID, Decimal]]) -> None:
    """Give back what this process holds beyond what is `kept` of each; twice is no more than once."""
    ids, amounts = [one for one, _ in kept], [amount for _, amount in kept]
    await connection.execute(RELEASE_SPARE, (process_id, ids, amounts))


async def end_turns(connection: Connection, process_id: UUID, turn: int) -> None:
    """Have nothing granted any more that this process asked for up to this turn; what was, can then be released."""
    await connection.execute(END_TURNS, (process_id, turn))


async def refund(connection: Connection, leases: Sequence[UUID]) -> None:
    """Take back what the others booked of leases of this process: all their calls are booked by themselves."""
    await connection.execute(REFUND, (list(leases),))


async def renew_lease(connection: Connection, process_id: UUID, seconds: float, turns_over: int = 0) -> bool:
    """Say that this process lives for so long, and up to which turn it takes no more answers.

    False when it had no lease at that moment: it is new, or the others may have settled what it held.
    """
    values = {"id": process_id, "seconds": seconds, "turns_over": turns_over}
    cursor = await connection.execute(RENEW, values)
    line = await cursor.fetchone()
    return line is not None and bool(line[0])


async def end_process(connection: Connection, process_id: UUID) -> None:
    """Say that this process is over: what it still holds is settled by the others."""
    await connection.execute(END, {"id": process_id})


async def reap(connection: Connection) -> int:
    """Settle what dead processes held, and what was held too long, and return how many reservations those were."""
    reaped = 0
    while True:
        line = await (await connection.execute(REAP)).fetchone()
        count = cast(int, line[0]) if line is not None else 0
        reaped += count
        if count < REAPED_A_TURN:
            return reaped


async def list_budgeted(connection: Connection) -> frozenset[tuple[str, str]]:
    """Return whose live budgets there are, as pairs of scope and ref."""
    cursor = await connection.execute(LIST_BUDGETED)
    return frozenset(cast(list[tuple[str, str]], await cursor.fetchall()))
