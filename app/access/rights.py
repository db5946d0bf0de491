"""What somebody may do: rights of each level, and what is left of them where all levels meet."""

from collections.abc import Iterable
from functools import reduce

import msgspec

from app.access.policy import get_traffic_policy
from app.access.types import Caller, Limit
from app.errors import ForbiddenError

Names = frozenset[str] | None
"""Names that are allowed; None allows every one."""


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What one level (organization, team, user, key) allows; None is no narrowing.

    Limits of different levels are kept side by side: each counts the calls of its own level.
    """

    models: Names = None
    routes: Names = None
    scopes: Names = None
    limits: frozenset[Limit] = frozenset()

    def meet(self, other: "Rights") -> "Rights":
        """Return what both allow. Every effective right is made here, so nothing can be more than any level gives."""
        return Rights(
            models=_meet(self.models, other.models),
            routes=_meet(self.routes, other.routes),
            scopes=_meet(self.scopes, other.scopes),
            limits=self.limits | other.limits,
        )


EVERYTHING = Rights()


def meet_all(levels: Iterable[Rights]) -> Rights:
    """Return what all levels allow."""
    return reduce(Rights.meet, levels, EVERYTHING)


def check_route(caller: Caller, name: str, kind: str | None = None) -> None:
    """Raise ForbiddenError when the caller may not use the endpoint of model traffic with that name.

    `kind` is the name of its policy where that is another.
    """
    get_traffic_policy(kind or name).check(caller)
    if caller.routes is not None and name not in caller.routes:
        raise ForbiddenError("This API key may not use this route.", code="route_not_allowed")


def join_tags(caller: Caller, sent: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the tags of the key followed by those that were sent with the request, each once."""
    if not caller.tags:
        return sent
    return tuple(dict.fromkeys(caller.tags + (sent or ())))


def _meet(one: Names, other: Names) -> Names:
    if one is None or other is None:
        return other if one is None else one
    return one & other
