"""One call about a batch or a file: what it asks, its body as far as it was taken in, and the way to answer it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from litestar.types import HTTPScope, Receive

from app.access.rights import join_tags
from app.access.types import Caller
from app.batch.types import NewBatch, Shape
from app.errors import BadRequestError, NotFoundError, RelayError, TooLargeError
from app.gateway.body import drain, inflate, read_body, stream_body
from app.gateway.call import Call
from app.gateway.exchange import JSON, Exchange
from app.gateway.headers import brings_own_key
from app.gateway.parts import Parts
from app.gateway.passed import keep_passed
from app.gateway.passing import BrokenOffError, has_body
from app.wire.http import Headers
from app.wire.ids import make_uuid7

OWN_KEY = "A batch is worked off with the gateway's own provider keys; one of yours is not kept for later."

_encode = msgspec.json.Encoder().encode


class Asked:
    """A call to those who see to batches. `names` are the segments of its path."""

    def __init__(self, call: Call, names: tuple[str, ...], scope: HTTPScope, exchange: Exchange, parts: Parts) -> None:
        self.call = call
        self.names = names
        self.scope = scope
        self.exchange = exchange
        self.parts = parts
        self.query: Mapping[str, str] = dict(parse_qsl(call.query.decode("latin-1")))
        self._body_left = has_body(call)
        self._receive_next = exchange.receive
        exchange.receive = cast(Receive, self._receive)

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.call.caller

    @property
    def user_id(self) -> UUID | None:
        """Whose things are shown: the caller's; None: everybody's."""
        return None if self.caller.admin else self.caller.user_id

    @property
    def may_pass(self) -> bool:
        """Whether the call may go to a provider for something there that is not ours."""
        return self.caller.admin or brings_own_key(self.call.sent)

    @property
    def names_anthropic_files(self) -> bool:
        """Whether it is about Anthropic's files: both vendors have some here, and only its clients send a version."""
        return self.names[0] == "files" and self.call.sent.anthropic_version != b""

    async def read_body(self) -> bytes:
        """Return the whole body. Raises RelayError for one that is too large or cannot be read."""
        limit = self.parts.settings.max_body_bytes
        return inflate(await read_body(self.exchange.receive, limit), self.call.sent.content_encoding, limit)

    async def stream_body(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes. Raises TooLargeError."""
        limit = self.parts.settings.max_upload_bytes
        length = self.call.sent.content_length
        if length.isdigit() and int(length) > limit:
            raise TooLargeError(f"The request body is larger than {limit} bytes.")
        if self.call.sent.content_encoding:
            yield await self.read_body()
            return
        async with aclosing(stream_body(self.exchange.receive, limit)) as parts:
            async for part in parts:
                yield part

    async def drain(self) -> None:
        """Take in what is left of the body, for a while: a client reads its answer only once it has sent it."""
        if self._body_left:
            await drain(self.exchange.receive)

    async def _receive(self) -> Any:
        message = cast(dict[str, Any], await self._receive_next())
        self._body_left = message["type"] == "http.request" and bool(message.get("more_body"))
        return message

    async def reply(self, value: Any) -> None:
        """Answer with JSON."""
        await self.exchange.reply(200, [JSON], _encode(value))

    async def send(self, pages: AsyncIterator[bytes], headers: Headers) -> None:
        """Answer with what `pages` yields, page by page; a client that leaves ends it.

        What breaks off midway breaks the connection as well: nothing else tells the client.
        """
        exchange = self.exchange
        exchange.watch()
        try:
            async for page in pages:
                if not exchange.started:
                    await exchange.start(200, [*headers, *exchange.own_headers()])
                await exchange.write(page)
            if not exchange.started:
                await exchange.start(200, [*headers, *exchange.own_headers()])
            await exchange.finish()
        except (RelayError, ValueError) as error:
            if not exchange.started:
                raise
            raise BrokenOffError from error
        except asyncio.CancelledError:
            if exchange.gone or not exchange.started:
                raise
            raise BrokenOffError from None  # the gateway stops

    def read_limit(self, usual: int, most: int) -> int:
        """Return how many objects of a list are asked for. Raises BadRequestError."""
        text = self.query.get("limit", str(usual))
        if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= most:
            raise BadRequestError(f"'limit' is a number from 1 to {most}.", param="limit")
        return int(text)

    def refuse_own_key(self) -> None:
        """Raise BadRequestError for a caller who wants to pay the provider with a key of its own."""
        if brings_own_key(self.call.sent):
            raise BadRequestError(OWN_KEY)

    def refuse_unknown_provider(self) -> None:
        """Raise NotFoundError when the path names a provider that is not configured."""
        provider = self.call.route.provider
        if provider is not None and provider not in self.parts.catalog.current.providers:
            raise NotFoundError(f"The provider {provider!r} is not configured.", code="provider_not_configured")

    def find_path(self, endpoint: str) -> str:
        """Return where requests to an endpoint go: to the provider that the path names, if it names one."""
        provider = self.call.route.provider
        return endpoint if provider is None else f"/v1/{provider}{endpoint}"

    def build_new(self, shape: Shape, path: str, **said: Any) -> NewBatch:
        """Return the batch that the caller hands in."""
        caller = self.caller
        return NewBatch(
            id=make_uuid7(),
            shape=shape,
            user_id=caller.user_id,
            api_key_id=caller.key_id,
            team_id=caller.team_id,
            organization_id=caller.organization_id,
            tags=join_tags(caller, self.call.options.tags) or (),
            options=keep_passed(self.call.options, self.call.sent),
            path=path,
            provider=self.call.route.provider,
            **said,
        )
