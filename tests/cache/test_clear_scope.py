"""Which entries a scope names, as a table."""

from uuid import UUID

import pytest

from app.access.types import Caller
from app.cache.clear_scope import Named, read_scope
from app.errors import BadRequestError, ForbiddenError

USER, KEY, TEAM, OTHER = (UUID(int=number) for number in range(1, 5))
CALLER = Caller(user_id=USER, key_id=KEY, team_id=TEAM, admin=False, scope=b"s")
ADMIN = Caller(user_id=USER, key_id=None, admin=True, scope=b"s")


@pytest.mark.parametrize(
    ("caller", "asked", "named"),
    [
        (CALLER, "user", Named(label=f"user:{USER}")),
        (CALLER, "key", Named(label=f"key:{KEY}")),
        (CALLER, "team", Named(label=f"team:{TEAM}")),
        (ADMIN, "key", Named(label=f"key:{USER}")),
        (CALLER, "namespace:faq", Named(namespace="faq")),
        (ADMIN, "namespace:a.b-c_d", Named(namespace="a.b-c_d")),
        (CALLER, f"user:{USER}", Named(label=f"user:{USER}")),
        (CALLER, f"user:{USER}/faq", Named(label=f"user:{USER}/faq")),
        (CALLER, f"team:{TEAM}", Named(label=f"team:{TEAM}")),
        (ADMIN, f"user:{OTHER}", Named(label=f"user:{OTHER}")),
        (ADMIN, f"organization:{OTHER}/faq", Named(label=f"organization:{OTHER}/faq")),
    ],
)
def test_what_a_scope_names(caller, asked, named):
    """A bare word is the caller's own, an id may be another's for administrators, a namespace goes by its name."""
    assert read_scope(asked, caller) == named


@pytest.mark.parametrize("asked", [f"user:{OTHER}", f"key:{OTHER}", f"team:{OTHER}/faq", f"organization:{USER}"])
def test_what_is_anothers(asked):
    """Another's scope is an administrator's affair."""
    with pytest.raises(ForbiddenError):
        read_scope(asked, CALLER)


@pytest.mark.parametrize(
    "asked", ["planet", "", "user:1", "USER", "namespace:", "namespace:a/b", f"user:{USER}\n", "organization"]
)
def test_what_is_no_scope(asked):
    """Anything else, and a scope that the caller is not in, is a bad request that names the field."""
    with pytest.raises(BadRequestError) as caught:
        read_scope(asked, CALLER)
    assert caught.value.param == "scope"
