"""A call in another dialect than its client's: its body, and its answer brought back to the client's dialect."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import msgspec

from app.errors import BadGatewayError
from app.gateway.call import Call
from app.providers.protocol import ClientDialect, ProviderDialect, StreamReader, StreamWriter
from app.translation.anthropic import ANTHROPIC_CLIENT, ANTHROPIC_PROVIDER
from app.translation.bedrock import BEDROCK_ANTHROPIC, BEDROCK_CONVERSE
from app.translation.gemini import GEMINI_PROVIDER
from app.translation.openai import OPENAI_CLIENT, OPENAI_PROVIDER
from app.translation.responses import RESPONSES_CLIENT
from app.upstream import Incoming
from app.wire.chat import ChatCall
from app.wire.http import Headers

CLIENTS: Mapping[str, ClientDialect] = {
    "chat": OPENAI_CLIENT,
    "messages": ANTHROPIC_CLIENT,
    "responses": RESPONSES_CLIENT,
}
_PROVIDERS: Mapping[str, ProviderDialect] = {
    "openai": OPENAI_PROVIDER,
    "anthropic": ANTHROPIC_PROVIDER,
    "gemini": GEMINI_PROVIDER,
}

PINGS: Mapping[str, bytes] = {
    "chat": b": ping\n\n",
    "messages": b'event: ping\ndata: {"type": "ping"}\n\n',
    "responses": b": ping\n\n",
}
"""What the client of an endpoint takes for a sign of life while the provider is silent."""

PING_SECONDS = 15.0

STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
WHOLE = (b"content-type", b"application/json")


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """One call on its way through another dialect."""

    client: ClientDialect
    provider: ProviderDialect
    call: ChatCall
    path: str
    body: bytes
    ping: bytes


def find_provider_dialect(tongue: str, model: str) -> ProviderDialect:
    """Return the dialect by its name; Bedrock speaks Anthropic's with Anthropic's models."""
    if tongue == "bedrock":
        return BEDROCK_ANTHROPIC if "anthropic" in model else BEDROCK_CONVERSE
    return _PROVIDERS[tongue]


def translate(call: Call, client: str, tongue: str, model: str) -> Translation:
    """Return the call in the provider's dialect. Raises BadRequestError naming the field it has no words for."""
    dialect, provider = CLIENTS[client], find_provider_dialect(tongue, model)
    chat = msgspec.structs.replace(dialect.read_call(call.body), model=model)
    path = provider.path(model, chat.stream)
    # Usage is always asked for; the client's tap hides what it did not ask for.
    asked = msgspec.structs.replace(chat, include_usage=True)
    body = provider.build_chat(asked)
    return Translation(client=dialect, provider=provider, call=asked, path=path, body=body, ping=PINGS[client])


class TranslatedIncoming:
    """A provider's good answer as the client's dialect would have it; used like `Incoming`."""

    def __init__(self, incoming: Incoming, translation: Translation) -> None:
        self._incoming = incoming
        self._translation = translation
        self._pieces = incoming.chunks()
        self._reader = translation.provider.open_reader()
        self._writer = translation.client.open_writer(translation.call)
        self._next: asyncio.Task[bytes] | None = None
        self._begun = False
        self.status = incoming.status
        kept = [line for line in incoming.headers if line[0] not in {b"content-type", b"content-length"}]
        # Who was asked for a stream and answers whole is read whole; the edge makes a stream of it.
        streams = translation.call.stream and not _is_json(incoming.headers)
        self.headers: Headers = [*kept, STREAM if streams else WHOLE]

    async def read(self) -> bytes:
        """Return the whole answer; BadGatewayError when it is none."""
        body = await self._incoming.read()
        try:
            reply = self._translation.provider.parse_chat(body)
            return self._translation.client.write_reply(reply, self._translation.call)
        except ValueError as error:
            message = "The provider's answer is not what this model answers with."
            raise BadGatewayError(message, code="upstream_invalid_answer") from error

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the stream, translated event by event; it simply ends where the provider's does."""
        return self

    def close(self) -> None:
        """Close the provider's answer; what still waits for it ends with that, and nobody may be asking any more."""
        self._incoming.close()
        if self._next is not None:
            self._next.add_done_callback(_forget)

    def __aiter__(self) -> "TranslatedIncoming":
        return self

    async def __anext__(self) -> bytes:
        while True:
            data = await self._receive()
            if data is None:
                return self._translation.ping
            translated = _translate_piece(self._reader, self._writer, data)
            if translated:
                self._begun = True
                return translated

    async def _receive(self) -> bytes | None:
        """Return what the provider sent, None when a stream that has begun was silent for long."""
        if not self._begun:
            return await anext(self._pieces)
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._pieces))
        done, _ = await asyncio.wait({self._next}, timeout=PING_SECONDS)
        if not done:
            return None
        task, self._next = self._next, None
        return task.result()


def _translate_piece(reader: StreamReader, writer: StreamWriter, data: bytes) -> bytes:
    return b"".join(map(writer.write, reader.feed(data)))


def _is_json(headers: Headers) -> bool:
    return any(name == b"content-type" and value.lower().startswith(b"application/json") for name, value in headers)


def _forget(task: "asyncio.Task[bytes]") -> None:
    if not task.cancelled():
        task.exception()
