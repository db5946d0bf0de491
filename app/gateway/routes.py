"""The edge of the hot path: every request of model traffic comes in here, is answered and is recorded."""

import asyncio
import logging
from typing import cast

import msgspec
from litestar.types import HTTPScope, Receive, Send

from app.access.rights import check_route, join_tags
from app.errors import BadRequestError, MethodNotAllowedError, NotFoundError, RelayError, UnavailableError
from app.gateway.batch_links import find_base
from app.gateway.body import ClientLeftError, drain, inflate, read_body
from app.gateway.call import Call, Fields, read_fields
from app.gateway.exchange import JSON, Exchange
from app.gateway.later import Later, may_wait
from app.gateway.limiting import finish_call
from app.gateway.models import ModelLists, answer_models
from app.gateway.options import (
    Sent,
    find_credential,
    read_count,
    read_label,
    read_options,
    read_request_id,
    read_sent,
)
from app.gateway.parts import Parts
from app.gateway.passing import READING, BrokenOffError, pass_on
from app.gateway.paths import Route, adapt, find_route, is_models
from app.gateway.pipeline import relay
from app.gateway.trace import Trace
from app.providers.registry import VENDORS
from app.wire.http import Headers

logger = logging.getLogger("relaycore.gateway")

MAX_ROUTES = 4096
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
ALLOW = ((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE"),)
MAX_REMEMBERED_PATH = 256
STOPPING = "The gateway is stopping and could not wait for the end of this answer."
RETRY_SOON = ((b"retry-after", b"1"),)
HELLO = b'{"name":"RelayCore","documentation":"/docs","openapi":"/openapi.json"}'


class Gateway:
    """The ASGI application of all model traffic."""

    def __init__(self, parts: Parts, later: Later | None = None) -> None:
        self.parts = parts
        self._later = later
        self._routes: dict[bytes, Route] = {}
        self._routes_version = -1
        self._lists = ModelLists()

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one request and record it, whatever happens."""
        trace = Trace()
        exchange = Exchange(receive, send, trace)
        self.parts.traffic.calls += 1
        try:
            await self._answer_always(scope, exchange)
        finally:
            self.parts.traffic.calls -= 1
            exchange.unwatch()
            if exchange.gone:
                trace.leave()
            finish_call(trace, self.parts)
            if trace.wanted:
                self.parts.recorder.record(trace.close(exchange.sent_bytes))
            if exchange.capture is not None:
                await exchange.capture.break_off()

    async def _answer_always(self, scope: HTTPScope, exchange: Exchange) -> None:
        """Answer, if only with an error. A client that left is not an error."""
        try:
            await self._answer(scope, exchange)
        except RelayError as error:
            await exchange.fail(error)
        except ClientLeftError:
            exchange.gone = True
        except asyncio.CancelledError:
            if not exchange.gone:
                await exchange.fail(UnavailableError(STOPPING, code="gateway_stopping", headers=RETRY_SOON))
            cast("asyncio.Task[object]", asyncio.current_task()).uncancel()
        except BrokenOffError:
            raise
        except Exception:
            logger.exception("request %s failed", exchange.trace.row.request_id)
            await exchange.fail(RelayError("The gateway failed on this request.", code="internal_error"))

    async def _answer(self, scope: HTTPScope, exchange: Exchange) -> None:
        method = scope["method"]
        sent = read_sent(cast(Headers, scope["headers"]))
        route = adapt(self._find_route(scope), sent.anthropic_version)
        exchange.dialect = route.dialect
        exchange.trace.wanted = method not in READING
        if scope["path"] == "/" and method in READING:
            await exchange.reply(200, [JSON], HELLO if method == "GET" else b"")
            return
        call = await self._admit(scope, sent, route, exchange)
        if is_models(route) and method in READING:
            await answer_models(route, call.caller, exchange, self.parts, self._lists)
            return
        if route.endpoint is None or method != "POST":
            if self._later is None or not await self._later.answer(call, scope, exchange):
                await pass_on(call, find_base(scope), exchange, self.parts)
            return
        call = await self._with_body(call, exchange)
        if self._later is not None and may_wait(sent):
            await self._later.defer(call, scope, exchange)
            return
        await relay(call, route.endpoint, exchange, self.parts)

    async def _admit(self, scope: HTTPScope, sent: Sent, route: Route, exchange: Exchange) -> Call:
        """Return the call of a request that may be made: who calls is judged before anything else."""
        row = exchange.trace.row
        row.endpoint, row.provider = route.name, route.provider
        row.request_id = read_request_id(sent) or row.request_id
        row.session_id, row.retry_count = read_label(sent.session_id), read_count(sent.retry_count)
        try:
            caller = await self.parts.directory.admit(find_credential(sent))
            row.user_id, row.api_key_id = caller.user_id, caller.key_id
            row.team_id, row.organization_id = caller.team_id, caller.organization_id
            check_route(caller, route.name, route.kind)
            if scope["method"] not in METHODS:
                raise MethodNotAllowedError("Model traffic does not take this method.", headers=ALLOW)
            if not route.known:
                raise NotFoundError(
                    f"There is nothing at {scope['method']} {scope['path'][:200]}.", code="unknown_path"
                )
            options = read_options(sent)
            row.tags, row.metadata = join_tags(caller, options.tags), options.metadata
        except RelayError:
            await drain(exchange.receive, more=sent.content_length.strip(b"0 ") != b"")
            raise
        return Call(
            route=route,
            method=scope["method"],
            query=scope["query_string"],
            headers=cast(Headers, scope["headers"]),
            sent=sent,
            options=options,
            caller=caller,
            body=b"",
            fields=Fields(),
        )

    async def _with_body(self, call: Call, exchange: Exchange) -> Call:
        """Return the call with its JSON body and the fields that are read of it."""
        limit = self.parts.settings.max_body_bytes
        body = await read_body(exchange.receive, limit)
        if call.sent.content_encoding:
            body = inflate(body, call.sent.content_encoding, limit)
        row = exchange.trace.row
        row.request_bytes = len(body)
        fields = read_fields(body)
        if fields.model is None and call.route.provider is None:
            raise BadRequestError("The field 'model' is missing.", param="model")
        complete = msgspec.structs.replace(call, body=body, fields=fields)
        row.streamed = complete.streamed
        return complete

    def _find_route(self, scope: HTTPScope) -> Route:
        """Return the route of a path; short ones are remembered while the configuration stays the same."""
        raw = scope["raw_path"] or scope["path"].encode()
        snapshot = self.parts.catalog.current
        if snapshot.version != self._routes_version or len(self._routes) > MAX_ROUTES:
            self._routes, self._routes_version = {}, snapshot.version
        route = self._routes.get(raw)
        if route is None:
            names = snapshot.providers.keys() | VENDORS.keys()
            route = find_route(raw.decode("latin-1"), names)
            if len(raw) <= MAX_REMEMBERED_PATH:
                self._routes[raw] = route
        return route
