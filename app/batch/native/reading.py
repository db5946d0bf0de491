"""Reads the results of a vendor's batch as they come, and writes them in bulk: nothing is ever held whole."""

import asyncio
from contextlib import aclosing
from functools import partial

from app.batch.native.remote import Door, Vendors
from app.batch.native.request_store import find_requests, finish_native
from app.batch.native.results import conclude, find_key
from app.batch.native.types import NativeBatch, Run
from app.batch.types import Key
from app.gateway.parts import Parts
from app.providers.batches import LineReader, RemoteResult

TOGETHER = 100
TOGETHER_BYTES = 8 * 2**20
LINE_BYTES = 64 * 2**20


class Reader:
    """Reads the results of one vendor's batch. `ours` is how many lines were of requests that it holds."""

    def __init__(self, native: NativeBatch, run: Run, parts: Parts) -> None:
        self._native = native
        self._run = run
        self._parts = parts
        self._found: dict[Key, RemoteResult] = {}
        self._size = 0
        self.ours = 0

    async def read(self, vendors: Vendors, door: Door, path: str) -> None:
        """Write the results that are in one file. Raises AgainError when it breaks off."""
        lines = LineReader(LINE_BYTES)
        async with aclosing(vendors.stream_results(door, path)) as pieces:
            async for piece in pieces:
                for line in lines.feed(piece):
                    await self._take(door, line)
        for line in lines.close():
            await self._take(door, line)
        await self._write()

    async def _take(self, door: Door, line: bytes) -> None:
        result = door.protocol.read_result(line)
        key = find_key(result) if result is not None else None
        if result is None or key is None:
            return
        self._found.setdefault(key, result)
        self._size += len(line)
        if len(self._found) >= TOGETHER or self._size >= TOGETHER_BYTES:
            await self._write()

    async def _write(self) -> None:
        found, self._found, self._size = self._found, {}, 0
        if not found:
            return
        native = self._native
        requests = await self._run(partial(find_requests, native_id=native.id, keys=list(found)))
        self.ours += len(requests)
        pairs = [(found[key], request) for key, request in requests.items()]
        done = await conclude(pairs, native.id, native.group, self._parts)
        if done:
            await self._run(partial(finish_native, native=native, done=done))
        await asyncio.sleep(0)  # requests wait for the same loop
