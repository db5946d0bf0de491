"""The mock as one raw ASGI app: credentials, routes, and the record of what arrived."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from app.mock import (
    batches,
    chat,
    completions,
    control,
    embeddings,
    files,
    message_batches,
    messages,
    models,
    responses,
)
from app.mock.asgi import (
    ClientGoneError,
    Connection,
    Header,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    read_body,
    send_reply,
)
from app.mock.behaviour import PLAIN
from app.mock.calls import apply_fault
from app.mock.chaos import build_fault_error
from app.mock.errors import MockError, Vendor, write_error
from app.mock.headers import build_vendor_headers
from app.mock.state import Arrival, State

logger = logging.getLogger("relaycore.mock")

Handler = Callable[[Request, State], Reply]

HANG_UP = "relaycore.hang_up"

_FIXED: dict[str, dict[str, Handler]] = {
    "/v1/chat/completions": {"POST": chat.handle},
    "/v1/completions": {"POST": completions.handle},
    "/v1/embeddings": {"POST": embeddings.handle},
    "/v1/responses": {"POST": responses.handle},
    "/v1/messages": {"POST": messages.handle},
    "/v1/messages/count_tokens": {"POST": messages.count_tokens},
    "/v1/messages/batches": {"POST": message_batches.create, "GET": message_batches.list_batches},
    "/v1/models": {"GET": models.list_models},
    "/v1/files": {"POST": files.upload, "GET": files.list_files},
    "/v1/batches": {"POST": batches.create, "GET": batches.list_batches},
}

_PATTERNS: list[tuple[re.Pattern[str], dict[str, Handler]]] = [
    (re.compile(r"/v1/models/.+"), {"GET": models.get_model}),
    (re.compile(r"/v1/responses/[^/]+"), {"GET": responses.get, "DELETE": responses.delete}),
    (re.compile(r"/v1/responses/[^/]+/input_items"), {"GET": responses.list_input_items}),
    (re.compile(r"/v1/files/[^/]+"), {"GET": files.get, "DELETE": files.delete}),
    (re.compile(r"/v1/files/[^/]+/content"), {"GET": files.get_content}),
    (re.compile(r"/v1/batches/[^/]+"), {"GET": batches.get}),
    (re.compile(r"/v1/batches/[^/]+/cancel"), {"POST": batches.cancel}),
    (
        re.compile(r"/v1/messages/batches/[^/]+"),
        {"GET": message_batches.get, "DELETE": message_batches.delete},
    ),
    (re.compile(r"/v1/messages/batches/[^/]+/cancel"), {"POST": message_batches.cancel}),
    (re.compile(r"/v1/messages/batches/[^/]+/results"), {"GET": message_batches.get_results}),
]


class MockApp:
    """The ASGI callable; one instance has one memory."""

    def __init__(self) -> None:
        self.state = State()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's lifespan messages."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        extensions: dict[str, Any] = scope.get("extensions") or {}
        connection = Connection(receive, send, extensions.get(HANG_UP, {}).get("call"))
        try:
            if scope["path"].startswith("/mock/"):
                await _answer_control(scope, receive, connection, self.state)
            else:
                await self._answer(scope, receive, connection)
        except ClientGoneError:
            logger.debug("the client left")
        finally:
            connection.close()

    async def _answer(self, scope: Scope, receive: Receive, connection: Connection) -> None:
        client = scope.get("client") or ("", 0)
        arrival = Arrival(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=scope["headers"],
            client=f"{client[0]}:{client[1]}",
            at=time.time(),
        )
        self.state.arrive(arrival)
        outcome = "aborted"
        try:
            outcome = await self._exchange(arrival, receive, connection)
        finally:
            self.state.leave(arrival, outcome)

    async def _exchange(self, arrival: Arrival, receive: Receive, connection: Connection) -> str:
        headers = dict(arrival.headers)
        vendor = _find_vendor(arrival.path, headers)
        request_id = self.state.new_id("req_")
        begun = time.perf_counter()
        try:
            arrival.body = await read_body(receive)
            request = Request(
                id=request_id,
                vendor=vendor,
                method=arrival.method,
                path=arrival.path,
                query=dict(parse_qsl(arrival.query.decode("latin-1"))) if arrival.query else {},
                headers=headers,
                body=arrival.body,
            )
            reply = self._reply(request)
        except MockError as error:
            reply = _build_refusal(error, vendor, request_id)
        except (AttributeError, TypeError, ValueError, KeyError, IndexError):
            logger.exception("the mock cannot answer a request")
            reply = _build_refusal(MockError("The mock failed.", status=500), vendor, request_id)
        arrival.status = reply.status
        extra = build_vendor_headers(vendor, request_id, time.perf_counter() - begun)
        return await send_reply(reply, extra, connection)

    def _reply(self, request: Request) -> Reply:
        _check_credential(request)
        if self.state.scripts and request.method == "POST":
            return control.play_script(self.state.scripts.popleft())
        fault = self.state.chaos.find_fault(request) if self.state.chaos.faults else None
        if fault is not None and not fault.done:
            raise build_fault_error(fault)
        reply = _find_handler(request)(request, self.state)
        if fault is not None:
            raise build_fault_error(fault)
        return reply if reply.behaviour.fault is None else apply_fault(reply, request)


def _find_vendor(path: str, headers: dict[bytes, bytes]) -> Vendor:
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return Vendor.ANTHROPIC
    return Vendor.OPENAI


def _check_credential(request: Request) -> None:
    scheme, _, bearer = request.headers.get(b"authorization", b"").partition(b" ")
    key = bearer.strip() if scheme.lower() == b"bearer" else b""
    key = key or request.headers.get(b"x-api-key", b"")
    if not key:
        what = "x-api-key header is required" if request.vendor is Vendor.ANTHROPIC else "No API key was sent."
        raise MockError(what, status=401)
    if key == b"bad-key":
        wrong = "invalid x-api-key" if request.vendor is Vendor.ANTHROPIC else "Incorrect API key: bad-key."
        raise MockError(wrong, status=401)


def _find_handler(request: Request) -> Handler:
    methods = _FIXED.get(request.path)
    if methods is None:
        methods = next((found for pattern, found in _PATTERNS if pattern.fullmatch(request.path)), None)
    if methods is None:
        raise MockError(
            f"Invalid URL ({request.method} {request.path})", status=404, kind=_unknown_path(request.vendor)
        )
    if request.method not in methods:
        raise MockError(f"Not allowed to {request.method} on {request.path}.", status=405)
    return methods[request.method]


def _unknown_path(vendor: Vendor) -> str:
    return "not_found_error" if vendor is Vendor.ANTHROPIC else "unknown_url"


def _build_refusal(error: MockError, vendor: Vendor, request_id: str) -> Reply:
    kept: tuple[Header, ...] = ((b"content-type", b"application/json"), *error.headers)
    return Reply(
        status=error.status,
        headers=kept,
        body=write_error(error, vendor, request_id),
        behaviour=error.behaviour or PLAIN,
    )


async def _answer_control(scope: Scope, receive: Receive, connection: Connection, state: State) -> None:
    body = await read_body(receive)
    try:
        reply = control.handle(scope["method"], scope["path"], body, state)
    except (MockError, msgspec.MsgspecError) as error:
        refusal: Any = error if isinstance(error, MockError) else MockError(str(error))
        reply = _build_refusal(refusal, Vendor.OPENAI, "")
    await send_reply(reply, (), connection)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return
