"""A gateway as an operator runs it, with providers called openai and anthropic, and a look at what they receive."""

from collections.abc import Iterator

import pytest

from tests.acceptance.support import Provider, run_mock
from tests.conftest import prepare
from tests.gateway_process import Gateway, run_gateway

ONCE = {"max_retries": 0}
"""Most of these tests are about what one answer of a provider becomes, so it is asked once."""


@pytest.fixture
def mock(shared_gateway: Gateway) -> Provider:
    """The gateway's own mock provider, with nothing in its memory."""
    if shared_gateway.parts.catalog.current.routing.max_retries:
        shared_gateway.configure(routing=ONCE)
    provider = Provider(shared_gateway.mock_url)
    provider.reset()
    return provider


@pytest.fixture(scope="module")
def vendors_url() -> Iterator[str]:
    """The address of a provider that stands for both vendors."""
    with run_mock() as url:
        yield url


@pytest.fixture(scope="module")
def vendors(module_database_url: str, tmp_path_factory: pytest.TempPathFactory, vendors_url: str) -> Iterator[Gateway]:
    """A gateway with the providers `openai` and `anthropic`, and keys of its own for them."""
    environ = {
        "OPENAI_API_KEY": "sk-openai-of-the-house",
        "OPENAI_BASE_URL": f"{vendors_url}/v1",
        "ANTHROPIC_API_KEY": "sk-ant-of-the-house",
        "ANTHROPIC_BASE_URL": vendors_url,
    }
    with run_gateway(prepare(module_database_url, tmp_path_factory.mktemp("vendors"), environ)) as running:
        running.configure(routing=ONCE)
        yield running


@pytest.fixture
def provider(vendors: Gateway, vendors_url: str) -> Provider:
    """What the providers of `vendors` receive, with nothing in their memory."""
    known = Provider(vendors_url)
    known.reset()
    return known
