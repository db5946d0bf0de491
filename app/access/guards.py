"""Who may call a control route; async on purpose: a sync guard costs a thread per request."""

from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from app.access.credentials import find_credential
from app.access.directory import Directory
from app.access.types import Caller
from app.errors import BadRequestError, ForbiddenError

Connection = ASGIConnection[Any, Any, Any, Any]

JSON = "application/json"
WRITING = frozenset({"POST", "PUT", "PATCH"})


async def require_user(connection: Connection, _: BaseRouteHandler) -> None:
    """Let in whoever has a valid key; the caller is then in the request's state."""
    await _admit(connection)
    _check_content_type(connection)


async def require_admin(connection: Connection, _: BaseRouteHandler) -> None:
    """Let in administrators only."""
    caller = await _admit(connection)
    if not caller.admin:
        raise ForbiddenError("This needs an administrator's key.", code="admin_required")
    _check_content_type(connection)


async def _admit(connection: Connection) -> Caller:
    directory = cast(Directory, connection.app.state.directory)
    caller = await directory.admit(find_credential(connection.scope["headers"]))
    connection.state["caller"] = caller
    return caller


def _check_content_type(connection: Connection) -> None:
    """Refuse bodies that a web page could send without asking first (forms, plain text)."""
    scope = connection.scope
    if scope["type"] != "http" or scope["method"] not in WRITING or not _has_body(connection):
        return
    if connection.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise BadRequestError("The body must be sent as Content-Type: application/json.", param="content-type")


def _has_body(connection: Connection) -> bool:
    length = connection.headers.get("content-length", "")
    return length.strip("0 ") != "" or "transfer-encoding" in connection.headers
