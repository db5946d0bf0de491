"""A call in another dialect than its client's: its body, and its answer brought back to the client's dialect."""

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
from app.wire.chat import ChatCall, Failed
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

STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
WHOLE = (b"content-type", b"application/json")


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """One call on its way through another dialect."""

    client: ClientDialect
    provider: ProviderDialect
    call: ChatCall
    path: str
    body: bytes


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
    return Translation(client=dialect, provider=provider, call=asked, path=path, body=provider.build_chat(asked))


class TranslatedIncoming:
    """A provider's good answer as the client's dialect would have it; used like `Incoming`."""

    def __init__(self, incoming: Incoming, translation: Translation) -> None:
        self._incoming = incoming
        self._translation = translation
        self._pieces = incoming.chunks()
        self._reader = translation.provider.open_reader()
        self._writer = translation.client.open_writer(translation.call)
        self.status = incoming.status
        kept = [line for line in incoming.headers if line[0] not in {b"content-type", b"content-length"}]
        self.headers: Headers = [*kept, STREAM if translation.call.stream else WHOLE]

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
        """Close the provider's answer."""
        self._incoming.close()

    def __aiter__(self) -> "TranslatedIncoming":
        return self

    async def __anext__(self) -> bytes:
        while True:
            translated = _translate_piece(self._reader, self._writer, await anext(self._pieces))
            if translated:
                return translated


def _translate_piece(reader: StreamReader, writer: StreamWriter, data: bytes) -> bytes:
    return b"".join(
        writer.fail(BadGatewayError(event.message)) if isinstance(event, Failed) else writer.write(event)
        for event in reader.feed(data)
    )
