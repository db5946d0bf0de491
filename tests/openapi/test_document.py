"""The document as a whole: valid, unambiguous, and complete without anybody's further doing."""

import json
import re
from itertools import combinations
from typing import Any

import msgspec
import pytest
from litestar import Litestar, delete, get, put
from litestar.params import FromPath, JSONBody
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.control import EXCEPTION_HANDLERS
from app.health import HEALTH_HANDLERS
from app.main import create_app
from app.openapi.config import OPENAPI
from app.openapi.document import METHODS, build_document
from app.openapi.routes import DOCS_HANDLERS
from app.settings import read_settings


class Shape(msgspec.Struct, frozen=True):
    round: bool = True


class Thing(msgspec.Struct):
    size: int
    shape: Shape = Shape()


@put("/v1/config/things/{name:str}")
async def put_thing(name: FromPath[str], data: JSONBody[Thing]) -> Thing:
    """Store a thing.

    It replaces the one of this name.
    """
    return data


@get("/v1/config/things/{name:str}")
async def get_thing(name: FromPath[str]) -> Thing:
    """Get a thing."""
    return Thing(size=len(name))


class Batch(msgspec.Struct):
    things: list[Thing]


@get("/v1/config/things/{name:str}/batch")
async def get_batch(name: FromPath[str]) -> Batch:
    """Get a batch that is none of OpenAI's."""
    return Batch(things=[Thing(size=len(name))])


@delete("/v1/config/things", security=[{}])
async def forget_things() -> None:
    """Forget all things."""


def build_app() -> Litestar:
    return Litestar(
        [*HEALTH_HANDLERS, *DOCS_HANDLERS, put_thing, get_thing, get_batch, forget_things],
        openapi_config=OPENAPI,
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
    )


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_document(build_app())


def list_operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, m, item[m]) for path, item in document["paths"].items() for m in METHODS if m in item]


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    """The document is OpenAPI 3.1 by the reference validator, references included."""
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_the_document_of_the_real_application_is_valid() -> None:
    """Whatever routes the composition root puts together, their document is valid and unambiguous."""
    document = build_document(create_app(read_settings({})))
    OpenAPIV31SpecValidator(document).validate()
    assert not find_ambiguous(list(document["paths"]))
    ids = [operation["operationId"] for *_, operation in list_operations(document)]
    assert len(ids) == len(set(ids))


def test_operation_ids_are_unique_names(document: dict[str, Any]) -> None:
    """Generators make functions of the ids, so each is unique and a plain name."""
    ids = [operation["operationId"] for *_, operation in list_operations(document)]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]+", name) for name in ids)


def match(one: str, other: str) -> bool:
    """Return whether two path segments can be the same text."""
    return one == other or "{" in one or "{" in other


def find_ambiguous(paths: list[str]) -> list[tuple[str, str]]:
    """Return the pairs that match the same path with neither being the more concrete one."""
    found = []
    for one, other in combinations(paths, 2):
        pairs = list(zip(one.split("/"), other.split("/"), strict=False))
        same_length = one.count("/") == other.count("/")
        concrete = "{" not in one or "{" not in other
        if same_length and not concrete and all(match(a, b) for a, b in pairs):
            found.append((one, other))
    return found


def test_no_two_paths_are_ambiguous(document: dict[str, Any]) -> None:
    """No request matches two templates; where only one is a template, the concrete path wins by the standard."""
    assert not find_ambiguous(list(document["paths"]))


def test_every_place_in_a_path_is_a_parameter(document: dict[str, Any]) -> None:
    """The names in the braces and the parameters in the path are the same."""
    for path, _, operation in list_operations(document):
        parameters = [resolve(document, parameter) for parameter in operation.get("parameters", [])]
        assert sorted(re.findall(r"{(\w+)}", path)) == sorted(p["name"] for p in parameters if p["in"] == "path")


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return what a node refers to; references here are one step long."""
    if "$ref" not in node:
        return node
    _, kind, name = node["$ref"].removeprefix("#/").split("/")
    return document["components"][kind][name]


def test_security_is_declared_and_applied(document: dict[str, Any]) -> None:
    """A key is asked for everywhere but where strangers may come, and every scheme that is named exists."""
    schemes = document["components"]["securitySchemes"]
    assert {name for requirement in document["security"] for name in requirement} == set(schemes)
    assert {scheme.get("name", scheme.get("scheme")) for scheme in schemes.values()} == {
        "bearer",
        "x-api-key",
        "x-relay-api-key",
    }
    public = {path for path, _, operation in list_operations(document) if operation.get("security") == []}
    assert {path for path in public if not path.startswith("/v1/config")} == {
        "/",
        "/health",
        "/health/liveness",
        "/health/liveliness",
        "/health/readiness",
        "/livez",
        "/readyz",
        "/metrics",
    }


def test_a_control_route_appears_with_its_errors(document: dict[str, Any]) -> None:
    """A route that is merely registered is described: its docstring, its body, and every refusal in our own shape."""
    operation = document["paths"]["/v1/config/things/{name}"]["put"]
    assert operation["operationId"] == "putV1ConfigThingsByName"
    assert operation["summary"] == "Store a thing"
    assert operation["description"] == "It replaces the one of this name."
    assert set(operation["responses"]) == {"200", "400", "401", "403", "404", "409", "413", "500", "503"}
    for status in ("400", "401", "404"):
        schema = resolve(document, operation["responses"][status])["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Error"}


def test_the_document_is_plain_json(document: dict[str, Any]) -> None:
    """Defaults that are Structs are JSON in the document like everything else."""
    assert json.loads(json.dumps(document)) == document
    assert document["components"]["schemas"]["Shape"]["default"] == {"round": True}


def test_schemas_of_the_same_name_are_kept_apart(document: dict[str, Any]) -> None:
    """A Struct of the control API that is called like one of the vendors' objects does not become it."""
    operation = document["paths"]["/v1/config/things/{name}/batch"]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/ControlBatch"}
    assert set(resolve(document, schema)["properties"]) == {"things"}
    assert "input_file_id" in document["components"]["schemas"]["Batch"]["properties"]


def test_a_public_control_route_needs_no_key(document: dict[str, Any]) -> None:
    """`security=[{}]` on a handler means that strangers may call it, so 401 and 403 are not declared."""
    operation = document["paths"]["/v1/config/things"]["delete"]
    assert operation["security"] == []
    assert set(operation["responses"]) == {"204"}


def test_head_answers_have_no_body(document: dict[str, Any]) -> None:
    """What answers HEAD declares no content."""
    heads = [operation for _, method, operation in list_operations(document) if method == "head"]
    assert heads
    assert all("content" not in answer for operation in heads for answer in operation["responses"].values())


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    """An example that is shown is one that the schema allows."""
    for name, schema in document["components"]["schemas"].items():
        whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        for example in [*schema.get("examples", []), *([schema["example"]] if "example" in schema else [])]:
            OAS31Validator(whole).validate(example)


def test_money_is_a_number() -> None:
    """Amounts are described as what they are in answers: JSON numbers, which may be sent as well."""
    schemas = build_document(create_app(read_settings({})))["components"]["schemas"]
    budget = schemas["BudgetView"]["properties"]
    assert budget["amount_usd"]["type"] == "number"
    assert {one["type"] for one in budget["soft_limit_usd"]["oneOf"]} == {"number", "null"}
    assert schemas["BudgetCreation"]["properties"]["amount_usd"]["type"] == "number"
