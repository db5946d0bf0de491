"""Deadlines as people write them."""

from datetime import UTC, datetime

import pytest

from app.batch.deadlines import read_span
from app.errors import BadRequestError

NOW = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5h", 5400),
        (" 6H ", 21_600),
        ("30m", 1800),
        ("2d", 172_800),
        ("2026-01-31T09:00:00Z", 3600),
        ("2026-01-31T10:00:00+01:00", 3600),
        ("2026-01-31T09:00:00", 3600),
    ],
)
def test_spans_and_instants(text, seconds):
    """A number is seconds; a span has a unit; an instant without a zone is UTC."""
    assert read_span(text, NOW, "deadline") == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "0", "0.5", "8d", "2026-01-31T07:00:00Z", "6 hours", "1e3", "∞", "nan"]
)
def test_what_is_no_deadline(text):
    """Nonsense, the past and what is more than a week away are 400s that name the field."""
    with pytest.raises(BadRequestError, match="deadline") as refused:
        read_span(text, NOW, "options.deadline")
    assert refused.value.param == "options.deadline"
