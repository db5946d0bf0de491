"""A request on its way into a vendor's batch: the body that its direct call would send, and what answers it already."""

from uuid import UUID

import msgspec

from app.analytics.rows import build_priced_row
from app.batch.calling import as_batch, without_retries
from app.batch.intake import check_endpoint
from app.batch.native.types import Group, NativeRequest
from app.batch.types import Done
from app.errors import BadGatewayError, RelayError, UnauthenticatedError
from app.gateway.call import Call
from app.gateway.forwarding import find_plan
from app.gateway.inner import Inside, build_call
from app.gateway.money import Ways, find_need, fit_call
from app.gateway.outgoing import build_outgoing
from app.gateway.parts import Parts
from app.gateway.pipeline import build_call_key, relay
from app.gateway.plan import Target
from app.gateway.policy import CachePolicy, decide_caching
from app.gateway.tongues import Translation, translate
from app.providers.protocol import Endpoint
from app.upstream import Limits

HITS = frozenset({"hit", "semantic-hit"})
KEY_GONE = "The API key that sent this batch was revoked, or its user is gone."
NOT_HERE = "The model is not answered there any more."
NOT_TO_BE_MADE = "The request is to be answered by the cache alone."
NOTHING_HELD = "Nothing is held for this request, and a budget applies to it."

_UNLIMITED = Limits()


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it goes into a vendor's batch. `call` is as it came, `body` goes to `path` at the vendor.

    `key` is what its answer is kept under, None where no cache has a part in it. `cap_tokens` is a limit of output
    that it got and did not ask for.
    """

    request: NativeRequest
    call: Call
    endpoint: Endpoint
    target: Target
    policy: CachePolicy
    key: bytes | None
    path: str
    body: bytes
    translation: Translation | None = None
    cap_tokens: int | None = None

    @property
    def shared_key(self) -> bytes | None:
        """The key, where an answer that is kept under it, or will be, does as well as one of its own."""
        return self.key if self.policy.reads else None


async def prepare(request: NativeRequest, group: Group, parts: Parts) -> Prepared:
    """Return a request as it goes out. Raises RelayError where only a direct call can tell what is to be done."""
    caller = parts.directory.find_holder(request.user_id, request.api_key_id)
    if caller is None:
        raise UnauthenticatedError(KEY_GONE, code="key_revoked")
    # A vendor's batch takes nothing of the limits of calls: it is one call, whatever is in it.
    caller = msgspec.structs.replace(as_batch(caller), limits=())
    call = build_call(caller, request.path, request.body, parts, without_retries(request.options))
    check_endpoint(call)
    snapshot = parts.catalog.current
    chosen = find_plan(call, snapshot)
    target = next((one for one in chosen.targets if one.deployment == (group.provider, group.model)), None)
    endpoint = call.route.endpoint
    if target is None or endpoint is None:
        raise BadGatewayError(NOT_HERE, code="model_not_found")
    policy = decide_caching(call, snapshot.cache)
    if policy.only:
        raise BadGatewayError(NOT_TO_BE_MADE, code="cache_miss")
    key = build_call_key(call, endpoint, chosen, policy) if policy.active else None
    sent, cap_tokens = await _fit(call, target, request, parts)
    translation = translate(sent, endpoint.name, target.tongue, target.model or "") if target.tongue else None
    if translation is None:
        body, path = build_outgoing(sent, target, _UNLIMITED, "").body, endpoint.path
    else:
        body, path = translation.body, translation.path
    return Prepared(
        request=request,
        call=call,
        endpoint=endpoint,
        target=target,
        policy=policy,
        key=key,
        path=path if path.startswith("/v1/") else f"/v1{path}",
        body=body if isinstance(body, bytes) else b"",
        translation=translation,
        cap_tokens=cap_tokens,
    )


async def _fit(call: Call, target: Target, request: NativeRequest, parts: Parts) -> tuple[Call, int | None]:
    """Return a call as what is held for it pays for."""
    need = await find_need(call, Ways([target], {}), request.tags, parts)
    if need is None or need.wanted_usd == 0:
        return call, None
    if request.hold is None:
        raise RelayError(NOTHING_HELD, code="budget_exceeded", status=402)
    held = fit_call(call, Ways([target], {}), need, request.hold)
    return held.call, held.cap_tokens


async def look_up(prepared: Prepared, native_id: UUID, parts: Parts) -> Done | None:
    """Return the result of a request that a kept answer answers, by the way that any call goes; else None."""
    if prepared.shared_key is None:
        return None
    request = prepared.request
    options = msgspec.structs.replace(prepared.call.options, cache="only")
    call = msgspec.structs.replace(prepared.call, options=options)
    inside = Inside(call, parts, tags=request.tags, hold=request.hold)
    try:
        await inside.run(relay)
    finally:
        answer = inside.end()
    if answer.status != 200 or answer.row.cache_status not in HITS:
        return None
    return Done(
        batch_id=request.batch_id,
        position=request.position,
        attempt=0,
        outcome="succeeded",
        status_code=200,
        body=answer.body,
        priced=build_priced_row(answer.row, parts.catalog.find_lines),
        hold=request.hold,
        native_id=native_id,
    )
