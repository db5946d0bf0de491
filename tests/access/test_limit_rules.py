"""Which limits a call meets, and how they are told."""

import math
import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.limit_full import FullScopes
from app.access.limit_rules import build_asking, build_refusal, find_share, write_duration, write_limit_headers
from app.access.limit_types import Asking, Decision, Figures, Refusal, Standing
from app.access.types import Limit
from app.errors import Dialect

KEY = Limit(scope="key:a", rpm=10)
MODEL = Limit(scope="model:m", tpm=1000)
NOTHING = Limit(scope="user:u")


def test_nothing_limited_is_nothing_to_ask() -> None:
    """Without any limit there is no asking, and the database is not reached."""
    assert build_asking((), (), 5, "interactive", 0.2) is None
    assert build_asking((NOTHING,), (NOTHING,), 5, "batch", 0.2) is None


def test_every_limited_scope_once() -> None:
    """Scopes of the caller and of the model are asked together, each once, with tokens only where they count."""
    assert build_asking((KEY, NOTHING), (KEY, MODEL), 5, "interactive", 0.2) == Asking(limits=(KEY, MODEL), tokens=5)
    assert build_asking((KEY,), (), 5, "interactive", 0.2) == Asking(limits=(KEY,), tokens=0)


@pytest.mark.parametrize(("interactive", "share"), [(0.2, 0.8), (0.1, 0.9), (0.0, 1.0), (1.0, 0.0), (1 / 3, 0.666667)])
def test_batch_class_leaves_a_share(interactive, share) -> None:
    """Batch-class calls may fill what is not the interactive share."""
    built = build_asking((KEY,), (), 0, "batch", interactive)
    assert built is not None
    assert built.share == share


@given(limit=st.integers(0, 10**10), share=st.floats(0, 1))
def test_a_share_is_a_part_and_not_nothing(limit, share) -> None:
    """A part is never more than the limit, and of a limit that admits anybody never nothing."""
    part = find_share(limit, share)
    assert min(limit, 1) <= part <= limit
    assert part <= max(limit * share + 1e-3, 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, b"0s"),
        (0.0004, b"1ms"),
        (0.12, b"120ms"),
        (0.9999, b"1s"),
        (1, b"1s"),
        (1.0001, b"2s"),
        (59.2, b"1m0s"),
        (60.5, b"1m1s"),
        (360, b"6m0s"),
        (3661, b"1h1m1s"),
    ],
)
def test_durations_as_openai_writes_them(seconds, text) -> None:
    """Milliseconds below a second, else hours, minutes and whole seconds."""
    assert write_duration(seconds) == text


@given(st.floats(0, 1e6))
def test_a_duration_is_never_shorter_than_it_is(seconds) -> None:
    """Whoever waits as long as a duration says has waited long enough, and less than a second too long."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?", write_duration(seconds).decode())
    assert parts is not None
    hours, minutes, whole, milliseconds = (int(part or 0) for part in parts.groups())
    said = hours * 3600 + minutes * 60 + whole + milliseconds / 1000
    assert seconds - 1e-6 <= said < seconds + 1.001


STANDING = Standing(
    at=1_800_000_000.25,
    requests=Figures(limit=10, remaining=4, reset_seconds=60.5),
    tokens=Figures(limit=1000, remaining=0, reset_seconds=0.2),
)


def test_headers_of_the_openai_dialect() -> None:
    """Limit, remaining and reset of requests and tokens, resets as durations."""
    assert dict(write_limit_headers(STANDING, Dialect.OPENAI)) == {
        b"x-ratelimit-limit-requests": b"10",
        b"x-ratelimit-remaining-requests": b"4",
        b"x-ratelimit-reset-requests": b"1m1s",
        b"x-ratelimit-limit-tokens": b"1000",
        b"x-ratelimit-remaining-tokens": b"0",
        b"x-ratelimit-reset-tokens": b"200ms",
    }


def test_headers_of_the_anthropic_dialect() -> None:
    """The same, resets as moments."""
    assert dict(write_limit_headers(STANDING, Dialect.ANTHROPIC)) == {
        b"anthropic-ratelimit-requests-limit": b"10",
        b"anthropic-ratelimit-requests-remaining": b"4",
        b"anthropic-ratelimit-requests-reset": b"2027-01-15T08:01:01Z",
        b"anthropic-ratelimit-tokens-limit": b"1000",
        b"anthropic-ratelimit-tokens-remaining": b"0",
        b"anthropic-ratelimit-tokens-reset": b"2027-01-15T08:00:01Z",
    }


def test_no_limit_no_headers() -> None:
    """What is not limited is not told."""
    assert write_limit_headers(Standing(at=0.0), Dialect.OPENAI) == []


@given(wait=st.floats(1e-6, 3600))
def test_the_waits_are_rounded_up(wait) -> None:
    """Both headers are at least the wait; the one in seconds is whole."""
    refusal = Refusal(scope="key:a", limit="rpm", value=10, wait_seconds=wait)
    headers = dict(build_refusal(refusal, Asking(limits=(KEY,)), STANDING).headers)
    milliseconds = int(headers[b"retry-after-ms"])
    assert wait * 1000 - 0.001 <= milliseconds < wait * 1000 + 1
    assert int(headers[b"retry-after"]) == math.ceil(milliseconds / 1000)


@pytest.mark.parametrize(
    ("scope", "limit", "share", "message"),
    [
        ("key:a", "rpm", 1.0, "This API key may make 7 requests a minute."),
        ("user:a", "max_parallel", 1.0, "The user of this API key may have 7 calls at a time."),
        ("team:a", "tpm", 1.0, "The team of this API key may use 7 tokens a minute; this call counts for 5."),
        ("team:a", "rpm", 0.8, "The team of this API key may make 7 requests a minute for batch-class calls."),
        ("organization:a", "rpm", 1.0, "The organization of this API key may make 7 requests a minute."),
        ("model:a/b:c", "rpm", 1.0, "The model 'a/b:c' may make 7 requests a minute."),
    ],
)
def test_the_sentence_names_whose_limit(scope, limit, share, message) -> None:
    """Ids of users and teams are not told, names of models are."""
    refusal = Refusal(scope=scope, limit=limit, value=7, wait_seconds=2)
    error = build_refusal(refusal, Asking(limits=(), tokens=5, share=share), STANDING)
    assert error.message == f"{message} Try again in 2 s."


def full(value: int = 10, wait: float = 5.0, limit: str = "rpm") -> Decision:
    refusal = Refusal(scope="key:a", limit=limit, value=value, wait_seconds=wait)
    return Decision(event_id=UUID(int=0), standing=STANDING, refusal=refusal)


def test_a_full_scope_is_remembered_until_the_first_leaves() -> None:
    """Until its wait is over, counted from before the question, a scope refuses; the wait counts from the answer."""
    scopes = FullScopes()
    scopes.note(full(), 100.0, 101.0)
    again = scopes.find(Asking(limits=(KEY,)), 104.0)
    assert again is not None
    assert again.refusal is not None
    assert again.refusal.wait_seconds == pytest.approx(2.0)
    assert again.standing.tokens is None
    assert scopes.find(Asking(limits=(KEY,)), 105.0) is None


@pytest.mark.parametrize(
    ("limit", "share", "found"),
    [
        (Limit(scope="key:a", rpm=10), 1.0, True),
        (Limit(scope="key:a", rpm=9), 1.0, True),
        (Limit(scope="key:a", rpm=12), 0.8, True),
        (Limit(scope="key:a", rpm=11), 1.0, False),
        (Limit(scope="key:a", tpm=5), 1.0, False),
        (Limit(scope="key:b", rpm=1), 1.0, False),
    ],
)
def test_only_who_may_not_fill_more_is_refused(limit, share, found) -> None:
    """A caller that may fill more than the one who was refused is not refused with it."""
    scopes = FullScopes()
    scopes.note(full(), 100.0, 100.0)
    assert (scopes.find(Asking(limits=(limit,), share=share), 101.0) is not None) == found


@pytest.mark.parametrize("decision", [full(limit="tpm"), full(limit="max_parallel"), full(wait=math.inf)])
def test_what_may_free_up_early_is_not_remembered(decision) -> None:
    """Tokens and places can be given back at any moment, and a limit that admits nobody may be raised."""
    scopes = FullScopes()
    scopes.note(decision, 100.0, 100.0)
    assert scopes.find(Asking(limits=(Limit(scope="key:a", rpm=1, tpm=1, max_parallel=1),)), 100.1) is None
