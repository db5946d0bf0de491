"""From a route and a model's name to a provider, as a table."""

import pytest

from app.catalog.snapshot import Snapshot
from app.catalog.types import CacheConfig, DeploymentConfig, FallbackConfig, ModelConfig
from app.errors import BadRequestError, Dialect, NotFoundError
from app.gateway.paths import find_route
from app.gateway.plan import plan
from app.providers.registry import VENDORS
from tests.gateway.builders import ANTHROPIC, BEDROCK, BOTH, GEMINI, LOCAL, MISTRAL, MOCK, OPENAI

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MANY = {**BOTH, "mistral": MISTRAL, "local": LOCAL}
ONE = {"mock": MOCK}


def snapshot(providers, **changes):
    return Snapshot(version=1, providers=providers, cache=CacheConfig(), **changes)


TABLE = [
    (CHAT, "openai/gpt-4o", MANY, "openai", "gpt-4o"),
    (CHAT, "gpt-4o", MANY, "openai", "gpt-4o"),
    (CHAT, "o3", MANY, "openai", "o3"),
    (CHAT, "mistral-large-latest", MANY, "mistral", "mistral-large-latest"),
    (CHAT, "local/qwen/qwen3:8b", MANY, "local", "qwen/qwen3:8b"),
    (CHAT, "qwen/qwen3", MANY, "openai", "qwen/qwen3"),
    (CHAT, "anything", MANY, "openai", "anything"),
    (CHAT, "anything", {"local": LOCAL}, "local", "anything"),
    (CHAT, "mock/echo", ONE, "mock", "echo"),
    (CHAT, "echo", ONE, "mock", "echo"),
    (CHAT, "openai/", MANY, "openai", "openai/"),
    ("/v1/local/chat/completions", "openai/gpt-4o", MANY, "local", "openai/gpt-4o"),
    ("/v1/local/chat/completions", None, MANY, "local", None),
    (MESSAGES, "claude-opus-4-5", MANY, "anthropic", "claude-opus-4-5"),
    (MESSAGES, "anthropic/claude-opus-4-5", MANY, "anthropic", "claude-opus-4-5"),
    (MESSAGES, "our-own", MANY, "anthropic", "our-own"),
    ("/v1/files", None, MANY, "openai", None),
    ("/v1/files", None, {"local": LOCAL}, "local", None),
    ("/v1/messages/batches", None, MANY, "anthropic", None),
]


@pytest.mark.parametrize(("path", "model", "providers", "name", "known_as"), TABLE)
def test_targets(path, model, providers, name, known_as):
    """A prefix that names a provider decides, then who owns the name, then who alone can be meant."""
    (target,) = plan(find_route(path, VENDORS.keys() | {"local"}), model, snapshot(providers)).targets
    assert (target.provider.name, target.model) == (name, known_as)
    assert target.base_url == target.provider.base_urls[target.dialect]


@pytest.mark.parametrize(
    ("path", "model", "providers", "error", "code"),
    [
        (CHAT, "gpt-4o", ONE, NotFoundError, "model_not_found"),
        ("/v1/embeddings", "claude-x", {"anthropic": ANTHROPIC}, BadRequestError, "dialect_not_supported"),
        ("/v1/messages/count_tokens", "gpt-4o", {"openai": OPENAI}, BadRequestError, "dialect_not_supported"),
        (CHAT, "unheard-of", {"mistral": MISTRAL, "local": LOCAL}, NotFoundError, "model_not_found"),
        ("/v1/groq/chat/completions", "x", MANY, NotFoundError, "provider_not_configured"),
        (CHAT, "x", {}, NotFoundError, "model_not_found"),
        ("/v1/files", None, {}, NotFoundError, "provider_not_configured"),
    ],
)
def test_no_target(path, model, providers, error, code):
    """Where nobody answers the error says so, and what would help."""
    with pytest.raises(error) as caught:
        plan(find_route(path, VENDORS.keys()), model, snapshot(providers))
    assert caught.value.code == code


def test_the_error_names_the_key_that_is_missing():
    """A well-known model without its vendor names the environment variable to set."""
    with pytest.raises(NotFoundError, match="OPENAI_API_KEY"):
        plan(find_route(CHAT, VENDORS.keys()), "gpt-4o", snapshot(ONE))


def test_unread_paths_take_the_dialect_that_is_there():
    """A path that passes unread goes to a provider in the dialect it speaks."""
    (target,) = plan(find_route("/v1/models", VENDORS.keys()), None, snapshot({"anthropic": ANTHROPIC})).targets
    assert (target.dialect, target.base_url) == (Dialect.ANTHROPIC, "https://api.anthropic.com")


@pytest.mark.parametrize(
    ("path", "model", "provider", "tongue"),
    [
        (CHAT, "claude-opus-4-5", "anthropic", "anthropic"),
        (MESSAGES, "gpt-4o", "openai", "openai"),
        (MESSAGES, "mistral/mistral-large", "mistral", "openai"),
        ("/v1/responses", "mistral/mistral-large", "mistral", "openai"),
        ("/v1/responses", "claude-opus-4-5", "anthropic", "anthropic"),
        ("/v1/responses", "gpt-4o", "openai", ""),
        ("/v1/anthropic/chat/completions", "claude-opus-4-5", "anthropic", "anthropic"),
        (MESSAGES, "gemini/gemini-3-pro", "gemini", "gemini"),
        (CHAT, "gemini/gemini-3-pro", "gemini", ""),
        (CHAT, "bedrock/amazon.nova-pro", "bedrock", "bedrock"),
    ],
)
def test_calls_of_other_dialects_are_translated(path, model, provider, tongue):
    """A chat call reaches a provider of any dialect, translated only where it has to be."""
    found = plan(find_route(path, VENDORS.keys()), model, snapshot({**MANY, "gemini": GEMINI, "bedrock": BEDROCK}))
    assert (found.targets[0].provider.name, found.targets[0].tongue) == (provider, tongue)


def test_a_group_has_all_its_deployments():
    """A configured name stands for its deployments, their weights and fallbacks; unusable ones are left out."""
    group = ModelConfig(
        targets=(
            DeploymentConfig(provider="openai", model="gpt-4o", weight=3),
            DeploymentConfig(provider="mistral", model="m"),
            DeploymentConfig(provider="gone", model="x"),
        ),
        strategy="cheapest",
        fallbacks=FallbackConfig(any=("other",)),
    )
    found = plan(find_route(CHAT, VENDORS.keys()), "fast", snapshot(MANY, models={"fast": group}))
    assert [(*target.deployment, target.weight) for target in found.targets] == [
        ("openai", "gpt-4o", 3),
        ("mistral", "m", 1),
    ]
    assert (found.strategy, found.fallbacks.any) == ("cheapest", ("other",))
    direct = plan(find_route(CHAT, VENDORS.keys()), "openai/gpt-4o", snapshot(MANY, models={"fast": group}))
    assert found.name != direct.name


def test_a_group_of_others_has_answers_of_its_own():
    """When the deployments behind a name change, what the old ones answered is not given any more; order is nothing."""

    def name_of(*targets):
        group = ModelConfig(targets=tuple(DeploymentConfig(provider=name, model=model) for name, model in targets))
        return plan(find_route(CHAT, VENDORS.keys()), "fast", snapshot(MANY, models={"fast": group})).name

    one, two, other = ("openai", "gpt-4o"), ("local", "gpt-4o"), ("openai", "gpt-4o-mini")
    assert name_of(one, two) == name_of(two, one)
    assert len({name_of(one, two), name_of(two, other), name_of(one, other)}) == 3


def test_an_alias_shares_its_answers_with_its_model():
    """A name with one deployment is kept under the deployment's own name; below a provider's path it means nothing."""
    alias = {"best": ModelConfig(targets=(DeploymentConfig(provider="openai", model="gpt-4o"),))}
    found = plan(find_route(CHAT, VENDORS.keys()), "best", snapshot(MANY, models=alias))
    assert found.name == plan(find_route(CHAT, VENDORS.keys()), "gpt-4o", snapshot(MANY)).name
    (below,) = plan(
        find_route("/v1/openai/chat/completions", VENDORS.keys()), "best", snapshot(MANY, models=alias)
    ).targets
    assert below.model == "best"
