"""What is said to vendors about batches: uploads, creations, looks, ends and results."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import IO, Any
from urllib.parse import urlencode

import msgspec

from app.errors import UpstreamFailure
from app.gateway.headers import build_upstream_headers
from app.gateway.options import NOTHING_PASSED, Passed
from app.gateway.passed import build_sent, list_passed
from app.providers.batches import (
    BATCH_PROTOCOLS,
    BatchProtocol,
    Remote,
    build_create_body,
    judge_status,
    read_file_id,
)
from app.providers.registry import Provider
from app.routing.failure import find_wait
from app.upstream import Incoming, Limits, Outgoing, Upstream
from app.wire.http import Headers

QUICK = Limits(first_byte_seconds=10, idle_seconds=10, total_seconds=10, max_body_bytes=16 * 2**20)
LARGE = Limits(first_byte_seconds=60, idle_seconds=30, total_seconds=3600, max_body_bytes=16 * 2**30)
UPLOAD_BYTES_PER_SECOND = 4 * 2**20
"""How much of an upload its vendor reads in a second before it answers, at least, beyond what any answer takes."""

PIECE_BYTES = 256 * 1024
PAGES = 3
JSON_HEADERS: Headers = [(b"content-type", b"application/json")]
ODD = "its answer cannot be read"


class RefusedError(Exception):
    """A vendor does not take batches, or not this one."""


class GoneError(Exception):
    """A vendor does not know what it is asked about."""


class AgainError(Exception):
    """A vendor failed, or wants to be left alone for a while; what was asked may be done or not."""

    def __init__(self, message: str, wait_seconds: float | None = None, *, hung: bool = False) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        self.hung = hung


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's batches, the key by which they are asked for, and what is said to it beside."""

    provider: Provider
    protocol: BatchProtocol
    key: str
    passed: Passed = NOTHING_PASSED

    @property
    def base_url(self) -> str:
        """Where the paths of the protocol begin."""
        return self.provider.base_urls[self.protocol.dialect]

    def build_headers(self, lines: Headers) -> Headers:
        """Return the header lines of a request: ours and the credential."""
        lines, sent = [*lines, *list_passed(self.passed)], build_sent(self.passed)
        return build_upstream_headers(lines, sent, self.provider, self.protocol.dialect, self.key)


class Vendors:
    """The vendors as far as batches go. Every method may raise AgainError, RefusedError and GoneError."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def upload(self, door: Door, file: IO[bytes], size: int) -> str:
        """Upload the requests of a batch, and return the id of the file."""
        found = read_file_id(await self._send_file(door, door.protocol.files_path or "", file, size))
        if found is None:
            raise RefusedError(ODD)
        return found

    async def create(self, door: Door, file_id: str, path: str, mark: str) -> Remote:
        """Create a batch out of an uploaded file."""
        body = build_create_body(file_id, path, mark)
        return self._read(door, await self._ask(door, "POST", door.protocol.batches_path, body))

    async def create_whole(self, door: Door, file: IO[bytes], size: int) -> Remote:
        """Create a batch with all of its requests."""
        return self._read(door, await self._send_file(door, door.protocol.batches_path, file, size))

    async def look(self, door: Door, remote_id: str) -> Remote:
        """Return how a batch stands."""
        return self._read(door, await self._ask(door, "GET", f"{door.protocol.batches_path}/{remote_id}"))

    async def cancel(self, door: Door, remote_id: str) -> None:
        """Have a batch stopped."""
        await self._ask(door, "POST", f"{door.protocol.batches_path}/{remote_id}/cancel")

    async def list_recent(self, door: Door) -> list[Remote]:
        """Return the newest batches of the provider's, those of others among them."""
        found: list[Remote] = []
        query: dict[str, Any] = {"limit": 100}
        for _ in range(PAGES):
            path = f"{door.protocol.batches_path}?{urlencode(query)}"
            page = door.protocol.read_batches(await self._ask(door, "GET", path))
            found += page
            if len(page) < 100:
                break
            query["after_id" if door.protocol.files_path is None else "after"] = page[-1].id
        return found

    async def stream_results(self, door: Door, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a file of results as it comes."""
        incoming = await self._open(Outgoing(**self._address(door, "GET", path, []), limits=LARGE))
        try:
            async for piece in incoming.chunks():
                yield piece
        except UpstreamFailure as failure:
            raise _build_again(failure) from failure
        finally:
            incoming.close()

    async def delete(self, door: Door, path: str) -> None:
        """Have something of ours deleted."""
        await self._ask(door, "DELETE", path)

    async def _send_file(self, door: Door, path: str, file: IO[bytes], size: int) -> bytes:
        address = self._address(door, "POST", path, [(b"content-type", door.protocol.envelope.content_type)])
        address["headers"].append((b"content-length", b"%d" % size))
        return await self._read_whole(Outgoing(**address, body=stream_file(file), limits=find_upload_limits(size)))

    async def _ask(self, door: Door, method: str, path: str, body: bytes = b"") -> bytes:
        address = self._address(door, method, path, JSON_HEADERS if body else [])
        return await self._read_whole(Outgoing(**address, body=body, limits=QUICK))

    async def _read_whole(self, outgoing: Outgoing) -> bytes:
        incoming = await self._open(outgoing)
        try:
            return await incoming.read()
        except UpstreamFailure as failure:
            raise _build_again(failure) from failure
        finally:
            incoming.close()

    async def _open(self, outgoing: Outgoing) -> Incoming:
        """Return a good answer whose headers have come. What the vendor says beside its status is nobody's business."""
        try:
            incoming = await self._upstream.send(outgoing)
        except UpstreamFailure as failure:
            raise _build_again(failure) from failure
        verdict = judge_status(incoming.status)
        if verdict == "good":
            return incoming
        incoming.close()
        said = f"status {incoming.status}"
        if verdict == "again":
            raise AgainError(said, find_wait(incoming.headers))
        raise GoneError(said) if verdict == "gone" else RefusedError(said)

    def _address(self, door: Door, method: str, path: str, lines: Headers) -> dict[str, Any]:
        return {"method": method, "url": door.base_url + path, "headers": door.build_headers(lines)}

    def _read(self, door: Door, body: bytes) -> Remote:
        found = door.protocol.read_batch(body)
        if found is None:
            raise RefusedError(ODD)
        return found


def find_upload_limits(size: int) -> Limits:
    """Return how long an upload may take: as long as it moves, and then as long as its vendor needs to read it."""
    patience = min(LARGE.first_byte_seconds, QUICK.first_byte_seconds + size / UPLOAD_BYTES_PER_SECOND)
    return msgspec.structs.replace(LARGE, first_byte_seconds=patience)


def _build_again(failure: UpstreamFailure) -> AgainError:
    return AgainError(failure.kind, hung=failure.kind.endswith("_timeout"))


async def stream_file(file: IO[bytes]) -> AsyncIterator[bytes]:
    """Yield a file from its beginning."""
    await asyncio.to_thread(file.seek, 0)
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece


def find_door(provider: Provider | None, protocol_name: str, key_place: int, passed: Passed) -> Door | None:
    """Return a provider's batches by the key at some place; None when it has none any more."""
    protocol = BATCH_PROTOCOLS.get(protocol_name)
    if provider is None or protocol is None or protocol.dialect not in provider.base_urls:
        return None
    keys = provider.api_keys or ("",)
    return Door(provider=provider, protocol=protocol, key=keys[min(key_place, len(keys) - 1)], passed=passed)
