"""What is noted of one request on its way, and becomes its row."""

import time
from collections.abc import Callable
from uuid import UUID

from app.access.limit_types import Admission
from app.analytics.types import RequestRow
from app.errors import RelayError
from app.wire.ids import make_uuid7
from app.wire.usage import Usage

CLIENT_LEFT = 499


EstimateUsage = Callable[[int], Usage]
"""Tells from the bytes that went to the client what a call may have used whose answer did not say."""


class Trace:
    """The one mutable value of a request. Its status starts at 500, so that a crash is never recorded as a success.

    `owing`: a provider may have worked for the call, so that it costs something whatever became of its answer.
    """

    def __init__(self) -> None:
        self.started = time.perf_counter()
        now = time.time()
        row_id: UUID = make_uuid7()
        self.row = RequestRow(id=row_id, request_id=str(row_id), request_time=now, response_time=now)
        self.wanted = True
        self.owing = False
        self.estimate_usage: EstimateUsage | None = None
        self.admission: Admission | None = None
        self._owed_before = False
        self._sent_at: float | None = None
        self._first_byte_at: float | None = None
        self._received_at: float | None = None

    def sending(self) -> None:
        """Note that the call goes to a provider now."""
        self.row.attempts += 1
        self._owed_before, self.owing = self.owing, True
        if self._sent_at is None:  # what passes between the tries is spent on the provider as well
            self._sent_at = time.perf_counter()
        self._received_at = None

    def owe_nothing(self) -> None:
        """Note that the provider did not take the call that was sent last."""
        self.owing = self._owed_before

    def first_byte(self) -> None:
        """Note that the first byte for the client is there."""
        if self._first_byte_at is None:
            self._first_byte_at = time.perf_counter()

    def received(self) -> None:
        """Note that the provider's answer is complete or broke off."""
        if self._received_at is None:
            self._received_at = time.perf_counter()

    def succeed(self, status: int, usage: Usage | None) -> None:
        """Note the answer's status and what it used."""
        self.row.status_code = status
        self.row.error_type = None
        self.row.usage = usage

    def fail(self, error: RelayError) -> None:
        """Note the failure that the client was told."""
        self.row.status_code = error.status
        self.row.error_type = error.kind

    def leave(self) -> None:
        """Note that the client went away before its answer was complete."""
        self.row.status_code = CLIENT_LEFT
        self.row.error_type = "client_left"

    def overhead_ms(self) -> float:
        """Return the milliseconds spent so far that were not spent waiting for a provider."""
        now = time.perf_counter()
        return (now - self.started - self._upstream_seconds(now)) * 1000

    def close(self, sent_bytes: int = 0) -> RequestRow:
        """Return the finished row; `sent_bytes` of its answer went to the client."""
        now = time.perf_counter()
        row = self.row
        if row.hold is not None and row.usage is None and self.owing and self.estimate_usage is not None:
            row.estimated_usage = self.estimate_usage(sent_bytes)
        row.latency = (now - self.started) * 1000
        row.response_time = row.request_time + row.latency / 1000
        waited = self._upstream_seconds(now)
        row.overhead_ms = row.latency - waited * 1000
        row.billed = row.billed and self._sent_at is not None
        row.upstream_ms = waited * 1000 if self._sent_at is not None else None
        if self._first_byte_at is not None:
            row.first_byte_ms = (self._first_byte_at - self.started) * 1000
        return row

    def _upstream_seconds(self, now: float) -> float:
        if self._sent_at is None:
            return 0.0
        return (self._received_at if self._received_at is not None else now) - self._sent_at
