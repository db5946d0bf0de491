"""What becomes of a request of a batch after a call: its result, or another try after a while. No I/O."""

from typing import Literal

from app.batch.types import Again, Done, Work
from app.catalog.types import BatchConfig
from app.gateway.inner import InsideAnswer
from app.routing.failure import AGAIN, Kind, find_wait, judge_answer

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 15.0
PATIENCE = 2
"""How many times as often a provider may say that there are too many calls as it may fail."""

HOPELESS = frozenset({"upstream_credentials_exhausted", "upstream_redirect", "cache_miss"})
"""Failures that come with a status of those that pass, and do not."""

NOT_NOW = frozenset({429, 503})
UNKNOWN = frozenset({401, 403, 404})
"""What the gateway says of keys, rights and providers: a process that was frozen knows them as they were before."""

OURS_WAIT_SECONDS = 1.0
STALE_SECONDS = 2.0
"""By then every process that is well knows what an administrator has changed."""

Verdict = Literal["done", "again", "not_now"]


def judge(answer: InsideAnswer, tries: int, config: BatchConfig) -> tuple[Verdict, float]:
    """Return whether an answer is the result, or after how many seconds there is to be another call.

    "not_now": the gateway itself did not let the call through, which is no failure of anybody's.
    """
    if answer.status < 300 or answer.row.error_type in HOPELESS:
        return "done", 0.0
    asked = find_wait(answer.headers)
    if answer.row.attempts == 0 and answer.status in NOT_NOW:
        return "not_now", max(asked or 0.0, OURS_WAIT_SECONDS)
    if answer.row.attempts == 0 and answer.status in UNKNOWN and tries == 0:
        return "again", STALE_SECONDS
    kind = judge_answer(answer.status, answer.headers, answer.body).kind
    if kind not in AGAIN:
        return "done", 0.0
    allowed = config.max_tries * (PATIENCE if kind is Kind.RATE_LIMITED else 1)
    if tries + 1 >= allowed:
        return "done", 0.0
    return "again", max(asked or 0.0, min(FIRST_WAIT_SECONDS * 2**tries, LONGEST_WAIT_SECONDS))


def is_limited(answer: InsideAnswer) -> bool:
    """Return whether a provider said that there are too many calls."""
    return answer.row.attempts > 0 and answer.status in {429, 529}


def build_again(work: Work, wait_seconds: float, *, counts: bool) -> Again:
    """Return the word that a request is to be tried again."""
    return Again(
        batch_id=work.batch_id, position=work.position, attempt=work.attempt, wait_seconds=wait_seconds, counts=counts
    )


def build_broken(work: Work, *, cancelled: bool, answer: Done | None = None) -> Done:
    """Return the result of a request that was stopped; `answer` is what was recorded of a call under way."""
    return Done(
        batch_id=work.batch_id,
        position=work.position,
        attempt=work.attempt,
        outcome="cancelled" if cancelled else "expired",
        code="batch_cancelled" if cancelled else "batch_expired",
        body=b"",
        priced=answer.priced if answer is not None else None,
        hold=work.hold,
    )
