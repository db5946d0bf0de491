"""Which limits a call meets, and how their answer is told: sentences and header lines, without I/O."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from app.access.limit_types import Asking, Figures, LimitReachedError, Refusal, Standing
from app.access.types import Limit, Priority
from app.errors import Dialect
from app.wire.http import Headers

LIMIT_HEADERS = (b"x-ratelimit-", b"anthropic-ratelimit-")
"""How the header lines begin that tell of limits; a provider's are not passed on where ours stand."""

WHO = {
    "key": "This API key",
    "user": "The user of this API key",
    "team": "The team of this API key",
    "organization": "The organization of this API key",
}
WHAT = {"rpm": "make {} requests a minute", "tpm": "use {} tokens a minute", "max_parallel": "have {} calls at a time"}


def build_asking(
    caller_limits: Iterable[Limit],
    model_limits: Iterable[Limit],
    tokens: int,
    priority: Priority,
    interactive_share: float,
) -> Asking | None:
    """Return what to ask for a call; None when nothing limits it.

    Each scope counts once. Batch-class calls leave a share of every limit to the interactive ones.
    """
    limits = {limit.scope: limit for limit in (*caller_limits, *model_limits) if is_limited(limit)}
    if not limits:
        return None
    share = 1.0 if priority == "interactive" else round(1.0 - interactive_share, 6)
    return Asking(limits=tuple(limits.values()), tokens=tokens if counts_tokens(limits.values()) else 0, share=share)


def is_limited(limit: Limit) -> bool:
    """Return whether anything is limited at all."""
    return limit.rpm is not None or limit.tpm is not None or limit.max_parallel is not None


def list_parallel(asking: Asking) -> list[str]:
    """Return the scopes of an asking that limit calls at a time."""
    return [limit.scope for limit in asking.limits if limit.max_parallel is not None]


def counts_tokens(limits: Iterable[Limit]) -> bool:
    """Return whether any of the limits is one of tokens."""
    return any(limit.tpm is not None for limit in limits)


def find_share(limit: int, share: float) -> int:
    """Return what of a limit may be filled: of one that admits anybody, at least one."""
    return limit if share >= 1 else min(limit, max(1, math.floor(round(limit * share, 6))))


def build_refusal(refusal: Refusal, asking: Asking, standing: Standing) -> LimitReachedError:
    """Return the failure that tells whose which limit is reached, and how long to wait."""
    waits = math.isfinite(refusal.wait_seconds)
    if waits:
        milliseconds = max(1, math.ceil(round(refusal.wait_seconds * 1000, 3)))
        headers = (
            (b"retry-after", b"%d" % math.ceil(milliseconds / 1000)),
            (b"retry-after-ms", b"%d" % milliseconds),
        )
        end = f"Try again in {milliseconds / 1000:g} s."
    else:
        headers = ((b"x-should-retry", b"false"),)
        end = "Waiting does not help."
    return LimitReachedError(f"{explain(refusal, asking)} {end}", standing, headers)


def explain(refusal: Refusal, asking: Asking) -> str:
    """Return the sentence that says which limit is reached."""
    kind, _, name = refusal.scope.partition(":")
    who = WHO.get(kind, f"The {kind} {name!r}")
    may = f"{who} may {WHAT[refusal.limit].format(refusal.value)}"
    if asking.share < 1:
        may += " for batch-class calls"
    if refusal.limit != "tpm":
        return f"{may}."
    return f"{may}; this call counts for {asking.tokens}."


def write_limit_headers(standing: Standing, dialect: Dialect) -> Headers:
    """Return the header lines that tell a client of `dialect` how its limits stand."""
    lines: Headers = []
    for figures, what in ((standing.requests, b"requests"), (standing.tokens, b"tokens")):
        if figures is None:
            continue
        if dialect is Dialect.ANTHROPIC:
            lines += _write_anthropic(figures, what, standing.at)
        else:
            lines += _write_openai(figures, what)
    return lines


def _write_openai(figures: Figures, what: bytes) -> Headers:
    return [
        (b"x-ratelimit-limit-" + what, b"%d" % figures.limit),
        (b"x-ratelimit-remaining-" + what, b"%d" % figures.remaining),
        (b"x-ratelimit-reset-" + what, write_duration(figures.reset_seconds)),
    ]


def _write_anthropic(figures: Figures, what: bytes, at: float) -> Headers:
    reset = datetime.fromtimestamp(math.ceil(at + figures.reset_seconds), UTC)
    name = b"anthropic-ratelimit-" + what
    return [
        (name + b"-limit", b"%d" % figures.limit),
        (name + b"-remaining", b"%d" % figures.remaining),
        (name + b"-reset", reset.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
    ]


def write_duration(seconds: float) -> bytes:
    """Return a duration as OpenAI writes it ("120ms", "1s", "6m0s"), never shorter than it is."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    if 0 < milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, rest = divmod(math.ceil(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, rest)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest
