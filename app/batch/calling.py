"""One request of a batch on its way through the gateway: the same way as a client's call, and what comes of it."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import msgspec

from app.access.types import Caller
from app.analytics.rows import build_priced_row
from app.batch.intake import check_endpoint
from app.batch.judging import STALE_SECONDS, UNKNOWN, build_again, build_broken, is_limited, judge
from app.batch.pace import Pace
from app.batch.types import Again, Done, Work
from app.errors import Dialect, RelayError, UnauthenticatedError, write_error
from app.gateway.inner import Inside, InsideAnswer, build_call
from app.gateway.money import read_ceiling
from app.gateway.options import Options
from app.gateway.parts import Parts
from app.gateway.paths import find_route
from app.gateway.pipeline import relay
from app.providers.registry import VENDORS
from app.wire.money import Hold

KEY_GONE = "The API key that sent this batch was revoked, or its user is gone."

FindCaller = Callable[[UUID, UUID | None], Caller | None]
"""Returns who sends calls now in the name of a user and key; None when nobody may any more."""


class Calling:
    """Makes the calls of batches."""

    def __init__(self, parts: Parts, find_caller: FindCaller, pace: Pace) -> None:
        self._parts = parts
        self._find_caller = find_caller
        self._pace = pace

    async def call(self, work: Work, unwanted: Callable[[], str | None]) -> Done | Again:
        """Return the result of a request, or that it is to be tried again.

        `unwanted` says why the task was cancelled: "cancelled" or "expired"; None lets the cancellation through.
        """
        caller = self._find_caller(work.user_id, work.api_key_id)
        if caller is None:
            return self._doubt(work, UnauthenticatedError(KEY_GONE, code="key_revoked"))
        try:
            call = build_call(as_batch(caller), work.path, work.body, self._parts, without_retries(work.options))
            check_endpoint(call)
        except RelayError as error:
            return self._doubt(work, error)
        inside = Inside(call, self._parts, tags=work.tags, hold=self._complete(work.hold))
        provider = work.provider or ""
        self._pace.begin(provider)
        try:
            await inside.run(relay)
        except asyncio.CancelledError:
            why = unwanted()
            if why is None:
                raise
            stopped = self._build_done(work, inside.end())
            return build_broken(work, cancelled=why == "cancelled", answer=stopped)
        finally:
            self._pace.end(provider)
        return self._conclude(work, inside.end(), provider)

    def _conclude(self, work: Work, answer: InsideAnswer, provider: str) -> Done | Again:
        verdict, wait = judge(answer, work.tries, self._parts.catalog.current.batch)
        if is_limited(answer):
            self._pace.slow_down(provider, wait, asyncio.get_running_loop().time())
        elif answer.row.attempts and answer.status < 500:
            self._pace.succeed(provider)
        if verdict == "done":
            return self._build_done(work, answer)
        if answer.row.hold is not None and answer.row.hold.kind != "batch":  # for this call alone: its line frees it
            self._parts.recorder.record(answer.row)
        return build_again(work, wait, counts=verdict == "again")

    def _complete(self, hold: Hold | None) -> Hold | None:
        """Return what is held for a request, with what it is priced at should its model have no price."""
        ceiling = read_ceiling(self._parts.catalog.current.budgets)
        return hold if hold is None or ceiling is None else msgspec.structs.replace(hold, ceiling=ceiling)

    def _build_done(self, work: Work, answer: InsideAnswer) -> Done:
        return Done(
            batch_id=work.batch_id,
            position=work.position,
            attempt=work.attempt,
            outcome="succeeded" if 200 <= answer.status < 300 and answer.row.error_type is None else "errored",
            status_code=answer.status or None,
            code=answer.row.error_type,
            body=answer.body,
            priced=build_priced_row(answer.row, self._parts.catalog.find_lines),
            hold=answer.row.hold,
        )

    def _doubt(self, work: Work, error: RelayError) -> Done | Again:
        """Return that a request is to be tried once more where what this process knows may be old, else its result."""
        if work.tries == 0 and error.status in UNKNOWN:
            return build_again(work, STALE_SECONDS, counts=True)
        return self._refuse(work, error)

    def _refuse(self, work: Work, error: RelayError) -> Done:
        """Return the result of a request that is no call any more."""
        route = find_route(work.path, self._parts.catalog.current.providers.keys() | VENDORS.keys())
        dialect = route.dialect if route.endpoint is not None else Dialect.OPENAI
        return Done(
            batch_id=work.batch_id,
            position=work.position,
            attempt=work.attempt,
            outcome="errored",
            status_code=error.status,
            code=error.kind,
            body=write_error(error, dialect, ""),
            hold=work.hold,
        )


def as_batch(caller: Caller) -> Caller:
    """Return a caller whose calls leave others the share of the limits that interactive ones keep."""
    return msgspec.structs.replace(caller, priority="batch")


def without_retries(options: Options) -> Options:
    """Return what a call asks, but that it is repeated here, where it waits for nobody, and not on its way."""
    return msgspec.structs.replace(options, max_retries=0)
