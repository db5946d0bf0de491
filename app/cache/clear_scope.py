"""Which entries a scope names, where somebody wants them cleared: decided without I/O."""

import re
from uuid import UUID

import msgspec

from app.cache.types import Asker
from app.errors import BadRequestError, ForbiddenError
from app.wire.caching import NAME_PATTERN, NAMESPACE, SCOPE_KINDS

_NAMESPACE = re.compile(rf"{NAMESPACE}({NAME_PATTERN})")
_LABEL = re.compile(
    rf"({'|'.join(SCOPE_KINDS)}):([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})(?:/{NAME_PATTERN})?"
)


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of one scope, by its label, or those of a namespace, whoever shares it."""

    label: str | None = None
    namespace: str | None = None


def read_scope(asked: str, caller: Asker) -> Named:
    """Return what a scope names: as the header writes it, the caller's own, or with the id that entries have it with.

    Raises BadRequestError for what is no scope, ForbiddenError for what is not the caller's.
    """
    namespace = _NAMESPACE.fullmatch(asked)
    if namespace is not None:
        return Named(namespace=namespace[1])
    if asked in SCOPE_KINDS:
        member = find_member(caller, asked)
        if member is None:
            raise BadRequestError(f"This API key belongs to no {asked}.", param="scope")
        return Named(label=f"{asked}:{member}")
    label = _LABEL.fullmatch(asked)
    if label is None:
        raise BadRequestError(
            "'scope' is own, all, key, user, team, organization, namespace:NAME, or one of them with its id.",
            param="scope",
        )
    if not caller.admin and str(find_member(caller, label[1])) != label[2]:
        raise ForbiddenError("Only an administrator clears what others have.", code="admin_required", param="scope")
    return Named(label=asked)


def find_member(caller: Asker, kind: str) -> UUID | None:
    """Return whom the caller is or belongs to, of one of SCOPE_KINDS. The admin key stands for its user."""
    if kind == "user":
        return caller.user_id
    if kind == "key":
        return caller.key_id or caller.user_id
    return caller.team_id if kind == "team" else caller.organization_id
