"""Calls with an Idempotency-Key: made once, and answered again from what the first one came to."""

import asyncio
import hashlib
import time
from functools import partial
from uuid import UUID

import msgspec
import psycopg

from app.cache.idempotent_store import Ending, Found, Started, abandon_calls, begin_call, end_call
from app.db.connection import DatabaseAwayError, PatientConnection
from app.errors import BadRequestError, ConflictError, RelayError, UnavailableError
from app.wire.http import Headers
from app.wire.ids import make_uuid7

KEPT_SECONDS = 24 * 3600.0
MAX_KEPT_BYTES = 4 * 2**20
MAX_KEY_LENGTH = 255
MAX_UNSAVED_BYTES = 64 * 2**20

BEGIN_SECONDS = 1.0
END_SECONDS = 1.0
CATCH_UP_SECONDS = 5.0
AGAIN_SECONDS = 0.5
LOST_SECONDS = 60.0
"""How long a call that could not be begun is looked for once the database answers: it may come to it late."""

SESSION_OPTIONS = "-c statement_timeout=3s"
"""Nobody waits that long."""

TURNS = 5

KEY = "Idempotency-Key"
RETRY_SOON = ((b"retry-after", b"1"),)
DO_NOT_RETRY = ((b"x-should-retry", b"false"),)
AWAY = "The Idempotency-Key cannot be checked: the database is away. Nothing was sent to a provider."


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of the first call with a key; `request_id` is that call's."""

    status: int
    headers: Headers
    body: bytes
    request_id: str


class Lost(msgspec.Struct, kw_only=True):
    """A call that was not begun as far as we know; it is looked for `since` the database answered first."""

    started: Started
    since: float | None = None


class IdempotentCalls:
    """The keys as this process's calls meet them. `process_id` is that of its lease: who has none is dead."""

    def __init__(self, database_url: str, process_id: UUID) -> None:
        self._process_id = process_id
        self._begins = PatientConnection(database_url, name="relaycore idempotency", options=SESSION_OPTIONS)
        self._ends = PatientConnection(database_url, name="relaycore idempotency ends")
        self._unsaved: dict[UUID, Ending] = {}
        self._lost: dict[UUID, Lost] = {}
        self._catching_up: asyncio.Task[None] | None = None

    async def begin(self, scope: bytes, key: str, body: bytes, request_id: str) -> Replay | Started:
        """Return the leave to make the call, or the answer that it had.

        `body` is whatever makes it this call and no other. Raises RelayError when the key stands for another call, for
        one under way or for one whose answer nobody has.
        """
        check_key(key)
        started = Started(scope=scope, key_hash=hashlib.sha256(key.encode()).digest(), token=make_uuid7())
        body_hash = hashlib.sha256(body).digest()
        try:
            for _ in range(TURNS):
                found = await self._ask(started, body_hash, request_id)
                if found is not None:
                    return started if found.state == "started" else read_replay(found)
        except (DatabaseAwayError, psycopg.Error) as error:
            self._lose_begin(started)
            raise UnavailableError(AWAY, headers=RETRY_SOON) from error
        except asyncio.CancelledError:
            self._lose_begin(started)
            raise
        raise in_flight("")

    async def finish(self, started: Started, status: int, headers: Headers, body: bytes | None) -> None:
        """Keep the answer of a call: what it comes to, whenever the key is used again. None: it was too large."""
        if body is None or len(body) > MAX_KEPT_BYTES:
            await self._end(Ending(started=started, state="too_large", status=status))
        else:
            await self._end(Ending(started=started, state="done", status=status, headers=headers, body=body))

    async def abandon(self, started: Started) -> None:
        """Free the key of a call that was not made."""
        await self._end(Ending(started=started, state="free"))

    async def lose(self, started: Started) -> None:
        """Note that the call may have been made and that nobody knows what came of it."""
        await self._end(Ending(started=started, state="unknown"))

    async def close(self) -> None:
        """Save what is not saved yet, as far as the database takes it, and let go of the connections."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)
        await self._save_waiting()
        await self._begins.close()
        await self._ends.close()

    async def _ask(self, started: Started, body_hash: bytes, request_id: str) -> Found | None:
        lost = [token for token, one in self._lost.items() if one.started.key_hash == started.key_hash]
        begin = partial(
            begin_call,
            started=started,
            body_hash=body_hash,
            process_id=self._process_id,
            request_id=request_id,
            seconds=KEPT_SECONDS,
            lost=lost,
        )
        return await self._begins.run(begin, seconds=BEGIN_SECONDS)

    async def _end(self, ending: Ending) -> None:
        """Save how a call ended, now or as soon as the database is back."""
        token = ending.started.token
        waiting = sum(len(one.body) for one in self._unsaved.values())
        if waiting + len(ending.body) > MAX_UNSAVED_BYTES:
            ending = Ending(started=ending.started, state="too_large", status=ending.status)
        self._unsaved[token] = ending
        try:
            await self._save(ending, END_SECONDS)
        finally:
            if token in self._unsaved:
                self._catch_up()

    async def _save(self, ending: Ending, seconds: float) -> bool:
        """Save one ending; False when the database did not take it."""
        try:
            await self._ends.run(partial(end_call, ending=ending), seconds=seconds)
        except DatabaseAwayError:
            return False
        except psycopg.Error:
            pass  # what the database refuses it will refuse again; the row then says what it said
        self._unsaved.pop(ending.started.token, None)
        return True

    def _lose_begin(self, started: Started) -> None:
        """Note that the database may have taken the key for a call that is not made, or may yet do so."""
        self._lost[started.token] = Lost(started=started)
        self._catch_up()

    def _catch_up(self) -> None:
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._save_later())

    async def _save_later(self) -> None:
        while self._unsaved or self._lost:
            await asyncio.sleep(AGAIN_SECONDS)
            await self._save_waiting()

    async def _save_waiting(self) -> None:
        for ending in list(self._unsaved.values()):
            if not await self._save(ending, CATCH_UP_SECONDS):
                return
        await self._free_lost(list(self._lost.values()))

    async def _free_lost(self, lost: list[Lost]) -> None:
        if not lost:
            return
        work = partial(abandon_calls, lost=[one.started for one in lost])
        try:
            freed = await self._ends.run(work, seconds=CATCH_UP_SECONDS)
        except (DatabaseAwayError, psycopg.Error):
            return
        now = time.monotonic()
        for one in lost:
            one.since = one.since or now
            if one.started.token in freed or now - one.since > LOST_SECONDS:
                self._lost.pop(one.started.token, None)


def check_key(key: str) -> None:
    """Raise BadRequestError for a key that cannot be one."""
    if not 0 < len(key) <= MAX_KEY_LENGTH or not (key.isascii() and key.isprintable()):
        raise BadRequestError(f"{KEY} must be 1 to {MAX_KEY_LENGTH} printable ASCII characters.", param=KEY)


def read_replay(found: Found) -> Replay:
    """Return the answer that a key stands for, or raise why there is none."""
    if not found.same_body:
        raise reused()
    if found.state == "done" and found.status is not None:
        return Replay(status=found.status, headers=found.headers, body=found.body, request_id=found.request_id)
    if found.state == "running":
        raise in_flight(found.request_id)
    if found.state == "too_large":
        raise ConflictError(
            f"The call with this {KEY} was made (request {found.request_id}), but its answer was too large to keep.",
            code="idempotency_answer_not_kept",
            param=KEY,
            headers=DO_NOT_RETRY,
        )
    raise ConflictError(
        f"The call with this {KEY} (request {found.request_id}) broke off: it may have been made, and nothing is "
        "known of its answer. To make it anew, use another key.",
        code="idempotency_outcome_unknown",
        param=KEY,
        headers=DO_NOT_RETRY,
    )


def reused() -> RelayError:
    """Return the error for a key that stands for another request."""
    return BadRequestError(
        f"This {KEY} was used for another request: a key stands for one method, path and body.",
        code="idempotency_key_reused",
        param=KEY,
        status=422,
        headers=DO_NOT_RETRY,
    )


def in_flight(request_id: str) -> RelayError:
    """Return the error for a key whose call is under way."""
    which = f" (request {request_id})" if request_id else ""
    return ConflictError(
        f"The call with this {KEY} is under way{which}; its answer will be there when it ends.",
        code="idempotency_in_flight",
        param=KEY,
        headers=RETRY_SOON,
    )
