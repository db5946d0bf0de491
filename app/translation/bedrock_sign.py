"""Signing requests to Amazon Bedrock: Signature Version 4 by botocore's signer, or a bearer key."""

from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

import msgspec

from app.wire.http import Headers

_SIGNED = frozenset({b"host", b"content-type"})
"""Lines that are part of the signature besides x-amz-…: those that nothing on the way changes."""

_REPLACED = frozenset({b"authorization", b"x-amz-date", b"x-amz-security-token", b"date"})


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """An AWS access key; `session_token` belongs to temporary ones.

    `service` is what the endpoint is called in signatures: "bedrock-mantle" is the one that speaks Anthropic's own API.
    """

    access_key: str
    secret_key: str
    region: str
    session_token: str | None = None
    service: str = "bedrock"


class BearerKey(msgspec.Struct, frozen=True, kw_only=True):
    """A Bedrock API key (AWS_BEARER_TOKEN_BEDROCK)."""

    token: str


Credentials = AccessKey | BearerKey


class _Request(Protocol):
    context: dict[str, str]


class _Signer(Protocol):
    """What is used of botocore's SigV4Auth: its public steps, which leave the clock to their caller."""

    def headers_to_sign(self, request: _Request) -> object: ...
    def signed_headers(self, headers: object) -> str: ...
    def canonical_request(self, request: _Request) -> str: ...
    def string_to_sign(self, request: _Request, canonical: str) -> str: ...
    def signature(self, text: str, request: _Request) -> str: ...
    def scope(self, request: _Request) -> str: ...


def sign(method: str, url: str, headers: Headers, body: bytes, credentials: Credentials, at: datetime) -> Headers:
    """Return the header lines with what proves the sender. `url` is the one that is sent, to the byte.

    A line that says `authorization`, `x-amz-date` or `x-amz-security-token` already is replaced. `at` has a time zone.
    """
    lines = [line for line in headers if line[0].lower() not in _REPLACED]
    if isinstance(credentials, BearerKey):
        return [*lines, (b"authorization", b"Bearer " + credentials.token.encode())]
    stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    lines.append((b"x-amz-date", stamp.encode()))
    if credentials.session_token:
        lines.append((b"x-amz-security-token", credentials.session_token.encode()))
    return [*lines, (b"authorization", _sign(method, url, lines, body, credentials, stamp))]


def _sign(method: str, url: str, lines: Headers, body: bytes, key: AccessKey, stamp: str) -> bytes:
    signer, request = _open_signer(key), _build_request(method, url, _choose(lines), body)
    request.context["timestamp"] = stamp
    text = signer.string_to_sign(request, signer.canonical_request(request))
    names = signer.signed_headers(signer.headers_to_sign(request))
    signature = signer.signature(text, request)
    return f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}".encode()


def _choose(lines: Headers) -> dict[str, str]:
    chosen = [(name.lower(), value) for name, value in lines]
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in chosen
        if name in _SIGNED or name.startswith(b"x-amz-")
    }


@cache
def _find(module: str, name: str) -> Any:
    """Return a class of botocore, whose import costs a tenth of a second: only where something is signed."""
    return getattr(import_module(f"botocore.{module}"), name)


def _open_signer(key: AccessKey) -> _Signer:
    credentials = _find("credentials", "Credentials")(key.access_key, key.secret_key, key.session_token)
    return cast("_Signer", _find("auth", "SigV4Auth")(credentials, key.service, key.region))


def _build_request(method: str, url: str, headers: dict[str, str], body: bytes) -> _Request:
    request = _find("awsrequest", "AWSRequest")(method=method, url=url, headers=headers, data=body)
    return cast("_Request", request)
