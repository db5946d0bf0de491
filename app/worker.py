"""The composition root of the job worker: the same house, with a queue for a front door."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException

from app.access.limit_store import sweep_limits
from app.analytics.tasks import drop_old_partitions, ensure_partitions, roll_budgets
from app.batch.native.worker import NativeWorker
from app.batch.vendors.file_reading import FileReading
from app.batch.view_store import delete_old
from app.batch.waking import CHANNEL, WAKE_TASK
from app.batch.webhooks.sender import WebhookSender
from app.batch.worker import BatchWorker
from app.cache.idempotent_store import delete_expired_calls
from app.cache.store import turn_slots
from app.catalog.price_update import run_price_update
from app.catalog.store import load_config
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.db.queue_store import sweep_jobs
from app.db.watch import Listener
from app.gateway.parts import Parts
from app.semantic.index_store import BUILD_OPTIONS, build_indexes, tend_questions
from app.settings import Settings, get_database_url, get_secret_key

logger = logging.getLogger("relaycore.worker")

RESTART_SECONDS = 1.0
TASK_SECONDS = 60.0
INDEX_SECONDS = 1800.0
EXPIRED_PER_TURN = 1000
BEFORE_HALF_HOURS = "25,55 * * * *"
NAME = "relaycore"
AWAY = (ConnectorException, DatabaseAwayError, psycopg.OperationalError)
CHATTY = ("psycopg.pool", "procrastinate.utils", f"procrastinate.worker.{NAME}")


def build_jobs(settings: Settings, wake: Callable[[], None]) -> App:
    """Return the job application with every task of RelayCore registered; `wake` has batches looked at.

    At least one periodic task must always be registered: without one the queue library does not notice that its
    connection for notices has died.
    """
    url = get_database_url(settings)
    jobs = App(
        connector=PsycopgConnector(
            conninfo=url, kwargs={"application_name": "relaycore worker"}, min_size=1, max_size=4
        )
    )

    @jobs.periodic(cron="* * * * *")
    @jobs.task(name="relaycore.tidy", queueing_lock="relaycore.tidy", pass_context=False)
    async def tidy(timestamp: int) -> None:
        del timestamp
        await run_once(url, settings.retention_days)

    @jobs.periodic(cron=BEFORE_HALF_HOURS)
    @jobs.task(name="relaycore.prices", queueing_lock="relaycore.prices", pass_context=False)
    async def load_prices(timestamp: int) -> None:
        del timestamp
        await asyncio.to_thread(run_price_update, url, get_secret_key(settings))

    @jobs.periodic(cron="* * * * *")
    @jobs.task(name="relaycore.index", queueing_lock="relaycore.index", pass_context=False)
    async def index(timestamp: int) -> None:
        del timestamp
        await run_index(url)

    @jobs.task(name=WAKE_TASK, pass_context=False)
    async def wake_batches() -> None:
        wake()

    assert all((tidy, load_prices, index, wake_batches))  # noqa: S101 - registered by their decorators
    return jobs


async def run_once(url: str, retention_days: int) -> None:
    """Do what has to be done now and then: days ahead for new rows, days that are over, answers that have expired."""
    connection = PatientConnection(url, name="relaycore tidy", options="-c lock_timeout=200ms")
    try:
        await connection.run(lambda c: tidy_up(c, retention_days), seconds=TASK_SECONDS)
    finally:
        await connection.close()


async def run_index(url: str) -> None:
    """Build the indexes that searches for similar questions lack."""
    connection = PatientConnection(url, name="relaycore index", options=BUILD_OPTIONS)
    try:
        await connection.run(build_indexes, seconds=INDEX_SECONDS)
    finally:
        await connection.close()


async def tidy_up(connection: Connection, retention_days: int) -> None:
    """Keep the tables that grow at their size."""
    await ensure_partitions(connection)
    await drop_old_partitions(connection, retention_days)
    config = (await load_config(connection)).document
    await turn_slots(connection, config.cache.max_bytes, config.cache.max_ttl)
    while await delete_old(connection, config.batch.retention_days):
        pass
    await tend_questions(connection, retention_days)
    while await delete_expired_calls(connection, EXPIRED_PER_TURN) == EXPIRED_PER_TURN:
        pass
    await roll_budgets(connection)
    await sweep_limits(connection)
    await sweep_jobs(connection, 2 * INDEX_SECONDS)


async def run_worker(settings: Settings, parts: Parts) -> None:
    """Work until cancelled: on the jobs of the queue, and on the requests of batches, which it wakes."""
    url = get_database_url(settings)
    batches = BatchWorker(url, parts)
    works = {
        "The work on batches": batches.run,
        "The work on vendors' batches": NativeWorker(url, parts).run,
        "Reading files of batches": FileReading(url, parts).run,
        "Telling of batches": WebhookSender(url, parts, parts.catalog.vault).run,
        "Listening for batches": Listener(url, batches.wake, CHANNEL).run,
    }
    async with asyncio.TaskGroup() as group:
        group.create_task(run_jobs(settings, batches.wake))
        for name, work in works.items():
            group.create_task(run_again(work, name))


async def run_jobs(settings: Settings, wake: Callable[[], None]) -> None:
    """Work on jobs until cancelled. The library's worker may end for any reason, even with success; it starts again."""
    for name in CHATTY:
        logging.getLogger(name).addFilter(is_news)
    while True:
        jobs = build_jobs(settings, wake)
        try:
            async with jobs.open_async():
                await jobs.run_worker_async(
                    name=NAME,
                    concurrency=4,
                    install_signal_handlers=False,
                    delete_jobs="successful",
                    shutdown_graceful_timeout=timedelta(seconds=5).total_seconds(),
                )
        except AWAY:
            logger.warning("The job worker waits for the database")
        except Exception:
            logger.exception("The job worker stopped; it starts again")
        await asyncio.sleep(RESTART_SECONDS)


async def run_again(work: Callable[[], Awaitable[None]], name: str) -> None:
    """Do `work` until cancelled, whatever it ends with."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("%s stopped; it starts again", name)
        await asyncio.sleep(RESTART_SECONDS)


def is_news(record: logging.LogRecord) -> bool:
    """Return whether the libraries say more than pages about a database that is away, which we say in a line."""
    error = record.exc_info[1] if record.exc_info else None
    return record.name != CHATTY[0] and not isinstance(error, AWAY)
