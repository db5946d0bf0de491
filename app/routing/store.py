"""Which deployments are out of rotation, shared by all processes through Postgres."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

import msgspec

from app.db.connection import Connection
from app.routing.health import Deployment

# The database's clock counts: seconds from its now, both ways.
UPSERT = """
INSERT INTO deployment_health (provider, model, out_until, ejections, reporter)
VALUES (%s, %s, now() + make_interval(secs => %s), %s, %s)
ON CONFLICT (provider, model) DO UPDATE SET
    out_until = excluded.out_until, ejections = excluded.ejections, reporter = excluded.reporter, updated_at = now()
"""

LIST = """
SELECT provider, model, extract(epoch FROM out_until - now())::float8, ejections
FROM deployment_health WHERE reporter <> %s AND updated_at > now() - interval '1 hour'
"""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one process found out; `out_seconds` from now, 0 or less when the deployment is back."""

    deployment: Deployment
    out_seconds: float
    ejections: int


async def upsert_reports(connection: Connection, reports: Sequence[Report], reporter: UUID) -> None:
    """Tell the other processes."""
    lines = [(*report.deployment, report.out_seconds, report.ejections, reporter) for report in reports]
    await connection.cursor().executemany(UPSERT, sorted(lines))


async def list_reports(connection: Connection, reader: UUID) -> list[Report]:
    """Return what other processes than `reader` found out lately."""
    cursor = await connection.execute(LIST, (reader,))
    lines = cast(list[tuple[str, str, float, int]], await cursor.fetchall())
    return [
        Report(deployment=(provider, model), out_seconds=seconds, ejections=ejections)
        for provider, model, seconds, ejections in lines
    ]
