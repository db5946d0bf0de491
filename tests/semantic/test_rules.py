"""Whose word counts among the rules of likeness."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.semantic.rules import narrow_rules
from app.wire.caching import SemanticConfig, SemanticRules

CONFIG = SemanticConfig(floor=0.95, error_budget=0.02, check_share=0.1)


def test_nothing_said():
    """Without a word the configuration holds."""
    assert narrow_rules(CONFIG) is CONFIG
    assert narrow_rules(CONFIG, None, SemanticRules(), None) is CONFIG


def test_later_words_count():
    """What a key says counts more than what its namespace says, each field by itself."""
    namespace = SemanticRules(enabled=True, floor=0.9, max_turns=3, unproven="nothing")
    key = SemanticRules(floor=0.99, max_turns=None)
    rules = narrow_rules(CONFIG, namespace, key)
    wanted = {"enabled": True, "floor": 0.99, "max_turns": 3, "unproven": "nothing"}
    assert rules == msgspec.structs.replace(CONFIG, **wanted)


def test_no_is_a_word():
    """False and zero are said as well, and undo what was said before."""
    namespace = SemanticRules(enabled=True, allow_tools=True, max_temperature=1.0, check_share=0.5)
    key = SemanticRules(enabled=False, allow_tools=False, max_temperature=0.0, check_share=0.0)
    rules = narrow_rules(CONFIG, namespace, key)
    assert (rules.enabled, rules.allow_tools, rules.max_temperature, rules.check_share) == (False, False, 0.0, 0.0)


def test_every_rule_is_a_field_of_the_configuration():
    """Whatever can be said of a namespace or key has its place in the configuration, and only two things have none."""
    own = {field.name for field in msgspec.structs.fields(SemanticRules)}
    all_of_them = {field.name for field in msgspec.structs.fields(SemanticConfig)}
    assert all_of_them - own == {"checks", "confidence", "embedder"}
    assert own < all_of_them


RULES = st.builds(
    SemanticRules,
    enabled=st.none() | st.booleans(),
    floor=st.none() | st.floats(0.8, 1),
    error_budget=st.none() | st.floats(0, 1),
    check_share=st.none() | st.floats(0, 1),
    max_turns=st.none() | st.integers(1, 100),
    allow_n=st.none() | st.booleans(),
    unproven=st.none() | st.sampled_from(["nothing", "same_words", "everything"]),
)


@given(st.lists(st.none() | RULES, max_size=4))
def test_each_field_is_the_last_that_was_said(overrides):
    """Every rule is the last word on it, or the configuration's, and what comes out is a valid configuration."""
    rules = narrow_rules(CONFIG, *overrides)
    for field in msgspec.structs.fields(SemanticRules):
        said = [getattr(one, field.name) for one in overrides if one is not None]
        words = [CONFIG, *(value for value in said if value is not None)]
        wanted = getattr(CONFIG, field.name) if len(words) == 1 else words[-1]
        assert getattr(rules, field.name) == wanted
    assert msgspec.convert(msgspec.to_builtins(rules), SemanticConfig) == rules
