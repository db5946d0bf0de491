"""The vendors' error bodies, as their SDKs read them."""

from enum import StrEnum
from typing import Any

import msgspec

from app.mock.behaviour import Behaviour

type_of_openai = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "model_not_allowed"),
    404: ("invalid_request_error", "model_not_found"),
    405: ("invalid_request_error", "method_not_supported"),
    413: ("invalid_request_error", "request_too_large"),
    422: ("invalid_request_error", "unprocessable"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("server_error", "service_unavailable"),
}

type_of_anthropic = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

# A 401 that quotes a credential, as vendors do: what a gateway must never hand on.
LEAKY_401 = "Incorrect API key provided: sk-proj-mock0000000000000000000000000000000000000000leak."


class Vendor(StrEnum):
    """Whose API a request speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class MockError(Exception):
    """A refusal in the vendor's shape; `kind` wins over the type (Anthropic) or code (OpenAI) of the status."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str | None = None,
        param: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        behaviour: Behaviour | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.headers = headers
        self.behaviour = behaviour


def build_anthropic_error(error: MockError, request_id: str) -> dict[str, Any]:
    """Return Anthropic's error envelope."""
    fallback = "api_error" if error.status >= 500 else "invalid_request_error"
    kind = error.kind or type_of_anthropic.get(error.status, fallback)
    return {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": request_id}


def build_openai_error(error: MockError) -> dict[str, Any]:
    """Return OpenAI's error envelope."""
    fallback = ("server_error", None) if error.status >= 500 else ("invalid_request_error", None)
    kind, code = type_of_openai.get(error.status, fallback)
    if error.kind == "insufficient_quota":
        kind = "insufficient_quota"
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.kind or code}}


def write_error(error: MockError, vendor: Vendor, request_id: str) -> bytes:
    """Return the JSON body of `error` as `vendor` would write it."""
    if vendor is Vendor.ANTHROPIC:
        return msgspec.json.encode(build_anthropic_error(error, request_id))
    return msgspec.json.encode(build_openai_error(error))


def unknown_model(model: str) -> MockError:
    """Return the 404 for a model that is not there."""
    return MockError(f"The model `{model}` does not exist or you do not have access to it.", status=404, param="model")
