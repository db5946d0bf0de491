"""Calls that the gateway makes itself, the way any client's call goes: held, sent, recorded, and read by us."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import msgspec
from litestar.types import HTTPReceiveMessage, Message

from app.access.types import Caller
from app.analytics.types import RequestRow
from app.errors import RelayError
from app.gateway.body import ClientLeftError
from app.gateway.call import Call, read_fields
from app.gateway.exchange import Exchange
from app.gateway.forwarding import choose, forward
from app.gateway.limiting import finish_call
from app.gateway.options import Options
from app.gateway.parts import Parts
from app.gateway.passed import build_sent, list_passed
from app.gateway.paths import find_route
from app.gateway.trace import Trace
from app.providers.protocol import Endpoint
from app.providers.registry import VENDORS
from app.wire.http import Headers
from app.wire.money import Hold

logger = logging.getLogger("relaycore.gateway")

CHECK_TAG = "relaycore:semantic-check"
EMBEDDING_TAG = "relaycore:embedding"
UNCACHED = Options(cache="bypass")
LEFT = "client_left"
"""What is noted of a call that was broken off."""


class _Embedding(msgspec.Struct):
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]


_read_embeddings = msgspec.json.Decoder(_Embeddings).decode


class Sink:
    """The client's side of a call that has no client: it keeps what it is sent and never leaves."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self._parts: list[bytes] = []

    @property
    def body(self) -> bytes:
        """Everything that was sent."""
        return b"".join(self._parts)

    async def receive(self) -> HTTPReceiveMessage:
        """Wait for what does not come."""
        await asyncio.Event().wait()
        raise AssertionError("nothing sets it")

    async def send(self, message: Message) -> None:
        """Keep a part of the answer."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], cast(Headers, message["headers"])
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))


Answering = Callable[[Call, Endpoint, Exchange, Parts], Awaitable[None]]
"""Answers a call: the whole way of one that came in, or a part of it."""


class InsideAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a call of our own came to, and what is to be recorded of it. Status 0: nothing, it was broken off."""

    status: int
    headers: Headers
    body: bytes
    row: RequestRow


class Inside:
    """One call of our own: `run` has it answered as any client's is, `end` tells what it came to.

    `hold` is what was held for it already. Whoever makes it calls `end` once, broken off or not, and records the row.
    """

    def __init__(self, call: Call, parts: Parts, *, tags: tuple[str, ...], hold: Hold | None = None) -> None:
        self._call = call
        self._parts = parts
        self._sink = Sink()
        self._trace = Trace()
        row, caller = self._trace.row, call.caller
        row.endpoint, row.request_bytes = call.route.name, len(call.body)
        row.user_id, row.api_key_id = caller.user_id, caller.key_id
        row.team_id, row.organization_id = caller.team_id, caller.organization_id
        row.tags, row.hold, row.metadata = tags, hold, call.options.metadata

    async def run(self, answer: Answering) -> None:
        """Have the call answered; failures are answers as well."""
        exchange = Exchange(self._sink.receive, self._sink.send, self._trace)
        exchange.dialect = self._call.route.dialect
        try:
            await answer(self._call, cast(Endpoint, self._call.route.endpoint), exchange, self._parts)
        except RelayError as error:
            await exchange.fail(error)
        except ClientLeftError:
            self._trace.leave()
        except asyncio.CancelledError:
            self._trace.leave()
            raise
        except Exception:
            logger.exception("a call of the gateway's own failed")
            await exchange.fail(RelayError("The gateway failed on this request.", code="internal_error"))
        finally:
            exchange.unwatch()
            finish_call(self._trace, self._parts)

    def end(self) -> InsideAnswer:
        """Return what the call came to."""
        sink = self._sink
        row = self._trace.close(len(sink.body))
        status = sink.status if row.error_type != LEFT else 0
        return InsideAnswer(status=status, headers=sink.headers, body=sink.body, row=row)


async def ask_inside(call: Call, parts: Parts, tag: str) -> bytes | None:
    """Return the body of a provider's answer to `call`, by no cache; None unless it is a complete 200.

    It is recorded with `tag` and counts in the caller's budgets, not in the limits of its calls.
    """
    inside = Inside(call, parts, tags=(*call.caller.tags, tag))
    try:
        await inside.run(_forward_uncached)
    finally:
        answered = inside.end()
        parts.recorder.record(answered.row)
    return answered.body if answered.status == 200 and answered.row.error_type is None else None


async def _forward_uncached(call: Call, endpoint: Endpoint, exchange: Exchange, parts: Parts) -> None:
    exchange.note_cache_status("bypass")
    chosen = choose(call, exchange, parts.catalog.current)
    await forward(call, endpoint, chosen, exchange, parts)


class InsideEmbeddings:
    """Embeddings of a configured model, asked for in the name of the installation's administrator."""

    def __init__(self) -> None:
        self.parts: Parts | None = None

    async def ask(self, model: str, text: str) -> Sequence[float] | None:
        """Return the embedding of `text`; None when it cannot be had."""
        parts = self.parts
        caller = parts.directory.admin if parts is not None else None
        if parts is None or caller is None:
            return None
        body = msgspec.json.encode({"model": model, "input": text, "encoding_format": "float"})
        answer = await ask_inside(build_call(caller, "/v1/embeddings", body, parts), parts, EMBEDDING_TAG)
        try:
            return _read_embeddings(answer).data[0].embedding if answer is not None else None
        except (msgspec.MsgspecError, IndexError):
            return None


def build_call(caller: Caller, path: str, body: bytes, parts: Parts, options: Options = UNCACHED) -> Call:
    """Return a call of our own. Raises BadRequestError for a body that cannot be read."""
    return Call(
        route=find_route(path, parts.catalog.current.providers.keys() | VENDORS.keys()),
        method="POST",
        query=b"",
        headers=[(b"content-type", b"application/json"), *list_passed(options.passed)],
        sent=build_sent(options.passed),
        options=options,
        caller=caller,
        body=body,
        fields=read_fields(body),
    )
