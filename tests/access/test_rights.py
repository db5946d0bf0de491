"""Rights only shrink: whatever levels meet, what is left is no more than any of them gives."""

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.rights import EVERYTHING, Rights, check_route, join_tags, meet_all
from app.access.types import Caller, Limit
from app.errors import ForbiddenError

NAMES = ("a", "b", "c", "d")
names = st.none() | st.frozensets(st.sampled_from(NAMES))
numbers = st.none() | st.integers(1, 5)
limits = st.builds(Limit, scope=st.sampled_from(["key:1", "team:2"]), rpm=numbers, tpm=numbers, max_parallel=numbers)
rights = st.builds(Rights, models=names, routes=names, scopes=names, limits=st.frozensets(limits, max_size=3))
FIELDS = ("models", "routes", "scopes")


def allows(one: Rights, field: str, name: str) -> bool:
    allowed = getattr(one, field)
    return allowed is None or name in allowed


@given(rights, rights)
def test_the_order_does_not_matter(one: Rights, other: Rights) -> None:
    """A meet b = b meet a."""
    assert one.meet(other) == other.meet(one)


@given(rights, rights, rights)
def test_the_grouping_does_not_matter(one: Rights, other: Rights, third: Rights) -> None:
    """(a meet b) meet c = a meet (b meet c)."""
    assert one.meet(other).meet(third) == one.meet(other.meet(third)) == meet_all([third, one, other])


@given(rights)
def test_meeting_oneself_changes_nothing(one: Rights) -> None:
    """A meet a = a, and who allows everything takes nothing away."""
    assert one.meet(one) == one == one.meet(EVERYTHING)


@given(rights, rights)
def test_nothing_is_granted_that_one_refuses(one: Rights, other: Rights) -> None:
    """A name is allowed exactly where both allow it."""
    both = one.meet(other)
    for field in FIELDS:
        for name in (*NAMES, "never named"):
            assert allows(both, field, name) == (allows(one, field, name) and allows(other, field, name))


@given(rights, rights)
def test_no_limit_is_lost(one: Rights, other: Rights) -> None:
    """The limits of every level hold side by side, unchanged."""
    assert one.meet(other).limits == one.limits | other.limits


def test_nothing_allowed_is_not_everything() -> None:
    """An empty list allows nothing; it is not the same as no list."""
    none = Rights(models=frozenset())
    assert none.meet(EVERYTHING).models == frozenset()
    assert Rights(models=frozenset({"a"})).meet(Rights(models=frozenset({"b"}))).models == frozenset()


CALLER = Caller(user_id=UUID(int=1), key_id=UUID(int=2), admin=False, scope=b"s")


@pytest.mark.parametrize(
    ("changes", "name", "code"),
    [
        ({}, "chat", None),
        ({"scopes": frozenset({"inference"})}, "chat", None),
        ({"scopes": frozenset({"analytics", "admin"})}, "chat", "scope_missing"),
        ({"scopes": frozenset()}, "chat", "scope_missing"),
        ({"routes": frozenset({"chat"})}, "chat", None),
        ({"routes": frozenset({"chat"})}, "messages", "route_not_allowed"),
        ({"routes": frozenset()}, "chat", "route_not_allowed"),
    ],
)
def test_routes_and_scopes(changes: dict[str, frozenset[str]], name: str, code: str | None) -> None:
    """Model traffic needs the scope "inference", and a route that the key may use."""
    caller = msgspec.structs.replace(CALLER, **changes)
    if code is None:
        check_route(caller, name)
        return
    with pytest.raises(ForbiddenError) as caught:
        check_route(caller, name)
    assert (caught.value.code, caught.value.status) == (code, 403)


@pytest.mark.parametrize(
    ("own", "sent", "joined"),
    [((), None, None), ((), (), ()), (("a",), None, ("a",)), (("a", "b"), ("b", "c"), ("a", "b", "c"))],
)
def test_tags_are_joined(own: tuple[str, ...], sent: tuple[str, ...] | None, joined: tuple[str, ...] | None) -> None:
    """The key's tags come first, those of the request are added, none is there twice."""
    assert join_tags(msgspec.structs.replace(CALLER, tags=own), sent) == joined
