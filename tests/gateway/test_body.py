"""Reading bodies within limits."""

import asyncio
import gzip
import zlib

import pytest

from app.errors import BadRequestError, RequestTimeoutError, TooLargeError
from app.gateway import body as bodies
from app.gateway.body import ClientLeftError, drain, inflate, read_body, stream_body

pytestmark = pytest.mark.anyio


def receive_of(*parts, end=True):
    """Return an ASGI receive that gives these parts, then ends, leaves (b"" as None) or is silent."""
    messages = [
        {"type": "http.disconnect"}
        if part is None
        else {"type": "http.request", "body": part, "more_body": index < len(parts) - 1 or not end}
        for index, part in enumerate(parts)
    ]

    async def receive():
        if messages:
            return messages.pop(0)
        await asyncio.sleep(60)
        raise AssertionError

    receive.left = messages
    return receive


@pytest.mark.parametrize("parts", [[b"abc"], [b"a", b"b", b"c"], [b"", b"abc", b""]])
async def test_whole_bodies(parts):
    """A body is put together from its parts."""
    assert await read_body(receive_of(*parts), 3) == b"abc"


@pytest.mark.parametrize("parts", [[b"abcd"], [b"ab", b"cd", b"ef"]])
async def test_too_large(parts):
    """A body over the limit is taken in to its end and refused: a client reads its answer only then."""
    receive = receive_of(*parts)
    with pytest.raises(TooLargeError):
        await read_body(receive, 3)
    assert not receive.left


async def test_too_large_while_passed_on():
    """An upload over the limit stops there, and the rest is taken in."""
    receive = receive_of(b"ab", b"cd", b"ef")
    parts = stream_body(receive, 3)
    assert await anext(parts) == b"ab"
    with pytest.raises(TooLargeError):
        await anext(parts)
    assert not receive.left


async def test_a_client_that_leaves():
    """A body that does not come to its end is no request."""
    with pytest.raises(ClientLeftError):
        await read_body(receive_of(b"a", None), 10)


async def test_a_silent_client(monkeypatch):
    """A body that does not come in time is a 408."""
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.02)
    with pytest.raises(RequestTimeoutError):
        await read_body(receive_of(b"a", end=False), 10)


async def test_draining_ends(monkeypatch):
    """The rest of a refused body is waited for only so long, and cancelling is still possible."""
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 0.02)
    await drain(receive_of(b"a", end=False))
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 60)
    task = asyncio.create_task(drain(receive_of(b"a", end=False)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


PLAIN = b'{"a":"' + b"x" * 100 + b'"}'


@pytest.mark.parametrize(
    ("encoding", "body"),
    [(b"", PLAIN), (b" Identity ", PLAIN),
      (b"gzip", gzip.compress(PLAIN, mtime=0)), (b"X-GZIP", gzip.compress(PLAIN, mtime=0)),
     (b"deflate", zlib.compress(PLAIN))],
)  # fmt: skip
def test_inflating(encoding, body):
    """The usual encodings are undone."""
    assert inflate(body, encoding, 1000) == PLAIN


@pytest.mark.parametrize(
    ("encoding", "body", "error"),
    [
        (b"br", PLAIN, BadRequestError),
        (b"gzip", PLAIN, BadRequestError),
        (b"gzip", b"", BadRequestError),
        (b"gzip", gzip.compress(PLAIN, mtime=0)[:-1], BadRequestError),
        (b"gzip", gzip.compress(PLAIN, mtime=0) * 2, BadRequestError),
        (b"gzip", gzip.compress(b"x" * 1001, mtime=0), TooLargeError),
    ],
)
def test_not_inflating(encoding, body, error):
    """What is broken, foreign, goes on after its end or swells beyond the limit is refused."""
    with pytest.raises(error):
        inflate(body, encoding, 1000)
