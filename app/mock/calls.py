"""What the three chat APIs share when they read a call: JSON with the vendor's refusals, and the model's behaviour."""

import re
from typing import Any, TypeVar

import msgspec

from app.mock.asgi import Reply, Request
from app.mock.behaviour import Behaviour
from app.mock.directives import find_model, read_behaviour, strip_prefix
from app.mock.errors import LEAKY_401, MockError, Vendor, unknown_model
from app.mock.state import State
from app.mock.text import count_tokens

T = TypeVar("T")

_MISSING = re.compile(r"Object missing required field `([^`]+)`(?: - at `\$\.?(.*)`)?")
_HTML = (b"content-type", b"text/html; charset=utf-8")
_BROKEN = {"garbage": b'{"id": "mock", "choices": [{"ind\xff\xfe\x00garbage', "empty": b"", "null": b"null"}
_WRONG = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)


def read_json(request: Request, decoder: msgspec.json.Decoder[T]) -> T:
    """Return the request's body, or refuse it the way the vendor does, naming the field."""
    try:
        return decoder.decode(request.body)
    except msgspec.ValidationError as error:
        raise refuse(str(error), request.vendor) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MockError(f"The body of your request is not valid JSON: {error}") from error
    except RecursionError as error:
        raise MockError("The body of your request is nested too deeply.") from error


def refuse(problem: str, vendor: Vendor) -> MockError:
    """Return the vendor's refusal for what msgspec found wrong with a body."""
    if missing := _MISSING.fullmatch(problem):
        path = f"{missing[2]}.{missing[1]}" if missing[2] else missing[1]
        return _refuse_field(path, "Field required", f"Missing required parameter: '{path}'.", vendor, True)
    if wrong := _WRONG.fullmatch(problem):
        message = f"Invalid value for '{wrong[2]}': {wrong[1]}."
        return _refuse_field(wrong[2], wrong[1], message, vendor, False)
    return MockError(problem)


def _refuse_field(path: str, short: str, message: str, vendor: Vendor, missing: bool) -> MockError:
    if vendor is Vendor.ANTHROPIC:
        dotted = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", path)
        return MockError(f"{dotted}: {short}")
    kind = "missing_required_parameter" if missing else "invalid_type"
    return MockError(message, param=path, kind=kind)


def read_model(name: str, text: str, state: State) -> tuple[str, Behaviour]:
    """Return the model's own name and how it answers `text`; raise what the behaviour wants raised."""
    model = strip_prefix(name)
    known = find_model(model)
    if known is None:
        raise unknown_model(name)
    behaviour = read_behaviour(known, text)
    behaviour = state.settle(behaviour, f"{model} {text}")
    if behaviour.status is not None and behaviour.fault is None:
        raise _wanted_error(behaviour, behaviour.status)
    return model, behaviour


def _wanted_error(behaviour: Behaviour, status: int) -> MockError:
    message = LEAKY_401 if status == 401 else f"The mock answers with status {status} because it was asked to."
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if behaviour.retry_after is not None:
        headers = ((b"retry-after", behaviour.retry_after.encode()),)
    return MockError(message, status=status, kind=behaviour.error, headers=headers, behaviour=behaviour)


def apply_fault(reply: Reply, request: Request) -> Reply:
    """Return `reply` replaced by the broken one its behaviour asks for."""
    wish = reply.behaviour
    match wish.fault:
        case "html":
            page = b"<!doctype html><html><head><title>Bad gateway</title></head><body>nginx</body></html>"
            return _replace(reply, status=wish.status or 200, headers=(_HTML,), body=page)
        case "redirect":
            host = b"http://" + request.headers.get(b"host", b"localhost")
            location = (b"location", host + b"/v1/redirected")
            return _replace(reply, status=307, headers=(_HTML, location), body=b"<html>moved</html>")
        case "cut_json":
            whole = reply.body or b"".join(reply.events or ())
            return _replace(reply, headers=reply.headers, body=whole[: len(whole) // 2])
        case str(fault) if fault in _BROKEN:
            return _replace(reply, body=_BROKEN[fault])
        case _:
            return reply


def _replace(
    reply: Reply,
    *,
    body: bytes,
    status: int = 200,
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),),
) -> Reply:
    return Reply(status=status, headers=headers, body=body, behaviour=reply.behaviour)


def count_text(chars: int, messages: int, tools: list[dict[str, Any]] | None) -> int:
    """Return the input tokens of a call: its text, three more a message, and the tools as JSON."""
    extra = len(msgspec.json.encode(tools)) if tools else 0
    return count_tokens(chars) + 3 * messages + count_tokens(extra)
