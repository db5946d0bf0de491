"""Who shares an answer, as tables and as rules over all callers."""

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.types import Caller
from app.catalog.cache_types import CacheConfig, NamespaceConfig
from app.errors import BadRequestError, ForbiddenError
from app.gateway.cache_scope import HEADER, build_scope, find_label_rules, find_member, find_scope
from app.wire.caching import SCOPE_KINDS, SemanticRules

KEY, USER, TEAM, ORGANIZATION = (UUID(int=number) for number in (1, 2, 3, 4))
MEMBER = Caller(user_id=USER, key_id=KEY, team_id=TEAM, organization_id=ORGANIZATION, admin=False, scope=b"s")
ALONE = Caller(user_id=USER, key_id=KEY, admin=False, scope=b"s")
ADMIN = Caller(user_id=USER, key_id=None, admin=True, scope=b"s")
FAQ = NamespaceConfig(shared_by="everyone", ttl=5)
NAMESPACES = {
    "faq": FAQ,
    "ours": NamespaceConfig(shared_by="organization", semantic=SemanticRules(error_budget=0.02)),
    "desk": NamespaceConfig(shared_by="team", semantic=SemanticRules(enabled=True)),
    "mine": NamespaceConfig(),
}
CONFIG = CacheConfig(namespaces=NAMESPACES)


def configure(scope="user", widest="organization"):
    return CacheConfig(scope=scope, widest_scope=widest, namespaces=NAMESPACES)


def give(caller, cache_scope):
    return msgspec.structs.replace(caller, cache_scope=cache_scope)


@pytest.mark.parametrize(
    ("caller", "asked", "config", "label", "shared"),
    [
        (MEMBER, None, CONFIG, f"user:{USER}", False),
        (MEMBER, None, configure("key"), f"key:{KEY}", False),
        (MEMBER, None, configure("team"), f"team:{TEAM}", True),
        (MEMBER, None, configure("organization"), f"organization:{ORGANIZATION}", True),
        (ALONE, None, configure("team"), f"user:{USER}", False),
        (ALONE, None, configure("organization"), f"user:{USER}", False),
        (ADMIN, None, configure("key"), f"key:{USER}", False),
        (MEMBER, "key", configure("organization"), f"key:{KEY}", False),
        (MEMBER, "organization", CONFIG, f"organization:{ORGANIZATION}", True),
        (MEMBER, "team", configure(widest="team"), f"team:{TEAM}", True),
        (MEMBER, "team", configure("team", widest="key"), f"team:{TEAM}", True),
        (ADMIN, "key", CONFIG, f"key:{USER}", False),
        (give(MEMBER, "team"), None, CONFIG, f"team:{TEAM}", True),
        (give(MEMBER, "key"), None, configure("organization"), f"key:{KEY}", False),
        (give(ALONE, "team"), None, CONFIG, f"user:{USER}", False),
        (give(MEMBER, "organization"), None, configure(widest="key"), f"organization:{ORGANIZATION}", True),
        (give(MEMBER, "organization"), "organization", configure(widest="key"), f"organization:{ORGANIZATION}", True),
        (give(MEMBER, "organization"), "key", CONFIG, f"key:{KEY}", False),
        (give(MEMBER, "team"), "user", CONFIG, f"user:{USER}", False),
    ],
)
def test_scopes(caller, asked, config, label, shared):
    """The header comes before what the key is set to, and that before the configuration."""
    scope = find_scope(caller, asked, config)
    assert (scope.label, scope.shared, scope.namespace) == (label, shared, None)


@pytest.mark.parametrize("asked", ["header", "key"])
@pytest.mark.parametrize(
    ("caller", "name", "label", "shared", "config"),
    [
        (MEMBER, "faq", "namespace:faq", True, FAQ),
        (ALONE, "faq", "namespace:faq", True, FAQ),
        (MEMBER, "ours", f"organization:{ORGANIZATION}/ours", True, NAMESPACES["ours"]),
        (ALONE, "ours", f"user:{USER}/ours", False, NAMESPACES["ours"]),
        (MEMBER, "desk", f"team:{TEAM}/desk", True, NAMESPACES["desk"]),
        (ALONE, "desk", f"user:{USER}/desk", False, NAMESPACES["desk"]),
        (MEMBER, "mine", f"user:{USER}/mine", False, NAMESPACES["mine"]),
        (MEMBER, "unheard-of", f"user:{USER}/unheard-of", False, None),
        (ADMIN, "unheard-of", f"user:{USER}/unheard-of", False, None),
    ],
)
def test_namespaces(asked, caller, name, label, shared, config):
    """A configured namespace is shared as it says, whatever the widest scope is; any other is its user's own."""
    written = f"namespace:{name}"
    who = caller if asked == "header" else give(caller, written)
    scope = find_scope(who, written if asked == "header" else None, configure("key", "key"))
    assert (scope.label, scope.shared, scope.namespace) == (label, shared, config)


@pytest.mark.parametrize(
    ("caller", "asked", "config", "error", "code"),
    [
        (MEMBER, "organization", configure(widest="team"), ForbiddenError, "cache_scope_not_allowed"),
        (MEMBER, "team", configure(widest="user"), ForbiddenError, "cache_scope_not_allowed"),
        (MEMBER, "user", configure("key", "key"), ForbiddenError, "cache_scope_not_allowed"),
        (give(MEMBER, "organization"), "team", configure(widest="user"), ForbiddenError, "cache_scope_not_allowed"),
        (ALONE, "organization", configure(widest="team"), ForbiddenError, "cache_scope_not_allowed"),
        (ALONE, "team", CONFIG, BadRequestError, None),
        (ALONE, "organization", CONFIG, BadRequestError, None),
        (ADMIN, "team", CONFIG, BadRequestError, None),
        (give(ALONE, "team"), "team", CONFIG, BadRequestError, None),
    ],
)
def test_scopes_that_are_refused(caller, asked, config, error, code):
    """A scope by header is refused when it is wider than is allowed, or when the caller is in none such."""
    with pytest.raises(error) as caught:
        find_scope(caller, asked, config)
    assert caught.value.param == HEADER
    assert code is None or caught.value.code == code


IDS = st.integers(1, 3).map(lambda number: UUID(int=number))
NAMES = st.sampled_from(["faq", "ours", "desk", "mine", "free", "a.b-c_D"])
ASKED = st.none() | st.sampled_from(SCOPE_KINDS) | NAMES.map("namespace:{}".format)
CALLERS = st.builds(
    Caller,
    user_id=IDS,
    key_id=st.none() | IDS,
    team_id=st.none() | IDS,
    organization_id=st.none() | IDS,
    admin=st.booleans(),
    scope=st.just(b"s"),
    cache_scope=ASKED,
)
CONFIGS = st.builds(configure, st.sampled_from(SCOPE_KINDS), st.sampled_from(SCOPE_KINDS))


def try_scope(caller, asked, config):
    try:
        return find_scope(caller, asked, config)
    except (ForbiddenError, BadRequestError):
        return None


@given(CALLERS, ASKED, CONFIGS)
def test_a_scope_is_the_callers_own(caller, asked, config):
    """A label names somebody whom the caller is or belongs to, or a namespace that is configured for everyone."""
    scope = try_scope(caller, asked, config)
    if scope is None:
        return
    if scope.label.startswith("namespace:"):
        assert config.namespaces[scope.label.removeprefix("namespace:")].shared_by == "everyone"
        return
    whom, _, _ = scope.label.partition("/")
    kind, _, member = whom.partition(":")
    assert UUID(member) == find_member(caller, kind)


@given(CALLERS, CALLERS, ASKED, ASKED, CONFIGS)
def test_what_two_users_share_is_called_shared(one, other, asked, others, config):
    """Callers of different users have the same label only where both are told that it is shared."""
    left, right = try_scope(one, asked, config), try_scope(other, others, config)
    if left is None or right is None or left.label != right.label or one.user_id == other.user_id:
        return
    same_key = left.label.startswith("key:") and find_member(one, "key") == find_member(other, "key")
    assert (left.shared and right.shared) or same_key  # a key is one user's; only here do two have the same


@given(CALLERS, ASKED, CONFIGS)
def test_no_header_is_never_refused(caller, asked, config):
    """What a key is set to never fails a call, and asking for it by header gives the same as saying nothing."""
    silent = find_scope(caller, None, config)
    if caller.cache_scope is not None:
        spoken = try_scope(caller, caller.cache_scope, config)
        assert spoken in (silent, None)


@pytest.mark.parametrize(
    ("label", "enabled", "budget"),
    [
        (f"user:{USER}", False, 0.01),
        (f"team:{TEAM}", False, 0.01),
        ("namespace:faq", False, 0.01),
        (f"organization:{ORGANIZATION}/ours", False, 0.02),
        (f"user:{USER}/ours", False, 0.02),
        (f"team:{TEAM}/desk", True, 0.01),
        (f"user:{USER}/unheard-of", False, 0.01),
        ("namespace:gone", False, 0.01),
        ("", False, 0.01),
    ],
)
def test_the_rules_under_a_label(label, enabled, budget):
    """A label leads back to the rules of its namespace; one without a namespace has the configured ones."""
    rules = find_label_rules(label, CONFIG)
    assert (rules.enabled, rules.error_budget) == (enabled, budget)


@given(CALLERS, ASKED, CONFIGS)
def test_a_label_leads_to_the_rules_of_its_scope(caller, asked, config):
    """The rules that reports find by a label are those of the namespace that calls under it are in."""
    scope = try_scope(caller, asked, config)
    if scope is not None and scope.namespace is not None:
        said = msgspec.structs.asdict(scope.namespace.semantic)
        rules = find_label_rules(scope.label, config)
        assert all(value is None or getattr(rules, name) == value for name, value in said.items())


def test_what_is_shared():
    """Teams and organizations share, keys and users do not."""
    assert [build_scope(kind, USER).shared for kind in SCOPE_KINDS] == [False, False, True, True]
