"""What came of the requests of a vendor's batch: each line of its results becomes a result like any call's. No I/O."""

import time
from collections.abc import Sequence
from uuid import UUID

import msgspec

from app.analytics.rows import build_priced_row
from app.analytics.types import RequestRow
from app.batch.native.calls import Prepared, prepare
from app.batch.native.types import Group, NativeRequest
from app.batch.types import Done, Key, Outcome
from app.errors import RelayError, write_error
from app.gateway.answers import JSON, Answer
from app.gateway.money import read_ceiling
from app.gateway.parts import Parts
from app.gateway.send import read_facts, refuse
from app.gateway.sharing import Keeper
from app.providers.batches import RemoteResult, read_custom_id
from app.wire.ids import make_uuid7
from app.wire.usage import Facts, Usage

BATCH_TIER = "batch"
OPTIMIZATIONS = ("batch",)


def find_key(result: RemoteResult) -> Key | None:
    """Return which request a result is of; None for one that says nothing final, and for one that is not ours."""
    return read_custom_id(result.custom_id) if result.kind in {"answered", "refused"} else None


async def conclude(
    results: Sequence[tuple[RemoteResult, NativeRequest]], native_id: UUID, group: Group, parts: Parts
) -> list[Done]:
    """Return the results of requests; those that nobody can make sense of are left to a direct call."""
    done: list[Done] = []
    for result, request in results:
        try:
            prepared = await prepare(request, group, parts)
            done.append(_conclude(result, prepared, native_id, parts))
        except (RelayError, ValueError):
            continue
    return done


def _conclude(result: RemoteResult, prepared: Prepared, native_id: UUID, parts: Parts) -> Done:
    if result.kind == "refused":
        return _refuse(result, prepared, native_id, parts)
    body = _bring_back(result.body, prepared)
    facts = read_facts(prepared.endpoint, body)
    usage = msgspec.structs.replace(facts.usage, service_tier=BATCH_TIER) if facts.usage is not None else None
    _keep(body, facts, prepared, parts)
    row = _build_row(result, prepared, usage, len(body), parts)
    row.optimizations_applied = OPTIMIZATIONS
    return _build_done(prepared, native_id, parts, row, body, "succeeded")


def _bring_back(body: bytes, prepared: Prepared) -> bytes:
    """Return an answer in the client's dialect. Raises ValueError for one that is none."""
    translation = prepared.translation
    if translation is None:
        return body
    return translation.client.write_reply(translation.provider.parse_chat(body), translation.call)


def _refuse(result: RemoteResult, prepared: Prepared, native_id: UUID, parts: Parts) -> Done:
    try:
        answer = refuse(result.status, [], result.body, prepared.call, prepared.target)
        status, body, code = answer.status, answer.body, "upstream_refused"
    except RelayError as error:
        status, body, code = error.status, write_error(error, prepared.endpoint.dialect, ""), error.kind
    row = _build_row(result, prepared, None, len(body), parts)
    row.status_code, row.error_type, row.billed = status, code, False
    return _build_done(prepared, native_id, parts, row, body, "errored")


def _keep(body: bytes, facts: Facts, prepared: Prepared, parts: Parts) -> None:
    """Have those who ask the same find the answer, as after a direct call."""
    if prepared.key is None or parts.flights.find(prepared.key) is not None:
        return
    keeper = Keeper(
        key=prepared.key,
        policy=prepared.policy,
        call=prepared.call,
        endpoint=prepared.endpoint,
        parts=parts,
        flight=parts.flights.open(prepared.key, streamed=False),
        cap_tokens=prepared.cap_tokens,
    )
    try:
        keeper.keep(body, Answer(status=200, headers=[JSON], body=body, facts=facts), prepared.target, streamed=False)
    finally:
        keeper.land(None)


def _build_row(result: RemoteResult, prepared: Prepared, usage: Usage | None, size: int, parts: Parts) -> RequestRow:
    """Return the line of the record. How long it lay at the vendor's says nothing of how fast anything is."""
    request, call, now, row_id = prepared.request, prepared.call, time.time(), make_uuid7()
    caller, target, policy = call.caller, prepared.target, prepared.policy
    hold, ceiling = request.hold, read_ceiling(parts.catalog.current.budgets)
    return RequestRow(
        id=row_id,
        request_id=str(row_id),
        request_time=now,
        response_time=now,
        user_id=caller.user_id,
        api_key_id=caller.key_id,
        team_id=caller.team_id,
        organization_id=caller.organization_id,
        provider=target.provider.name,
        model=target.model,
        requested_model=call.fields.model,
        endpoint=call.route.name,
        status_code=200,
        usage=usage,
        cache_status=policy.status,
        cache_key=prepared.key,
        cache_scope=policy.label if prepared.key is not None else None,
        attempts=1,
        upstream_request_id=result.request_id,
        tags=request.tags,
        metadata=call.options.metadata,
        request_bytes=len(call.body),
        response_bytes=size,
        hold=msgspec.structs.replace(hold, ceiling=ceiling) if hold is not None else None,
    )


def _build_done(
    prepared: Prepared, native_id: UUID, parts: Parts, row: RequestRow, body: bytes, outcome: Outcome
) -> Done:
    request = prepared.request
    return Done(
        batch_id=request.batch_id,
        position=request.position,
        attempt=0,
        outcome=outcome,
        status_code=row.status_code,
        code=row.error_type,
        body=body,
        priced=build_priced_row(row, parts.catalog.find_lines),
        hold=request.hold,
        native_id=native_id,
    )
