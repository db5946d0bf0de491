"""Calls that the gateway makes itself, the way any client's call goes: held, sent, recorded, and read by us."""

import asyncio
from collections.abc import Sequence
from typing import cast

import msgspec
from litestar.types import HTTPReceiveMessage, Message

from app.access.types import Caller
from app.errors import RelayError
from app.gateway.body import ClientLeftError
from app.gateway.call import Call, read_fields
from app.gateway.exchange import Exchange
from app.gateway.forwarding import choose, forward
from app.gateway.limiting import finish_call
from app.gateway.options import Options, Sent
from app.gateway.parts import Parts
from app.gateway.paths import find_route
from app.gateway.trace import Trace
from app.providers.protocol import Endpoint

CHECK_TAG = "relaycore:semantic-check"
EMBEDDING_TAG = "relaycore:embedding"


class _Embedding(msgspec.Struct):
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]


_read_embeddings = msgspec.json.Decoder(_Embeddings).decode


class Sink:
    """The client's side of a call that has no client: it keeps what it is sent and never leaves."""

    def __init__(self) -> None:
        self.status = 0
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
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))


async def ask_inside(call: Call, parts: Parts, tag: str) -> bytes | None:
    """Return the body of a provider's answer to `call`, by no cache; None unless it is a complete 200.

    It is recorded with `tag` and counts in the caller's budgets, not in the limits of its calls.
    """
    endpoint = cast(Endpoint, call.route.endpoint)
    sink, trace = Sink(), Trace()
    exchange = Exchange(sink.receive, sink.send, trace)
    exchange.dialect = call.route.dialect
    row, caller = trace.row, call.caller
    row.endpoint, row.request_bytes = call.route.name, len(call.body)
    row.user_id, row.api_key_id = caller.user_id, caller.key_id
    row.team_id, row.organization_id = caller.team_id, caller.organization_id
    row.tags = (*caller.tags, tag)
    exchange.note_cache_status("bypass")
    try:
        chosen = choose(call, exchange, parts.catalog.current)
        await forward(call, endpoint, chosen, exchange, parts)
    except RelayError as error:
        await exchange.fail(error)
    except ClientLeftError:
        return None
    finally:
        exchange.unwatch()
        finish_call(trace, parts)
        parts.recorder.record(trace.close(exchange.sent_bytes))
    return sink.body if sink.status == 200 and row.error_type is None else None


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


def build_call(caller: Caller, path: str, body: bytes, parts: Parts) -> Call:
    """Return a call of our own."""
    return Call(
        route=find_route(path, parts.catalog.current.providers.keys()),
        method="POST",
        query=b"",
        headers=[(b"content-type", b"application/json")],
        sent=Sent(content_type=b"application/json"),
        options=Options(cache="bypass"),
        caller=caller,
        body=body,
        fields=read_fields(body),
    )
