"""A gateway in front of three providers that answer as a test tells them."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.settings import UpstreamSettings
from tests.conftest import prepare
from tests.gateway_process import Gateway, run_gateway
from tests.routing.misbehaving import run_server
from tests.routing.scripted import Scripted

NAMES = ("one", "two", "three")
KEYS = ("key-a-of-the-pool", "key-b-of-the-pool", "key-c-of-the-pool")
ROUTING = {
    "max_retries": 2,
    "backoff": 0.02,
    "max_backoff": 8,
    "max_wait": 1,
    "eject_after": 5,
    "eject_seconds": 30,
    "max_ejected": 0.5,
    "first_token": None,
    "slow_stream": None,
}
"""All of it: a section that is sent changes only the fields it has."""


class Stage:
    """The gateway and its providers; `set_up` configures it afresh, with no memory of health, keys or retries."""

    def __init__(self, gateway: Gateway, providers: dict[str, Scripted]) -> None:
        self.gateway = gateway
        self.one, self.two, self.three = (providers[name] for name in NAMES)
        self.providers = providers

    def set_up(self, models: dict | None = None, keys: int = 1, **routing: object) -> None:
        for provider in self.providers.values():
            provider.reset()
        routes = self.gateway.parts.routing
        routes.__init__()
        self.gateway.configure(
            providers={
                name: {
                    "type": "openai-compatible",
                    "base_url": f"{provider.url}/v1",
                    "api_keys": list(KEYS[:keys]),
                }
                for name, provider in self.providers.items()
            },
            models=models or {},
            routing={**ROUTING, **routing},
        )


@pytest.fixture(scope="module")
def running(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A gateway with short limits and its three providers."""
    limits = UpstreamSettings(connect_seconds=0.5, first_byte_seconds=0.5, idle_seconds=0.5, total_seconds=3.0)
    with ExitStack() as stack:
        providers = {name: Scripted() for name in NAMES}
        for provider in providers.values():
            provider.url = stack.enter_context(run_server(provider.behave)).url
        ready = prepare(module_database_url, tmp_path_factory.mktemp("attempts"), upstream=limits)
        yield Stage(stack.enter_context(run_gateway(ready)), providers)


@pytest.fixture
def stage(running: Stage) -> Stage:
    """The stage, set up with the three providers and nothing else."""
    running.set_up()
    return running


def group(*names: str, strategy: str = "weighted", **fields: object) -> dict:
    """Return the configuration of a group with a deployment at each of the named providers."""
    targets = [{"provider": name, "model": "m"} for name in names]
    return {"targets": targets, "strategy": strategy, **fields}
