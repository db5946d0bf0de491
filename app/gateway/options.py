"""What a client asks of the gateway itself, by header."""

import re

import msgspec

from app.access.credentials import choose_credential
from app.errors import BadRequestError
from app.wire.caching import NAMESPACE, ScopeText
from app.wire.http import Headers

CACHE_MODES = frozenset({"use", "bypass", "refresh", "only"})
MAX_TAGS = 32
MAX_FALLBACKS = 8
MAX_TAG_LENGTH = 128
MAX_METADATA_BYTES = 8192
MAX_TTL_DIGITS = 12
MIN_FLOOR = 0.8
SCOPE_HELP = (
    "a scope is key, user, team, organization or namespace:NAME, the name of 1 to 64 letters, digits and ._- "
    "beginning with a letter or digit."
)
MAX_ID_LENGTH = 128

_FLOOR = re.compile(r"[01](\.\d{1,6})?", re.ASCII)
_NAMES = {
    b"x-relay-api-key": "relay_key",
    b"authorization": "authorization",
    b"x-api-key": "x_api_key",
    b"api-key": "api_key",
    b"x-goog-api-key": "goog_key",
    b"x-aihub-cache": "cache",
    b"x-aihub-cache-ttl": "cache_ttl",
    b"x-aihub-semantic": "semantic",
    b"x-relay-cache-scope": "cache_scope",
    b"x-portkey-cache-namespace": "cache_namespace",
    b"x-relay-cache-tags": "cache_tags",
    b"x-relay-tags": "tags",
    b"x-relay-metadata": "metadata",
    b"x-relay-timeout": "timeout",
    b"x-relay-upstream-key": "upstream_key",
    b"x-relay-fallback": "fallback",
    b"x-relay-deadline": "deadline",
    b"prefer": "prefer",
    b"x-request-id": "request_id",
    b"idempotency-key": "idempotency_key",
    b"x-stainless-retry-count": "retry_count",
    b"x-stainless-read-timeout": "read_timeout",
    b"x-claude-code-session-id": "session_id",
    b"content-type": "content_type",
    b"content-length": "content_length",
    b"content-encoding": "content_encoding",
    b"anthropic-version": "anthropic_version",
    b"anthropic-beta": "anthropic_beta",
    b"openai-beta": "openai_beta",
    b"user-agent": "user_agent",
    b"expect": "expect",
}


class Sent(msgspec.Struct):
    """The request headers that the gateway reads, as they were sent (empty: not sent; the first of several wins).

    `asks`: one of them asks something of the gateway itself.
    """

    relay_key: bytes = b""
    authorization: bytes = b""
    x_api_key: bytes = b""
    api_key: bytes = b""
    goog_key: bytes = b""
    cache: bytes = b""
    cache_ttl: bytes = b""
    semantic: bytes = b""
    cache_scope: bytes = b""
    cache_namespace: bytes = b""
    cache_tags: bytes = b""
    tags: bytes = b""
    metadata: bytes = b""
    timeout: bytes = b""
    upstream_key: bytes = b""
    fallback: bytes = b""
    deadline: bytes = b""
    prefer: bytes = b""
    request_id: bytes = b""
    idempotency_key: bytes = b""
    retry_count: bytes = b""
    read_timeout: bytes = b""
    session_id: bytes = b""
    content_type: bytes = b""
    content_length: bytes = b""
    content_encoding: bytes = b""
    anthropic_version: bytes = b""
    anthropic_beta: bytes = b""
    openai_beta: bytes = b""
    user_agent: bytes = b""
    expect: bytes = b""
    asks: bool = False


class Passed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client says to its provider by header, in latin-1; empty: nothing."""

    anthropic_version: str = ""
    anthropic_beta: str = ""
    openai_beta: str = ""


NOTHING_PASSED = Passed()


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the client wants, checked. `ttl` is seconds; None is the configured default.

    `semantic` is whether similar answers will do, `floor` from which cosine on; `cache_scope` who may share the answer.
    `max_retries` and `passed` are for calls of our own alone: who repeats them later needs no repetition now, and the
    client whose words they go up with is not there any more.
    """

    cache: str = "use"
    ttl: int | None = None
    tags: tuple[str, ...] | None = None
    metadata: str | None = None
    timeout_seconds: float | None = None
    fallback: tuple[str, ...] = ()
    semantic: bool | None = None
    floor: float | None = None
    cache_scope: str | None = None
    cache_tags: tuple[str, ...] = ()
    max_retries: int | None = None
    passed: Passed = NOTHING_PASSED


def read_sent(headers: Headers) -> Sent:
    """Return the headers we read out of all that came."""
    sent = Sent()
    for name, value in headers:
        field = _NAMES.get(name)
        if field is not None and not getattr(sent, field):
            setattr(sent, field, value)
            if value and field in _OPTIONS:
                sent.asks = True
    return sent


def find_credential(sent: Sent) -> str | None:
    """Return the gateway key among the headers that were sent."""
    return choose_credential(sent.relay_key, sent.authorization, (sent.x_api_key, sent.api_key, sent.goog_key))


_NOTHING_ASKED = Options()
_OPTIONS = frozenset(
    {"cache", "cache_ttl", "tags", "metadata", "timeout", "fallback"}
    | {"semantic", "cache_scope", "cache_namespace", "cache_tags"}
)


def read_options(sent: Sent) -> Options:
    """Return the checked options. Raises BadRequestError naming the header that makes no sense."""
    if not sent.asks:
        return _NOTHING_ASKED
    semantic, floor = _semantic(sent.semantic)
    return Options(
        cache=_cache_mode(sent.cache),
        ttl=_ttl(sent.cache_ttl),
        tags=_tags(sent.tags, "x-relay-tags"),
        metadata=_metadata(sent.metadata),
        timeout_seconds=_timeout(sent.timeout),
        fallback=_fallback(sent.fallback),
        semantic=semantic,
        floor=floor,
        cache_scope=_cache_scope(sent),
        cache_tags=_tags(sent.cache_tags, "x-relay-cache-tags") or (),
    )


def read_request_id(sent: Sent) -> str | None:
    """Return the client's own request id when it is fit to be sent back and stored."""
    text = sent.request_id.decode("latin-1")
    return text if 0 < len(text) <= MAX_ID_LENGTH and text.isascii() and text.isprintable() else None


def find_patience(sent: Sent) -> float | None:
    """Return the seconds that the client's SDK says it waits for bytes; a hint, so nonsense is no error."""
    try:
        seconds = float(sent.read_timeout)
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None


def read_count(value: bytes) -> int | None:
    """Return a small number that a client reports, or None."""
    return int(value) if value.isdigit() and len(value) <= 6 else None


def read_label(value: bytes) -> str | None:
    """Return a short text that a client reports, or None."""
    return value.decode("utf-8", "replace").replace("\0", "")[:MAX_ID_LENGTH] or None


def _cache_mode(value: bytes) -> str:
    if not value:
        return "use"
    mode = value.decode("latin-1").strip().lower()
    if mode not in CACHE_MODES:
        raise BadRequestError("X-AIHub-Cache must be one of use, bypass, refresh, only.", param="X-AIHub-Cache")
    return mode


def _ttl(value: bytes) -> int | None:
    if not value:
        return None
    text = value.strip()
    if not text.isdigit() or len(text) > MAX_TTL_DIGITS:
        raise BadRequestError("X-AIHub-Cache-TTL must be a whole number of seconds.", param="X-AIHub-Cache-TTL")
    return int(text)


def _semantic(value: bytes) -> tuple[bool | None, float | None]:
    """Return whether similar answers will do, and from which cosine on."""
    if not value:
        return None, None
    text = value.decode("latin-1").strip().lower()
    if text in {"on", "off"}:
        return text == "on", None
    if _FLOOR.fullmatch(text) and MIN_FLOOR <= float(text) <= 1:
        return True, float(text)
    raise BadRequestError("X-AIHub-Semantic must be on, off or a number from 0.80 to 1.0.", param="X-AIHub-Semantic")


def _cache_scope(sent: Sent) -> str | None:
    """Return the scope as SCOPE_KINDS and NAMESPACE have it; another gateway's header names a namespace."""
    if sent.cache_scope:
        name, text = "x-relay-cache-scope", _text(sent.cache_scope, "x-relay-cache-scope").strip()
        text = "organization" if text == "organisation" else text
    elif sent.cache_namespace:
        name = "x-portkey-cache-namespace"
        text = NAMESPACE + _text(sent.cache_namespace, name).strip()
    else:
        return None
    try:
        return msgspec.convert(text, ScopeText)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"{name}: {SCOPE_HELP}", param=name) from error


def _tags(value: bytes, name: str) -> tuple[str, ...] | None:
    if not value:
        return None
    tags = tuple(tag.strip() for tag in _text(value, name).split(",") if tag.strip())
    if len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG_LENGTH or "\0" in tag for tag in tags):
        raise BadRequestError(f"{name} takes at most {MAX_TAGS} tags of {MAX_TAG_LENGTH} characters.", param=name)
    return tags


def _metadata(value: bytes) -> str | None:
    if not value:
        return None
    text = _text(value, "x-relay-metadata")
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequestError("x-relay-metadata must be a JSON object.", param="x-relay-metadata") from error
    if len(value) > MAX_METADATA_BYTES:
        raise BadRequestError(f"x-relay-metadata is over {MAX_METADATA_BYTES} bytes.", param="x-relay-metadata")
    return text


def _timeout(value: bytes) -> float | None:
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise BadRequestError("x-relay-timeout must be a positive number of seconds.", param="x-relay-timeout")
    return seconds


def _fallback(value: bytes) -> tuple[str, ...]:
    names = tuple(name.strip() for name in _text(value, "x-relay-fallback").split(",") if name.strip())
    if len(names) > MAX_FALLBACKS:
        raise BadRequestError(f"x-relay-fallback takes at most {MAX_FALLBACKS} models.", param="x-relay-fallback")
    return names


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequestError(f"{name} must be UTF-8.", param=name) from error
