"""Who may call what: one table of every route, and of the classes of paths that model traffic consists of."""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from app.access.types import Caller
from app.errors import ForbiddenError


class Policy(msgspec.Struct, frozen=True):
    """What it takes to call a route: nothing, a valid key with one of `scopes` (none named: any key), or an admin's."""

    kind: Literal["public", "user", "admin"]
    scopes: tuple[str, ...] = ()

    def allows(self, caller: Caller) -> bool:
        """Return whether `caller`, whose key was accepted, may."""
        if self.kind == "admin":
            return caller.admin
        return not self.scopes or any(caller.may(scope) for scope in self.scopes)

    def check(self, caller: Caller) -> None:
        """Raise ForbiddenError when `caller` may not."""
        if self.allows(caller):
            return
        if self.kind == "admin":
            raise ForbiddenError("This needs an administrator's key.", code="admin_required")
        needed = " or ".join(f"'{scope}'" for scope in self.scopes)
        raise ForbiddenError(f"This API key is not for this: its scopes lack {needed}.", code="scope_missing")

    def __str__(self) -> str:
        """Name the policy as the page about access does."""
        return f"{self.kind} ({', '.join(self.scopes)})" if self.scopes else self.kind


def user(*scopes: str) -> Policy:
    """Return the policy of what every user may do with a key that has one of `scopes`."""
    return Policy("user", scopes)


PUBLIC = Policy("public")
ADMIN = Policy("admin", ("admin",))

# A line for each route: methods and path, and who may. What a user is shown of it is for the handler to say.
ROUTES: Mapping[str, Policy] = {
    "GET|HEAD /health": PUBLIC,
    "GET|HEAD /health/liveness": PUBLIC,
    "GET|HEAD /health/liveliness": PUBLIC,
    "GET|HEAD /livez": PUBLIC,
    "GET|HEAD /health/readiness": PUBLIC,
    "GET|HEAD /readyz": PUBLIC,
    "GET|HEAD /metrics": PUBLIC,
    "GET|HEAD /openapi.json": PUBLIC,
    "GET|HEAD /docs": PUBLIC,
    "GET|HEAD /docs/{asset}": PUBLIC,
    "GET|HEAD /dashboard": PUBLIC,
    "GET|HEAD /dashboard/{asset}": PUBLIC,
    "GET|PUT /v1/config": ADMIN,
    "GET /v1/config/providers": ADMIN,
    "GET|PUT /v1/config/providers/{name}": ADMIN,
    "GET|PUT /admin/prices": ADMIN,
    "DELETE /admin/prices/{price_id}": ADMIN,
    "POST /admin/prices/rerate": ADMIN,
    "GET /admin/audit": ADMIN,
    "GET|POST /admin/budgets": ADMIN,
    "GET|PUT|DELETE /admin/budgets/{budget_id}": ADMIN,
    "GET /admin/budget-alerts": ADMIN,
    "GET /v1/analytics/usage": user("analytics"),
    "GET /v1/analytics/costs": user("analytics"),
    "GET /v1/analytics/requests": user("analytics"),
    "GET /v1/analytics/optimizations": user("analytics"),
    "GET /v1/cache/stats": user("cache"),
    "POST /v1/cache/clear": user("cache"),
    "POST /v1/cache/wrong": user("cache", "inference"),
    "DELETE /v1/cache/{cache_key}": user("cache"),
    "GET|POST /v1/batch": user("batch", "inference"),
    "GET|DELETE /v1/batch/{batch_id}": user("batch", "inference"),
    "GET /v1/batch/{batch_id}/results": user("batch", "inference"),
    "GET|POST /admin/users": ADMIN,
    "GET|PUT|DELETE /admin/users/{user_id}": ADMIN,
    "GET|POST /admin/api-keys": ADMIN,
    "GET|PUT|DELETE /admin/api-keys/{key_id}": ADMIN,
    "POST /admin/api-keys/{key_id}/rotate": ADMIN,
    "GET|POST /admin/teams": ADMIN,
    "GET|PUT|DELETE /admin/teams/{team_id}": ADMIN,
    "GET /admin/teams/{team_id}/members": ADMIN,
    "PUT|DELETE /admin/teams/{team_id}/members/{user_id}": ADMIN,
    "GET|POST /admin/organizations": ADMIN,
    "GET|PUT|DELETE /admin/organizations/{organization_id}": ADMIN,
    "GET /admin/organizations/{organization_id}/members": ADMIN,
    "PUT|DELETE /admin/organizations/{organization_id}/members/{user_id}": ADMIN,
}

# Below these nothing is said to others, not even that there is nothing.
CLOSED: Mapping[str, Policy] = {"admin": ADMIN}

# Everything that is not a control route is model traffic, and this goes by the name of the endpoint: the first segment
# below the version and the provider's name. A key can be held to some names (`routes`) beside that.
TRAFFIC: Mapping[str, Policy] = {
    "models": user(),
    "files": user("inference", "batch"),
    "uploads": user("inference", "batch"),
    "batches": user("inference", "batch"),
}
CALLS = user("inference")
"""The policy of all other model traffic."""

HELLO = PUBLIC
"""The policy of `GET /`, which clients probe."""


def list_rules() -> Iterator[tuple[str, str, Policy]]:
    """Yield (method, path, policy) of every route of the table."""
    for line, policy in ROUTES.items():
        methods, _, path = line.partition(" ")
        for method in methods.split("|"):
            yield method, path, policy


_BY_RULE = {(method, path): policy for method, path, policy in list_rules()}


def find_policy(method: str, template: str) -> Policy | None:
    """Return the policy of a route by its path template. To ask which methods there are takes no more than the least.

    None: the table does not know it.
    """
    if method != "OPTIONS":
        return _BY_RULE.get((method, template))
    return _least(policy for _, path, policy in list_rules() if path == template)


def find_nearest_policy(path: str) -> Policy | None:
    """Return the policy of a path that no route took: that of its other methods, or of all below a closed place."""
    segments = split(path)
    found = _least(policy for _, template, policy in list_rules() if _fits(template, segments))
    return found or CLOSED.get(segments[0] if segments else "")


def get_traffic_policy(name: str) -> Policy:
    """Return the policy of model traffic by the name of its endpoint."""
    return TRAFFIC.get(name, CALLS)


def split(path: str) -> list[str]:
    """Return the segments of a path."""
    return [segment for segment in path.split("/") if segment]


def _fits(template: str, segments: list[str]) -> bool:
    parts = split(template)
    return len(parts) == len(segments) and all(
        part.startswith("{") or part == segment for part, segment in zip(parts, segments, strict=True)
    )


def _least(policies: Iterator[Policy]) -> Policy | None:
    order = ("public", "user", "admin")
    return min(policies, key=lambda policy: order.index(policy.kind), default=None)
