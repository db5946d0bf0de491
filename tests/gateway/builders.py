"""Calls, routes and providers for the tables of the pure modules."""

import json
from uuid import UUID

from app.access.types import Caller
from app.gateway.call import Call, read_fields
from app.gateway.options import read_options, read_sent
from app.gateway.paths import find_route
from app.providers.registry import VENDORS, Provider, build_provider
from app.wire.http import Headers

NOBODY = UUID(int=1)
MOCK = build_provider("mock", VENDORS["mock"], "http://mock/v1", ("mock",))
OPENAI = build_provider("openai", VENDORS["openai"], None, ("sk-openai",))
ANTHROPIC = build_provider("anthropic", VENDORS["anthropic"], None, ("sk-ant",))
MISTRAL = build_provider("mistral", VENDORS["mistral"], None, ("sk-mistral",))
LOCAL = build_provider("local", VENDORS["openai-compatible"], "http://10.0.0.5:8000/v1/", ())
GEMINI = build_provider("gemini", VENDORS["gemini"], None, ("g",))
BEDROCK = build_provider("bedrock", VENDORS["bedrock"], None, ("a:b",), region="eu-central-1")
BOTH: dict[str, Provider] = {"openai": OPENAI, "anthropic": ANTHROPIC}


def build_call(
    path: str = "/v1/chat/completions",
    body: bytes | dict | None = None,
    headers: Headers | None = None,
    **changes: object,
) -> Call:
    """Return the call that a client's POST makes."""
    content = (
        body if isinstance(body, bytes) else json.dumps(body if body is not None else {"model": "gpt-4o"}).encode()
    )
    lines = headers or []
    sent = read_sent(lines)
    values: dict[str, object] = {
        "route": find_route(path, VENDORS.keys()),
        "method": "POST",
        "query": b"",
        "headers": lines,
        "sent": sent,
        "options": read_options(sent),
        "caller": Caller(user_id=NOBODY, key_id=None, admin=False, scope=b"s"),
        "body": content,
        "fields": read_fields(content),
    }
    return Call(**{**values, **changes})
