"""The range of a report: how instants are written, and which part of a range is whole hours."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from app.errors import BadRequestError

DAYS = 30
MAX_DAYS = 366
HOUR = timedelta(hours=1)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = re.compile(r"\d{1,11}(?:\.\d{1,9})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# A `+` that a client did not encode arrives as a space.
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,6})?)(?:([Zz])|([+ -])(\d\d:\d\d))", re.ASCII)


class Span(NamedTuple):
    """A part of time; `end` does not belong to it."""

    start: datetime
    end: datetime


def parse_range(given: Mapping[str, str]) -> Span:
    """Return the range asked for: by default the thirty days that end with the present hour."""
    end = _parse(given, "end") or floor_hour(datetime.now(UTC)) + HOUR
    start = _parse(given, "start") or end - timedelta(days=DAYS)
    blamed = "start" if "start" in given else "end"
    if end < start:
        raise BadRequestError("'end' is before 'start'.", param=blamed)
    if end - start > timedelta(days=MAX_DAYS):
        raise BadRequestError(f"A report covers at most {MAX_DAYS} days.", param=blamed)
    return Span(start, end)


def parse_instant(text: str) -> datetime:
    """Return the instant that `text` names: RFC 3339, a date (its first moment in UTC) or Unix seconds."""
    if _SECONDS.fullmatch(text):
        return _EPOCH + timedelta(microseconds=int(Decimal(text) * 1_000_000))
    if _DATE.fullmatch(text):
        return datetime.fromisoformat(f"{text}T00:00:00+00:00")
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueError("neither an instant nor a date nor seconds")
    date, time, _, sign, offset = found.groups()
    zone = "+00:00" if offset is None else f"{'-' if sign == '-' else '+'}{offset}"
    return datetime.fromisoformat(f"{date}T{time}{zone}").astimezone(UTC)


def _parse(given: Mapping[str, str], name: str) -> datetime | None:
    if name not in given:
        return None
    try:
        at = parse_instant(given[name])
    except (ValueError, OverflowError):
        at = None
    if at is None or not EARLIEST <= at <= LATEST:
        message = f"'{name}' takes an RFC 3339 instant with its offset, a date or Unix seconds."
        raise BadRequestError(message, param=name)
    return at


def floor_hour(at: datetime) -> datetime:
    """Return the beginning of the hour (UTC) that `at` lies in."""
    return at.replace(minute=0, second=0, microsecond=0)


def ceil_hour(at: datetime) -> datetime:
    """Return `at` when an hour begins then, else the end of its hour."""
    floor = floor_hour(at)
    return floor if floor == at else floor + HOUR


def split_hours(span: Span) -> tuple[Span | None, list[Span]]:
    """Return the whole hours of `span`, if there are any, and what is left of it at its ends."""
    first, last = ceil_hour(span.start), floor_hour(span.end)
    if first >= last:
        return None, [span] if span.start < span.end else []
    edges = [Span(span.start, first), Span(last, span.end)]
    return Span(first, last), [edge for edge in edges if edge.start < edge.end]
