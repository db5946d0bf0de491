"""A provider that does to a call what the call's model is named after."""

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from typing import NamedTuple

from tests.upstream.faulty import Peer, Server, serve


class Asked(NamedTuple):
    """One request: its dialect, whether it wants a stream, and the server's end of the connection."""

    anthropic: bool
    streamed: bool
    peer: Peer

    @property
    def kind(self) -> bytes:
        return b"content-type: text/event-stream\r\n" if self.streamed else b"content-type: application/json\r\n"

    async def answer(self, body: bytes, status: str = "200 OK", lines: bytes = b"") -> None:
        await self.peer.answer(body, status=status, lines=lines or self.kind)

    def good(self) -> bytes:
        return b"".join(EVENTS[self.anthropic]) if self.streamed else WHOLE[self.anthropic]


Behaviour = Callable[[Asked], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}


class CloseError(ConnectionError):
    """The behaviour ends with the connection."""


def _event(data: dict, anthropic: bool = False) -> bytes:
    name = f"event: {data['type']}\n" if anthropic else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def _chunk(delta: dict, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


_MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
_USAGE = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
_TEXT = {"role": "assistant", "content": "hello"}
WHOLE = {
    False: json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": _TEXT, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
    ).encode(),
    True: json.dumps(
        {
            **_MESSAGE,
            "content": [{"type": "text", "text": "hello"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 1},
        }
    ).encode(),
}
EVENTS = {
    False: [
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": "hello"}),
        _chunk({}, "stop"),
        _event({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": _USAGE}),
        b"data: [DONE]\n\n",
    ],
    True: [
        _event(
            {"type": "message_start", "message": {**_MESSAGE, "usage": {"input_tokens": 5, "output_tokens": 1}}}, True
        ),
        _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, True),
        _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}}, True),
        _event({"type": "content_block_stop", "index": 0}, True),
        _event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}, True),
        _event({"type": "message_stop"}, True),
    ],
}


def error_body(anthropic: bool, kind: str, message: str, code: str | None = None) -> bytes:
    if anthropic:
        return json.dumps({"type": "error", "error": {"type": code or kind, "message": message}}).encode()
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def _refuse(name: str, status: str, kind: str, message: str, code: str | None = None, lines: bytes = b"") -> None:
    async def behave(asked: Asked) -> None:
        wait = lines.replace(b"{date}", formatdate(usegmt=True).encode())
        head = b"content-type: application/json\r\n" + wait
        await asked.answer(error_body(asked.anthropic, kind, message, code), status, head)

    BEHAVIOURS[name] = behave


def _answer(name: str, status: str, body: bytes, lines: bytes) -> None:
    async def behave(asked: Asked) -> None:
        await asked.answer(body, status, lines)

    BEHAVIOURS[name] = behave


def _behaviour(name: str) -> Callable[[Behaviour], Behaviour]:
    def note(behave: Behaviour) -> Behaviour:
        BEHAVIOURS[name] = behave
        return behave

    return note


_LIMIT = ("429 Too Many Requests", "rate_limit_error", "slow down")
_refuse("429-no-retry-after", *_LIMIT)
_refuse("429-retry-after-seconds", *_LIMIT, lines=b"retry-after: 0\r\n")
_refuse("429-retry-after-date", *_LIMIT, lines=b"retry-after: {date}\r\n")
_refuse("429-retry-after-ms", *_LIMIT, lines=b"retry-after-ms: 30\r\nretry-after: 9\r\n")
_refuse("429-retry-after-huge", *_LIMIT, lines=b"retry-after: 3600\r\n")
_refuse("429-retry-after-nonsense", *_LIMIT, lines=b"retry-after: soon\r\n")
_refuse("429-quota", "429 Too Many Requests", "insufficient_quota", "no money left", "insufficient_quota")
_refuse("429-spend-limit", "429 Too Many Requests", "rate_limit_error", "limit", "enforced_spend_limit_reached")
_refuse("402", "402 Payment Required", "billing_error", "pay first")
_refuse("401", "401 Unauthorized", "authentication_error", "bad key sk-secret-of-the-house")
_refuse("403-credential", "403 Forbidden", "permission_error", "this API key may not")
_refuse("403-other", "403 Forbidden", "permission_error", "your country is not served")
_refuse("404", "404 Not Found", "invalid_request_error", "no such model")
_refuse("400", "400 Bad Request", "invalid_request_error", "temperature is too high")
_refuse("422", "422 Unprocessable Entity", "invalid_request_error", "wrong type")
_refuse("413", "413 Payload Too Large", "request_too_large", "too large")
_refuse("400-context-window", "400 Bad Request", "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")
_refuse("400-content-policy", "400 Bad Request", "invalid_request_error", "no", "content_policy_violation")
_refuse("408", "408 Request Timeout", "timeout_error", "too slow")
_refuse("409", "409 Conflict", "conflict_error", "again")
_refuse("500-json", "500 Internal Server Error", "api_error", "it broke")
_refuse("503", "503 Service Unavailable", "server_is_overloaded", "busy")
_refuse("504", "504 Gateway Timeout", "timeout_error", "late")
_refuse("529", "529 Overloaded", "overloaded_error", "Overloaded")
_HTML = b"<html><body>Bad gateway</body></html>"
_answer("500-html", "500 Internal Server Error", _HTML, b"content-type: text/html\r\n")
_answer("500-empty", "500 Internal Server Error", b"", b"x-none: 1\r\n")
_answer("502-html", "502 Bad Gateway", _HTML, b"content-type: text/html\r\n")
_answer("200-html", "200 OK", _HTML, b"content-type: text/html\r\n")
_answer("200-empty", "200 OK", b"", b"x-none: 1\r\n")
_answer("200-null", "200 OK", b"null", b"content-type: application/json\r\n")
_answer("redirect", "307 Temporary Redirect", b"", b"location: http://127.0.0.1:1/elsewhere\r\n")


@_behaviour("good")
async def _good(asked: Asked) -> None:
    await asked.answer(asked.good())


@_behaviour("gzip")
async def _gzip(asked: Asked) -> None:
    await asked.answer(gzip.compress(asked.good()), lines=asked.kind + b"content-encoding: gzip\r\n")


_BOMB = gzip.compress(b" " * 2**24)


@_behaviour("gzip-bomb")
async def _gzip_bomb(asked: Asked) -> None:
    await asked.answer(_BOMB, lines=asked.kind + b"content-encoding: gzip\r\n")


@_behaviour("unknown-encoding")
async def _unknown_encoding(asked: Asked) -> None:
    await asked.answer(b"\x1b\x00", lines=asked.kind + b"content-encoding: br\r\n")


@_behaviour("half-json")
async def _half_json(asked: Asked) -> None:
    body = WHOLE[asked.anthropic]
    await asked.answer(body[: len(body) // 2], lines=b"content-type: application/json\r\n")


@_behaviour("too-large")
async def _too_large(asked: Asked) -> None:
    await asked.answer(b'{"a":"' + b"a" * 2**21, lines=b"content-type: application/json\r\n")


@_behaviour("half-chunked")
async def _half_chunked(asked: Asked) -> None:
    await asked.peer.start_chunked(b"content-type: application/json\r\n")
    await asked.peer.send_chunk(WHOLE[asked.anthropic][:60])
    raise CloseError


@_behaviour("length-too-long")
async def _length_too_long(asked: Asked) -> None:
    body = WHOLE[asked.anthropic]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    await asked.peer.send(head % (len(body) + 9) + body)
    raise CloseError


@_behaviour("no-http")
async def _no_http(asked: Asked) -> None:
    await asked.peer.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    raise CloseError


@_behaviour("header-flood")
async def _header_flood(asked: Asked) -> None:
    lines = b"".join(b"x-%d: y\r\n" % number for number in range(5000))
    await asked.peer.send(b"HTTP/1.1 200 OK\r\n" + lines + b"content-length: 0\r\n\r\n")
    raise CloseError


@_behaviour("closed-before-first-byte")
async def _closed(asked: Asked) -> None:
    raise CloseError


@_behaviour("reset-before-first-byte")
async def _reset(asked: Asked) -> None:
    asked.peer.reset()
    raise CloseError


@_behaviour("hang-before-headers")
async def _hang(asked: Asked) -> None:
    await asked.peer.wait_closed()
    raise CloseError


@_behaviour("hang-after-headers")
async def _hang_after_headers(asked: Asked) -> None:
    await asked.peer.start_chunked(asked.kind)
    await _hang(asked)


@_behaviour("drip-headers")
async def _drip_headers(asked: Asked) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500:
        await asked.peer.send(bytes([byte]))
        await asyncio.sleep(0.02)


@_behaviour("drip-body")
async def _drip_body(asked: Asked) -> None:
    await asked.peer.start_chunked(asked.kind)
    for _ in range(500):
        await asked.peer.send_chunk(b" ")
        await asyncio.sleep(0.02)


async def _start(asked: Asked, events: int) -> None:
    await asked.peer.start_chunked(asked.kind)
    for event in EVENTS[asked.anthropic][:events]:
        await asked.peer.send_chunk(event)
    await asyncio.sleep(0.05)


@_behaviour("reset-mid-stream")
async def _reset_mid_stream(asked: Asked) -> None:
    await _start(asked, 2)
    asked.peer.reset()
    raise CloseError


@_behaviour("hang-mid-stream")
async def _hang_mid_stream(asked: Asked) -> None:
    await _start(asked, 2)
    await _hang(asked)


@_behaviour("no-end-marker")
async def _no_end_marker(asked: Asked) -> None:
    await asked.answer(b"".join(EVENTS[asked.anthropic][:-1]))


def _error_event(asked: Asked) -> bytes:
    body = error_body(asked.anthropic, "overloaded_error", "Overloaded")
    return b"event: error\ndata: " + body + b"\n\n" if asked.anthropic else b"data: " + body + b"\n\n"


@_behaviour("error-event-first")
async def _error_event_first(asked: Asked) -> None:
    await asked.answer(_error_event(asked))


@_behaviour("error-event-later")
async def _error_event_later(asked: Asked) -> None:
    await _start(asked, 2)
    await asked.peer.send_chunk(_error_event(asked))
    await asked.peer.send_chunk(b"")


@_behaviour("stream-without-events")
async def _no_events(asked: Asked) -> None:
    await asked.answer(b"")


@_behaviour("garbage-stream")
async def _garbage(asked: Asked) -> None:
    await asked.answer(bytes(range(1, 256)) * 20)


@_behaviour("garbage-events")
async def _garbage_events(asked: Asked) -> None:
    await asked.answer(b"data: {{{nonsense\n\n" * 20)


@_behaviour("huge-line")
async def _huge_line(asked: Asked) -> None:
    await asked.peer.start_chunked(asked.kind)
    with suppress(ConnectionError):
        for _ in range(40):
            await asked.peer.send_chunk(b"data: " + b"x" * 2**18)
    raise CloseError


@_behaviour("endless-pings")
async def _endless_pings(asked: Asked) -> None:
    await asked.peer.start_chunked(asked.kind)
    for _ in range(500):
        await asked.peer.send_chunk(b": ping\n\n")
        await asyncio.sleep(0.02)


async def behave(peer: Peer) -> None:
    """Read requests and do to each what its model is named after."""
    while True:
        head, body = await peer.read_request()
        call = json.loads(body)
        asked = Asked(b"/messages" in head.split(b"\r\n")[0], bool(call.get("stream")), peer)
        await BEHAVIOURS[call["model"]](asked)


@contextmanager
def run_server(behaviour: Callable[[Peer], Awaitable[None]], **how: object) -> Iterator[Server]:
    """Run a server on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    manager = serve(behaviour, **how)
    server = asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result(10)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextmanager
def run_full_port() -> Iterator[str]:
    """Yield the address of a port that takes no more connections: dialling it hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()
