"""What a provider's refusal means for the client: passed on as it is, put in shape, or kept from it."""

import re

import msgspec

from app.errors import BadGatewayError, Dialect, OverloadedError, RelayError

CREDENTIAL_WORDS = re.compile(
    rb"api[ _-]?key|credential|x-api-key|\bsk-|bearer|auth(entication|orization)?[ _]?(error|token|header|fail)",
    re.IGNORECASE,
)
MAX_MESSAGE = 2000
MONEY_OUT = 402
OVERLOADED = 529


class _Body(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    detail: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    message: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_text_or_object = msgspec.json.Decoder(str | _Message).decode


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the client gets: the provider's own answer (`error` is None) or an error of ours in its place."""

    status: int
    error: RelayError | None


def judge(status: int, body: bytes, dialect: Dialect, *, own_key: bool) -> Verdict:
    """Return what to answer when the provider answered `status` (300 or more) with `body`.

    `own_key`: the credential is the gateway's; its refusal is the operator's business, and the text of it may quote
    the key, so the client gets a neutral 502. Never raises, whatever the bytes.
    """
    if status < 400:
        return _instead(BadGatewayError("The provider answered with a redirect.", code="upstream_redirect"))
    if own_key and _refuses_key(status, body):
        return _instead(
            BadGatewayError(
                "The provider refused the gateway's own credential. Its operator has to look at it.",
                code="upstream_credentials_exhausted",
            )
        )
    message = find_message(body)
    if status == OVERLOADED and dialect is Dialect.OPENAI:
        return _instead(OverloadedError(message or "The provider is overloaded."))
    if _has_error(body):
        return Verdict(status=status, error=None)
    return _instead(reshape(status, message))


def find_message(body: bytes) -> str | None:
    """Return the human text of an error body in any of the usual shapes."""
    try:
        outer = _decode_body(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for raw in (outer.error, outer.message, outer.detail):
        text = _text_of(raw)
        if text:
            return text[:MAX_MESSAGE]
    return None


def _text_of(raw: msgspec.Raw) -> str | None:
    try:
        found = _decode_text_or_object(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, str) else found.message


def _has_error(body: bytes) -> bool:
    try:
        return bytes(_decode_body(body).error) not in {b"", b"null"}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _refuses_key(status: int, body: bytes) -> bool:
    """Return whether a refusal is about the credential: a 403 can also be about what was asked for."""
    return status in {401, MONEY_OUT} or (status == 403 and CREDENTIAL_WORDS.search(body) is not None)


_CLIENT_ERRORS = {
    403: ("permission_error", "permission_error"),
    404: ("invalid_request_error", "not_found_error"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_error"),
}


def reshape(status: int, message: str | None) -> RelayError:
    """Return an error of ours for an answer that is in no shape a client reads."""
    if status == OVERLOADED:
        return OverloadedError(message or "The provider is overloaded.", status=OVERLOADED)
    if status >= 500:
        return BadGatewayError(message or f"The provider failed with status {status}.", status=_known(status))
    error = RelayError(message or f"The provider refused the request with status {status}.", status=status)
    error.openai_type, error.anthropic_type = _CLIENT_ERRORS.get(
        status, ("invalid_request_error", "invalid_request_error")
    )
    error.code = "upstream_refused"
    return error


def _known(status: int) -> int:
    return status if status in {500, 502, 503, 504} else 502


def _instead(error: RelayError) -> Verdict:
    return Verdict(status=error.status, error=error)
