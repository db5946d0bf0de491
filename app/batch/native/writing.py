"""The file of a vendor's batch: what is answered already or belongs elsewhere is left out, nothing is in it twice."""

import asyncio
from functools import partial
from typing import IO

import msgspec

from app.batch.native.calls import Prepared, look_up, prepare
from app.batch.native.request_store import find_requests, finish_native, let_go, list_keys, mark_sent, unsend
from app.batch.native.types import NativeBatch, NativeRequest, Run
from app.batch.types import Done, Key
from app.errors import RelayError
from app.gateway.parts import Parts
from app.providers.batches import BatchProtocol, build_custom_id

PAGE_REQUESTS = 64


class Written(msgspec.Struct, kw_only=True):
    """How much is in the file so far, and the path at the vendor to which all of it goes. `full`: no more fits."""

    requests: int = 0
    size: int = 0
    path: str = ""
    full: bool = False


class _Page(msgspec.Struct, kw_only=True):
    """What is to be done about the requests of one page."""

    hits: list[Done] = []
    direct: list[Key] = []
    later: list[Key] = []
    sent: list[Key] = []
    data: bytearray = msgspec.field(default_factory=bytearray)


class Writer:
    """Writes the requests of one vendor's batch, a page of them at a time, and says of each what becomes of it."""

    def __init__(self, native: NativeBatch, protocol: BatchProtocol, parts: Parts, file: IO[bytes]) -> None:
        self._native = native
        self._protocol = protocol
        self._parts = parts
        self._file = file
        self._seen: set[bytes] = set()
        self.written = Written(size=len(protocol.envelope.head))

    async def write(self, run: Run) -> Written:
        """Write them all, and return what is in the file. Raises NotOursError."""
        native, envelope = self._native, self._protocol.envelope
        await run(partial(unsend, native=native))
        self._file.write(envelope.head)
        keys = await run(partial(list_keys, native_id=native.id))
        for start in range(0, len(keys), PAGE_REQUESTS):
            some = keys[start : start + PAGE_REQUESTS]
            page = (await run(partial(find_requests, native_id=native.id, keys=some))).values()
            judged = await asyncio.gather(*(self._judge(request) for request in page))
            found = _Page()
            for request, verdict in zip(page, judged, strict=True):
                if isinstance(verdict, Done):
                    found.hits.append(verdict)
                elif verdict is None:
                    found.direct.append(request.key)
                else:
                    self._add(verdict, found)
            await self._settle(found, run)
        await asyncio.to_thread(self._file.write, envelope.tail)
        self.written.size += len(envelope.tail)
        return self.written

    async def _judge(self, request: NativeRequest) -> Prepared | Done | None:
        """Return a request as it goes out, its result where there is one already, None where it is called directly."""
        try:
            prepared = await prepare(request, self._native.group, self._parts)
        except RelayError:
            return None
        return await look_up(prepared, self._native.id, self._parts) or prepared

    def _add(self, prepared: Prepared, found: _Page) -> None:
        """Put a request into the file, if it is the first of its kind and there is room."""
        key, written, protocol = prepared.request.key, self.written, self._protocol
        shared = prepared.shared_key if prepared.policy.ttl_seconds > 0 else None
        if shared is not None and shared in self._seen:
            return
        line = protocol.write_request(build_custom_id(*key), prepared.path, prepared.body)
        size = len(line) + len(protocol.envelope.between)
        if len(protocol.envelope.head) + size + len(protocol.envelope.tail) > protocol.max_bytes:
            found.direct.append(key)
            return
        room = protocol.max_bytes - len(protocol.envelope.tail) - written.size
        if written.full or size > room or written.requests >= protocol.max_requests or not self._fits(prepared.path):
            written.full = True
            found.later.append(key)
            return
        if written.requests:
            found.data += protocol.envelope.between
        found.data += line
        found.sent.append(key)
        written.requests += 1
        written.size += size if written.requests > 1 else len(line)
        if shared is not None:
            self._seen.add(shared)

    def _fits(self, path: str) -> bool:
        """Return whether a request goes where the others go."""
        self.written.path = self.written.path or path
        return self.written.path == path

    async def _settle(self, found: _Page, run: Run) -> None:
        native = self._native
        if found.hits:
            await run(partial(finish_native, native=native, done=found.hits))
        if found.direct:
            await run(partial(let_go, native=native, keys=found.direct))
        if found.later:
            await run(partial(let_go, native=native, keys=found.later, place="pooled"))
        if found.sent:
            await run(partial(mark_sent, native=native, keys=found.sent))
            await asyncio.to_thread(self._file.write, bytes(found.data))
