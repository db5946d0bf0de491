"""aiohttp's connection pool, dialler and proxy client, with connections that report every failure."""

import functools
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from aiohttp import (
    ClientConnectorSSLError,
    ClientError,
    ClientTimeout,
    EofStream,
    StreamReader,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_exceptions import ClientConnectorCertificateError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

BROKEN = (ClientError, HttpProcessingError, EofStream, OSError, RuntimeError)
"""How the library says that an exchange is over before its end."""

_KEEP_ALIVE_SECONDS = 55.0  # below the 60 s after which common servers close an idle connection
_DNS_SECONDS = 30


class PooledProtocol(ResponseHandler):
    """A connection that knows whether it served before, and that tells the body about every failure."""

    used = False
    answered = False
    body: StreamReader | None = None
    _rescued = b""

    def reset(self) -> None:
        """Make ready for the next exchange."""
        self.answered = False
        self.body = None
        self._rescued = b""

    def take_tail(self) -> bytes:
        """Return once what had arrived when the connection ended and had not been read."""
        tail, self._rescued = self._rescued, b""
        return tail

    def data_received(self, data: bytes) -> None:
        """Take bytes from the network."""
        self.answered = True
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Save what has not been read: a body that carries a failure gives nothing else away."""
        body = self._payload
        if body is not None and body.exception() is None:
            with suppress(RuntimeError):  # somebody is waiting for bytes, so there are none
                self._rescued = body.read_nowait()
        super().connection_lost(exc)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Wake whoever waits for the headers or for the body."""
        # aiohttp reports garbage between chunks only here, and whoever reads the body would wait for ever.
        body = self.body
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(exc)
        super().set_exception(exc, exc_cause or exc)


class Connector(TCPConnector):
    """The pool of one client."""

    def adopt_protocol(self) -> None:
        """Make all connections of our kind."""
        self._factory = functools.partial(PooledProtocol, loop=self._loop)


def open_connector(tls: ssl.SSLContext | Literal[True]) -> Connector:
    """Return a pool without a limit on connections; to be closed."""
    connector = Connector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS, ttl_dns_cache=_DNS_SECONDS, ssl=tls)
    connector.adopt_protocol()
    return connector


AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
"""What the library dials: family, kind, protocol, a name that nobody uses, and address and port."""


class ChosenAddresses(AbstractResolver):
    """Knows one answer to every question: the addresses that were chosen before."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = tuple(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the chosen addresses; nobody is asked."""
        del family
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing open."""

    def open_socket(self, info: AddrInfo) -> socket.socket:
        """Return a socket for dialling one of the chosen addresses; OSError for any other, however it came here."""
        if info[4][0] not in self._addresses:
            raise OSError("not one of the chosen addresses")
        return socket.socket(info[0], info[1], info[2])


def open_pinned_connector(tls: ssl.SSLContext | Literal[True], addresses: Sequence[str]) -> Connector:
    """Return a pool that dials only these addresses, whatever a host is called, and keeps no connection."""
    chosen = ChosenAddresses(addresses)
    connector = Connector(
        limit=0, force_close=True, use_dns_cache=False, resolver=chosen, socket_factory=chosen.open_socket, ssl=tls
    )
    connector.adopt_protocol()
    return connector


def find_connect_kind(error: BaseException) -> str:
    """Return the kind of failure that a connection which could not be made is."""
    if isinstance(error, TimeoutError):
        return "connect_timeout"
    if isinstance(error, ClientConnectorSSLError | ClientConnectorCertificateError):
        return "tls"
    return "connect"


@functools.lru_cache(maxsize=64)
def build_timeout(seconds: float) -> ClientTimeout:
    """Return aiohttp's form of the connect limit."""
    return ClientTimeout(connect=seconds)
