"""What is to be done next about a vendor's batch: sent, found again after a crash, looked at, stopped, read, ended."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import IO

import msgspec

from app.batch.native.reading import Reader
from app.batch.native.recognizing import recognize
from app.batch.native.remote import AgainError, Door, GoneError, RefusedError, Vendors, find_door
from app.batch.native.request_store import settle_rest
from app.batch.native.store import advance_native, end_native, find_remote
from app.batch.native.types import (
    INPUT,
    RESULTS,
    SEEN,
    STOPPED,
    STOPPED_AT,
    Advance,
    NativeBatch,
    NativeEnd,
    NotOursError,
    Run,
)
from app.batch.native.writing import Writer, Written
from app.gateway.parts import Parts
from app.providers.batches import Remote, list_leftovers, list_result_paths
from app.providers.registry import Provider

MAX_TRIES = 4
MAX_DEAD_ENDS = 2
"""How often in a row a vendor may fail, and how often not answer or not know a batch, before it is done without."""

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
LOOK_SECONDS = 1.0
GROWTH = 0.5
"""A look follows the last one after half of the time that has passed since the batch went out."""

PATIENCE_SECONDS = 600.0
"""How long a vendor may take to stop a batch that somebody cancelled; when its time is over it has less."""

LATE_PATIENCE_SECONDS = 120.0
LATE_PATIENCE_SHARE = 0.25
READING_SHARE = 0.5
"""Shares of the time reserved for direct calls: for a vendor to stop a batch, and until its results are read."""

LEAST_READING_SECONDS, CANCELLED_READING_SECONDS = 5.0, 120.0
"""How long results are read at least, and how long at most once somebody cancelled."""

GRACE_SECONDS = 10.0
"""How long what a process sent that died or froze over it may be on its way."""

NOT_SENT = "it was never sent"
NO_PROVIDER = "the provider is not configured any more"
NOT_STOPPED = "the vendor did not stop it in time"

UNSURE = (AgainError, GoneError, RefusedError)


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A batch is to be looked at again after a while; `tries` is how often in a row it failed by now."""

    wait_seconds: float
    tries: int = 0


class Steps:
    """The next step of a vendor's batch. `refused`: its provider refused another one in the meantime.

    Once `over` is true there is only left to tidy up at the vendor.
    """

    def __init__(self, native: NativeBatch, run: Run, parts: Parts, *, refused: bool) -> None:
        self.native = native
        self.over = False
        self._refused = refused
        self._begun_at = time.monotonic()
        self._run = run
        self._parts = parts
        self._vendors = Vendors(parts.upstream)

    async def take(self) -> Again | None:
        """Do what is due; None: the batch is over. Raises NotOursError and DatabaseAwayError."""
        provider = self._parts.catalog.current.providers.get(self.native.group.provider)
        door = find_door(provider, self.native.protocol, self.native.key_place, self.native.passed)
        if provider is None or door is None:
            return await self._end("cancelled", NO_PROVIDER)
        match self.native.state:
            case "planned" | "sending":
                return await self._bring_out(provider, door)
            case "sent":
                return await self._look(door, self.native.remote_id or "")
            case _:
                return await self._read(door, self.native.remote_files.get(RESULTS) or ())

    async def _bring_out(self, provider: Provider, door: Door) -> Again | None:
        """Send it, or find out whether it was sent: for as long as it may be waited for, then the rest is decided."""
        native = self.native
        try:
            async with asyncio.timeout(None if native.late else native.left_seconds):
                if native.state == "planned":
                    return await self._send(provider)
                return await self._find_again(provider, door)
        except TimeoutError:
            return Again(wait_seconds=0.0, tries=native.tries)

    async def _send(self, provider: Provider) -> Again | None:
        """Write the requests into a file and send it. Nothing of it is ever held whole in memory."""
        native = self.native
        unwanted = native.stops or (self._refused and native.state == "planned")
        if unwanted or native.tries >= MAX_TRIES:
            return await self._end("cancelled" if unwanted else "lost", NOT_SENT)
        place = self._choose_key(provider)
        door = find_door(provider, native.protocol, place, native.passed)
        if door is None:
            return await self._end("cancelled", NO_PROVIDER)
        with tempfile.TemporaryFile() as file:
            written = await Writer(native, door.protocol, self._parts, file).write(self._run)
            if not written.requests:
                return await self._end("done", None)
            try:
                remote = await self._create(door, place, file, written)
            except AgainError as error:
                return await self._try_again(error)
            except (GoneError, RefusedError) as error:
                return await self._end("refused", str(error))
        try:
            return await self._follow(remote)
        except NotOursError:
            await self._disown(door, remote)
            raise

    async def _disown(self, door: Door, remote: Remote) -> None:
        """Stop a batch that came into being after others had sent theirs in its place: it would be paid for nothing."""
        counting = await self._run(partial(find_remote, native_id=self.native.id))
        if counting is not None and counting != remote.id:
            with contextlib.suppress(*UNSURE):
                await self._vendors.cancel(door, remote.id)

    async def _create(self, door: Door, place: int, file: IO[bytes], written: Written) -> Remote:
        """Have the vendor make a batch. From the moment at which it may have one, that it may is on record."""
        native, vendors = self.native, self._vendors
        sending = Advance(state="sending", requests=written.requests, key_place=place, stamp=True)
        if door.protocol.files_path is None:
            await self._advance(sending)
            return await vendors.create_whole(door, file, written.size)
        file_id = await vendors.upload(door, file, written.size)
        await self._advance(msgspec.structs.replace(sending, files={INPUT: file_id}))
        return await vendors.create(door, file_id, written.path, str(native.id))

    async def _find_again(self, provider: Provider, door: Door) -> Again | None:
        """Find out whether the vendor has a batch that nobody knows to have reached it; if not, send it again."""
        try:
            recent = await self._vendors.list_recent(door)
        except AgainError as error:
            return await self._try_again(error)
        except (GoneError, RefusedError):
            recent = []
        found = await recognize(recent, self.native, self._run)
        if found is not None:
            return await self._follow(found)
        if self.native.tries == 0 and self.native.age_seconds < GRACE_SECONDS:
            return Again(wait_seconds=LOOK_SECONDS)
        return await self._send(provider)

    async def _follow(self, remote: Remote) -> Again | None:
        await self._advance(Advance(state="sent", remote_id=remote.id, stamp=True))
        return Again(wait_seconds=LOOK_SECONDS)

    async def _look(self, door: Door, remote_id: str) -> Again | None:
        native = self.native
        try:
            if native.stops:
                await self._stop(door, remote_id)
            remote = await self._vendors.look(door, remote_id)
        except UNSURE as error:
            return await self._look_again(error)
        return await self._act_on(remote, door)

    async def _look_again(self, error: AgainError | GoneError | RefusedError) -> Again | None:
        """Put up with failures of a vendor that is known to have the batch; what says that it has not counts."""
        seen = self.native.remote_files.get(SEEN)
        match error:
            case AgainError() if seen or not error.hung:
                return await self._wait(error.wait_seconds, self.native.tries)
            case AgainError():
                return await self._try_again(error)
            case GoneError():
                return await self._try_again(AgainError(str(error)), MAX_DEAD_ENDS)
            case RefusedError() if seen and self.native.tries + 1 < MAX_TRIES:
                return await self._wait(None, self.native.tries + 1)
            case RefusedError():
                return await self._try_again(AgainError(str(error)))

    async def _act_on(self, remote: Remote, door: Door) -> Again | None:
        if remote.state == "working":
            if not self.native.remote_files.get(SEEN):
                await self._advance(Advance(state="sent", files={SEEN: True}))
            return await self._wait(None)
        if remote.state == "failed":
            return await self._end("lost", f"the vendor failed it: {remote.error or 'no reason given'}")
        await self._advance(Advance(state="ended", files={RESULTS: list(remote.files)}))
        return await self._read(door, remote.files)

    async def _stop(self, door: Door, remote_id: str) -> None:
        """Tell the vendor to stop, until it has heard it. It may refuse because there is nothing left to stop."""
        native = self.native
        if native.stopped_seconds is None:
            await self._advance(Advance(state="sent", files={STOPPED_AT: native.now}))
        if not native.remote_files.get(STOPPED):
            with contextlib.suppress(*UNSURE):
                await self._vendors.cancel(door, remote_id)
                await self._advance(Advance(state="sent", files={STOPPED: True}))

    async def _wait(self, asked_seconds: float | None, tries: int = 0) -> Again | None:
        """Look again after a while that grows; a vendor that does not stop in time is not waited for."""
        native, config = self.native, self._parts.catalog.current.batch
        stopped, patience = native.stopped_seconds, PATIENCE_SECONDS
        if native.late:
            patience = min(LATE_PATIENCE_SECONDS, config.reserve_seconds * LATE_PATIENCE_SHARE)
        if stopped is not None and stopped > patience:
            return await self._end("cancelled", NOT_STOPPED)
        if native.stops:
            return Again(wait_seconds=LOOK_SECONDS, tries=tries)
        wait = min(max(LOOK_SECONDS, native.age_seconds * GROWTH), config.poll_seconds)
        return Again(wait_seconds=max(wait, asked_seconds or 0.0), tries=tries)

    async def _read(self, door: Door, files: Sequence[str]) -> Again | None:
        """Write the results, and have what got none called directly."""
        native, reader = self.native, Reader(self.native, self._run, self._parts)
        remote_id = native.remote_id or ""
        try:
            async with asyncio.timeout(self._find_reading_seconds()):
                for path in list_result_paths(door.protocol, remote_id, files):
                    await reader.read(self._vendors, door, path)
        except AgainError as error:
            if native.tries + 1 < MAX_TRIES:
                return self._build_again(error)
        except (GoneError, RefusedError, TimeoutError):
            pass  # what could not be read is called directly
        await self._parts.cache.flush()  # those who ask the same find the answers there
        await self._end("cancelled" if native.stops else "done", None, counts=True)
        if reader.ours:
            await self._tidy(door, list_leftovers(door.protocol, remote_id, self._list_files(files)))
        return None

    def _find_reading_seconds(self) -> float:
        """Return how long results may still be read, so that there is time left for direct calls of the rest."""
        reserve = self._parts.catalog.current.batch.reserve_seconds
        left = self.native.left_seconds + reserve * READING_SHARE - (time.monotonic() - self._begun_at)
        return min(max(left, LEAST_READING_SECONDS), CANCELLED_READING_SECONDS if self.native.cancel_asked else inf)

    def _list_files(self, files: Sequence[str]) -> list[str]:
        sent = self.native.remote_files.get(INPUT)
        return [*files, *([sent] if sent is not None else [])]

    async def _tidy(self, door: Door, paths: Sequence[str]) -> None:
        for path in paths:
            with contextlib.suppress(*UNSURE):
                await self._vendors.delete(door, path)

    async def _end(self, state: NativeEnd, error: str | None, *, counts: bool = False) -> None:
        await self._run(partial(settle_rest, native=self.native, counts=counts))
        await self._run(partial(end_native, native=self.native, state=state, error=error))
        self.over = True

    async def _advance(self, step: Advance) -> None:
        await self._run(partial(advance_native, native=self.native, step=step))

    def _choose_key(self, provider: Provider) -> int:
        """Return the place of the key to use: keys take turns, and what was refused rests."""
        key = self._parts.routing.keys.find(provider.name, provider.api_keys, time.monotonic())
        return provider.api_keys.index(key) if key is not None else 0

    async def _try_again(self, error: AgainError, most: int = MAX_TRIES) -> Again | None:
        """Try it again after a while, if it did not fail too often; a vendor that hangs is left alone by the next."""
        if self.native.tries + 1 < (MAX_DEAD_ENDS if error.hung else most):
            return self._build_again(error)
        return await self._end("refused" if error.hung else "lost", str(error))

    def _build_again(self, error: AgainError) -> Again:
        tries = self.native.tries
        wait = 0.0 if error.hung else min(FIRST_WAIT_SECONDS * 2**tries, LONGEST_WAIT_SECONDS)
        return Again(wait_seconds=max(wait, error.wait_seconds or 0.0), tries=tries + 1)
