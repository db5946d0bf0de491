"""Sends requests to providers over pooled connections."""

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import msgspec
from aiohttp import ClientError, ClientRequest, encode_basic_auth
from yarl import URL

from app.errors import UpstreamFailure
from app.upstream.exchange import Exchange, Incoming, exchange_messages
from app.upstream.pool import Connector, build_timeout, find_connect_kind, open_connector, open_pinned_connector
from app.upstream.proxy import find_proxy, parse_proxies
from app.upstream.request import Limits, Outgoing, build_failure, build_head, build_unsendable

_MAX_ORIGINS = 1000

_URL = re.compile(r"(https?)://([^/?#@\\\s]+)([^#\s]*)", re.IGNORECASE)


class _Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What stays the same for all requests to one scheme, host and port."""

    dial: ClientRequest
    target_prefix: str
    lines: bytes


class Upstream:
    """Sends requests to providers over pooled connections; opened by its first request.

    `proxies` maps "http", "https" or "all" to the URL of a forward proxy, `no_proxy` lists exceptions. `tls` replaces
    the system's trusted authorities. ValueError for a proxy that cannot be used. `addresses`, when given, are the only
    ones that are dialled: names are not resolved, and no connection is used twice.
    """

    def __init__(
        self,
        *,
        proxies: Mapping[str, str] = MappingProxyType({}),
        no_proxy: str = "",
        tls: ssl.SSLContext | None = None,
        addresses: Sequence[str] | None = None,
    ) -> None:
        self._proxies = parse_proxies(proxies)
        self._no_proxy = no_proxy
        self._tls: ssl.SSLContext | Literal[True] = tls or True
        self._addresses = addresses
        self._connector: Connector | None = None
        self._origins: dict[str, _Origin] = {}

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Send a request and return its answer as soon as the headers are there; raise UpstreamFailure."""
        match = _URL.fullmatch(outgoing.url.partition("#")[0])
        if match is None:
            raise build_unsendable()
        origin = self._get_origin(match[1].lower(), match[2])
        path = match[3] if match[3].startswith("/") else f"/{match[3]}"
        head = build_head(outgoing, target=origin.target_prefix + path, hop_lines=origin.lines)
        total_at = asyncio.get_running_loop().time() + outgoing.limits.total_seconds
        exchange = await self._connect(origin, outgoing.limits, total_at)
        if not exchange.protocol.used or not isinstance(outgoing.body, bytes):
            return await exchange_messages(exchange, outgoing, head)
        try:
            return await exchange_messages(exchange, outgoing, head)
        except UpstreamFailure as failure:
            if failure.kind != "disconnected" or failure.answered:
                raise
        # The provider closed an idle connection just as we reused it: once more, on a new one.
        exchange = await self._connect(origin, outgoing.limits, total_at, fresh=True)
        return await exchange_messages(exchange, outgoing, head)

    async def close(self) -> None:
        """Close every connection; whoever still waits for an answer gets a failure."""
        if self._connector is not None:
            await self._connector.close()
            self._connector = None

    async def _connect(self, origin: _Origin, limits: Limits, total_at: float, *, fresh: bool = False) -> Exchange:
        if self._connector is None:
            self._connector = self._open_connector()
        timeout = build_timeout(min(limits.connect_seconds, limits.total_seconds))
        while True:
            try:
                connection = await self._connector.connect(origin.dial, [], timeout)
            except (ClientError, OSError, ValueError) as error:
                raise build_failure(find_connect_kind(error)) from error
            exchange = Exchange(connection, total_at)
            # Bytes that nobody asked for would be taken for the next answer.
            if exchange.protocol.should_close or (fresh and exchange.protocol.used):
                exchange.abort()
                continue
            return exchange

    def _open_connector(self) -> Connector:
        return (
            open_connector(self._tls) if self._addresses is None else open_pinned_connector(self._tls, self._addresses)
        )

    def _get_origin(self, scheme: str, authority: str) -> _Origin:
        key = f"{scheme}://{authority}"
        origin = self._origins.get(key)
        if origin is None:
            if len(self._origins) >= _MAX_ORIGINS:
                self._origins.clear()
            origin = self._origins[key] = self._build_origin(key)
        return origin

    def _build_origin(self, key: str) -> _Origin:
        try:
            url = URL(key)
            host, port, name = url.raw_host, url.port, url.host_port_subcomponent
        except ValueError as error:
            raise build_failure("connect") from error
        if not host or not port or not name:
            raise build_failure("connect")
        found = find_proxy(self._proxies, self._no_proxy, scheme=url.scheme, host=host, port=port)
        proxy = URL(found) if found else None
        lines = f"host: {name}\r\naccept-encoding: identity\r\n"
        forwarded = proxy is not None and url.scheme == "http"
        if forwarded and proxy is not None and proxy.user:
            lines += f"proxy-authorization: {encode_basic_auth(proxy.user, proxy.password or '')}\r\n"
        dial = ClientRequest("GET", url, loop=asyncio.get_running_loop(), proxy=proxy)
        prefix = f"{url.scheme}://{name}" if forwarded else ""
        return _Origin(dial=dial, target_prefix=prefix, lines=lines.encode("ascii"))
