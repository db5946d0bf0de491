"""From a RequestRow to the values of one `requests` line: cleaned so that Postgres takes them, with its cost."""

from typing import Any

import msgspec

from app.analytics.bills import Costs, FindLines, build_bill, build_unsplit_bill
from app.analytics.types import RequestRow
from app.wire.money import Bill
from app.wire.usage import Usage

MAX_TEXT = 512
MAX_TAGS = 64
MAX_METADATA = 16_384
MAX_INT4 = 2**31 - 1
MAX_COUNT = 10**12  # tokens of one reply; their sums over many replies must fit as well

POSTGRES_EPOCH = 946_684_800  # 2000-01-01, where Postgres' binary timestamps begin
_JSONB_VERSION = b"\x01"
_TEXTS = tuple(
    field.name
    for field in msgspec.structs.fields(RequestRow)
    if field.type in (str, str | None)
    if field.name != "metadata"
)
_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class PricedRow(msgspec.Struct, frozen=True, array_like=True):
    """A clean row with its cost: what is copied to Postgres, and what waits in the spool."""

    row: RequestRow
    costs: Costs
    bill: Bill | None = None


def build_priced_row(row: RequestRow, find_lines: FindLines) -> PricedRow:
    """Return `row` (which is cleaned in place) with its cost."""
    clean_row(row)
    costs, bill = build_bill(row, find_lines)
    row.lines = None  # they are in the bill now
    return PricedRow(row, costs, bill)


def complete_row(priced: PricedRow) -> PricedRow:
    """Return a row that an earlier release priced, which kept no bill, with all of its cost in one line."""
    cost = priced.costs.estimated_cost
    if priced.bill is not None or not cost:
        return priced
    bill = build_unsplit_bill(cost)
    return PricedRow(priced.row, Costs(bill.total_usd, priced.costs.saved_cost), bill)


def clean_row(row: RequestRow) -> None:
    """Change in place whatever Postgres would refuse: NUL and lone surrogates, overlong text, numbers out of range."""
    for name in _TEXTS:
        value = getattr(row, name)
        if value is not None and not (len(value) <= MAX_TEXT and value.isascii() and "\0" not in value):
            setattr(row, name, _clean_text(value))
    row.status_code = min(row.status_code, MAX_INT4)
    row.attempts = min(row.attempts, MAX_INT4)
    if row.retry_count is not None:
        row.retry_count = min(row.retry_count, MAX_INT4)
    if row.tags:
        row.tags = tuple(_clean_text(tag) for tag in row.tags[:MAX_TAGS])
    if row.metadata is not None:
        row.metadata = _clean_metadata(row.metadata)
    row.usage, row.estimated_usage = _clean_usage(row.usage), _clean_usage(row.estimated_usage)


def _clean_text(value: str) -> str:
    return value[:MAX_TEXT].replace("\0", "").encode("utf-8", "replace").decode()


def _clean_metadata(value: str) -> str | None:
    """Return the JSON text of an object that `jsonb` takes, or None; a client wrote it, so nothing is certain."""
    if len(value) > MAX_METADATA:
        return None
    try:
        text = _encode(_decode_object(value)).decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return None if "\\u0000" in text else text


def _clean_usage(usage: Usage | None) -> Usage | None:
    counts = (0,) if usage is None else list_counts(usage)
    return usage if min(counts) >= 0 and max(counts) <= MAX_COUNT else None


def list_counts(usage: Usage) -> tuple[int, ...]:
    """Return the counts of `usage` in the order of the columns."""
    return (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.input_audio_tokens,
        usage.input_image_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.output_audio_tokens,
        usage.output_image_tokens,
        usage.web_searches,
    )


# The columns in the order of build_values, with the type whose binary form carries the value. `int8` carries a
# timestamp (microseconds) and `bytea` a uuid or jsonb (their bytes) without a detour over richer Python objects.
COLUMNS: tuple[tuple[str, str], ...] = (
    ("id", "bytea"),
    ("request_time", "int8"),
    ("response_time", "int8"),
    ("request_id", "text"),
    ("user_id", "bytea"),
    ("api_key_id", "bytea"),
    ("team_id", "bytea"),
    ("organization_id", "bytea"),
    ("provider", "text"),
    ("model", "text"),
    ("requested_model", "text"),
    ("endpoint", "text"),
    ("streamed", "bool"),
    ("status_code", "int4"),
    ("error_type", "text"),
    ("input_tokens", "int8"),
    ("cache_read_tokens", "int8"),
    ("cache_write_5m_tokens", "int8"),
    ("cache_write_1h_tokens", "int8"),
    ("input_audio_tokens", "int8"),
    ("input_image_tokens", "int8"),
    ("output_tokens", "int8"),
    ("reasoning_tokens", "int8"),
    ("output_audio_tokens", "int8"),
    ("output_image_tokens", "int8"),
    ("web_searches", "int8"),
    ("service_tier", "text"),
    ("estimated_cost", "numeric"),
    ("saved_cost", "numeric"),
    ("cache_status", "text"),
    ("cache_key", "bytea"),
    ("cache_scope", "text"),
    ("optimizations_applied", "bytea"),
    ("latency", "float8"),
    ("overhead_ms", "float8"),
    ("first_byte_ms", "float8"),
    ("upstream_ms", "float8"),
    ("attempts", "int4"),
    ("upstream_request_id", "text"),
    ("session_id", "text"),
    ("retry_count", "int4"),
    ("tags", "text[]"),
    ("metadata", "bytea"),
    ("request_bytes", "int8"),
    ("response_bytes", "int8"),
)
_NO_COUNTS = (None,) * 11


def build_values(priced: PricedRow) -> tuple[object, ...]:
    """Return the values of one line in the order of COLUMNS, in Postgres' binary forms."""
    row, usage = priced.row, priced.row.usage
    return (
        row.id.bytes,
        microseconds(row.request_time),
        microseconds(row.response_time),
        row.request_id,
        row.user_id and row.user_id.bytes,
        row.api_key_id and row.api_key_id.bytes,
        row.team_id and row.team_id.bytes,
        row.organization_id and row.organization_id.bytes,
        row.provider,
        row.model,
        row.requested_model,
        row.endpoint,
        row.streamed,
        row.status_code,
        row.error_type,
        *(_NO_COUNTS if usage is None else list_counts(usage)),
        usage and usage.service_tier and _clean_text(usage.service_tier),
        *priced.costs,
        row.cache_status,
        row.cache_key,
        row.cache_scope,
        _JSONB_VERSION + _encode(row.optimizations_applied),
        row.latency,
        row.overhead_ms,
        row.first_byte_ms,
        row.upstream_ms,
        row.attempts,
        row.upstream_request_id,
        row.session_id,
        row.retry_count,
        row.tags and list(row.tags),
        row.metadata and _JSONB_VERSION + row.metadata.encode(),
        row.request_bytes,
        row.response_bytes,
    )


def microseconds(at: float) -> int:
    """Return a time as Postgres keeps it, rounded as its to_timestamp rounds."""
    return round((at - POSTGRES_EPOCH) * 1_000_000)
