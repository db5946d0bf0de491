"""From the query parameters of a request to what a report is asked with; whatever does not fit is a 400."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from uuid import UUID

import msgspec

from app.analytics.report_cursor import Instant, read_cursor
from app.analytics.report_times import EARLIEST, LATEST, MAX_DAYS, parse_range
from app.analytics.report_types import ReportQuery, Viewer
from app.errors import BadRequestError, ForbiddenError

LIMIT = 100
MAX_LIMIT = 1000
MAX_TEXT = 512
BUCKETS = ("hour", "day", "week", "month")
CACHE_STATUSES = ("hit", "semantic-hit", "miss", "refresh", "bypass", "disabled")
BY_TEXT = ("provider", "model", "endpoint", "cache_status")
BY_ID = ("user_id", "api_key_id", "team_id", "organization_id")

GROUPS: Mapping[str, tuple[str, object]] = {
    "provider": ("provider", str | None),
    "model": ("model", str | None),
    "user": ("user_id", UUID | None),
    "api_key": ("api_key_id", UUID | None),
    "team": ("team_id", UUID | None),
    "organization": ("organization_id", UUID | None),
    "endpoint": ("endpoint", str),
    "cache_status": ("cache_status", str),
    "status": ("status_code", int),
    "tag": ("tag", str | None),
    "cache_scope": ("cache_scope", str | None),
}
"""What may be grouped by: the column, which is the field of the answer, and its type."""

# Single calls are not grouped; they take the parameter, checked, because all reports do.
LISTING = frozenset({"start", "end", *BY_TEXT, *BY_ID, "status", "tag", "limit", "cursor", "group_by"})
GROUPING = LISTING | {"bucket"}
COSTING = GROUPING | {"detail"}
LEDGER_LACKS = ("endpoint", "cache_status", "status", "cache_scope")

_STATUS = re.compile(r"[1-5](?:xx|\d\d)", re.ASCII)
_LIMIT = re.compile(r"[1-9]\d{0,3}", re.ASCII)
Given = Mapping[str, str]


def parse_query(report: str, pairs: Iterable[tuple[str, str]], viewer: Viewer, allowed: frozenset[str]) -> ReportQuery:
    """Return what `report` is asked with; BadRequestError names the parameter that does not fit."""
    given = _collect(pairs, allowed)
    span = parse_range(given)
    bucket, groups = _parse_groups(given)
    query = ReportQuery(
        start=span.start,
        end=span.end,
        viewer_id=viewer.user_id,
        check=_build_check(report, given, viewer),
        limit=_parse_limit(given),
        match=_parse_match(given, viewer),
        status=_parse_status(given),
        tag=_find_text(given, "tag"),
        bucket=bucket,
        groups=groups,
        classes=_parse_detail(given, groups),
    )
    if "cursor" not in given:
        return query
    kinds: list[object] = list_key_types(query) if "bucket" in allowed else [Instant, UUID]
    return _go_on(query, given["cursor"], kinds)


def list_key_types(query: ReportQuery) -> list[object]:
    """Return the types of what a cursor of a grouped report carries."""
    first: list[object] = [Instant] if query.bucket is not None else []
    return first + [GROUPS[group][1] for group in query.groups]


def _go_on(query: ReportQuery, cursor: str, kinds: list[object]) -> ReportQuery:
    """Return the query for the page that `cursor` begins: of the very range that the first page was of."""
    start, end, after = read_cursor(cursor, query.check, kinds)
    if not EARLIEST <= start <= end <= LATEST or (end - start).days > MAX_DAYS:
        raise BadRequestError("The cursor is not one that was given out.", param="cursor")
    return msgspec.structs.replace(query, start=start, end=end, after=after)


def _collect(pairs: Iterable[tuple[str, str]], allowed: frozenset[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            raise BadRequestError(f"There is no parameter {name[:64]!r} here.", param=name[:64])
        if name in given:
            raise BadRequestError(f"'{name}' is given more than once.", param=name)
        if not value or "\0" in value:
            raise BadRequestError(f"'{name}' is empty or no text.", param=name)
        given[name] = value
    return given


def _build_check(report: str, given: Given, viewer: Viewer) -> str:
    """Return what tells one question from another: everything but the page."""
    asked = sorted((name, value) for name, value in given.items() if name not in {"limit", "cursor"})
    scope = "all" if viewer.admin else str(viewer.user_id)
    return hashlib.sha256(msgspec.json.encode((report, scope, asked))).hexdigest()[:16]


def _parse_match(given: Given, viewer: Viewer) -> dict[str, str | UUID]:
    """Return the columns and values to hold the rows to; nobody but an administrator gets past their own user."""
    match: dict[str, str | UUID] = {name: _parse_id(given, name) for name in BY_ID if name in given}
    match |= {name: value for name in BY_TEXT if (value := _find_text(given, name)) is not None}
    if match.get("cache_status", CACHE_STATUSES[0]) not in CACHE_STATUSES:
        raise BadRequestError(f"'cache_status' is one of {', '.join(CACHE_STATUSES)}.", param="cache_status")
    if viewer.admin:
        return match
    if match.get("user_id", viewer.user_id) != viewer.user_id:
        raise ForbiddenError("Only an administrator sees the calls of others.", code="not_yours", param="user_id")
    return match | {"user_id": viewer.user_id}


def _parse_id(given: Given, name: str) -> UUID:
    try:
        return UUID(given[name])
    except ValueError as error:
        raise BadRequestError(f"'{name}' takes the id of one (a UUID).", param=name) from error


def _find_text(given: Given, name: str) -> str | None:
    value = given.get(name)
    if value is not None and len(value) > MAX_TEXT:
        raise BadRequestError(f"'{name}' is longer than {MAX_TEXT} characters.", param=name)
    return value


def _parse_status(given: Given) -> tuple[int, int] | None:
    value = given.get("status")
    if value is None:
        return None
    if not _STATUS.fullmatch(value):
        raise BadRequestError("'status' takes a status code, or a class of them such as 4xx.", param="status")
    return (int(value), int(value)) if value.isdigit() else (int(value[0]) * 100, int(value[0]) * 100 + 99)


def _parse_limit(given: Given) -> int:
    value = given.get("limit", str(LIMIT))
    if not _LIMIT.fullmatch(value) or int(value) > MAX_LIMIT:
        raise BadRequestError(f"'limit' takes a number from 1 to {MAX_LIMIT}.", param="limit")
    return int(value)


def _parse_groups(given: Given) -> tuple[str | None, tuple[str, ...]]:
    """Return the bucket and the groups; a bucket may stand among the groups as well."""
    bucket = given.get("bucket")
    if bucket is not None and bucket not in BUCKETS:
        raise BadRequestError(f"'bucket' is one of {', '.join(BUCKETS)}.", param="bucket")
    groups = [name.strip() for name in given["group_by"].split(",")] if "group_by" in given else []
    for name in groups:
        if name not in GROUPS and name not in BUCKETS:
            known = ", ".join((*GROUPS, *BUCKETS))
            raise BadRequestError(f"'group_by' takes a list of {known}; not {name[:64]!r}.", param="group_by")
    buckets = {name for name in (bucket, *groups) if name in BUCKETS}
    if len(buckets) > 1 or len(set(groups)) < len(groups):
        raise BadRequestError("'group_by' names something twice, or two buckets.", param="group_by")
    return next(iter(buckets), None), tuple(name for name in groups if name in GROUPS)


def _parse_detail(given: Given, groups: tuple[str, ...]) -> bool:
    """Return whether the costs are wanted by token class, which the ledger does not have by all that calls have."""
    if "detail" not in given:
        return False
    if given["detail"] != "classes":
        raise BadRequestError("'detail' takes `classes`.", param="detail")
    lacking = next((name for name in LEDGER_LACKS if name in given), None)
    if lacking is not None or set(groups) & set(LEDGER_LACKS):
        message = f"The ledger knows nothing of {', '.join(LEDGER_LACKS)}, so these do not go with 'detail'."
        raise BadRequestError(message, param=lacking or "group_by")
    return True
