"""What has to be done to `requests`, the ledger and the budgets now and then."""

from typing import LiteralString, cast

from app.db.connection import Connection

DAYS_AHEAD = 7
MONTHS_AHEAD = 3


async def ensure_partitions(connection: Connection) -> int:
    """Make the partitions of the coming week and of the ledger's coming months; return how many were missing."""
    days = await _call(connection, "SELECT relaycore_ensure_request_partitions(%s)", DAYS_AHEAD)
    return days + await _call(connection, "SELECT relaycore_ensure_ledger_partitions(%s)", MONTHS_AHEAD)


async def roll_budgets(connection: Connection) -> int:
    """Let out of rolling budgets what is past, though nobody calls, and return how many budgets there are."""
    line = await (await connection.execute("SELECT relaycore_roll_budgets()")).fetchone()
    return 0 if line is None else cast(int, line[0])


async def drop_old_partitions(connection: Connection, keep_days: int) -> int:
    """Drop the days that ended more than `keep_days` ago and return how many there were."""
    return await _call(connection, "SELECT relaycore_drop_request_partitions(%s)", keep_days)


async def _call(connection: Connection, statement: LiteralString, span: int) -> int:
    line = await (await connection.execute(statement, (span,))).fetchone()
    return 0 if line is None else cast(int, line[0])
