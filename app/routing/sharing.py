"""Tells other processes which deployments this one put out of rotation, and takes over what they found out."""

import asyncio
import time
from uuid import UUID, uuid4

import psycopg

from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.routing.health import Deployment, Health
from app.routing.store import Report, list_reports, upsert_reports

EVERY_SECONDS = 0.25
WRITE_SECONDS = 2.0


class HealthSharing:
    """One process' share in the common health. Without the database every process goes by what it sees itself."""

    def __init__(self, url: str, health: Health) -> None:
        self._connection = PatientConnection(url, name="relaycore health", options="-c synchronous_commit=off")
        self._health = health
        self._told: dict[Deployment, tuple[float, int]] = {}
        self.reporter: UUID = uuid4()

    async def run(self) -> None:
        """Tell what changed, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.tell()

    async def tell(self) -> None:
        """Tell what changed since the last time; what cannot be told now is told later."""
        reports = self.find_changes(time.monotonic())
        if not reports:
            return
        try:
            await self._connection.run(lambda c: upsert_reports(c, reports, self.reporter), seconds=WRITE_SECONDS)
        except (DatabaseAwayError, psycopg.Error):
            for report in reports:
                self._told.pop(report.deployment, None)

    async def load(self, connection: Connection, _: int) -> None:
        """Take over what other processes found out lately."""
        now = time.monotonic()
        for report in await list_reports(connection, self.reporter):
            out_until = now + report.out_seconds if report.out_seconds > 0 else 0.0
            if out_until or self._health.is_out(report.deployment, now):
                self._health.hear(report.deployment, out_until, report.ejections)
                self._told[report.deployment] = self._mark(report.deployment)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._connection.close()

    def find_changes(self, now: float) -> list[Report]:
        """Return what is new since it was last told, and note it as told."""
        reports: list[Report] = []
        for deployment in self._health.list_known():
            mark = self._mark(deployment)
            if mark == self._told.get(deployment, (0.0, 0)):
                continue
            self._told[deployment] = mark
            reports.append(Report(deployment=deployment, out_seconds=mark[0] - now, ejections=mark[1]))
        return reports

    def _mark(self, deployment: Deployment) -> tuple[float, int]:
        state = self._health.get(deployment)
        return state.out_until, state.ejections
