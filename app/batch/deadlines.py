"""How long something may take, as people write it: a number of seconds, "90s", "30m", "6h", "2d", or an instant."""

import re
from datetime import UTC, datetime

from app.errors import BadRequestError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
LEAST_SECONDS, MOST_SECONDS = 1.0, 7 * 86_400.0
HELP = (
    "a deadline is a number of seconds, a span such as 90s, 30m, 6h or 2d, or an instant such as 2026-01-31T08:00:00Z"
)

_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([smhd]?)", re.ASCII)


def read_span(text: str, now: datetime, param: str) -> float:
    """Return the seconds until a deadline. Raises BadRequestError naming `param`."""
    found = _SPAN.fullmatch(text.strip().lower())
    seconds = float(found[1]) * UNITS[found[2] or "s"] if found is not None else _read_instant(text.strip(), now, param)
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise BadRequestError(f"{param}: a deadline is at least a second and at most seven days away.", param=param)
    return seconds


def _read_instant(text: str, now: datetime, param: str) -> float:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequestError(f"{param}: {HELP}.", param=param) from error
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return (instant - now).total_seconds()
