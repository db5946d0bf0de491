"""Every failure we answer with: its HTTP status and its OpenAI and Anthropic shape."""

import re
from enum import StrEnum

import msgspec


class Dialect(StrEnum):
    """The error shape a route answers with; it follows from the path, never from the client."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class RelayError(Exception):
    """A failure with an answer: raised anywhere, written once at the edge.

    `code` is OpenAI's machine-readable code; `kind` is recorded as `requests.error_type`; `headers` are added to the
    answer (lower-case names).
    """

    status = 500
    openai_type = "api_error"
    anthropic_type = "api_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        status: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = headers
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status

    @property
    def kind(self) -> str:
        """The short name of the failure that is recorded: the code, else OpenAI's type."""
        return self.code or self.openai_type


class BadRequestError(RelayError):
    """400: the client sent something that cannot be read or understood."""

    status = 400
    openai_type = "invalid_request_error"
    anthropic_type = "invalid_request_error"


_PLACE = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`")
_FIELD = re.compile(r"Object (?:contains unknown|missing required) field `(.+?)`(?: - at |\Z)", re.DOTALL)


def build_misfit(message: str, before: str = "") -> BadRequestError:
    """Return the 400 for what a decoder says does not fit, naming the field: an unknown or missing one as well."""
    place, field = _PLACE.search(message), _FIELD.search(message)
    names = [found[1] for found in (place, field) if found is not None and found[1]]
    return BadRequestError(before + message[:500], param=".".join(names)[:200] or None)


class UnauthenticatedError(RelayError):
    """401: no key, or one that is unknown, revoked or expired."""

    status = 401
    openai_type = "authentication_error"
    anthropic_type = "authentication_error"
    code = "invalid_api_key"


class BudgetExceededError(RelayError):
    """402: a budget has not enough left for the call. Trying again does not help, and the SDKs are told so."""

    status = 402
    openai_type = "insufficient_quota"
    anthropic_type = "billing_error"
    code = "budget_exceeded"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers=((b"x-should-retry", b"false"),))


class ForbiddenError(RelayError):
    """403: a valid key without the right."""

    status = 403
    openai_type = "permission_error"
    anthropic_type = "permission_error"
    code = "permission_denied"


class NotFoundError(RelayError):
    """404: no such path, model or object."""

    status = 404
    openai_type = "invalid_request_error"
    anthropic_type = "not_found_error"
    code = "not_found"


class MethodNotAllowedError(RelayError):
    """405: the path exists, the method does not."""

    status = 405
    openai_type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    code = "method_not_allowed"


class ConflictError(RelayError):
    """409: the object exists already or changed meanwhile."""

    status = 409
    openai_type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    code = "conflict"


class TooLargeError(RelayError):
    """413: the request body is over the limit."""

    status = 413
    openai_type = "invalid_request_error"
    anthropic_type = "request_too_large"
    code = "request_too_large"


class RequestTimeoutError(RelayError):
    """408: the client did not send its body in time."""

    status = 408
    openai_type = "timeout_error"
    anthropic_type = "timeout_error"
    code = "request_timeout"


class RateLimitedError(RelayError):
    """429: a limit of the gateway's own is reached. The headers say how long to wait."""

    status = 429
    openai_type = "rate_limit_error"
    anthropic_type = "rate_limit_error"
    code = "rate_limit_exceeded"


class UnpricedModelError(RelayError):
    """422: a budget applies, and nobody knows what the call would cost."""

    status = 422
    openai_type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    code = "model_unpriced"


class UnavailableError(RelayError):
    """503: the gateway itself cannot answer now; worth another try."""

    status = 503
    code = "gateway_unavailable"


class OverloadedError(RelayError):
    """The provider is overloaded: 503 on OpenAI routes, 529 on Anthropic's (the caller picks the status)."""

    status = 503
    openai_type = "overloaded_error"
    anthropic_type = "overloaded_error"
    code = "upstream_overloaded"


class BadGatewayError(RelayError):
    """502: the provider answered with something that is no answer, or broke off."""

    status = 502
    code = "upstream_error"


class UpstreamTimeoutError(RelayError):
    """504: the provider took longer than one of the limits."""

    status = 504
    openai_type = "timeout_error"
    anthropic_type = "timeout_error"
    code = "upstream_timeout"


class UpstreamFailure(Exception):  # noqa: N818 - a fact about an exchange, which the gateway turns into an answer
    """An exchange with a provider that broke before a whole answer was there.

    `kind`: connect, connect_timeout, tls, first_byte_timeout, idle_timeout, total_timeout, disconnected, protocol,
    too_large or encoding. `answered`: whether the first byte of the response had arrived. The message names no
    credential and no address.
    """

    def __init__(self, kind: str, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.answered = answered

    def as_error(self) -> RelayError:
        """Return the answer a client gets for this failure."""
        if self.kind.endswith("timeout"):
            return UpstreamTimeoutError(self.message)
        return BadGatewayError(self.message, code=f"upstream_{self.kind}")


class _OpenAIError(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class _OpenAIBody(msgspec.Struct):
    error: _OpenAIError


class _AnthropicError(msgspec.Struct):
    type: str
    message: str


class _AnthropicBody(msgspec.Struct):
    type: str
    error: _AnthropicError
    request_id: str | None


_encode = msgspec.json.Encoder().encode


def write_error(error: RelayError, dialect: Dialect, request_id: str | None = None) -> bytes:
    """Return the JSON body of `error` in the shape the SDKs of `dialect` read."""
    if dialect is Dialect.ANTHROPIC:
        shape = _AnthropicError(type=error.anthropic_type, message=error.message)
        return _encode(_AnthropicBody(type="error", error=shape, request_id=request_id))
    return _encode(
        _OpenAIBody(
            error=_OpenAIError(message=error.message, type=error.openai_type, param=error.param, code=error.code)
        )
    )


def write_error_event(error: RelayError, dialect: Dialect, request_id: str | None = None) -> bytes:
    """Return one SSE event that ends a stream with `error`; OpenAI's SDK raises on it, Anthropic's as well."""
    body = write_error(error, dialect, request_id)
    if dialect is Dialect.ANTHROPIC:
        return b"event: error\ndata: " + body + b"\n\n"
    return b"data: " + body + b"\n\n"
