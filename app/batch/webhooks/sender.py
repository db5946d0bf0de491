"""Tells those who asked for it that their batches are over, until somebody hears it or there is no use any more."""

import asyncio
import logging
import random
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import psycopg

from app.batch.webhooks.egress import EgressError, choose_addresses, read_target
from app.batch.webhooks.store import Delivery, claim_delivery, conclude
from app.batch.webhooks.telling import PURPOSE, Verdict, build_failed, build_headers, judge
from app.catalog.secrets import SecretUnreadableError, Vault
from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.errors import UpstreamFailure
from app.gateway.parts import Parts
from app.upstream import Limits, Outgoing, Upstream
from app.upstream.lookup import find_addresses

MOST = 8
MOST_A_HOST = 2
LEASE_SECONDS = 30.0
TOTAL_SECONDS = 15.0
LOOK_SECONDS = 1.0
QUERY_SECONDS = 5.0
REST_SECONDS = 1.0
LIMITS = Limits(connect_seconds=5, first_byte_seconds=15, idle_seconds=15, total_seconds=15, max_body_bytes=8192)
LATE = "There was no answer in time."
UNREADABLE = "The secret of this webhook does not open."
FAILED = {
    "connect": "The host could not be reached.",
    "connect_timeout": "Connecting to the host took too long.",
    "tls": "The TLS connection could not be trusted or set up.",
    "first_byte_timeout": LATE,
    "idle_timeout": LATE,
    "total_timeout": LATE,
}
BROKEN = "The answer was no valid one."

T = TypeVar("T")
FindAddresses = Callable[[str, int], Awaitable[list[str]]]

logger = logging.getLogger("relaycore.webhooks")


class WebhookSender:
    """One process's share of the messages. Each is looked up, judged and dialled anew at every try."""

    def __init__(
        self,
        url: str,
        parts: Parts,
        vault: Vault,
        *,
        find: FindAddresses = find_addresses,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._parts = parts
        self._vault = vault
        self._find = find
        self._tls = tls
        self._connection = PatientConnection(url, name="relaycore webhooks")
        self._sending: dict[asyncio.Task[None], str] = {}
        self._freed = asyncio.Event()

    async def run(self) -> None:
        """Send until cancelled; what is under way then is sent again by whoever finds it."""
        try:
            while True:
                self._freed.clear()
                await self._start_due()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._freed.wait()
        finally:
            sending = list(self._sending)
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            await self._connection.close()

    async def _start_due(self) -> None:
        while len(self._sending) < MOST:
            busy = [host for host, count in Counter(self._sending.values()).items() if count >= MOST_A_HOST]
            delivery = await self._ask(partial(claim_delivery, busy=busy, seconds=LEASE_SECONDS))
            if delivery is None:
                return
            task = asyncio.create_task(self._send(delivery))
            self._sending[task] = delivery.host
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self._freed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A webhook could not be sent", exc_info=error)

    async def _send(self, delivery: Delivery) -> None:
        verdict = await self._try(delivery)
        if verdict.outcome == "given up":
            logger.warning("Nobody is told of batch %s any more: %s", delivery.batch_id, verdict.error)
        await self._ask(partial(conclude, delivery=delivery, verdict=verdict))

    async def _try(self, delivery: Delivery) -> Verdict:
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                status = await self._post(delivery)
        except (EgressError, SecretUnreadableError, UpstreamFailure, TimeoutError) as error:
            return build_failed(delivery.tries, explain(error), random.random)
        return judge(delivery.tries, status, random.random)

    async def _post(self, delivery: Delivery) -> int:
        """Return the status of the answer. What else it says is nobody's business."""
        secret = self._vault.open(PURPOSE, str(delivery.batch_id), delivery.secret or b"")
        target, config = read_target(delivery.url), self._parts.catalog.current.batch
        found = [str(target.address)] if target.address is not None else await self._find(target.host, target.port)
        addresses = choose_addresses(target, found, config)
        headers = build_headers(secret, delivery.id, int(time.time()), delivery.payload)
        outgoing = Outgoing(method="POST", url=target.url, headers=headers, body=delivery.payload, limits=LIMITS)
        upstream = Upstream(tls=self._tls, addresses=addresses)
        try:
            incoming = await upstream.send(outgoing)
            with suppress(UpstreamFailure, TimeoutError):
                async with asyncio.timeout(REST_SECONDS):
                    await incoming.read()
            incoming.close()
            return incoming.status
        finally:
            await upstream.close()

    async def _ask(self, work: Callable[[Connection], Awaitable[T]]) -> T | None:
        """Return what `work` returns, None when the database does not answer or refuses."""
        try:
            return await self._connection.run(work, seconds=QUERY_SECONDS)
        except DatabaseAwayError:
            return None
        except psycopg.Error as error:
            logger.warning("The database refuses work on webhooks (%s)", error.sqlstate)  # it may quote a row
            return None


def explain(error: Exception) -> str:
    """Return why a try failed, in words that say nothing of where it went."""
    if isinstance(error, EgressError):
        return str(error)
    if isinstance(error, SecretUnreadableError):
        return UNREADABLE
    return FAILED.get(error.kind, BROKEN) if isinstance(error, UpstreamFailure) else LATE
