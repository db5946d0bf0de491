"""What wakes the workers: a job of the queue, and a notice. Neither is the record; the table of requests is."""

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException

from app.db.connection import Connection

CHANNEL = "relaycore_batches"
WAKE_TASK = "relaycore.batch"
NOTIFY = "SELECT pg_notify('relaycore_batches', '')"

_JOBS = App(connector=PsycopgConnector())


async def defer_waking(connection: Connection) -> None:
    """Have the workers look for requests once the transaction commits: one by the queue, all by a notice."""
    try:
        await _JOBS.configure_task(WAKE_TASK, connection=connection).defer_async()
    except ConnectorException as error:
        raise error.__cause__ if isinstance(error.__cause__, psycopg.Error) else error from error
    await connection.execute(NOTIFY)
