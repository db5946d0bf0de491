"""The operations of model traffic, written by hand as data, since the framework does not know them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from app.errors import Dialect

Json = dict[str, Any]

HERE = Path(__file__).parent
ASKED = ("Cache", "CacheTtl", "Semantic", "CacheScope", "CacheTags", "Fallback")
ALWAYS = ("Tags", "Metadata", "Timeout", "RequestId", "UpstreamKey")
KEPT = ("Tags", "RequestId")
ANTHROPIC = ("AnthropicVersion", "AnthropicBeta")
ABOUT_BODIES = {"408", "409", "413", "422"}
_PARAMETER = re.compile(r"{(\w+)}")
_EVENTS = {Dialect.OPENAI: "OpenAIEvents", Dialect.ANTHROPIC: "AnthropicEvents"}
_ERRORS = {Dialect.OPENAI: "Error", Dialect.ANTHROPIC: "AnthropicError"}
_PLACES = {"provider": "Provider", "model": "Model"}

ID_HEADERS = {"x-request-id": "RequestId", "request-id": "RequestId"}
ROUTE_HEADERS = {
    "X-AIHub-Cache-Status": "CacheStatus",
    "x-relay-provider": "Provider",
    "x-relay-model": "Model",
    "x-relay-attempts": "Attempts",
}
CACHE_HEADERS = {
    "X-AIHub-Cache-Key": "CacheKey",
    "Age": "Age",
    "x-relay-semantic-mode": "SemanticMode",
    "x-relay-semantic-entry": "SemanticEntry",
    "x-relay-semantic-similarity": "SemanticSimilarity",
    "x-relay-semantic-bound": "SemanticBound",
}
WHOLE_HEADERS = {"x-relay-overhead-ms": "OverheadMs", "x-relay-cost-usd": "CostUsd"}
RETRY_HEADERS = {"retry-after": "RetryAfter", "x-should-retry": "ShouldRetry"}


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operation. `request` and `answer` name schemas; `by_provider` is the same below a provider's name.

    What has a request and that second path is read by the gateway, and what is `ours` is answered by it; all else
    passes through.
    """

    id: str
    method: str
    path: str
    tag: str
    summary: str
    answer: str
    description: str = ""
    by_provider: str | None = None
    dialect: Dialect = Dialect.OPENAI
    request: str | None = None
    request_type: str = "application/json"
    media_type: str = "application/json"
    query: tuple[str, ...] = ()
    streams: bool = False
    caches: bool = False
    ours: bool = False


def load(name: str) -> Json:
    """Return a file of data that lies beside this module."""
    return cast(Json, msgspec.yaml.decode((HERE / name).read_bytes()))


STATUSES: dict[str, str] = load("statuses.yaml")


def load_rows() -> list[Row]:
    """Return all operations of model traffic."""
    return msgspec.yaml.decode((HERE / "operations.yaml").read_bytes(), type=list[Row])


def build_components() -> Json:
    """Return the parameters, headers, error answers and schemas that the operations refer to."""
    shared = load("shared.yaml")
    return {
        **shared,
        "responses": build_refusals(),
        "schemas": {**shared["schemas"], **load("openai.yaml"), **load("anthropic.yaml")},
    }


def build_paths() -> Json:
    """Return the path items of model traffic."""
    paths: Json = {"/": build_root()}
    for path, row in _spread(load_rows()):
        paths.setdefault(path, {})[row.method] = build_operation(path, row)
    return paths


def build_root() -> Json:
    """Return the path item of the address that clients probe."""
    probe = {"tags": ["Gateway"], "security": [], "description": "Some clients probe this address before they begin."}
    answer = {"description": "The gateway is here.", "headers": _headers(ID_HEADERS)}
    hello = {"application/json": {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}}
    return {
        "get": {"operationId": "getRoot", "summary": "Say hello", "responses": {"200": {**answer, "content": hello}}}
        | probe,
        "head": {"operationId": "headRoot", "summary": "Say hello without a body", "responses": {"200": answer}}
        | probe,
    }


def build_operation(path: str, row: Row) -> Json:
    """Return the operation of `row` at `path`."""
    operation: Json = {
        "operationId": row.id if path == row.path else f"{row.id}ByProvider",
        "tags": [row.tag],
        "summary": row.summary if path == row.path else f"{row.summary} with a named provider",
        "parameters": build_parameters(path, row),
        "responses": {"200": build_answer(row)}
        | {status: _ref("responses", name_refusal(status, row.dialect)) for status in list_refusals(row)},
    }
    if row.description:
        operation["description"] = row.description
    if row.request is not None:
        operation["requestBody"] = {"required": True, "content": {row.request_type: {"schema": _schema(row.request)}}}
    return operation


def build_parameters(path: str, row: Row) -> list[Json]:
    """Return the parameters of an operation: those in its path, in its query, and our headers."""
    places = [
        _ref("parameters", _PLACES[name]) if name in _PLACES else _identifier(name) for name in _PARAMETER.findall(path)
    ]
    headers = KEPT if row.ours else (ASKED if row.caches else ()) + ALWAYS
    headers += ("Deadline",) if row.ours and row.request is not None and row.request_type == "application/json" else ()
    headers += ("IdempotencyKey",) if row.request is not None and row.request_type == "application/json" else ()
    headers += ANTHROPIC if row.dialect is Dialect.ANTHROPIC or row.tag == "Models" else ()
    return [*places, *(_ref("parameters", name) for name in (*row.query, *headers))]


def build_answer(row: Row) -> Json:
    """Return the good answer of an operation."""
    content = {row.media_type: {"schema": _schema(row.answer)}}
    if row.streams:
        content["text/event-stream"] = {"schema": _schema(_EVENTS[row.dialect])}
    headers = ID_HEADERS if row.ours else ID_HEADERS | ROUTE_HEADERS
    if row.caches:
        headers |= CACHE_HEADERS
    if row.request is not None and row.by_provider is not None:
        headers |= WHOLE_HEADERS
    description = "The gateway's answer." if row.ours else "The provider's answer."
    return {"description": description, "headers": _headers(headers), "content": content}


def build_refusals() -> Json:
    """Return the error answers of model traffic, in both dialects."""
    return {
        name_refusal(status, dialect): {
            "description": text,
            "headers": _headers(ID_HEADERS | ROUTE_HEADERS | RETRY_HEADERS),
            "content": {"application/json": {"schema": _schema(_ERRORS[dialect])}},
        }
        for dialect in Dialect
        for status, text in STATUSES.items()
    }


def name_refusal(status: str, dialect: Dialect) -> str:
    """Return the name of an error answer among the components."""
    return f"{dialect.value.capitalize()}{status}"


def list_refusals(row: Row) -> list[str]:
    """Return the error statuses of an operation; those about a body only where one is sent."""
    none = set[str]() if row.dialect is Dialect.ANTHROPIC else {"529"}
    if row.method != "post":
        none |= ABOUT_BODIES
    return [status for status in STATUSES if status not in none]


def _spread(rows: list[Row]) -> Iterator[tuple[str, Row]]:
    for row in rows:
        yield row.path, row
        if row.by_provider is not None:
            yield row.by_provider, row


def _identifier(name: str) -> Json:
    what = name.removesuffix("_id").replace("_", " ")
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": f"The id of the {what}.", "schema": schema}


def _headers(names: dict[str, str]) -> Json:
    return {header: _ref("headers", name) for header, name in names.items()}


def _schema(name: str) -> Json:
    return _ref("schemas", name)


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}
