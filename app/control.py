"""What the control API has in common: its errors, in OpenAI's shape, and who may see them."""

import logging
from collections.abc import Callable
from typing import Any, cast

import msgspec
import sqlalchemy.exc
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.enums import ParamType
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg

from app.access.credentials import find_credential
from app.access.directory import Directory
from app.access.policy import PUBLIC, find_nearest_policy
from app.access.types import Caller
from app.db.audit import Actor
from app.db.connection import DatabaseAwayError
from app.errors import (
    BadRequestError,
    Dialect,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    RelayError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    build_misfit,
    write_error,
)
from app.wire.ids import make_uuid7

logger = logging.getLogger("relaycore.control")

_encode = msgspec.json.Encoder(decimal_format="number").encode


AnyRequest = Request[Any, Any, State]


class ControlRequest(AnyRequest):
    """A request whose body is read at once as what the route takes: the framework would make numbers out of texts."""

    async def json(self) -> Any:
        """Return the body. Raises BadRequestError naming the field that does not fit."""
        wanted = self.route_handler.parsed_data_field
        try:
            return msgspec.json.decode(await self.body(), type=Any if wanted is None else wanted.annotation)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise build_misfit(str(error)) from error


async def refuse_unknown_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raise BadRequestError for a query parameter that the route does not have: misspelt, a filter lets all through."""
    given = list(connection.query_params)
    unknown = sorted(set(given) - list_parameters(handler)) if given else []
    if unknown:
        raise BadRequestError(f"There is no parameter {unknown[0][:64]!r} here.", param=unknown[0][:64])


def list_parameters(handler: BaseRouteHandler) -> set[str]:
    """Return the names of the query parameters of a route, those that its dependencies read among them."""
    provided = handler.resolve_dependencies()
    signatures = [handler.parsed_fn_signature, *(one.parsed_fn_signature for one in provided.values())]
    fields = [field for signature in signatures for field in signature.parameters.values()]
    fields += handler.resolve_layered_parameters().values()
    return {
        field.kwarg_definition.name or field.name
        for field in fields
        if isinstance(field.kwarg_definition, ParameterKwarg)
        and field.kwarg_definition.param_type is ParamType.QUERY
        and field.name not in provided
    }


class ControlResponse(Response[Any]):
    """An answer of the control API: money is a JSON number with all its digits."""

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        """Return the bytes of the body."""
        if media_type == "application/json" and not isinstance(content, (bytes, str)):
            return _encode(content)
        return super().render(content, media_type, enc_hook)


def note_request(response: Response[Any]) -> Response[Any]:
    """Give an answer of the control API the id that every answer has, under both names."""
    request_id = str(make_uuid7())
    for name in ("x-request-id", "request-id"):
        response.headers.setdefault(name, request_id)
    return response


def get_actor(request: ControlRequest) -> Actor:
    """Return who makes the request, for the audit log."""
    caller = cast(Caller, request.state.caller)
    return Actor(
        label=caller.label or str(caller.user_id),
        user_id=caller.user_id,
        key_id=caller.key_id,
    )


def answer_error(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Return the answer to any failure of a control route. Strangers learn nothing but that they are strangers."""
    failure = error if isinstance(error, RelayError) else translate(error)
    if failure.status in {404, 405}:
        failure = judge_absence(request, failure)
    if failure.status >= 500 and not isinstance(error, RelayError):
        logger.error("control request failed", exc_info=error)
    request_id = str(make_uuid7())
    headers = {"x-request-id": request_id, "request-id": request_id}
    headers.update({name.decode(): value.decode("latin-1") for name, value in failure.headers})
    body = write_error(failure, Dialect.OPENAI)
    return Response(body, status_code=failure.status, headers=headers, media_type="application/json")


def translate(error: Exception) -> RelayError:
    """Return the failure that an exception of the framework or of the database stands for."""
    if isinstance(error, RecursionError):
        return BadRequestError("The body is nested too deeply.")
    if isinstance(error, AWAY):
        return UnavailableError("The database is away.", headers=((b"retry-after", b"1"),))
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _BY_STATUS.get(error.status_code, explain)(error)
    return RelayError("The gateway failed on this request.", code="internal_error")


class _Detail(msgspec.Struct):
    message: str = ""
    key: str = ""


def explain(error: HTTPException) -> RelayError:
    """Return a 400 that names the field, as far as the framework says which it is."""
    try:
        details = msgspec.convert(error.extra or [], list[_Detail])
    except msgspec.ValidationError:
        details = []
    if any(detail.key == "data" for detail in details):
        return BadRequestError("The request needs a JSON body.")
    found = "; ".join(f"{detail.key}: {detail.message}".strip(": ") for detail in details)
    param = next((detail.key for detail in details if detail.key), None)
    return BadRequestError(found or error.detail or "The request does not fit.", param=param)


def _allowed(error: HTTPException) -> tuple[tuple[bytes, bytes], ...]:
    methods = (error.headers or {}).get("allow", "")
    return ((b"allow", methods.encode()),) if methods else ()


AWAY = (DatabaseAwayError, sqlalchemy.exc.OperationalError, sqlalchemy.exc.TimeoutError)

_BY_STATUS: dict[int, Callable[[HTTPException], RelayError]] = {
    404: lambda _: NotFoundError("There is nothing at this path.", code="unknown_path"),
    405: lambda error: MethodNotAllowedError("This path does not take this method.", headers=_allowed(error)),
    413: lambda _: TooLargeError("The request body is too large."),
}


def judge_absence(request: AnyRequest, failure: RelayError) -> RelayError:
    """Return what may be said about what is not there: to strangers and those without the right, nothing of it."""
    directory = cast("Directory | None", request.app.state.get("directory"))
    key = find_credential(request.scope["headers"])
    caller = directory.find(key) if directory is not None and key is not None else None
    if caller is None:
        return UnauthenticatedError("An API key is needed here.")
    policy = find_nearest_policy(request.scope["path"])
    try:
        (policy or PUBLIC).check(caller)
    except ForbiddenError as refusal:
        return refusal
    return failure


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[AnyRequest, Exception], Response[bytes]]] = {
    Exception: answer_error
}
