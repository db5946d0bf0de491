"""Jobs of the queue that nobody will end any more."""

from app.db.connection import Connection

SILENT_SECONDS = 60.0
KEEP_DAYS = 7

# The queue library leaves a job under way for ever when its worker was killed, or when the connection broke in the
# moment its end was written; the worker may be alive and well in the second case, so age decides as well.
SWEEP = """
DELETE FROM procrastinate_jobs j
WHERE (
    j.status = 'doing' AND (
        NOT EXISTS (
            SELECT FROM procrastinate_workers w
            WHERE w.id = j.worker_id AND w.last_heartbeat > now() - make_interval(secs => %(silent)s)
        ) OR NOT EXISTS (
            SELECT FROM procrastinate_events e
            WHERE e.job_id = j.id AND e.type = 'started' AND e.at > now() - make_interval(secs => %(longest)s)
        )
    )
) OR (
    j.status IN ('failed', 'cancelled', 'aborted') AND NOT EXISTS (
        SELECT FROM procrastinate_events e WHERE e.job_id = j.id AND e.at > now() - make_interval(days => %(days)s)
    )
)
"""


async def sweep_jobs(connection: Connection, longest_seconds: float) -> int:
    """Delete jobs whose worker is gone, that are under way for longer than any may be, or that ended long ago.

    Returns how many went. None of them is done again: each is periodic, or wakes those who look by themselves.
    """
    values = {"silent": SILENT_SECONDS, "longest": longest_seconds, "days": KEEP_DAYS}
    return (await connection.execute(SWEEP, values)).rowcount
