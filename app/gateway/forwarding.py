"""Having a call answered by one of those that may, and passing the answer on."""

import msgspec

from app.catalog.prices import sum_lines
from app.catalog.snapshot import Snapshot
from app.catalog.types import RoutingConfig
from app.errors import BadGatewayError, ForbiddenError
from app.gateway.answers import Answer, Answered, Answering, Refusal
from app.gateway.attempts import Attempts
from app.gateway.call import Call
from app.gateway.exchange import STREAM_HEADERS, Exchange
from app.gateway.money import Ways, hold_money
from app.gateway.options import find_patience
from app.gateway.parts import Parts
from app.gateway.plan import Plan, Target, plan
from app.gateway.rules import list_targets
from app.gateway.send import end_upstream, forward_stream, pass_headers, refuse
from app.gateway.sharing import Keeper
from app.providers.protocol import Endpoint
from app.routing.failure import Kind
from app.settings import UpstreamSettings
from app.upstream import Limits

GRACE_SECONDS = 1.0  # a client that gives up is to find its own timeout, not ours
_VISIBLE = bytes(byte if 32 < byte < 127 else ord("?") for byte in range(256))


def choose(call: Call, exchange: Exchange, snapshot: Snapshot) -> Plan:
    """Return where the call may go and note it. Raises RelayError when it goes nowhere or the key may not."""
    row = exchange.trace.row
    row.requested_model = row.model = call.fields.model
    chosen = find_plan(call, snapshot)
    note_target(exchange, chosen.targets[0])
    return chosen


def find_plan(call: Call, snapshot: Snapshot) -> Plan:
    """Return where the call may go. Raises RelayError when it goes nowhere or the key may not."""
    chosen = plan(call.route, call.fields.model, snapshot)
    allowed = call.caller.models
    if allowed is not None and call.fields.model not in allowed:
        names = [{target.model, f"{target.provider.name}/{target.model}"} for target in chosen.targets]
        if not all(name & allowed for name in names):
            raise ForbiddenError("This API key may not use this model.", code="model_not_allowed", param="model")
    return chosen


def note_target(exchange: Exchange, target: Target) -> None:
    """Note who answers, for the client and the record."""
    row = exchange.trace.row
    row.provider, row.model = target.provider.name, target.model
    exchange.set_header(b"x-relay-provider", target.provider.name.encode())
    if target.model is not None:
        exchange.set_header(b"x-relay-model", _header_text(target.model))


async def forward(
    call: Call, endpoint: Endpoint, chosen: Plan, exchange: Exchange, parts: Parts, keeper: Keeper | None = None
) -> None:
    """Have the call answered by one of those that may, and pass the answer on."""
    exchange.watch(keeper.flight.leader_leaves if keeper is not None else None)
    snapshot = parts.catalog.current
    ways = Ways(*list_targets(chosen, call, snapshot, parts.routing, parts.catalog.prices))
    held = await hold_money(call, ways, exchange, parts)
    if held.cap_tokens is not None and keeper is not None:
        keeper.land(None)  # an answer cut to what the budget can pay is not what others asked for
        keeper.cap_tokens = held.cap_tokens
    call = held.call
    outcome = await try_all(call, held.ways, exchange, parts)
    target = outcome.target
    note_target(exchange, target)
    exchange.set_header(b"x-relay-attempts", b"%d" % exchange.trace.row.attempts)
    if isinstance(outcome, Refusal):
        await pass_refusal(outcome, call, exchange)
        return
    if keeper is not None and target.deployment not in {one.deployment for one in chosen.targets}:
        keeper.land(None)  # another model's answer is not what others asked for
        keeper = None
    if isinstance(outcome.answer, Answer):
        await forward_whole(outcome.answer, call, target, exchange, parts, keeper)
        return
    try:
        with parts.routing.watch(outcome, exchange.trace.row, parts.catalog.current.routing):
            await forward_streamed(outcome.answer, call, endpoint, target, exchange, keeper)
    finally:
        outcome.answer.close()


async def try_all(call: Call, ways: Ways, exchange: Exchange, parts: Parts) -> Answered | Refusal:
    """Try the targets in order, and those that are fallen back to."""
    attempts = Attempts(
        call,
        exchange,
        routing=parts.routing,
        config=find_routing(call, parts.catalog.current.routing),
        upstream=parts.upstream,
        limits=build_limits(call, parts.settings.upstream),
    )
    return await attempts.run(ways.targets, ways.after)


def find_routing(call: Call, config: RoutingConfig) -> RoutingConfig:
    """Return the rules of retries: the configured ones, unless whoever makes the call sees to them itself."""
    if call.options.max_retries is None:
        return config
    return msgspec.structs.replace(config, max_retries=call.options.max_retries)


async def pass_refusal(refusal: Refusal, call: Call, exchange: Exchange) -> None:
    """Tell the client why nothing answered; the provider's own words where they may be shown."""
    lines = pass_headers(refusal.headers)
    if exchange.trace.row.attempts > 1 or refusal.failure.kind is Kind.CREDENTIAL:
        exchange.set_header(b"x-should-retry", b"false")
        lines = [line for line in lines if line[0] != b"x-should-retry"]
    if refusal.error is not None:
        raise refusal.error
    answer = refuse(refusal.status, lines, refusal.body, call, refusal.target)
    exchange.trace.succeed(answer.status, None)
    exchange.trace.row.error_type = "upstream_refused"
    note_overhead(exchange)
    await exchange.reply(answer.status, answer.headers, answer.body)


async def forward_streamed(
    incoming: Answering, call: Call, endpoint: Endpoint, target: Target, exchange: Exchange, keeper: Keeper | None
) -> None:
    """Pass a stream on, and keep it once it is complete."""
    assert endpoint.open_tap is not None  # noqa: S101 - the caller looked
    note_overhead(exchange)
    exchange.trace.row.streamed = True
    flight = keeper.flight if keeper is not None else None
    tap = endpoint.open_tap(call.hides_usage)
    last = await forward_stream(incoming, tap, exchange, flight)
    if tap.failed:
        exchange.trace.fail(BadGatewayError("", code="upstream_error_event"))
    else:
        exchange.trace.succeed(200, tap.facts().usage)
    await exchange.finish(last)
    if keeper is not None and flight is not None:
        answer = Answer(status=200, headers=[STREAM_HEADERS[0]], body=b"", facts=tap.facts())
        keeper.keep(b"".join(flight.pieces), answer, target, streamed=True)
    await end_upstream(incoming)


async def forward_whole(
    answer: Answer, call: Call, target: Target, exchange: Exchange, parts: Parts, keeper: Keeper | None
) -> None:
    """Pass a whole answer on, and keep it when it is complete."""
    exchange.trace.succeed(answer.status, answer.facts.usage)
    note_cost(exchange, target, answer, parts)
    note_overhead(exchange)
    if call.streamed and answer.status == 200:
        await exchange.reply(200, STREAM_HEADERS, to_stream(call, answer.body))
    else:
        await exchange.reply(answer.status, answer.headers, answer.body)
    if keeper is not None:
        keeper.keep(answer.body, answer, target, streamed=False)


def to_stream(call: Call, body: bytes) -> bytes:
    """Return as a stream what a provider answered whole although a stream was asked for."""
    endpoint = call.route.endpoint
    try:
        if endpoint is None or endpoint.write_stream is None:
            return body
        return endpoint.write_stream(body, not call.hides_usage)
    except ValueError as error:
        raise BadGatewayError("The provider did not answer with a stream.", code="upstream_invalid_answer") from error


def build_limits(call: Call, settings: UpstreamSettings) -> Limits:
    """Return the limits of one exchange: the configured ones, shortened by what the client asks or will wait for."""
    patience = (find_patience(call.sent) or settings.total_seconds) + GRACE_SECONDS
    total = min(settings.total_seconds, call.options.timeout_seconds or settings.total_seconds)
    if not call.streamed:
        total = min(total, patience)
    return Limits(
        connect_seconds=settings.connect_seconds,
        first_byte_seconds=min(settings.first_byte_seconds, patience) if call.streamed else total,
        idle_seconds=settings.idle_seconds,
        total_seconds=total,
        max_body_bytes=settings.max_answer_bytes,
    )


def note_cost(exchange: Exchange, target: Target, answer: Answer, parts: Parts) -> None:
    """Tell the client what the answer cost, when that is known."""
    if answer.facts.usage is None or target.model is None:
        return
    row = exchange.trace.row
    at = row.hold.booked_at if row.hold is not None else row.request_time
    row.lines = parts.catalog.find_lines(target.provider.name, target.model, answer.facts.usage, at=at)
    if row.lines is not None:
        cost = sum_lines(row.lines)
        exchange.headers.append((b"x-relay-cost-usd", f"{cost.normalize():f}".encode()))


def note_overhead(exchange: Exchange) -> None:
    """Tell the client how long the gateway itself took so far."""
    exchange.headers.append((b"x-relay-overhead-ms", b"%.2f" % exchange.trace.overhead_ms()))


def _header_text(text: str) -> bytes:
    """Return `text` as a header value: visible ASCII only, whatever a client put into a name."""
    return text.encode()[:256].translate(_VISIBLE)
