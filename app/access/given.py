"""What a request says about a row, checked as far as types cannot, in the form in which it is stored."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from app.errors import BadRequestError

MAX_METADATA_BYTES = 8192
MAX_BUDGET = Decimal(10**9)
NAMES = ("models", "routes", "scopes")


class Budget(NamedTuple):
    """A budget that is asked for; an amount of None takes it away."""

    amount_usd: Decimal | None
    period: str


def read_given(body: msgspec.Struct) -> dict[str, Any]:
    """Return the fields that were sent. Raises BadRequestError naming the one that does not fit."""
    given: dict[str, Any] = {
        name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET
    }
    for name in NAMES:
        if given.get(name) is not None:
            given[name] = sorted(set(given[name]))
    if "tags" in given:
        given["tags"] = list(dict.fromkeys(given["tags"]))
    if "metadata" in given:
        _check_metadata(given["metadata"])
    if given.get("semantic") is not None:
        given["semantic"] = msgspec.to_builtins(given["semantic"])
    settle_instant(given, "expires_at")
    expires_at = given.get("expires_at")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise BadRequestError("'expires_at' must be in the future.", param="expires_at")
    return given


def settle_instant(given: dict[str, Any], name: str) -> None:
    """Have an instant in UTC; one that no calendar of ours has is a BadRequestError."""
    at: datetime | None = given.get(name)
    if at is None:
        return
    try:
        given[name] = at.astimezone(UTC)
    except OverflowError as error:
        raise BadRequestError(f"'{name}' must lie in the years 1 to 9999 (UTC).", param=name) from error


def take_budget(given: dict[str, Any], before: Mapping[str, Any]) -> Budget | None:
    """Take the budget out of what was sent; None when nothing was said of it. `before` is the one that there is."""
    if "budget_usd" not in given and "budget_period" not in given:
        return None
    amount: Decimal | None = given.pop("budget_usd", before.get("budget_usd"))
    period: str | None = given.pop("budget_period", None)
    if amount is None and period is not None:
        raise BadRequestError("'budget_period' needs a 'budget_usd'.", param="budget_period")
    if amount is not None and not is_money(amount):
        raise BadRequestError("'budget_usd' must be US dollars from 0 to 1e9, to 15 decimals.", param="budget_usd")
    return Budget(amount, period or before.get("budget_period") or "total")


def find_changes(given: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given and not so already."""
    return {name: value for name, value in given.items() if value != before[name]}


def is_money(amount: Decimal) -> bool:
    """Return whether a budget can be of this amount."""
    if not amount.is_finite() or not 0 <= amount < MAX_BUDGET:
        return False
    return amount == amount.quantize(Decimal(1).scaleb(-15))


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    if len(msgspec.json.encode(metadata)) > MAX_METADATA_BYTES:
        raise BadRequestError(f"'metadata' may have {MAX_METADATA_BYTES} bytes.", param="metadata")
    if any("\0" in text for text in _list_texts(metadata)):
        raise BadRequestError("'metadata' must not have NUL in it.", param="metadata")


def _list_texts(value: object) -> Iterator[str]:
    """Yield every text of a JSON value, keys included."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        match one:
            case str():
                yield one
            case dict():
                waiting += [*one.keys(), *one.values()]
            case list():
                waiting += one
            case _:
                pass
