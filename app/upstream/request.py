"""Writes requests to providers as HTTP/1.1 bytes, and names what can go wrong with them; no I/O."""

from collections.abc import AsyncIterator

import msgspec

from app.errors import UpstreamFailure
from app.upstream.decoding import CODINGS
from app.wire.http import Headers

_OURS = frozenset({b"host", b"content-length", b"transfer-encoding", b"accept-encoding", b"connection", b"expect"})
"""Lines about this one hop: what the caller says about them is replaced by what is true here."""

_MESSAGES = {
    "connect": "The provider could not be reached.",
    "connect_timeout": "Connecting to the provider took too long.",
    "tls": "The TLS connection to the provider could not be trusted or set up.",
    "first_byte_timeout": "The provider did not begin its answer in time.",
    "idle_timeout": "The provider stopped sending in the middle of an exchange.",
    "total_timeout": "The provider took too long for a whole answer.",
    "disconnected": "The provider closed the connection before its answer was complete.",
    "protocol": "The provider's answer is not valid HTTP.",
    "too_large": "The provider's answer is larger than allowed.",
    "encoding": "The provider's answer has a content encoding that was not asked for.",
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long the phases of an exchange may take, and how large its answer may be after decoding."""

    connect_seconds: float = 5
    first_byte_seconds: float = 60
    idle_seconds: float = 60
    total_seconds: float = 600
    max_body_bytes: int = 64 * 2**20


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a provider. A `content-length` line is only read when the body is an iterator."""

    method: str
    url: str
    headers: Headers
    body: bytes | AsyncIterator[bytes] = b""
    limits: Limits


def build_head(outgoing: Outgoing, *, target: str, hop_lines: bytes) -> bytes:
    """Return the request line and header lines, the caller's own byte for byte."""
    method, body = outgoing.method, outgoing.body
    try:
        start = f"{method} {target} HTTP/1.1\r\n".encode("ascii")
    except UnicodeEncodeError as error:
        raise build_unsendable() from error
    lines = [b"%b: %b\r\n" % line for line in outgoing.headers if line[0].lower() not in _OURS]
    if not isinstance(body, bytes):
        length = find_length(outgoing.headers)
        lines.append(b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length)
    elif body or method in {"POST", "PUT", "PATCH"}:
        lines.append(b"content-length: %d\r\n" % len(body))
    head = b"".join((start, hop_lines, *lines, b"\r\n"))
    breaks = len(lines) + hop_lines.count(b"\n") + 2
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head or not method.isalpha():
        raise build_unsendable()
    return head


def find_length(headers: Headers) -> int | None:
    """Return the announced length of a streamed body, None when it is to be sent chunked."""
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None


def find_coding(headers: Headers) -> bytes | None:
    """Return the one coding that has to be undone; raise for those that cannot be."""
    codings = [value.strip().lower() for name, value in headers if name == b"content-encoding"]
    codings = [coding for coding in codings if coding not in {b"", b"identity"}]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in CODINGS:
        raise build_failure("encoding", answered=True)
    return codings[0]


def build_failure(kind: str, *, answered: bool = False) -> UpstreamFailure:
    """Return the failure of one of the kinds that UpstreamFailure lists."""
    return UpstreamFailure(kind, _MESSAGES[kind], answered=answered)


def build_unsendable() -> UpstreamFailure:
    """Return the failure of a request that would not be valid HTTP."""
    return UpstreamFailure("protocol", "The request cannot be written as HTTP.")
