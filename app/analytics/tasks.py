"""What has to be done to the `requests` table now and then."""

from typing import LiteralString, cast

from app.db.connection import Connection

DAYS_AHEAD = 7


async def ensure_partitions(connection: Connection) -> int:
    """Make the daily partitions of the coming week and return how many were missing."""
    return await _call(connection, "SELECT relaycore_ensure_request_partitions(%s)", DAYS_AHEAD)


async def drop_old_partitions(connection: Connection, keep_days: int) -> int:
    """Drop the days that ended more than `keep_days` ago and return how many there were."""
    return await _call(connection, "SELECT relaycore_drop_request_partitions(%s)", keep_days)


async def _call(connection: Connection, statement: LiteralString, days: int) -> int:
    line = await (await connection.execute(statement, (days,))).fetchone()
    return 0 if line is None else cast(int, line[0])
