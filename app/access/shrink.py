"""Nobody is given more than those above have: what a write asks for is compared with what they have now."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from app.errors import BadRequestError

LISTS = ("models", "routes")
LIMITS = ("rpm", "tpm", "max_parallel")


class Parent(NamedTuple):
    """Somebody above, by a name for people, and the rights that they were given."""

    label: str
    rights: Mapping[str, Any]


def check_within(given: Mapping[str, Any], parents: Iterable[Parent]) -> None:
    """Raise BadRequestError naming field and parent when `given` has more than one of the parents."""
    for parent in parents:
        for field in LISTS:
            _check_list(field, given.get(field), parent)
        for field in LIMITS:
            _check_limit(field, given.get(field), parent)


def check_scopes(scopes: Iterable[str] | None, role: str) -> None:
    """Raise BadRequestError when a key is to reach what its user may not."""
    if role != "admin" and "admin" in (scopes or ()):
        raise BadRequestError("'scopes' has 'admin', and the user is no administrator.", param="scopes")


def _check_list(field: str, wanted: list[str] | None, parent: Parent) -> None:
    allowed = parent.rights[field]
    if wanted is None or allowed is None:
        return
    surplus = sorted(set(wanted) - set(allowed))
    if surplus:
        raise BadRequestError(f"'{field}' has {surplus[0][:200]!r}, which {parent.label} may not use.", param=field)


def _check_limit(field: str, wanted: int | None, parent: Parent) -> None:
    allowed = parent.rights[field]
    if wanted is not None and allowed is not None and wanted > allowed:
        raise BadRequestError(f"'{field}' is {wanted}, and {parent.label} has {allowed}.", param=field)
