"""The one guard of all control routes: it obeys the table of policies."""

from collections.abc import Iterable
from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import BaseRoute, HTTPRoute

from app.access.credentials import find_credential
from app.access.directory import Directory
from app.access.policy import PUBLIC, find_policy, list_rules
from app.errors import BadRequestError, ForbiddenError

Connection = ASGIConnection[Any, Any, Any, Any]

JSON = "application/json"
WRITING = frozenset({"POST", "PUT", "PATCH"})
ANY_METHOD = "OPTIONS"
"""The framework adds it to every route: it tells the others."""


NO_METHOD = "WEBSOCKET"
"""What stands for the method of a route that is not HTTP; the table has none."""


class UndeclaredRouteError(Exception):
    """The routes of the application and the table of app.access.policy are not the same."""


async def enforce_policy(connection: Connection, _: BaseRouteHandler) -> None:
    """Let in whom the table lets in; the caller is then in the request's state.

    The rule is that of the path template by which the router chose the handler, so both always mean the same route. It
    is async on purpose: a sync guard costs a thread per request.
    """
    policy = find_policy(_get_method(connection), connection.scope["path_template"])
    if policy == PUBLIC:
        return
    directory = cast(Directory, connection.app.state.directory)
    caller = await directory.admit(find_credential(connection.scope["headers"]))
    if policy is None:
        raise ForbiddenError("Nobody may call this.")
    policy.check(caller)
    connection.state["caller"] = caller
    _check_content_type(connection)


def check_declared(routes: Iterable[BaseRoute]) -> None:
    """Raise UndeclaredRouteError unless the table names every one of `routes`, and nothing else."""
    registered = {
        (str(method), route.path_format)
        for route in routes
        for method in (route.methods if isinstance(route, HTTPRoute) else (NO_METHOD,))
        if method != ANY_METHOD
    }
    declared = {(method, path) for method, path, _ in list_rules()}
    problems = [f"{method} {path} is a route without a policy" for method, path in sorted(registered - declared)]
    problems += [f"{method} {path} has a policy and is no route" for method, path in sorted(declared - registered)]
    if problems:
        raise UndeclaredRouteError(f"The table ROUTES in app/access/policy.py does not fit: {'; '.join(problems)}.")


def _get_method(connection: Connection) -> str:
    scope = connection.scope
    return str(scope["method"]) if scope["type"] == "http" else NO_METHOD


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
