"""The client towards providers, against servers that really misbehave."""

import asyncio
import gc
import gzip
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.errors import UpstreamFailure
from app.upstream import Incoming, Limits, Outgoing, Upstream
from app.wire.http import Headers
from tests.upstream.faulty import Behaviour, Peer, answer_all, forward_proxy, make_tls, serve

pytestmark = pytest.mark.anyio

SLACK = 0.1
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def post(
    url: str, *, body: bytes | AsyncIterator[bytes] = b"{}", headers: Headers | None = None, **limits: float
) -> Outgoing:
    return Outgoing(method="POST", url=url, headers=headers or [], body=body, limits=Limits(**limits))


def get(url: str, method: str = "GET") -> Outgoing:
    return Outgoing(method=method, url=url, headers=[], limits=Limits())


async def fetch(upstream: Upstream, outgoing: Outgoing) -> bytes:
    return await (await upstream.send(outgoing)).read()


async def fail(upstream: Upstream, outgoing: Outgoing) -> tuple[str, bool]:
    """Return kind and `answered` of the failure, which names no address."""
    with pytest.raises(UpstreamFailure) as caught:
        await fetch(upstream, outgoing)
    assert "127.0.0.1" not in str(caught.value)
    return caught.value.kind, caught.value.answered


def say(raw: bytes, *, reset: bool = False, stay: bool = False) -> Behaviour:
    """Answer the first request with raw bytes, then hang up, reset, or stay."""

    async def behave(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(raw)
        if reset:
            await asyncio.sleep(0.02)
            peer.reset()
        elif stay:
            await peer.wait_closed()

    return behave


# --- what is sent


async def test_lines_are_sent_as_given(upstream: Upstream) -> None:
    """Names, order, duplicates and bytes of the caller's lines stay; ours are Host, identity and the length."""
    lines = [(b"X-B", b"1"), (b"x-a", b"\xe9\xff"), (b"x-b", b"2"), (b"anthropic-beta", b"a,b"), (b"X-B", b"3")]
    async with serve(answer_all) as server:
        head = await fetch(upstream, post(f"{server.url}/v1/x", headers=lines))
    host = server.url.removeprefix("http://").encode()
    assert head == (
        b"POST /v1/x HTTP/1.1\r\nhost: " + host + b"\r\naccept-encoding: identity\r\n"
        b"X-B: 1\r\nx-a: \xe9\xff\r\nx-b: 2\r\nanthropic-beta: a,b\r\nX-B: 3\r\ncontent-length: 2\r\n\r\n"
    )


async def test_lines_about_the_hop_are_ours(upstream: Upstream) -> None:
    """A caller cannot set the framing, the host, the coding or an expectation."""
    lines = [
        (b"Host", b"evil"), (b"content-length", b"99"), (b"Transfer-Encoding", b"chunked"),
        (b"accept-encoding", b"br"), (b"expect", b"100-continue"), (b"connection", b"close"),
    ]  # fmt: skip
    async with serve(answer_all) as server:
        head = await fetch(upstream, post(server.url, headers=lines))
    assert [line.split(b":")[0] for line in head.split(b"\r\n")[1:4]] == [
        b"host",
        b"accept-encoding",
        b"content-length",
    ]
    assert b"evil" not in head


ODD_TARGET = "/a%2Fb%7e/../c//d?q=%20+'\"<>&x=%zz&&="


@pytest.mark.parametrize(("path", "target"), [("", "/"), ("?a=b", "/?a=b"), (ODD_TARGET + "#frag", ODD_TARGET)])
async def test_the_url_is_used_byte_for_byte(upstream: Upstream, path: str, target: str) -> None:
    """Nothing is quoted, unquoted, resolved or sorted; only the fragment is left out."""
    async with serve(answer_all) as server:
        head = await fetch(upstream, get(server.url + path))
    assert head.startswith(f"GET {target} HTTP/1.1\r\n".encode())
    assert b"content-length" not in head


@pytest.mark.parametrize(
    ("url", "method", "line"),
    [
        ("/", "POST", (b"x", b"a\r\ny: b")),
        ("/", "POST", (b"x", b"a\ny: b")),
        ("/", "POST", (b"x", b"a\0")),
        ("/", "POST", (b"x\r\ny", b"b")),
        ("/ HTTP/1.1\r\nx: y", "POST", (b"x", b"y")),
        ("/a b", "POST", (b"x", b"y")),
        ("/é", "POST", (b"x", b"y")),
        ("/", "GET / HTTP/1.1\r\n", (b"x", b"y")),
    ],
)
async def test_a_request_cannot_be_split(upstream: Upstream, url: str, method: str, line: tuple[bytes, bytes]) -> None:
    """What would change the meaning of the request on the wire is refused before anything is dialled."""
    async with serve(answer_all) as server:
        outgoing = Outgoing(method=method, url=server.url + url, headers=[line], limits=Limits())
        assert await fail(upstream, outgoing) == ("protocol", False)
        assert server.connections == 0


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://user:pw@127.0.0.1/", "//x", "http://127.0.0.1:99999/", "http://"]
)
async def test_an_unusable_url_is_a_failure(upstream: Upstream, url: str) -> None:
    """Other schemes, credentials in the URL and impossible ports never reach the network."""
    kind, answered = await fail(upstream, post(url))
    assert kind in {"protocol", "connect"}
    assert not answered


# --- what comes back


async def test_an_answer_is_given_as_it_came(upstream: Upstream) -> None:
    """Names in lower case, order and duplicates kept, hop-by-hop lines too; no redirect, no cookie jar."""
    raw = (
        b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nKeep-Alive: 5\r\n"
        b"X-Bytes: \xe9\r\nContent-Length: 2\r\n\r\n{}"
    )
    heads: list[bytes] = []

    async def behave(peer: Peer) -> None:
        while True:
            heads.append((await peer.read_request())[0])
            await peer.send(raw)

    async with serve(behave) as server:
        for _ in range(2):
            answer = await upstream.send(post(server.url))
            assert await answer.read() == b"{}"
    assert answer.status == 307
    assert answer.headers == [
        (b"location", b"/elsewhere"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"keep-alive", b"5"),
        (b"x-bytes", b"\xe9"), (b"content-length", b"2"),
    ]  # fmt: skip
    assert len(heads) == 2
    assert b"cookie" not in heads[1].lower()
    assert server.connections == 1


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\ncontent-encoding: br\r\n\r\n"),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("POST", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n"),
        ("POST", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_end_at_once(upstream: Upstream, method: str, raw: bytes) -> None:
    """HEAD, 204, 304 and a length of zero have no body, and their connection is used again."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.read_request()
            await peer.send(raw)

    async with serve(behave) as server:
        for _ in range(3):
            assert await fetch(upstream, get(server.url, method)) == b""
        assert server.connections == 1


async def test_informational_answers_are_skipped(upstream: Upstream) -> None:
    """100, 102 and 103 come before the answer, not instead of it."""
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with serve(say(raw + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")) as server:
        assert await fetch(upstream, post(server.url)) == b"ok"


async def test_a_body_that_ends_with_the_connection_is_whole(upstream: Upstream) -> None:
    """HTTP/1.0 style answers without a length end at a proper close."""
    async with serve(say(b"HTTP/1.0 200 OK\r\n\r\nall of it")) as server:
        assert await fetch(upstream, post(server.url)) == b"all of it"


async def test_every_network_read_is_passed_on_at_once(upstream: Upstream) -> None:
    """A chunk is not held back for the next one."""
    step = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.read_request()
        await peer.start_chunked()
        for number in range(5):
            await peer.send_chunk(b"data: %d\n\n" % number)
            await step.wait()
            step.clear()
        await peer.send(b"0\r\n\r\n")

    async with serve(behave) as server:
        seen: list[bytes] = []
        async for chunk in (await upstream.send(post(server.url))).chunks():
            seen.append(chunk)
            step.set()
    assert seen == [b"data: %d\n\n" % number for number in range(5)]


BROKEN_BEFORE_THE_BODY = {
    "nothing": (b"", False, "disconnected", False),
    "reset": (b"", True, "disconnected", False),
    "half a status line": (b"HTTP/1.1 2", False, "disconnected", True),
    "half the headers": (b"HTTP/1.1 200 OK\r\nconte", False, "disconnected", True),
    "half the headers, reset": (b"HTTP/1.1 200 OK\r\nconte", True, "disconnected", True),
    "html": (b"<html>hello</html>", False, "protocol", True),
    "binary": (b"\x15\x03\x01\x00\x02\x02\x28" * 9, False, "protocol", True),
    "another protocol": (b"SSH-2.0-OpenSSH_9.9\r\n", False, "protocol", True),
    "upgrade": (b"HTTP/1.1 101 Other\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", False, "protocol", True),
    "endless informational": (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, False, "protocol", True),
    "impossible status": (b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n", False, "protocol", True),
    "zero status": (b"HTTP/1.1 000 Odd\r\ncontent-length: 0\r\n\r\n", False, "protocol", True),
    "too many headers": (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000, False, "protocol", True),
    "too large header": (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, False, "protocol", True),
    "endless reason": (b"HTTP/1.1 200 " + b"y" * 200_000, False, "protocol", True),
    "length that is no number": (b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n", False, "protocol", True),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", False, "protocol", True),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_BEFORE_THE_BODY)
async def test_a_broken_start_has_one_outcome(upstream: Upstream, name: str) -> None:
    """Whatever is no HTTP answer is a failure of its kind, and it is known whether a byte had arrived."""
    raw, reset, kind, answered = BROKEN_BEFORE_THE_BODY[name]
    async with serve(say(raw, reset=reset)) as server:
        assert await fail(upstream, post(server.url)) == (kind, answered)
        assert server.connections == 1


BROKEN_BODY = {
    "length not reached": (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", False, "disconnected"),
    "length not reached, reset": (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", True, "disconnected"),
    "chunked, cut between chunks": (CHUNKED + b"5\r\nhello\r\n", False, "disconnected"),
    "chunked, cut in a chunk": (CHUNKED + b"ff\r\nhello", False, "disconnected"),
    "chunked, reset": (CHUNKED + b"5\r\nhello\r\n", True, "disconnected"),
    "chunked, no last line": (CHUNKED + b"5\r\nhello\r\n0\r\n", False, "disconnected"),
    "no length, reset": (b"HTTP/1.1 200 OK\r\n\r\nhello", True, "disconnected"),
}


@pytest.mark.parametrize("name", BROKEN_BODY)
async def test_a_cut_body_never_looks_finished(upstream: Upstream, name: str) -> None:
    """A body that does not reach its end is a failure, however it is delimited."""
    raw, reset, kind = BROKEN_BODY[name]
    async with serve(say(raw, reset=reset)) as server:
        assert await fail(upstream, post(server.url)) == (kind, True)


async def test_what_came_before_the_cut_is_passed_on(upstream: Upstream) -> None:
    """The chunks before a cut reach the reader, then the failure does, whether he waited or came late."""
    for delay in (0, 0.05):
        async with serve(say(CHUNKED + b"5\r\nhello\r\n")) as server:
            answer = await upstream.send(post(server.url))
            await asyncio.sleep(delay)
            assert await anext(answer.chunks()) == b"hello"
            with pytest.raises(UpstreamFailure, match="closed the connection"):
                await anext(answer.chunks())


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"])
async def test_a_late_reader_gets_the_whole_body(upstream: Upstream, head: bytes) -> None:
    """An answer that was complete before its connection ended is whole for whoever comes later."""
    async with serve(say(head + b"hello")) as server:
        answer = await upstream.send(post(server.url))
        await asyncio.sleep(0.05)
        assert await answer.read() == b"hello"


async def test_garbage_between_chunks_is_a_failure_at_once(upstream: Upstream) -> None:
    """A reader in the middle of a stream does not wait for a timeout when the framing breaks."""

    async def behave(peer: Peer) -> None:
        await peer.read_request()
        await peer.start_chunked()
        await peer.send_chunk(b"hello")
        await asyncio.sleep(0.05)
        await peer.send(b"this is no chunk size\r\n")
        await peer.wait_closed()

    async with serve(behave) as server, asyncio.timeout(2):
        assert await fail(upstream, post(server.url)) == ("protocol", True)


# --- limits


async def took(upstream: Upstream, outgoing: Outgoing) -> tuple[str, bool, float]:
    start = time.monotonic()
    kind, answered = await fail(upstream, outgoing)
    return kind, answered, time.monotonic() - start


async def test_connecting_is_limited(upstream: Upstream) -> None:
    """A TLS handshake that is never answered ends at the connect limit."""
    async with serve(Peer.wait_closed) as server:
        url = server.url.replace("http:", "https:")
        kind, answered, seconds = await took(upstream, post(url, connect_seconds=0.3))
        assert (kind, answered) == ("connect_timeout", False)
        assert seconds < 0.3 + SLACK
        async with asyncio.timeout(SLACK):
            await server.closed.wait()


async def test_the_first_byte_is_limited(upstream: Upstream) -> None:
    """A provider that says nothing, and one that drips its headers, are hung up on at the first-byte limit."""

    async def drip(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.send(b"x")
            await asyncio.sleep(0.02)

    for behave, expected in ((say(b"", stay=True), False), (drip, True)):
        async with serve(behave) as server:
            kind, answered, seconds = await took(upstream, post(server.url, first_byte_seconds=0.3))
            assert (kind, answered) == ("first_byte_timeout", expected)
            assert 0.29 < seconds < 0.3 + SLACK
            async with asyncio.timeout(SLACK):
                await server.closed.wait()


async def test_silence_in_a_body_is_limited(upstream: Upstream) -> None:
    """The idle limit starts again with every chunk and ends a silent stream."""

    async def behave(peer: Peer) -> None:
        await peer.read_request()
        await peer.start_chunked()
        for _ in range(4):
            await peer.send_chunk(b"x")
            await asyncio.sleep(0.15)
        await peer.wait_closed()

    async with serve(behave) as server:
        kind, answered, seconds = await took(upstream, post(server.url, idle_seconds=0.3))
        assert (kind, answered) == ("idle_timeout", True)
        assert 0.45 + 0.29 < seconds < 0.45 + 0.3 + 2 * SLACK


async def test_endless_pings_meet_the_total_limit(upstream: Upstream) -> None:
    """Activity without an end is cut at the total limit."""

    async def behave(peer: Peer) -> None:
        await peer.read_request()
        await peer.start_chunked()
        while True:
            await peer.send_chunk(b": ping\n\n")
            await asyncio.sleep(0.02)

    async with serve(behave) as server:
        kind, answered, seconds = await took(upstream, post(server.url, idle_seconds=0.2, total_seconds=0.5))
        assert (kind, answered) == ("total_timeout", True)
        assert 0.49 < seconds < 0.5 + SLACK


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"])
async def test_a_reader_later_than_the_total_limit_gets_a_failure(upstream: Upstream, head: bytes) -> None:
    """After the limit nothing looks like a short but whole body, even when all bytes had come."""
    async with serve(say(head + b"hello")) as server:
        answer = await upstream.send(post(server.url, total_seconds=0.1))
        await asyncio.sleep(0.2)
        for _ in range(2):
            with pytest.raises(UpstreamFailure, match="too long"):
                await answer.read()


async def test_a_slow_reader_is_not_the_providers_fault(upstream: Upstream) -> None:
    """The idle limit does not run while nobody asks for the next chunk, and unread bytes stop the provider."""
    sent = 0

    async def behave(peer: Peer) -> None:
        nonlocal sent
        await peer.read_request()
        await peer.start_chunked()
        for _ in range(400):
            await peer.send_chunk(b"x" * 65536)
            sent += 65536
        await peer.send(b"0\r\n\r\n")

    async with serve(behave) as server:
        answer = await upstream.send(post(server.url, first_byte_seconds=0.1, idle_seconds=0.1))
        await asyncio.sleep(0.3)
        size = len(await anext(answer.chunks()))
        await asyncio.sleep(0.4)
        assert sent < 16 * 2**20
        size += sum([len(chunk) async for chunk in answer.chunks()])
    assert size == 400 * 65536


async def test_a_large_body_is_limited(upstream: Upstream) -> None:
    """The answer may reach its limit but not pass it."""
    async with serve(answer_all) as server:
        body = await fetch(upstream, post(server.url))
        outgoing = post(server.url, max_body_bytes=len(body))
        assert await fetch(upstream, outgoing) == body
        assert await fail(upstream, post(server.url, max_body_bytes=len(body) - 1)) == ("too_large", True)


# --- connections


async def test_a_refused_connection_is_a_failure(upstream: Upstream) -> None:
    """Nobody listening, and a name nobody knows, are failures to connect."""
    async with serve(answer_all) as server:
        pass
    assert await fail(upstream, post(server.url)) == ("connect", False)
    assert await fail(upstream, post("http://no-such-host.invalid/")) == ("connect", False)


async def test_connections_are_kept_and_not_capped(upstream: Upstream) -> None:
    """As many run at once as are asked for, and they serve again."""
    gate = asyncio.Event()
    running = 0

    async def behave(peer: Peer) -> None:
        nonlocal running
        while True:
            await peer.read_request()
            running += 1
            if running == 150:
                gate.set()
            await gate.wait()
            await peer.answer()

    async with serve(behave) as server:
        for _ in range(2):
            assert set(await asyncio.gather(*(fetch(upstream, post(server.url)) for _ in range(150)))) == {b"ok"}
        assert server.connections == 150


def close_after(answers: int, *, reset: bool = False, then: bytes = b"") -> Behaviour:
    """Answer some requests of a connection and break off at the next one, maybe in its answer."""

    async def behave(peer: Peer) -> None:
        for _ in range(answers):
            await peer.read_request()
            await peer.answer()
        await peer.read_request()
        if then:
            await peer.send(then)
            await asyncio.sleep(0.02)
        if reset:
            peer.reset()

    return behave


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_stale_connection_is_replaced_once(upstream: Upstream, method: str, *, reset: bool) -> None:
    """A kept connection that breaks before the first byte costs one new connection, whatever the method."""
    async with serve(close_after(1, reset=reset)) as server:
        for _ in range(3):
            assert await fetch(upstream, get(server.url, method)) == b"ok"
        assert server.connections == 3


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_fresh_connection_is_not_replaced(upstream: Upstream, method: str) -> None:
    """A request that broke on a new connection may have been acted upon: it is not repeated."""
    async with serve(close_after(0)) as server:
        assert await fail(upstream, get(server.url, method)) == ("disconnected", False)
        assert server.connections == 1


async def test_the_second_try_is_the_last(upstream: Upstream) -> None:
    """When the replacement breaks as well, that is the outcome, even with more kept connections at hand."""
    gate = asyncio.Event()
    requests = 0

    async def behave(peer: Peer) -> None:
        nonlocal requests
        await peer.read_request()
        requests += 1
        if requests <= 3:
            if requests == 3:
                gate.set()
            await gate.wait()
            await peer.answer()
            await peer.read_request()
            requests += 1

    async with serve(behave) as server:
        await asyncio.gather(*(fetch(upstream, post(server.url)) for _ in range(3)))
        assert await fail(upstream, post(server.url)) == ("disconnected", False)
    assert requests == 5


async def test_the_replacement_is_a_new_connection(upstream: Upstream) -> None:
    """More kept connections may be just as stale: the second try does not depend on them."""
    gate = asyncio.Event()
    requests = 0

    async def behave(peer: Peer) -> None:
        nonlocal requests
        await peer.read_request()
        requests += 1
        if requests == 3:
            gate.set()
        await gate.wait()
        await peer.answer()
        await peer.read_request()

    async with serve(behave) as server:
        await asyncio.gather(*(fetch(upstream, post(server.url)) for _ in range(3)))
        assert await fetch(upstream, post(server.url)) == b"ok"
        assert server.connections == 4


@pytest.mark.parametrize("reset", [False, True])
async def test_a_begun_answer_is_not_asked_for_again(upstream: Upstream, *, reset: bool) -> None:
    """A kept connection that breaks after the first byte is a failure."""
    async with serve(close_after(1, reset=reset, then=b"HTT")) as server:
        await fetch(upstream, post(server.url))
        assert await fail(upstream, post(server.url)) == ("disconnected", True)
        assert server.connections == 1


async def test_a_timeout_is_not_repeated(upstream: Upstream) -> None:
    """Only a break is retried: a silent kept connection is a timeout."""

    async def behave(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer()
        await peer.wait_closed()

    async with serve(behave) as server:
        await fetch(upstream, post(server.url))
        assert await fail(upstream, post(server.url, first_byte_seconds=0.1)) == ("first_byte_timeout", False)
        assert server.connections == 1


@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_an_answer_nobody_asked_for_is_never_given_to_anybody(upstream: Upstream, pause: float) -> None:
    """Bytes behind an answer, at once or later, spoil the connection instead of becoming the next answer."""
    ghost = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nghost"

    async def behave(peer: Peer) -> None:
        await peer.read_request()
        if pause:
            await peer.answer()
            await asyncio.sleep(pause)
            await peer.send(ghost)
        else:
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + ghost)
        await peer.wait_closed()

    async with serve(behave) as server:
        for number in range(1, 4):
            assert await fetch(upstream, post(server.url)) == b"ok"
            await asyncio.sleep(pause * 2)
            assert server.connections == number


# --- leaving


async def cancel_when(server_closed: asyncio.Event, task: "asyncio.Task[object]", after: float) -> None:
    """Cancel the task and check that the server sees the close at once."""
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(SLACK):
        await server_closed.wait()


@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.1 200", CHUNKED, CHUNKED + b"5\r\nhello\r\n"], ids=["silent", "headers", "body", "stream"]
)
async def test_cancelling_hangs_up_at_once(upstream: Upstream, raw: bytes) -> None:
    """In every phase the provider sees the close within a tenth of a second."""
    async with serve(say(raw, stay=True)) as server:
        await cancel_when(server.closed, asyncio.create_task(fetch(upstream, post(server.url))), 0.1)


async def test_cancelling_a_handshake_hangs_up_at_once(upstream: Upstream) -> None:
    """The same holds while the TLS connection is being set up."""
    async with serve(Peer.wait_closed) as server:
        url = server.url.replace("http:", "https:")
        await cancel_when(server.closed, asyncio.create_task(fetch(upstream, post(url))), 0.1)


async def test_what_was_not_sent_yet_is_dropped(upstream: Upstream) -> None:
    """Hanging up does not wait until a provider that does not read has taken the rest of the request."""
    size = 0

    async def behave(peer: Peer) -> None:
        nonlocal size
        size = len(await peer.read_head())
        await asyncio.sleep(0.2)
        while data := await peer.reader.read(2**20):
            size += len(data)

    async with serve(behave) as server:
        task = asyncio.create_task(upstream.send(post(server.url, body=bytes(64 * 2**20))))
        await asyncio.sleep(0.1)
        task.cancel()
        async with asyncio.timeout(2):
            await server.closed.wait()
    assert size < 32 * 2**20


async def test_a_cancelled_reader_leaves_a_failure_behind(upstream: Upstream) -> None:
    """Who reads on after a cancelled read gets a failure, not somebody else's cancellation."""
    async with serve(say(CHUNKED, stay=True)) as server:
        answer = await upstream.send(post(server.url))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.read(), 0.05)
        with pytest.raises(UpstreamFailure):
            await answer.read()


async def test_closing_an_unread_answer_hangs_up(upstream: Upstream) -> None:
    """`close` ends a stream in the middle, wakes who waits for it, and may be called again."""
    async with serve(say(CHUNKED + b"5\r\nhello\r\n", stay=True)) as server:
        answer = await upstream.send(post(server.url))
        assert await anext(answer.chunks()) == b"hello"
        waiting = asyncio.create_task(answer.read())
        await asyncio.sleep(0.02)
        answer.close()
        answer.close()
        async with asyncio.timeout(SLACK):
            await server.closed.wait()
            with pytest.raises(UpstreamFailure):
                await waiting


async def test_closing_a_read_answer_keeps_the_connection(upstream: Upstream) -> None:
    """`close` after the end only gives back what has been given back."""
    async with serve(answer_all) as server:
        for _ in range(3):
            answer = await upstream.send(post(server.url))
            await answer.read()
            answer.close()
            assert await answer.read() == b""
        assert server.connections == 1


async def test_closing_the_client_ends_what_is_running(upstream: Upstream) -> None:
    """A shutdown leaves nobody waiting."""
    async with serve(say(CHUNKED + b"5\r\nhello\r\n", stay=True)) as server:
        answer = await upstream.send(post(server.url))
        waiting = asyncio.create_task(answer.read())
        await asyncio.sleep(0.02)
        await upstream.close()
        with pytest.raises(UpstreamFailure):
            await waiting


# --- codings


def pack(data: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (b"gzip", gzip.compress(b"hello " * 1000, mtime=0)),
        (b"X-GZIP", gzip.compress(b"hello " * 1000, mtime=0)),
        (b"deflate", pack(b"hello " * 1000, 15)),
        (b"deflate", pack(b"hello " * 1000, -15)),
    ],
    ids=["gzip", "x-gzip", "deflate", "raw deflate"],
)
async def test_a_coding_nobody_asked_for_is_undone(upstream: Upstream, coding: bytes, packed: bytes) -> None:
    """Gzip and deflate are decoded in any cut, and the lines that no longer hold are removed."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.read_request()
            await peer.send(
                b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding, len(packed))
            )
            for byte in packed:
                await peer.send(bytes([byte]))
                await asyncio.sleep(0)

    async with serve(behave) as server:
        for _ in range(2):
            answer = await upstream.send(post(server.url))
            assert answer.headers == [(b"x", b"y")]
            assert await answer.read() == b"hello " * 1000
        assert server.connections == 1


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"nonsense"])
async def test_an_unknown_coding_is_a_failure(upstream: Upstream, coding: bytes) -> None:
    """What cannot be decoded is not passed on as if it were text."""
    async with serve(say(b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: 2\r\n\r\nab" % coding)) as server:
        assert await fail(upstream, post(server.url)) == ("encoding", True)


@pytest.mark.parametrize(
    "packed",
    [
        b"no gzip at all",
        gzip.compress(b"hello", mtime=0)[:-3],
        gzip.compress(b"a", mtime=0) + gzip.compress(b"b", mtime=0),
    ],
)
async def test_a_broken_coding_is_a_failure(upstream: Upstream, packed: bytes) -> None:
    """Wrong, cut and continued gzip streams are not taken for whole answers."""
    raw = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    async with serve(say(raw + packed)) as server:
        assert await fail(upstream, post(server.url)) == ("encoding", True)


async def test_identity_and_an_empty_coded_body_are_fine(upstream: Upstream) -> None:
    """`identity` is no coding, and nothing decodes to nothing."""
    async with serve(say(b"HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: 2\r\n\r\nab")) as server:
        assert await fetch(upstream, post(server.url)) == b"ab"
    async with serve(say(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n")) as server:
        assert await fetch(upstream, post(server.url)) == b""


async def measure(answer: Incoming, sizes: list[int]) -> None:
    """Note the size of each chunk, up to a failure."""
    chunks = answer.chunks()
    while True:
        sizes.append(len(await anext(chunks)))


async def test_a_bomb_stops_at_the_cap(upstream: Upstream) -> None:
    """256 MB in a small gzip are unpacked in pieces of at most 1 MiB up to the cap, and no further."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()

    async def behave(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(bomb, lines=b"content-encoding: gzip\r\n")

    async with serve(behave) as server:
        tracemalloc.start()
        answer = await upstream.send(post(server.url, max_body_bytes=8 * 2**20))
        sizes: list[int] = []
        with pytest.raises(UpstreamFailure) as caught:
            await measure(answer, sizes)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert caught.value.kind == "too_large"
    assert max(sizes) <= 2**20
    assert sum(sizes) <= 8 * 2**20
    assert peak < 6 * 2**20


# --- uploads


async def pieces(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
        await asyncio.sleep(0.01)
    if error is not None:
        raise error


async def test_a_body_is_streamed_up(upstream: Upstream) -> None:
    """An iterator is sent chunked, or with the length its caller announced; the connection is used again."""
    bodies: list[tuple[bool, bytes]] = []

    async def behave(peer: Peer) -> None:
        while True:
            head, body = await peer.read_request()
            bodies.append((b"chunked" in head, body))
            await peer.answer()

    async with serve(behave) as server:
        await fetch(upstream, post(server.url, body=pieces(b"ab", b"", b"cd")))
        await fetch(upstream, post(server.url, body=pieces(b"ab", b"cd"), headers=[(b"content-length", b"4")]))
        await fetch(upstream, post(server.url, body=pieces()))
        assert server.connections == 1
    assert bodies == [(True, b"abcd"), (False, b"abcd"), (True, b"")]


@pytest.mark.parametrize("length", [b"3", b"5"])
async def test_a_wrong_length_breaks_the_upload(upstream: Upstream, length: bytes) -> None:
    """A body longer or shorter than announced could become part of the next request: it is cut."""
    async with serve(answer_all) as server:
        outgoing = post(server.url, body=pieces(b"ab", b"cd"), headers=[(b"content-length", length)])
        assert await fail(upstream, outgoing) == ("protocol", False)
        async with asyncio.timeout(SLACK):
            await server.closed.wait()


async def test_an_upload_that_fails_raises_its_own_error(upstream: Upstream) -> None:
    """What the source raises reaches the caller, and the provider never sees a whole request."""
    async with serve(answer_all) as server:
        with pytest.raises(LookupError, match="client left"):
            await upstream.send(post(server.url, body=pieces(b"ab", error=LookupError("client left"))))
        async with asyncio.timeout(SLACK):
            await server.closed.wait()


async def endless(taken: Callable[[int], None]) -> AsyncIterator[bytes]:
    while True:
        taken(65536)
        yield bytes(65536)
        await asyncio.sleep(0)


async def test_an_early_answer_stops_the_upload(upstream: Upstream) -> None:
    """A provider that refuses before the end is heard, and the rest is not sent."""
    taken: list[int] = []

    async def behave(peer: Peer) -> None:
        await peer.read_head()
        await peer.answer(b"too large", status="413 Content Too Large")
        await peer.wait_closed()

    async with serve(behave) as server:
        answer = await upstream.send(post(server.url, body=endless(taken.append)))
        assert (answer.status, await answer.read()) == (413, b"too large")
        async with asyncio.timeout(SLACK):
            await server.closed.wait()
        count = len(taken)
        await asyncio.sleep(0.05)
        assert len(taken) == count
        assert server.connections == 1


async def test_an_answer_may_begin_before_the_upload_ends(upstream: Upstream) -> None:
    """Both ways flow at once, and the end of the upload starts no deadline for an answer that has begun."""

    async def behave(peer: Peer) -> None:
        await peer.read_head()
        await peer.start_chunked()
        await peer.send_chunk(b"begun ")
        await peer.reader.readuntil(b"0\r\n\r\n")
        await peer.send_chunk(b"ended")
        await peer.send(b"0\r\n\r\n")

    async with serve(behave) as server:
        outgoing = post(server.url, body=pieces(b"a", b"b", b"c", b"d"), first_byte_seconds=0.1)
        answer = await upstream.send(outgoing)
        assert await anext(answer.chunks()) == b"begun "
        await asyncio.sleep(0.3)
        assert await answer.read() == b"ended"


async def test_an_upload_nobody_takes_is_limited(upstream: Upstream) -> None:
    """A provider that does not read is held to the idle limit, with bounded memory."""
    taken: list[int] = []

    async def behave(peer: Peer) -> None:
        await peer.read_head()
        await asyncio.sleep(5)

    async with serve(behave) as server:
        outgoing = post(server.url, body=endless(taken.append), idle_seconds=0.2)
        assert await fail(upstream, outgoing) == ("idle_timeout", False)
    assert sum(taken) < 32 * 2**20


async def test_cancelling_an_upload_hangs_up_at_once(upstream: Upstream) -> None:
    """Leaving in the middle of an upload closes the connection and ends the source."""
    ended = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"ab"
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with serve(answer_all) as server:
        task = asyncio.create_task(fetch(upstream, post(server.url, body=source())))
        await cancel_when(server.closed, task, 0.1)
        async with asyncio.timeout(SLACK):
            await ended.wait()


# --- TLS and proxies


async def test_tls_is_verified(upstream: Upstream, tmp_path: Path) -> None:
    """A self-signed server is not talked to, unless its authority is trusted."""
    server_tls, client_tls = make_tls(tmp_path)
    trusting = Upstream(tls=client_tls)
    async with serve(answer_all, tls=server_tls) as server:
        assert await fail(upstream, post(server.url)) == ("tls", False)
        for _ in range(2):
            assert (await fetch(trusting, post(f"{server.url}/x"))).startswith(b"POST /x HTTP/1.1\r\n")
        assert await fail(trusting, post(server.url.replace("127.0.0.1", "localhost"))) == ("tls", False)
        await trusting.close()


async def test_a_plain_server_behind_https_is_a_tls_failure(upstream: Upstream) -> None:
    """A server that does not speak TLS is no provider."""

    async def behave(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serve(behave) as server:
        assert await fail(upstream, post(server.url.replace("http:", "https:"))) == ("tls", False)


async def test_plain_requests_go_through_the_proxy(upstream: Upstream) -> None:
    """A forward proxy gets the absolute URL and its own credentials."""
    async with serve(forward_proxy) as proxy:
        client = Upstream(proxies={"http": proxy.url.replace("//", "//me:s%40cret@")}, no_proxy="127.0.0.1")
        head = await fetch(client, post("http://provider.test:81/v1?q=%2f"))
        await client.close()
    assert head.startswith(b"POST http://provider.test:81/v1?q=%2f HTTP/1.1\r\nhost: provider.test:81\r\n")
    assert b"\r\nproxy-authorization: Basic bWU6c0BjcmV0\r\n" in head


async def test_tls_requests_are_tunnelled(upstream: Upstream, tmp_path: Path) -> None:
    """CONNECT leads to a verified TLS connection inside, which is kept; the provider sees no proxy line."""
    server_tls, client_tls = make_tls(tmp_path)
    async with serve(answer_all, tls=server_tls) as server, serve(forward_proxy) as proxy:
        client = Upstream(proxies={"https": proxy.url.replace("//", "//me:pw@")}, tls=client_tls)
        for _ in range(3):
            head = await fetch(client, post(f"{server.url}/x"))
            assert head.startswith(b"POST /x HTTP/1.1\r\n")
            assert b"proxy" not in head
        distrusting = Upstream(proxies={"https": proxy.url})
        assert await fail(distrusting, post(server.url)) == ("tls", False)
        await client.close()
        await distrusting.close()
        assert proxy.connections == 2


@pytest.mark.parametrize(
    "raw", [b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", b"garbage", b""]
)
async def test_a_proxy_that_refuses_is_a_failure_to_connect(raw: bytes) -> None:
    """The provider has not seen the request, whatever the proxy says."""

    async def behave(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(raw)

    async with serve(behave) as proxy:
        client = Upstream(proxies={"all": proxy.url})
        assert await fail(client, post("https://provider.test/")) == ("connect", False)
        await client.close()


async def test_a_silent_proxy_meets_the_connect_limit() -> None:
    """Waiting for the tunnel is part of connecting."""
    async with serve(Peer.wait_closed) as proxy:
        client = Upstream(proxies={"all": proxy.url})
        assert await fail(client, post("https://provider.test/", connect_seconds=0.2)) == ("connect_timeout", False)
        async with asyncio.timeout(SLACK):
            await proxy.closed.wait()
        await client.close()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://", "nonsense://x"])
async def test_a_proxy_that_cannot_be_used_is_refused_at_the_start(proxy: str) -> None:
    """A wrong proxy is found when the client is built, not with the first request."""
    with pytest.raises(ValueError, match="proxy"):
        Upstream(proxies={"https": proxy})


async def test_an_answer_that_is_dropped_is_reported(upstream: Upstream) -> None:
    """Who forgets to read or close an answer hears of it in development: the library warns."""
    async with serve(say(CHUNKED, stay=True)) as server:
        answer: Incoming | None = await upstream.send(post(server.url))
        assert answer is not None
        answer.close()
        answer = None
        gc.collect()
