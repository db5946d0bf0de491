"""What kind of failure an attempt ended in, and what that means for the next one."""

import re
import time
from email.utils import parsedate_to_datetime
from enum import StrEnum

import msgspec

from app.errors import UpstreamFailure
from app.providers.failure import CREDENTIAL_WORDS, OVERLOADED
from app.wire.http import Headers

MAX_WAIT_SECONDS = 120.0


class Kind(StrEnum):
    """Why an attempt failed, as far as it matters for what comes next."""

    RATE_LIMITED = "rate_limited"
    CREDENTIAL = "credential"
    OVERLOADED = "overloaded"
    SERVER = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    CONTEXT_WINDOW = "context_window"
    CONTENT_POLICY = "content_policy"
    CALLER = "caller"


AGAIN = frozenset({Kind.RATE_LIMITED, Kind.OVERLOADED, Kind.SERVER, Kind.TIMEOUT, Kind.CONNECTION})
"""Failures that another try may mend."""

UNHEALTHY = frozenset({Kind.OVERLOADED, Kind.SERVER, Kind.TIMEOUT, Kind.CONNECTION})
"""Failures that count against a deployment's health."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One failed attempt. `wait_seconds` is what the provider asked for, None when it did not say."""

    kind: Kind
    wait_seconds: float | None = None


class _Error(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None
    message: str | None = None


class _Body(msgspec.Struct):
    error: _Error | str | None = None


_decode = msgspec.json.Decoder(_Body).decode

MONEY_OUT = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
        "enforced_spend_limit_reached",
        "billing_error",
    }
)
CONTEXT_CODES = frozenset({"context_length_exceeded", "string_above_max_length", "request_too_large"})
CONTEXT_WORDS = re.compile(
    r"prompt is too long|maximum context length|context window|context length|input is too long|too many tokens",
    re.IGNORECASE,
)
POLICY_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked", "safety"})
POLICY_WORDS = re.compile(
    r"content management policy|content policy|content filter|safety system|blocked by", re.IGNORECASE
)


def judge_answer(status: int, headers: Headers, body: bytes) -> Failure:
    """Return what a refusal (status 300 or more) means. Never raises, whatever the bytes."""
    error = _read_error(body)
    words = {str(error.code or ""), error.type or ""}
    if status in {401, 402} or (status == 403 and CREDENTIAL_WORDS.search(body)) or words & MONEY_OUT:
        return Failure(kind=Kind.CREDENTIAL)
    if status == 429:
        return Failure(kind=Kind.RATE_LIMITED, wait_seconds=find_wait(headers))
    if status in {OVERLOADED, 503}:
        return Failure(kind=Kind.OVERLOADED, wait_seconds=find_wait(headers))
    if status >= 500 or status in {408, 409} or status < 400:
        return Failure(kind=Kind.SERVER, wait_seconds=find_wait(headers))
    return Failure(kind=_judge_refusal(status, words, error.message or ""))


def judge_break(failure: UpstreamFailure) -> Failure:
    """Return what a broken exchange means; an answer that is too large would be so again."""
    if failure.kind == "too_large":
        return Failure(kind=Kind.CALLER)
    return Failure(kind=Kind.TIMEOUT if failure.kind.endswith("timeout") else Kind.CONNECTION)


def find_wait(headers: Headers) -> float | None:
    """Return the seconds that a provider asks to wait: `retry-after-ms`, else `retry-after` in seconds or as a date."""
    found = {name: value for name, value in headers if name in {b"retry-after", b"retry-after-ms"}}
    for name, unit in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        seconds = _read_seconds(found.get(name, b""), unit)
        if seconds is not None:
            return min(seconds, MAX_WAIT_SECONDS)
    return _read_date(found.get(b"retry-after", b""))


def _judge_refusal(status: int, words: set[str], message: str) -> Kind:
    if words & CONTEXT_CODES or status == 413 or CONTEXT_WORDS.search(message):
        return Kind.CONTEXT_WINDOW
    if words & POLICY_CODES or POLICY_WORDS.search(message):
        return Kind.CONTENT_POLICY
    return Kind.CALLER


def _read_error(body: bytes) -> _Error:
    try:
        error = _decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Error()
    return error if isinstance(error, _Error) else _Error(message=error)


def _read_date(value: bytes) -> float | None:
    """Return the seconds until an HTTP date; one that is past asks for no wait."""
    try:
        moment = parsedate_to_datetime(value.decode("ascii")).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(moment - time.time(), 0.0), MAX_WAIT_SECONDS)


def _read_seconds(value: bytes, unit: float) -> float | None:
    try:
        seconds = float(value) / unit
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
