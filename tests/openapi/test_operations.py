"""What is written down about model traffic is what the gateway does."""

from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator

from app.errors import Dialect
from app.openapi.operations import Row, build_components, list_refusals, load_rows
from tests.gateway_process import TLS, Gateway

ROWS = load_rows()
PATHS = [(path, row) for row in ROWS for path in (row.path, row.by_provider) if path is not None]
PLACES = {"provider": "mock", "model": "echo", "response_id": "resp_none", "file_id": "file-none", "batch_id": "b-none"}
PLACES["message_batch_id"] = "msgbatch_none"
COMPONENTS = build_components()


def name_case(case: object) -> str:
    return case if isinstance(case, str) else ""


def send(gateway: Gateway, path: str, row: Row, **body: Any) -> httpx.Response:
    """Send the operation's own example."""
    address = path.format(**PLACES)
    with gateway.client() as client:
        if row.request_type == "multipart/form-data":
            return client.post(address, files={"file": ("calls.jsonl", b"{}")}, data={"purpose": "batch"})
        if row.request is None:
            return client.request(row.method.upper(), address)
        schema = COMPONENTS["schemas"][row.request]
        example = schema["example"] if "example" in schema else schema["examples"][0]
        return client.request(row.method.upper(), address, json={**example, **body})


def check_body(row: Row, response: httpx.Response) -> None:
    """Check a JSON answer against the schema that is declared for it."""
    refused = "AnthropicError" if row.dialect is Dialect.ANTHROPIC else "Error"
    name = row.answer if response.status_code == 200 else refused
    whole = {"$ref": f"#/components/schemas/{name}", "components": COMPONENTS}
    OAS31Validator(whole).validate(response.json())


@pytest.mark.parametrize(("path", "row"), PATHS, ids=name_case)
def test_every_operation_is_answered_as_declared(shared_gateway: Gateway, path: str, row: Row) -> None:
    """Each path leads somewhere, and its status, media type, headers and body are among those that are declared."""
    response = send(shared_gateway, path, row)
    assert "There is nothing at" not in response.text
    assert str(response.status_code) in {"200", *list_refusals(row)}
    assert response.headers["content-type"].startswith(
        row.media_type if response.status_code == 200 else "application/json"
    )
    assert response.headers["x-request-id"] == response.headers["request-id"]
    if path not in {"/v1/models", "/v1/models/{model}"} and not row.ours:  # the gateway's own answers
        assert response.headers["x-relay-provider"] == "mock"
    if row.request is not None and row.id != "createBatch":
        assert response.status_code == 200
    if "json" in response.headers["content-type"] and "jsonl" not in response.headers["content-type"]:
        check_body(row, response)


@pytest.mark.parametrize(("path", "row"), [(p, r) for p, r in PATHS if r.streams], ids=name_case)
def test_streams_are_declared_where_they_are(shared_gateway: Gateway, path: str, row: Row) -> None:
    """An operation that declares events answers with them when it is asked to."""
    response = send(shared_gateway, path, row, stream=True)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(("path", "row"), [(p, r) for p, r in PATHS if r.caches], ids=name_case)
def test_cache_headers_are_declared_where_the_cache_works(shared_gateway: Gateway, path: str, row: Row) -> None:
    """An operation with the cache's headers takes them, says what it did, and gives the key and the age of a hit."""
    declared = COMPONENTS["headers"]["CacheStatus"]["schema"]["enum"]
    first, second = (send(shared_gateway, path, row, user="of the cache test") for _ in range(2))
    assert {first.headers["x-aihub-cache-status"], second.headers["x-aihub-cache-status"]} <= set(declared)
    assert second.headers["x-aihub-cache-status"] == "hit"
    assert len(second.headers["x-aihub-cache-key"]) == 64
    assert int(second.headers["age"]) >= 0


@pytest.mark.parametrize("row", [row for row in ROWS if row.caches], ids=lambda row: row.id)
def test_strangers_get_the_error_of_the_dialect(shared_gateway: Gateway, row: Row) -> None:
    """Without a key an operation answers 401 in the error shape that is declared for it."""
    response = httpx.post(shared_gateway.url + row.path, json={}, trust_env=False, verify=TLS)
    assert response.status_code == 401
    check_body(row, response)


@pytest.mark.parametrize(
    ("header", "value"),
    [("X-AIHub-Cache", "sometimes"), ("X-AIHub-Cache-TTL", "-1"), ("x-relay-metadata", "[]"), ("x-relay-timeout", "0")],
)
def test_nonsense_in_a_declared_header_is_a_400(shared_gateway: Gateway, header: str, value: str) -> None:
    """What a header's schema rules out is refused, naming the header."""
    body = {"model": "mock/echo", "messages": [{"role": "user", "content": "x"}]}
    with shared_gateway.client() as client:
        response = client.post("/v1/chat/completions", json=body, headers={header: value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == header


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_greets_strangers(shared_gateway: Gateway, method: str) -> None:
    """Clients probe the root without a key."""
    response = httpx.request(method, shared_gateway.url + "/", trust_env=False, verify=TLS)
    assert response.status_code == 200
    assert bool(response.content) is (method == "GET")
