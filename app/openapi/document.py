"""The OpenAPI document: the framework's view of the control routes together with the operations of model traffic."""

from collections.abc import Container
from typing import Any, cast

import msgspec
from litestar import Litestar

from app.openapi.operations import ID_HEADERS, Json, build_components, build_paths
from app.openapi.streamed import describe_streamed

# What any control route may answer: OpenAI's error shape, whatever the framework believes.
REFUSALS = {
    "400": "The request cannot be read or does not fit; the message names the field.",
    "401": "No key, or one that is unknown, revoked or expired.",
    "402": "A budget has not enough left for it.",
    "403": "The key is valid, but may not do this.",
    "404": "There is no such thing, or it is somebody else's.",
    "408": "The body of the request did not arrive in time.",
    "409": "It exists already or changed meanwhile.",
    "413": "The body of the request is too large.",
    "422": "A budget applies, and nobody knows what it would cost.",
    "500": "The gateway failed.",
    "503": "The gateway cannot reach its database.",
}
_encode = msgspec.json.Encoder(decimal_format="number").encode
SCHEMAS = "#/components/schemas/"
METHODS = ("get", "head", "post", "put", "patch", "delete")
READING = ("get", "head")
FOR_KEYS = ("401", "403", "500", "503")


def build_document(app: Litestar) -> Json:
    """Return the whole document. Routes that were added to `app` are in it without further ado."""
    own = build_components()
    document = keep_apart(app.openapi_schema.to_schema(), own["schemas"])
    control: Json = document.get("paths") or {}
    describe_streamed(control, document["components"]["schemas"])
    for item in control.values():
        for method in METHODS:
            if method in item:
                item[method] = complete(item[method], method)
    document["paths"] = build_paths() | dict(sorted(control.items()))
    components = cast(Json, document.setdefault("components", {}))
    for kind, entries in own.items():
        components[kind] = {**components.get(kind, {}), **entries}
    components["responses"] |= {f"Control{status}": build_refusal(status) for status in REFUSALS}
    document["tags"] = list_tags(document["paths"])
    return document


def keep_apart(document: Json, taken: Container[str]) -> Json:
    """Return `document` as plain JSON, with other names for those of its schemas that are taken.

    The framework leaves Python objects in it: default values, for one.
    """
    text = _encode(document).decode()
    schemas: Json = document["components"].get("schemas") or {}
    names = [name for name in schemas if name in taken]
    for name in names:
        text = text.replace(f'"{SCHEMAS}{name}"', f'"{SCHEMAS}Control{name}"')
    plain: Json = msgspec.json.decode(text)
    for name in names:
        plain["components"]["schemas"][f"Control{name}"] = plain["components"]["schemas"].pop(name)
    return plain


def complete(operation: Json, method: str) -> Json:
    """Return a control operation with what all of them have: a summary, the errors and, where public, no security."""
    done = {**operation, "responses": dict(operation.get("responses") or {})}
    public = done.get("security") == [{}]
    if public:
        done["security"] = []
    done.setdefault("tags", ["Control"])
    summary, _, rest = str(done.pop("description", "") or "").partition("\n")
    if summary:
        done["summary"] = summary.rstrip(".")
    if rest.strip():
        done["description"] = rest.strip()
    for status in list_refusals(done, public=public, writes=method not in READING):
        done["responses"][status] = {"$ref": f"#/components/responses/Control{status}"}
    if method == "head":
        done["responses"] = {status: _without_body(answer) for status, answer in done["responses"].items()}
    return done


def list_refusals(operation: Json, *, public: bool, writes: bool) -> list[str]:
    """Return the error statuses that a control operation may answer with besides those it declares itself.

    The framework's own 400 has a shape that we never send, so it is replaced.
    """
    parameters = cast(list[dict[str, Any]], operation.get("parameters") or [])
    body = "requestBody" in operation
    wanted: set[str] = set() if public else set(FOR_KEYS)
    if body or parameters:
        wanted.add("400")
    if any(parameter.get("in") == "path" for parameter in parameters):
        wanted |= {"404", "409"} if writes else {"404"}
    if body:
        wanted |= {"409", "413"}
    return sorted(status for status in wanted if status == "400" or status not in operation["responses"])


def build_refusal(status: str) -> Json:
    """Return an error answer of the control API."""
    return {
        "description": REFUSALS[status],
        "headers": {header: {"$ref": f"#/components/headers/{name}"} for header, name in ID_HEADERS.items()},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def list_tags(paths: Json) -> list[Json]:
    """Return the tags in the order in which they are first used."""
    found: dict[str, None] = {}
    for item in paths.values():
        for method in METHODS:
            found.update(dict.fromkeys(item.get(method, {}).get("tags", ())))
    return [{"name": name} for name in found]


def _without_body(answer: Json) -> Json:
    return {key: value for key, value in answer.items() if key != "content"}
