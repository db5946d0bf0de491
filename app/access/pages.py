"""Lists a page at a time: the cursor is the id that a page ends with, so what is added meanwhile moves nothing."""

import base64
import binascii
from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from app.errors import BadRequestError, NotFoundError

Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="How many at most.")]
Cursor = Annotated[str | None, QueryParameter(description="`next` of the page before.")]


def read_cursor(cursor: str | None) -> UUID | None:
    """Return the id after which a page begins. Raises BadRequestError for what is no cursor of ours."""
    if cursor is None:
        return None
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise BadRequestError("This cursor is none of ours.", param="cursor") from error


def write_cursor(last: UUID) -> str:
    """Return the cursor of the page after the one that ends with the id `last`."""
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def parse_id(text: str, what: str) -> UUID:
    """Return the id in a path. Raises NotFoundError: what is no id is the id of nothing."""
    found = find_id(text)
    if found is None:
        raise NotFoundError(f"There is no {what} with this id.")
    return found


def parse_filter(text: str | None, name: str) -> UUID | None:
    """Return the id in a query. Raises BadRequestError naming it when it is none."""
    if text is None:
        return None
    found = find_id(text)
    if found is None:
        raise BadRequestError(f"'{name}' must be a UUID.", param=name)
    return found


def find_id(text: str) -> UUID | None:
    """Return the UUID that is written in the usual way, else None."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None
