"""The configuration over HTTP: what an administrator reads and changes, and what holds afterwards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.conftest import prepare
from tests.gateway_process import Gateway, run_gateway


@pytest.fixture
def admin(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client(headers={"authorization": f"Bearer {gateway.admin_key}"}) as client:
        yield client


def put(client: httpx.Client, document: Any, path: str = "/v1/config") -> httpx.Response:
    return client.put(path, json=document)


def chat(gateway: Gateway, **body: Any) -> httpx.Response:
    with gateway.client() as client:
        return client.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}], "model": "mock/echo", **body}
        )


def test_only_administrators(gateway: Gateway) -> None:
    """Without a key 401, with an ordinary key 403, and nothing changes."""
    with httpx.Client(base_url=gateway.url, trust_env=False) as stranger, gateway.client() as user:
        for client, status in ((stranger, 401), (user, 403)):
            assert client.get("/v1/config").status_code == status
            assert put(client, {"providers": {}}).status_code == status
            assert client.get("/v1/config/providers").status_code == status
            assert put(client, {"type": "openai"}, "/v1/config/providers/x").status_code == status


def test_a_provider_is_added_and_used_at_once(gateway: Gateway, admin: httpx.Client) -> None:
    """A provider that was put is called by the next request; its key is never shown again."""
    reply = put(
        admin,
        {"type": "openai-compatible", "base_url": f"{gateway.mock_url}/v1", "api_key": "sk-very-secret"},
        "/v1/config/providers/mine",
    )
    assert reply.status_code == 200
    assert reply.json()["api_key"] == "********"
    assert chat(gateway, model="mine/echo").json()["choices"][0]["message"]["content"] == "Hi"
    listed = admin.get("/v1/config/providers").json()
    assert [entry["name"] for entry in listed["providers"]] == ["mine"]
    assert listed["total"] == 1
    assert "sk-very-secret" not in admin.get("/v1/config").text + str(listed)
    assert admin.get("/v1/config/providers/mine").json()["type"] == "openai-compatible"
    assert admin.get("/v1/config/providers/other").status_code == 404


def test_what_was_read_can_be_put_back(gateway: Gateway, admin: httpx.Client) -> None:
    """GET then PUT of the same document changes nothing and keeps the secrets."""
    entry = {"type": "openai", "base_url": f"{gateway.mock_url}/v1"}
    put(admin, {**entry, "api_key": "good"}, "/v1/config/providers/openai")
    document = admin.get("/v1/config").json()
    assert put(admin, document).json() == document
    assert gateway.parts.catalog.current.providers["openai"].api_key == "good"
    put(admin, entry, "/v1/config/providers/openai")
    assert gateway.parts.catalog.current.providers["openai"].api_key == "good"


def test_sections_that_are_not_sent_stay(gateway: Gateway, admin: httpx.Client) -> None:
    """A change of the cache's default leaves providers and the other cache fields alone, and holds at once."""
    put(admin, {"type": "mock"}, "/v1/config/providers/mock")
    put(admin, {"cache": {"max_ttl": 500}})
    document = put(admin, {"cache": {"default_ttl": 7}}).json()
    assert (document["cache"]["default_ttl"], document["cache"]["max_ttl"]) == (7, 500)
    assert set(document["providers"]) == {"mock"}
    assert gateway.parts.catalog.current.cache.default_ttl == 7


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"cache": {"default_ttl": "soon"}}, "cache.default_ttl"),
        ({"cache": {"default_ttl": -1}}, "cache.default_ttl"),
        ({"cache": {"unheard": 1}}, "unheard"),
        ({"cache": 5}, "cache"),
        ({"providers": []}, "providers"),
        ({"providers": {"x": {"type": "nobody"}}}, "providers.x.type"),
        ({"providers": {"x": {"type": "openai", "base_url": "file:///etc"}}}, "base_url"),
        ({"providers": {"x": {"type": "openai", "secret": "y"}}}, "secret"),
        ([1], ""),
        ("x", ""),
        (None, ""),
    ],
)
def test_what_does_not_fit_is_refused_whole(gateway: Gateway, admin: httpx.Client, change: Any, named: str) -> None:
    """An invalid document is a 400 in OpenAI's shape that says where, and changes nothing."""
    before = admin.get("/v1/config").json()
    reply = put(admin, change)
    assert reply.status_code == 400
    assert named in reply.json()["error"]["message"]
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert admin.get("/v1/config").json() == before


def test_bytes_that_are_no_json_are_refused(admin: httpx.Client) -> None:
    """Broken or deeply nested JSON and other content types are a 400, never a 500."""
    json = {"content-type": "application/json"}
    for content in (b"", b"{", b"\xff", b'{"a":' * 5000, b'{"cache":{"default_ttl":NaN}}'):
        assert admin.put("/v1/config", content=content, headers=json).status_code == 400
    assert admin.put("/v1/config", content=b"{}", headers={"content-type": "text/plain"}).status_code == 400


def test_a_stale_version_is_a_conflict(admin: httpx.Client) -> None:
    """Who says the version they read is told when somebody else was faster."""
    first = admin.get("/v1/config").json()["version"]
    assert put(admin, {"version": first, "cache": {"default_ttl": 9}}).status_code == 200
    assert put(admin, {"version": first, "cache": {"default_ttl": 8}}).status_code == 409


def test_every_process_follows(gateway: Gateway, admin: httpx.Client, tmp_path: Path) -> None:
    """A change is seen by other processes within a second, as one whole."""
    with run_gateway(prepare(gateway.database_url, tmp_path / "other")) as other:
        put(admin, {"cache": {"default_ttl": 11}})
        with psycopg.connect(gateway.database_url) as connection:
            connection.execute("SELECT pg_sleep(1)")
        assert other.parts.catalog.current.cache.default_ttl == 11


def test_strangers_learn_nothing_of_paths(gateway: Gateway, admin: httpx.Client) -> None:
    """Who has no key gets 401 for unknown paths and methods; who has one gets 404 and 405."""
    with httpx.Client(base_url=gateway.url, trust_env=False) as stranger:
        assert stranger.get("/v1/config/nothing/here").status_code == 401
        assert stranger.delete("/v1/config").status_code == 401
    assert admin.get("/v1/config/nothing/here").status_code == 404
    assert admin.delete("/v1/config").status_code == 405
