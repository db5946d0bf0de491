"""The response headers both vendors send with every answer."""

from datetime import UTC, datetime, timedelta

from app.mock.asgi import Header
from app.mock.errors import Vendor

# A cookie and an organisation are among them because a gateway must not hand them on.
_OPENAI: tuple[Header, ...] = (
    (b"openai-version", b"2020-10-01"),
    (b"openai-organization", b"org-mock"),
    (b"x-ratelimit-limit-requests", b"10000"),
    (b"x-ratelimit-limit-tokens", b"2000000"),
    (b"x-ratelimit-remaining-requests", b"9999"),
    (b"x-ratelimit-remaining-tokens", b"1999990"),
    (b"x-ratelimit-reset-requests", b"6ms"),
    (b"x-ratelimit-reset-tokens", b"1ms"),
    (b"set-cookie", b"__mock_bm=1; path=/; HttpOnly"),
)

_ANTHROPIC: tuple[Header, ...] = (
    (b"anthropic-organization-id", b"00000000-0000-4000-8000-00000000mock"),
    (b"anthropic-ratelimit-requests-limit", b"4000"),
    (b"anthropic-ratelimit-requests-remaining", b"3999"),
    (b"anthropic-ratelimit-tokens-limit", b"400000"),
    (b"anthropic-ratelimit-tokens-remaining", b"399000"),
    (b"anthropic-ratelimit-input-tokens-limit", b"320000"),
    (b"anthropic-ratelimit-input-tokens-remaining", b"319000"),
    (b"anthropic-ratelimit-output-tokens-limit", b"80000"),
    (b"anthropic-ratelimit-output-tokens-remaining", b"79000"),
    (b"set-cookie", b"__mock_bm=1; path=/; HttpOnly"),
)

_ANTHROPIC_RESETS = tuple(
    f"anthropic-ratelimit-{what}-reset".encode() for what in ("requests", "tokens", "input-tokens", "output-tokens")
)


def build_vendor_headers(vendor: Vendor, request_id: str, seconds: float) -> tuple[Header, ...]:
    """Return the request id, the limits and, for OpenAI, the time the answer took."""
    if vendor is Vendor.OPENAI:
        took = str(max(1, round(seconds * 1000))).encode()
        return ((b"x-request-id", request_id.encode()), (b"openai-processing-ms", took), *_OPENAI)
    reset = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    resets = tuple((name, reset) for name in _ANTHROPIC_RESETS)
    return ((b"request-id", request_id.encode()), *_ANTHROPIC, *resets)
