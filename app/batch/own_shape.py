"""Batches in RelayCore's own words: what is sent, what is answered, and how a request becomes a call. No I/O."""

import itertools
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from app.batch.reading import RelayRequest, UnfitRequestError, read_struct
from app.batch.types import Batch, Item, Result, State
from app.catalog.output_limits import find_model_limit
from app.catalog.snapshot import Snapshot
from app.errors import BadRequestError, Dialect
from app.providers.registry import Provider

Status = Literal["queued", "processing", "completed", "failed", "cancelling", "cancelled"]

_STATUS: dict[State, Status] = {
    "validating": "queued",
    "queued": "queued",
    "processing": "processing",
    "cancelling": "cancelling",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "expired": "failed",
}
EXPIRED = "The batch did not end in time; what was answered until then is among its results."
USUAL_MAX_TOKENS = 4096
SECONDS_A_REQUEST = 0.5
"""What is assumed of a request's duration before any was seen."""

Text = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^(?![\s\S]*[\x00-\x1f\x7f])")]
Deadline = Annotated[str, Meta(max_length=64)] | float


class BatchOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a batch is to be worked off. `native` "never": not by a vendor's own batch, though that is cheaper.

    `webhook` is told when the batch is over, signed as Standard Webhooks has it with `webhook_secret` ("whsec_" and
    the base64 of 24 to 64 bytes; one is made when none is given). Of two batches the one with the higher `priority`
    comes first.
    """

    deadline: Deadline | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    native: Literal["auto", "never"] = "auto"
    webhook: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    webhook_secret: Annotated[str, Meta(min_length=24, max_length=512)] | None = None
    metadata: Annotated[dict[str, Any], Meta(max_length=64)] | None = None

    def __post_init__(self) -> None:
        """Refuse what no text of Postgres can hold."""
        if self.metadata is not None and b"\\u0000" in msgspec.json.encode(self.metadata):
            raise ValueError("`metadata` has a NUL in it")


class BatchSource(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known of a batch for its requests to be read."""

    provider: Text | None = None
    model: Text | None = None


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch to be worked off. Every request is a conversation; `parameters` are further fields of its call."""

    provider: Text
    model: Text
    requests: list[RelayRequest]
    options: BatchOptions | None = None


class BatchHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch without its requests, which are read one by one."""

    provider: Text
    model: Text
    requests: list[msgspec.Raw]
    options: BatchOptions | None = None


class BatchAccepted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch that was accepted: what is said here holds whatever happens. `webhook_secret` is shown this once."""

    batch_id: str
    status: Status
    queue_position: int
    estimated_completion: datetime
    request_counts: dict[str, int]
    webhook_secret: str | None = None


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it stands. `progress` is a percentage; `result` follows once the batch is over."""

    batch_id: str
    status: Status
    progress: int
    request_counts: dict[str, int]
    provider: str | None
    model: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    deadline: datetime | None
    expires_at: datetime
    cost_usd: Decimal | None
    saved_usd: Decimal | None
    metadata: dict[str, Any] | None
    error: dict[str, Any] | None


class BatchPage(msgspec.Struct, frozen=True, kw_only=True):
    """Batches, newest first."""

    batches: list[BatchView]
    total: int
    next: str | None


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one request: `result` in the provider's own format, or `error`."""

    id: str
    status: Literal["success", "error"]
    status_code: int | None
    cost_usd: Decimal | None
    saved_usd: Decimal | None
    native: bool
    request_id: str | None
    result: msgspec.Raw | None = None
    error: msgspec.Raw | dict[str, Any] | None = None


class _Body(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()


_decode_source = msgspec.json.Decoder(BatchSource)
_decode_head = msgspec.json.Decoder(BatchHead)
_decode_request = msgspec.json.Decoder(RelayRequest)
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
encode = msgspec.json.Encoder(decimal_format="number").encode


def read_head(data: bytes) -> BatchHead:
    """Return what a batch says beside its requests. Raises BadRequestError naming the field."""
    return read_struct(_decode_head, data, "")


def read_source(data: bytes) -> BatchSource:
    """Return whom a batch is for, as far as that is said before its requests."""
    return read_struct(_decode_source, data, "")


def find_path(provider: str, snapshot: Snapshot) -> tuple[str, Dialect]:
    """Return where the requests for a provider go, and the dialect of their bodies: the provider's own.

    Raises BadRequestError for a provider that is not configured.
    """
    known = snapshot.providers.get(provider)
    if known is None:
        names = ", ".join(sorted(snapshot.providers)) or "none"
        raise BadRequestError(
            f"There is no provider {provider[:64]!r}; configured: {names}.", code="unknown_provider", param="provider"
        )
    if speaks_messages(known):
        return f"/v1/{provider}/messages", Dialect.ANTHROPIC
    return f"/v1/{provider}/chat/completions", Dialect.OPENAI


def speaks_messages(provider: Provider) -> bool:
    """Return whether a provider has no chat but Anthropic's."""
    return Dialect.OPENAI not in provider.base_urls and Dialect.ANTHROPIC in provider.base_urls


def read_item(data: bytes, number: int, head: tuple[str, str, Dialect]) -> Item:
    """Return one request as a call; `head` is its path, model and dialect. Raises UnfitRequestError naming it."""
    request: RelayRequest = read_struct(_decode_request, data, f"requests[{number}]: ")
    parameters = request.parameters or {}
    taken = {"model", "messages"} & parameters.keys()
    if taken:
        field = min(taken)
        raise UnfitRequestError(
            f"requests[{number}]: '{field}' is no parameter of a request.", param=f"requests[{number}].parameters"
        )
    path, model, dialect = head
    fields: dict[str, Any] = {"model": model, "messages": request.messages, **parameters}
    if dialect is Dialect.ANTHROPIC:
        fields = _complete_messages(fields, model)
    return Item(custom_id=request.id, path=path, body=msgspec.json.encode(fields))


def _complete_messages(fields: dict[str, Any], model: str) -> dict[str, Any]:
    """Return a body with what Anthropic cannot do without: a limit of output, and the system prompt in its place."""
    fields.setdefault("max_tokens", find_model_limit(model) or USUAL_MAX_TOKENS)
    try:
        messages = _decode_messages(fields["messages"])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return fields  # the provider says what is wrong with it
    system = list(itertools.takewhile(lambda one: bytes(one.get("role", b"")) == b'"system"', messages))
    if not system or "system" in fields:
        return fields
    texts = [one["content"] for one in system if bytes(one.get("content", b"")).startswith(b'"')]
    if len(texts) != len(system):
        return fields
    blocks = [{"type": "text", "text": text} for text in texts]
    return {**fields, "system": texts[0] if len(texts) == 1 else blocks, "messages": messages[len(system) :]}


def build_accepted(
    batch_id: UUID, total: int, ahead: int, pace: float | None, now: datetime, secret: str | None = None
) -> BatchAccepted:
    """Return the word that a batch is accepted; when it may be done is a guess by how fast others were (`pace`)."""
    seconds = total / pace if pace else total * SECONDS_A_REQUEST
    return BatchAccepted(
        batch_id=str(batch_id),
        status="queued",
        queue_position=ahead,
        estimated_completion=now + timedelta(seconds=max(seconds, 1.0)),
        request_counts={"total": total},
        webhook_secret=secret,
    )


def build_view(batch: Batch, cost_usd: Decimal | None, saved_usd: Decimal | None) -> BatchView:
    """Return a batch as it is shown."""
    counts = batch.counts
    error = batch.errors[0] if batch.errors else None
    if batch.state == "expired":
        error = {"code": "batch_expired", "message": EXPIRED}
    return BatchView(
        batch_id=str(batch.id),
        status=_STATUS[batch.state],
        progress=100 * counts.done // counts.total if counts.total else 0,
        request_counts={
            "total": counts.total,
            "completed": counts.succeeded,
            "failed": counts.errored + counts.expired,
            "cancelled": counts.cancelled,
            "pending": counts.total - counts.done,
        },
        provider=batch.provider,
        model=batch.model,
        created_at=batch.created_at,
        started_at=batch.started_at,
        completed_at=batch.finished_at,
        deadline=batch.deadline_at,
        expires_at=batch.expires_at,
        cost_usd=cost_usd,
        saved_usd=saved_usd,
        metadata=batch.metadata,
        error=error,
    )


def build_result(result: Result) -> BatchResult:
    """Return one result as it is shown."""
    fine = result.outcome == "succeeded"
    return BatchResult(
        id=result.custom_id,
        status="success" if fine else "error",
        status_code=result.status_code,
        cost_usd=result.cost_usd,
        saved_usd=result.saved_usd,
        native=result.native,
        request_id=None if result.request_id is None else str(result.request_id),
        result=msgspec.Raw(result.body) if fine else None,
        error=None if fine else find_error(result),
    )


def find_error(result: Result) -> msgspec.Raw | dict[str, Any]:
    """Return what went wrong, in the provider's words where it has some."""
    try:
        error = _decode_body(result.body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        error = msgspec.Raw()
    if bytes(error) not in {b"", b"null"}:
        return error
    words = {"cancelled": "The batch was cancelled.", "expired": EXPIRED}
    return {"code": result.code, "message": words.get(result.outcome, "The request failed.")}
