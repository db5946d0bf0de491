"""Which header lines go up to a provider and which come back to the client."""

from app.access.keys import PREFIX
from app.errors import Dialect
from app.gateway.options import Sent
from app.providers.registry import Provider
from app.wire.http import Headers

ANTHROPIC_VERSION = b"2023-06-01"
BEARER, AWS = "bearer", "aws"
AUTH = {Dialect.OPENAI: BEARER, Dialect.ANTHROPIC: "x-api-key"}
TONGUE_AUTH = {"openai": BEARER, "anthropic": "x-api-key", "gemini": "x-goog-api-key", "bedrock": AWS}

# Ours, the connection's, and what would tell a provider about our users or our house. An Idempotency-Key is its
# sender's: two who chose the same one would be one caller to a provider that knows only our credential.
NOT_UP = frozenset(
    {
        b"host",
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
        b"expect",
        b"content-length",
        b"content-encoding",
        b"accept-encoding",
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
        b"cookie",
        b"idempotency-key",
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"baggage",
        b"origin",
        b"priority",
    }
)
PREFIXES_NOT_UP = (
    b"x-relay-",
    b"x-aihub-",
    b"x-stainless-",
    b"x-forwarded-",
    b"x-claude-code-",
    b"x-litellm-",
    b"x-portkey-",
    b"helicone-",
    b"cf-aig-",
    b"sec-",
    b"access-control-",
)

# Coming back, only what clients of these APIs read: never cookies, servers, organisations or the connection's own.
BACK = frozenset(
    {
        b"content-type",
        b"content-disposition",
        b"content-range",
        b"content-language",
        b"accept-ranges",
        b"cache-control",
        b"etag",
        b"last-modified",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
        b"openai-processing-ms",
        b"openai-version",
        b"openai-model",
        b"warning",
        b"deprecation",
        b"sunset",
    }
)
PREFIXES_BACK = (b"x-ratelimit-", b"anthropic-ratelimit-", b"anthropic-fast-")

_MAX_REMEMBERED = 4096
_goes_up: dict[bytes, bool] = {}
_comes_back: dict[bytes, bool] = {}


def _remember(known: dict[bytes, bool], name: bytes, verdict: bool) -> bool:
    if len(known) < _MAX_REMEMBERED:
        known[name] = verdict
    return verdict


def goes_up(name: bytes) -> bool:
    """Return whether a client's header line is the provider's business."""
    known = _goes_up.get(name)
    if known is not None:
        return known
    return _remember(_goes_up, name, name not in NOT_UP and not name.startswith(PREFIXES_NOT_UP))


def comes_back(name: bytes) -> bool:
    """Return whether a provider's header line is the client's business."""
    known = _comes_back.get(name)
    if known is not None:
        return known
    return _remember(_comes_back, name, name in BACK or name.startswith(PREFIXES_BACK))


def build_upstream_headers(headers: Headers, sent: Sent, provider: Provider, dialect: Dialect, key: str) -> Headers:
    """Return the header lines of a request in the client's dialect: its own lines, and a credential."""
    lines = [line for line in headers if goes_up(line[0])]
    lines += build_credential(sent, provider, AUTH[dialect], key)
    if dialect is Dialect.ANTHROPIC and not sent.anthropic_version:
        lines.append((b"anthropic-version", ANTHROPIC_VERSION))
    return lines


def build_translated_headers(headers: Headers, sent: Sent, provider: Provider, tongue: str, key: str) -> Headers:
    """Return the header lines of a request in another dialect: nothing that belongs to the client's own."""
    lines = [(name, value) for name, value in headers if name == b"user-agent"]
    lines += [(b"content-type", b"application/json"), *build_credential(sent, provider, TONGUE_AUTH[tongue], key)]
    if tongue == "anthropic":
        lines.append((b"anthropic-version", ANTHROPIC_VERSION))
    return lines


def build_credential(sent: Sent, provider: Provider, auth: str, key: str) -> Headers:
    """Return the credential lines: the caller's own where it brought one, else the provider's configured `key`.

    A caller brings its own in `x-relay-upstream-key`, or in the usual headers when the gateway key came in
    `x-relay-api-key`; those then go up as they are.
    """
    way = provider.auth or auth
    if sent.upstream_key:
        return _credential(sent.upstream_key.strip(), way)
    return find_own_credential(sent) or (_credential(key.encode(), way) if key else [])


def find_own_credential(sent: Sent) -> Headers:
    """Return the caller's own provider credential, as it came in the usual headers beside our own one."""
    if not sent.relay_key:
        return []
    ours = sent.relay_key.strip()
    lines = ((b"authorization", sent.authorization), (b"x-api-key", sent.x_api_key), (b"api-key", sent.api_key))
    return [(name, value) for name, value in lines if value and not _is_ours(value.split(b" ")[-1].strip(), ours)]


def _is_ours(token: bytes, ours: bytes) -> bool:
    """Return whether a credential belongs to this gateway: the one that was used, or another of its keys."""
    return token == ours or token.startswith(PREFIX.encode())


def brings_own_key(sent: Sent) -> bool:
    """Return whether the caller pays the provider with a key of its own."""
    return bool(sent.upstream_key or find_own_credential(sent))


def _credential(key: bytes, auth: str) -> Headers:
    """Return the lines for a key. What is signed gets its lines when the request is complete."""
    if auth == AWS:
        return []
    if auth == BEARER:
        return [(b"authorization", b"Bearer " + key)]
    return [(auth.encode(), key)]
