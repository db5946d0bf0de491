"""What the control API has in common: its errors, in OpenAI's shape, and who may see them."""

import logging
from collections.abc import Callable
from typing import Any, cast

from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from app.errors import (
    BadRequestError,
    Dialect,
    MethodNotAllowedError,
    NotFoundError,
    RelayError,
    TooLargeError,
    UnauthenticatedError,
    write_error,
)
from app.gateway.options import find_credential, read_sent
from app.gateway.parts import Parts
from app.wire.ids import make_uuid7

logger = logging.getLogger("relaycore.control")

ControlRequest = Request[Any, Any, State]


def answer_error(request: ControlRequest, error: Exception) -> Response[bytes]:
    """Return the answer to any failure of a control route. Strangers learn nothing but that they are strangers."""
    failure = error if isinstance(error, RelayError) else translate(error)
    if failure.status in {404, 405} and not is_known(request):
        failure = UnauthenticatedError("An API key is needed here.")
    if failure.status >= 500 and not isinstance(error, RelayError):
        logger.error("control request failed", exc_info=error)
    request_id = str(make_uuid7())
    headers = {"x-request-id": request_id, "request-id": request_id}
    headers.update({name.decode(): value.decode("latin-1") for name, value in failure.headers})
    body = write_error(failure, Dialect.OPENAI)
    return Response(body, status_code=failure.status, headers=headers, media_type="application/json")


def translate(error: Exception) -> RelayError:
    """Return the failure that one of the framework's exceptions stands for."""
    if not isinstance(error, HTTPException):
        return RelayError("The gateway failed on this request.", code="internal_error")
    if error.status_code == 404:
        return NotFoundError("There is nothing at this path.", code="unknown_path")
    if error.status_code == 405:
        return MethodNotAllowedError("This path does not take this method.")
    if error.status_code == 413:
        return TooLargeError("The request body is too large.")
    if error.status_code < 500:
        return BadRequestError(error.detail or "The request does not fit.")
    return RelayError("The gateway failed on this request.", code="internal_error")


def is_known(request: ControlRequest) -> bool:
    """Return whether the request carries a valid key, as far as the local snapshot tells."""
    parts = cast("Parts | None", request.app.state.get("parts"))
    key = find_credential(read_sent(list(request.scope["headers"])))
    return parts is not None and key is not None and parts.directory.find(key) is not None


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[ControlRequest, Exception], Response[bytes]]] = {
    Exception: answer_error
}
