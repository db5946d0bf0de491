"""The unified list of models: what can be called, by the names that call it, for either vendor's parser."""

import httpx
import pytest
from anthropic import Anthropic
from openai import NotFoundError, OpenAI

from tests.acceptance.support import Provider, make_key
from tests.gateway_process import Gateway


@pytest.fixture
def http(vendors: Gateway):
    with vendors.client() as client:
        yield client


def test_both_sdks_read_the_list(vendors: Gateway, provider: Provider) -> None:
    """Each vendor's SDK lists the models of both, and no provider is asked for what the catalogue knows."""
    with OpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key) as client:
        ids = [model.id for model in client.models.list()]
    with Anthropic(base_url=vendors.url, api_key=vendors.key) as client:
        names = {model.id: model.display_name for model in client.models.list(limit=1000)}
    assert "gpt-4o" in ids
    assert any(name.startswith("claude-") for name in ids)
    assert set(names) == set(ids)
    assert all(names.values())
    assert provider.count() == 0


def test_one_model(vendors: Gateway) -> None:
    """A model is found by its bare name and with its provider before it; an unknown one is a 404."""
    with OpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key) as client:
        assert client.models.retrieve("gpt-4o").owned_by == "openai"
        assert client.models.retrieve("openai/gpt-4o").id == "openai/gpt-4o"
        with pytest.raises(NotFoundError):
            client.models.retrieve("nobody/nothing")


def test_every_listed_name_can_be_called(http: httpx.Client) -> None:
    """Names on the list lead to the provider that the list says."""
    listed = http.get("/v1/models").json()["data"]
    for owner, endpoint in (("openai", "/v1/chat/completions"), ("anthropic", "/v1/chat/completions")):
        name = next(model["id"] for model in listed if model["owned_by"] == owner)
        reply = http.post(endpoint, json={"model": name, "messages": [{"role": "user", "content": "Hi"}]})
        assert reply.headers["x-relay-provider"] == owner


def test_a_configured_name_comes_first(gateway: Gateway) -> None:
    """Aliases and groups are on the list, before the models of providers."""
    gateway.configure(models={"best": {"targets": [{"provider": "mock", "model": "echo"}]}})
    with gateway.client() as client:
        listed = client.get("/v1/models").json()["data"]
        assert (listed[0]["id"], listed[0]["owned_by"]) == ("best", "relaycore")
        assert "mock/echo" in {model["id"] for model in listed}
        reply = client.post(
            "/v1/chat/completions", json={"model": "best", "messages": [{"role": "user", "content": "x"}]}
        )
        assert (reply.status_code, reply.headers["x-relay-model"]) == (200, "echo")


def test_a_key_sees_only_what_it_may_call(gateway: Gateway) -> None:
    """A key that is restricted to some models is shown those and no others."""
    gateway.configure(models={"best": {"targets": [{"provider": "mock", "model": "echo"}]}})
    key = make_key(gateway, "limited@example.com", models=("best",))
    with gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["best"]
        assert client.get("/v1/models/best").status_code == 200
        assert client.get("/v1/models/mock/echo").status_code == 404
