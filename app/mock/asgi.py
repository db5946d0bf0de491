"""The mock's edge: a request that was read, a reply to send, and the sending with every misbehaviour asked for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import msgspec

from app.mock.behaviour import PLAIN, Behaviour
from app.mock.errors import MockError, Vendor

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

_PIECE = 65_536
_MAX_BODY = 64 * 1024 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose body has arrived; header names are in lower case."""

    id: str
    vendor: Vendor
    method: str
    path: str
    query: dict[str, str]
    headers: dict[bytes, bytes]
    body: bytes

    def get_segment(self, index: int) -> str:
        """Return a part of the path, counted from 0 at `v1`."""
        return self.path.split("/")[index + 1]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What to answer: a body, or events each sent as a message of its own; `error_event` is the dialect's."""

    status: int = 200
    headers: tuple[Header, ...] = (JSON,)
    body: bytes = b""
    events: Iterator[bytes] | None = None
    error_event: bytes = b""
    behaviour: Behaviour = PLAIN


class ClientGoneError(Exception):
    """The client hung up while its request was read or answered."""


def build_json(value: Any, *, status: int = 200, behaviour: Behaviour = PLAIN) -> Reply:
    """Return a JSON reply."""
    return Reply(status=status, body=msgspec.json.encode(value), behaviour=behaviour)


async def read_body(receive: Receive) -> bytes:
    """Return the whole request body."""
    message = await receive()
    body = bytearray(message.get("body", b""))
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MAX_BODY:
            raise MockError("The request body is larger than 64 MiB.", status=413)
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return bytes(body)


class Connection:
    """The client's side of one exchange: what is sent to it, and whether it is still there.

    The listening task starts with the first wait, so an answer that goes out at once costs nothing.
    """

    def __init__(self, receive: Receive, send: Send, hang_up: Callable[[], None] | None) -> None:
        self._receive = receive
        self._send = send
        self._hang_up = hang_up
        self._listener: asyncio.Task[None] | None = None

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def wait(self, seconds: float | None) -> None:
        """Sleep (None: for ever); raise ClientGoneError as soon as the client leaves."""
        listener = self._watch()
        if seconds == 0:
            await asyncio.sleep(0)
        else:
            await asyncio.wait((listener,), timeout=seconds)
        if listener.done():
            raise ClientGoneError

    def _watch(self) -> asyncio.Task[None]:
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        return self._listener

    async def start(self, status: int, headers: list[Header]) -> None:
        """Send the head of the answer."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def break_off(self) -> None:
        """Close the connection although the answer is not complete."""
        if self._hang_up is not None:
            self._hang_up()
            await asyncio.wait((self._watch(),), timeout=1)

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.cancel()


async def send_reply(reply: Reply, extra: tuple[Header, ...], connection: Connection) -> str:
    """Send `reply` as its behaviour wants; return completed or broken, or raise ClientGoneError."""
    wish = reply.behaviour
    if reply.events is None and wish.is_plain and len(reply.body) <= _PIECE:
        length = (b"content-length", str(len(reply.body)).encode())
        await connection.start(reply.status, [*reply.headers, length, *extra])
        await connection.write(reply.body, more=False)
        return "completed"
    if wish.fault == "hang":
        await connection.wait(None)
    if wish.delay_ms:
        await connection.wait(wish.delay_ms / 1000)
    if wish.fault == "drop":
        await connection.break_off()
        return "broken"
    if reply.events is None:
        return await _send_body(reply, extra, connection)
    return await _send_events(reply, reply.events, extra, connection)


async def _send_body(reply: Reply, extra: tuple[Header, ...], connection: Connection) -> str:
    body, wish = reply.body, reply.behaviour
    length = (b"content-length", str(len(body)).encode())
    await connection.start(reply.status, [*reply.headers, length, *extra])
    if wish.cut_after is not None or wish.stall_after is not None:
        await connection.write(body[: len(body) // 2])
        if wish.stall_after is not None:
            await connection.wait(None)
        await connection.break_off()
        return "broken"
    for start in range(0, len(body), _PIECE):
        await connection.write(body[start : start + _PIECE])
        await connection.wait(0)
    await connection.write(b"", more=False)
    return "completed"


async def _send_events(reply: Reply, events: Iterator[bytes], extra: tuple[Header, ...], connection: Connection) -> str:
    wish = reply.behaviour
    ends = {wish.cut_after: "cut", wish.stall_after: "stall", wish.end_after: "end", wish.error_after: "error"}
    pause = wish.chunk_ms / 1000
    await connection.start(reply.status, [*reply.headers, *extra])
    for index, event in enumerate(_hold_last_back(events) if wish.no_done else events):
        if index:
            await connection.wait(pause)
        end = ends.get(index)
        if end is not None and await _end_early(end, reply, connection):
            return "broken"
        if end is not None:
            break
        await connection.write(event)
    await connection.write(b"", more=False)
    return "completed"


async def _end_early(end: str, reply: Reply, connection: Connection) -> bool:
    """Do what `end` names; return whether the connection was broken."""
    if end == "cut":
        await connection.break_off()
        return True
    if end == "stall":
        await connection.wait(None)
    if end == "error":
        await connection.write(reply.error_event)
    return False


def _hold_last_back(events: Iterator[bytes]) -> Iterator[bytes]:
    held: bytes | None = None
    for event in events:
        if held is not None:
            yield held
        held = event
