"""What a report can be asked with, and that everything else is a 400 that names the parameter."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analytics.report_query import COSTING, GROUPING, LISTING, parse_query
from app.analytics.report_times import Span, parse_instant, split_hours
from app.errors import BadRequestError, ForbiddenError
from tests.analytics.report_samples import ADMIN, START, Viewer

USER = Viewer(UUID(int=1))
OTHER = str(UUID(int=2))


def parse(viewer=ADMIN, allowed=COSTING, **given):
    return parse_query("report", list(given.items()), viewer, allowed)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-23", "2026-11-23T00:00:00+00:00"),
        ("2026-11-23T10:20:30Z", "2026-11-23T10:20:30+00:00"),
        ("2026-11-23t10:20:30.123456z", "2026-11-23T10:20:30.123456+00:00"),
        ("2026-11-23T10:20:30+02:00", "2026-11-23T08:20:30+00:00"),
        ("2026-11-23T10:20:30 02:00", "2026-11-23T08:20:30+00:00"),
        ("2026-11-23T10:20:30-05:30", "2026-11-23T15:50:30+00:00"),
        ("1795000000", "2026-11-18T11:06:40+00:00"),
        ("1795000000.25", "2026-11-18T11:06:40.250000+00:00"),
    ],
)
def test_instants(text, at):
    """RFC 3339 with any offset, a date and Unix seconds all name an instant, kept in UTC."""
    assert parse_instant(text).isoformat() == at


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize(
    "text",
    ["yesterday", "2026-13-01", "2026-02-30", "2026-11-23T10:20:30", "2026-11-23T25:00:00Z", "1795000000000", "-1",
     "1e9", "0001-01-01", "9999-12-31", "2026-W01-1", "20261123T101112Z", "٢٠٢٦-01-01", "nan",
     "2026-11-23T10:20:30+99:00"],
)  # fmt: skip
def test_what_is_no_instant(name, text):
    """Anything else is refused by name, an instant without its offset among it."""
    with pytest.raises(BadRequestError) as caught:
        parse(**{name: text})
    assert caught.value.param == name


BAD = {
    "limit": ["0", "-1", "1001", "ten", "1.5", "01", "99999"],
    "bucket": ["year", "Hour", "day,week"],
    "group_by": ["colour", "model,", ",", "model,model", "day,week", "model;drop", "user_id"],
    "user_id": ["me", "1", OTHER + "0"],
    "api_key_id": ["rk-1"],
    "team_id": ["x"],
    "organization_id": ["x"],
    "status": ["6xx", "0xx", "20", "2000", "ok", "2XX", "²xx"],
    "cache_status": ["HIT", "warm"],
    "detail": ["all", "classes,"],
    "provider": ["", "a\0b", "x" * 513],
    "tag": ["", "\0"],
    "colour": ["red"],
    "cache_scope": ["user:1"],
    "offset": ["10"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_values_are_named(name, value):
    """A bad value and an unknown parameter are a 400 with the parameter's name."""
    with pytest.raises(BadRequestError) as caught:
        parse(**{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("given", "blamed"),
    [
        ({"start": "2026-01-02", "end": "2026-01-01"}, "start"),
        ({"start": "2025-01-01", "end": "2026-06-01"}, "start"),
        ({"bucket": "day", "group_by": "week"}, "group_by"),
        ({"detail": "classes", "status": "200"}, "status"),
        ({"detail": "classes", "group_by": "endpoint"}, "group_by"),
        ({"detail": "classes", "group_by": "model,cache_scope"}, "group_by"),
    ],
)
def test_what_does_not_go_together(given, blamed):
    """Ranges that are backwards or too long, two buckets, and details the ledger does not have are refused."""
    with pytest.raises(BadRequestError) as caught:
        parse(**given)
    assert caught.value.param == blamed


def test_parameters_belong_to_their_report():
    """A list of calls takes no buckets, and only costs take a detail."""
    for allowed, foreign in ((LISTING, "bucket"), (GROUPING, "detail")):
        with pytest.raises(BadRequestError) as caught:
            parse(allowed=allowed, **{foreign: "model"})
        assert caught.value.param == foreign


def test_nothing_is_given_twice():
    """A parameter that comes twice is refused: nobody could say which one counts."""
    with pytest.raises(BadRequestError) as caught:
        parse_query("report", [("model", "a"), ("model", "b")], ADMIN, COSTING)
    assert caught.value.param == "model"


def test_the_range_by_default():
    """Without a range it is the thirty days that end with the present hour: whole hours, the present one included."""
    query = parse()
    now = datetime.now(UTC)
    assert query.end - query.start == timedelta(days=30)
    assert timedelta(0) < query.end - now <= timedelta(hours=1)
    assert split_hours(Span(query.start, query.end))[1] == []
    assert parse(end="2026-03-31").start == datetime(2026, 3, 1, tzinfo=UTC)


def test_nobody_but_an_administrator_gets_past_their_user():
    """A user is held to their own calls whatever they ask for; asking for somebody else is a 403 `not_yours`."""
    assert parse(USER).match["user_id"] == USER.user_id
    assert parse(USER, model="m", team_id=OTHER).match["user_id"] == USER.user_id
    assert parse(USER, user_id=str(USER.user_id)).match["user_id"] == USER.user_id
    assert "user_id" not in parse(ADMIN).match
    with pytest.raises(ForbiddenError) as caught:
        parse(USER, user_id=OTHER)
    assert (caught.value.code, caught.value.param) == ("not_yours", "user_id")


def test_a_bucket_may_stand_among_the_groups():
    """`group_by=day,model` means the same as `bucket=day&group_by=model`, wherever the day stands."""
    for asked in ({"group_by": "day,model"}, {"group_by": "model,day"}, {"group_by": "model", "bucket": "day"}):
        query = parse(**asked)
        assert (query.bucket, query.groups) == ("day", ("model",))


instants = st.timedeltas(timedelta(0), timedelta(days=2)).map(lambda later: START + later)


@given(st.tuples(instants, instants).map(sorted))
def test_a_range_is_split_without_gap_or_overlap(ends):
    """Whole hours and what is left of a range are the range, each instant of it once."""
    whole, edges = split_hours(Span(*ends))
    parts = sorted([*edges, *([whole] if whole is not None else [])])
    assert sum((part.end - part.start for part in parts), timedelta()) == ends[1] - ends[0]
    assert all(before.end == after.start for before, after in pairwise(parts))
    assert all(edge.end - edge.start < timedelta(hours=2) for edge in edges)
    if whole is not None:
        assert (whole.start.minute, whole.start.microsecond, whole.end.minute, whole.end.second) == (0, 0, 0, 0)
