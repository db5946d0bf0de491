"""What may be said of the caches, and what is refused."""

import msgspec
import pytest

from app.catalog.cache_types import CacheConfig
from app.wire.caching import (
    LOCAL_EMBEDDER,
    NAMESPACE,
    SCOPE_KINDS,
    Embedder,
    NamespaceName,
    ScopeText,
    SemanticConfig,
    SemanticRules,
)

NAMES = ["a", "9", "faq", "A.b_c-d", "x" * 64]
NO_NAMES = ["", "-a", ".a", "_a", "a b", "a/b", "a:b", "a\n", "\na", "a\0", "\u00e9", "\u0663", "x" * 65]


def takes(kind, value):
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(("names", "taken"), [(NAMES, True), (NO_NAMES, False)])
def test_names_of_namespaces(names, taken):
    """A name is written the same in a configuration and in a scope, with nothing in it that takes labels apart."""
    for name in names:
        assert takes(NamespaceName, name) is taken
        assert takes(ScopeText, NAMESPACE + name) is taken
        assert takes(CacheConfig, {"namespaces": {name: {}}}) is taken


@pytest.mark.parametrize(
    "text", ["", "everyone", "Team", "team ", "team\n", "team:1", "namespace", "xteam", "user/faq"]
)
def test_texts_that_are_no_scope(text):
    """A scope is one of four words or a namespace by its name."""
    assert not takes(ScopeText, text)
    assert all(takes(ScopeText, kind) for kind in SCOPE_KINDS)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (LOCAL_EMBEDDER, True),
        ("openai/text-embedding-3-small", True),
        ("hub/org/model:v1", True),
        ("text-embedding-3-small", False),
        ("local\n", False),
        ("/model", False),
        ("openai/", False),
        ("open ai/model", False),
        ("openai/a model", False),
        ("", False),
        ("x/" + "y" * 255, False),
    ],
)
def test_embedders(text, taken):
    """An embedder is the local one, or a provider and the name of one of its models."""
    assert takes(Embedder, text) is taken


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("floor", [0.8, 1, 0.92], [0.79, 1.01, "0.9"]),
        ("error_budget", [0, 0.01, 1], [-0.01, 1.01]),
        ("check_share", [0, 0.05, 1], [-0.01, 1.01]),
        ("max_turns", [1, 100], [0, 101, 1.5]),
        ("max_temperature", [0, 0.7, 2], [-0.1, 2.1]),
        ("unproven", ["nothing", "same_words", "everything"], ["all", ""]),
        ("enabled", [True, False], [1, "yes"]),
        ("allow_tools", [True, False], [0]),
    ],
)
def test_bounds(field, good, bad):
    """The same bounds hold for the configuration, a namespace and a key; only the latter may leave a rule open."""
    for kind in (SemanticConfig, SemanticRules):
        assert all(takes(kind, {field: value}) for value in good)
        assert not any(takes(kind, {field: value}) for value in bad)
    assert takes(SemanticRules, {field: None})
    assert not takes(SemanticConfig, {field: None})


@pytest.mark.parametrize("field", ["embedder", "confidence", "flor"])
def test_what_is_said_for_all_alone(field):
    """Neither a key nor a namespace chooses the embedder or the confidence, and a slip of the pen is refused."""
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert({field: "local"}, SemanticRules)


@pytest.mark.parametrize(
    ("confidence", "taken"), [(0.5, True), (0.95, True), (0.9999, True), (0.49, False), (1, False)]
)
def test_confidence(confidence, taken):
    """Certainty is not to be had, and less than a coin's is none."""
    assert takes(SemanticConfig, {"confidence": confidence}) is taken


@pytest.mark.parametrize(
    ("document", "taken"),
    [
        ({"routes": {"chat": {"ttl": 0, "max_n": 1, "seeded": "only", "max_temperature": 0}}}, True),
        ({"routes": {"chats": {}}}, False),
        ({"routes": {"count_tokens": {}}}, False),
        ({"routes": {"chat": {"max_n": 0}}}, False),
        ({"routes": {"chat": {"seeded": True}}}, False),
        ({"routes": {"chat": {"max_temp": 0}}}, False),
        ({"namespaces": {"faq": {"shared_by": "everyone", "ttl": 5, "semantic": {"enabled": True}}}}, True),
        ({"namespaces": {"faq": {"shared_by": "key"}}}, False),
        ({"scope": "namespace:faq"}, False),
        ({"scope": "key", "widest_scope": "key"}, True),
        ({"max_ttl": -1}, False),
        ({"default_ttl": 31_536_001}, False),
        ({"max_bytes": 1024}, False),
    ],
)
def test_configurations(document, taken):
    """A configuration names endpoints that are cached, scopes that there are, and numbers within their bounds."""
    assert takes(CacheConfig, document) is taken


def test_rules_are_stored_as_they_were_said():
    """Only what was said is written down, so that a default that changes later is not held on to."""
    rules = msgspec.convert({"floor": 0.9, "enabled": None}, SemanticRules)
    assert msgspec.to_builtins(rules) == {"floor": 0.9}
