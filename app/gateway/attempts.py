"""Trying until something answers: keys in turn, other deployments, and again after a while."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping

import msgspec

from app.catalog.types import RoutingConfig
from app.errors import RelayError, UpstreamFailure
from app.gateway.answers import (
    Answer,
    Answered,
    Answering,
    OpenTap,
    Peeked,
    Refusal,
    find_early_error,
    find_request_id,
    is_stream,
    keys_are_busy,
    keys_are_out,
    peek,
)
from app.gateway.call import Call
from app.gateway.exchange import Exchange
from app.gateway.headers import brings_own_key
from app.gateway.outgoing import build_outgoing, build_translated
from app.gateway.plan import Target
from app.gateway.rules import Routing, build_retry_rules
from app.gateway.send import pass_headers, read_facts
from app.gateway.tongues import TranslatedIncoming, Translation, translate
from app.routing.failure import AGAIN, Failure, Kind, judge_answer, judge_break
from app.routing.retry import find_delay
from app.upstream import Limits, Outgoing, Upstream
from app.wire.usage import Facts

MAX_ATTEMPTS = 12
SHORTEST_TRY_SECONDS = 0.05
LIMITED_SECONDS = 1.0
TIMER_SLACK_SECONDS = 0.002  # event loops may wake a little early, and no wait that was asked for may be cut
NOT_CONNECTED = frozenset({"connect", "connect_timeout", "tls"})
LATE = "The provider did not begin its answer in time."


class Attempts:
    """The attempts of one call. `run` returns the first answer, or why there is none."""

    def __init__(
        self,
        call: Call,
        exchange: Exchange,
        *,
        routing: Routing,
        config: RoutingConfig,
        upstream: Upstream,
        limits: Limits,
    ) -> None:
        self._call = call
        self._exchange = exchange
        self._routing = routing
        self._config = config
        self._upstream = upstream
        self._limits = limits
        self._deadline = time.monotonic() + limits.total_seconds
        self._queue: deque[Target] = deque()
        self._fallbacks: dict[Kind, list[Target]] = {}
        self._waits = 0
        self._retries = 0
        self._refusal: Refusal | None = None

    async def run(self, targets: list[Target], fallbacks: Mapping[Kind, list[Target]]) -> Answered | Refusal:
        """Try `targets` in order, as the failures say; `fallbacks` are the targets after failures of one kind."""
        self._queue.extend(targets)
        self._fallbacks = dict(fallbacks)
        budget, helped = self._routing.budget, False
        budget.requests += 1
        try:
            while True:
                outcome = await self._try_first()
                if isinstance(outcome, Answered):
                    helped = True
                    return outcome
                if not await self._go_on(outcome):
                    return self._refusal or outcome
        finally:
            budget.end(self._retries, time.monotonic(), helped=helped)

    async def _go_on(self, refusal: Refusal) -> bool:
        """Put the next target first and wait as long as it takes; False when there is nothing left to try."""
        if refusal.skipped:
            return self._turn_to(list(self._queue)[1:])
        self._refusal = refusal
        kind = refusal.failure.kind
        late = time.monotonic() + SHORTEST_TRY_SECONDS >= self._deadline
        if late or self._exchange.trace.row.attempts >= MAX_ATTEMPTS:
            return False
        if kind in self._fallbacks:
            return self._turn_to(self._fallbacks.pop(kind))
        if kind in {Kind.CREDENTIAL, Kind.RATE_LIMITED} and self._has_another_key(refusal.target):
            return True
        if kind is not Kind.CREDENTIAL and kind not in AGAIN:
            return False
        return self._fail_over() or await self._wait(refusal.failure)

    def _fail_over(self) -> bool:
        """Go to the next deployment: to one in rotation freely, to one that is out only as a retry."""
        others = list(self._queue)[1:]
        if not others:
            return False
        is_out = self._routing.health.is_out(others[0].deployment, time.monotonic())
        return (not is_out or self._spend()) and self._turn_to(others)

    def _turn_to(self, targets: list[Target]) -> bool:
        self._queue = deque(targets)
        self._waits = 0
        return bool(targets)

    async def _wait(self, failure: Failure) -> bool:
        delay = find_delay(failure, self._waits + 1, build_retry_rules(self._config), self._routing.random)
        if delay is None or time.monotonic() + delay >= self._deadline or not self._spend():
            return False
        self._waits += 1
        await asyncio.sleep(delay + TIMER_SLACK_SECONDS)
        return True

    def _spend(self) -> bool:
        """Take one retry out of the budget, until the request is over."""
        budget = self._routing.budget
        if not budget.allows(self._config.retry_budget, time.monotonic()):
            return False
        budget.retries += 1
        self._retries += 1
        return True

    def _has_another_key(self, target: Target) -> bool:
        """Return whether the pool has a key to use now; a caller's own key has no other."""
        keys = target.provider.api_keys
        if len(keys) < 2 or brings_own_key(self._call.sent):
            return False
        return self._routing.keys.has_free(target.provider.name, keys, time.monotonic())

    def _find_key(self, target: Target) -> str | None:
        """Return the key for the next try; "" where none is needed, None when all are out."""
        if brings_own_key(self._call.sent) or not target.provider.api_keys:
            return ""
        return self._routing.keys.find(target.provider.name, target.provider.api_keys, time.monotonic())

    async def _try_first(self) -> Answered | Refusal:
        """Try the first target in the queue once."""
        target = self._queue[0]
        key = self._find_key(target)
        if key is None:
            return self._find_no_key(target)
        started = time.monotonic()
        self._routing.health.probe(target.deployment, started)
        try:
            outcome = await self._exchange_once(target, key, started)
        except BaseException:
            self._routing.health.release(target.deployment)
            raise
        if isinstance(outcome, Refusal):
            self._learn(outcome, key, started)
        elif isinstance(outcome.answer, Answer):
            self._routing.succeed(outcome, self._config)
        return outcome

    def _find_no_key(self, target: Target) -> Refusal:
        """Return the refusal of a pool without a usable key: worth a wait when some are only at their limit."""
        provider = target.provider
        wait = self._routing.keys.find_wait(provider.name, provider.api_keys, time.monotonic())
        if wait is None:
            return Refusal(failure=Failure(kind=Kind.CREDENTIAL), target=target, error=keys_are_out())
        failure = Failure(kind=Kind.RATE_LIMITED, wait_seconds=wait)
        return Refusal(failure=failure, target=target, error=keys_are_busy(wait))

    def _learn(self, refusal: Refusal, key: str, started: float) -> None:
        """Remember what a failure says about the deployment and about the key."""
        kind, provider = refusal.failure.kind, refusal.target.provider
        if refusal.skipped:
            self._routing.health.release(refusal.target.deployment)
            return
        self._routing.fail(refusal.target.deployment, kind, started, self._config)
        if len(provider.api_keys) < 2 or not key:
            return  # a single key is tried again each time: leaving it alone would only hide why
        if kind is Kind.CREDENTIAL:
            self._routing.keys.rest(provider.name, key, time.monotonic())
        if kind is Kind.RATE_LIMITED:
            wait = refusal.failure.wait_seconds
            seconds = wait if wait is not None else LIMITED_SECONDS
            self._routing.keys.rest(provider.name, key, time.monotonic(), seconds, limited=True)

    async def _exchange_once(self, target: Target, key: str, started: float) -> Answered | Refusal:
        trace = self._exchange.trace
        try:
            outgoing, translation = self._build(target, key)
        except RelayError as error:
            return Refusal(failure=Failure(kind=Kind.CALLER), target=target, error=error, skipped=True)
        trace.sending()
        try:
            incoming = await self._upstream.send(outgoing)
            trace.row.upstream_request_id = find_request_id(incoming.headers)
            if incoming.status >= 300:
                return await self._refused(incoming, target)
            answer: Answering = TranslatedIncoming(incoming, translation) if translation is not None else incoming
            endpoint = self._call.route.endpoint
            if self._call.streamed and endpoint is not None and endpoint.open_tap and is_stream(answer.headers):
                return await self._look_into(answer, target, started, endpoint.open_tap)
            return await self._take_whole(answer, target, started)
        except UpstreamFailure as failure:
            trace.received()
            if failure.kind in NOT_CONNECTED:
                trace.owe_nothing()
            return Refusal(failure=judge_break(failure), target=target, error=failure.as_error())

    def _build(self, target: Target, key: str) -> tuple[Outgoing, Translation | None]:
        guard = self._config.first_token if self._call.streamed and len(self._queue) > 1 else None
        pace = self._config.slow_stream if self._call.streamed else None
        limits = shorten(self._limits, self._deadline - time.monotonic(), guard, pace)
        if not target.tongue:
            return build_outgoing(self._call, target, limits, key), None
        endpoint = self._call.route.endpoint
        translation = translate(self._call, endpoint.name if endpoint else "", target.tongue, target.model or "")
        return build_translated(self._call, target, translation, limits, key), translation

    async def _refused(self, incoming: Answering, target: Target) -> Refusal:
        try:
            body = await incoming.read()
        finally:
            incoming.close()
            self._exchange.trace.received()
        self._exchange.trace.owe_nothing()
        failure = judge_answer(incoming.status, incoming.headers, body)
        return Refusal(failure=failure, target=target, status=incoming.status, headers=incoming.headers, body=body)

    async def _take_whole(self, answer: Answering, target: Target, started: float) -> Answered | Refusal:
        """Read a whole answer: until it is known to be one, nothing of it goes to the client."""
        latency = time.monotonic() - started
        endpoint = self._call.route.endpoint
        try:
            body = await answer.read()
            facts = read_facts(endpoint, body) if endpoint is not None else Facts()
        except RelayError as error:
            return Refusal(failure=Failure(kind=Kind.SERVER), target=target, error=error)
        finally:
            answer.close()
            self._exchange.trace.received()
        whole = Answer(status=answer.status, headers=pass_headers(answer.headers), body=body, facts=facts)
        return Answered(target=target, answer=whole, started=started, latency_seconds=latency)

    async def _look_into(
        self, answer: Answering, target: Target, started: float, open_tap: OpenTap
    ) -> Answered | Refusal:
        """Wait for the first event of a stream, while another try could still answer instead."""
        guard = self._config.first_token if len(self._queue) > 1 else None
        left = guard - (time.monotonic() - started) if guard is not None else None
        tap, pieces = open_tap(False), answer.chunks()
        try:
            async with asyncio.timeout(left):
                first = await peek(pieces, tap, past_pings=guard is not None)
        except TimeoutError as error:
            answer.close()
            raise UpstreamFailure("first_byte_timeout", LATE) from error
        except BaseException:
            answer.close()
            raise
        refusal = find_early_error(first, open_tap, target) if tap.failed else None
        if refusal is not None:
            answer.close()
            self._exchange.trace.received()
            self._exchange.trace.owe_nothing()
            return refusal
        latency = time.monotonic() - started
        return Answered(target=target, answer=Peeked(answer, first, pieces), started=started, latency_seconds=latency)


def shorten(limits: Limits, left: float, first_token: float | None, slow_stream: float | None) -> Limits:
    """Return the limits of one try: what is left of the total, and the guards of a stream's beginning and pace."""
    total = max(left, SHORTEST_TRY_SECONDS)
    return msgspec.structs.replace(
        limits,
        total_seconds=total,
        first_byte_seconds=min(limits.first_byte_seconds, total, first_token or total),
        idle_seconds=min(limits.idle_seconds, slow_stream or limits.idle_seconds),
    )
