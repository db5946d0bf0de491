"""Trying until something answers: keys in turn, other deployments, and again after a while."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping

import msgspec

from app.catalog.types import RoutingConfig
from app.errors import UpstreamFailure
from app.gateway.answers import (
    Answered,
    Answering,
    Peeked,
    Refusal,
    find_early_error,
    find_request_id,
    is_stream,
    keys_are_out,
)
from app.gateway.call import Call
from app.gateway.exchange import Exchange
from app.gateway.headers import brings_own_key
from app.gateway.outgoing import build_outgoing, build_translated
from app.gateway.plan import Target
from app.gateway.rules import Routing, build_health_rules, build_retry_rules
from app.gateway.tongues import TranslatedIncoming, translate
from app.routing.failure import AGAIN, UNHEALTHY, Failure, Kind, judge_answer, judge_break
from app.routing.retry import find_delay
from app.upstream import Limits, Upstream

MAX_ATTEMPTS = 12
SHORTEST_TRY_SECONDS = 0.05
LIMITED_SECONDS = 1.0


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
        self._tries = 0

    async def run(self, targets: list[Target], fallbacks: Mapping[Kind, list[Target]]) -> Answered | Refusal:
        """Try `targets` in order, as the failures say; `fallbacks` are the targets after failures of one kind."""
        self._queue.extend(targets)
        self._fallbacks = dict(fallbacks)
        budget = self._routing.budget
        budget.requests += 1
        try:
            while True:
                outcome = await self._try_first()
                if isinstance(outcome, Answered):
                    return outcome
                if not await self._go_on(outcome):
                    return outcome
        finally:
            budget.requests -= 1

    async def _go_on(self, refusal: Refusal) -> bool:
        """Put the next target first and wait as long as it takes; False when there is nothing left to try."""
        kind = refusal.failure.kind
        if self._exchange.trace.row.attempts >= MAX_ATTEMPTS or time.monotonic() >= self._deadline:
            return False
        if kind in self._fallbacks:
            return self._turn_to(self._fallbacks.pop(kind))
        if kind in {Kind.CREDENTIAL, Kind.RATE_LIMITED} and self._has_another_key(refusal):
            return True
        if kind is not Kind.CREDENTIAL and kind not in AGAIN:
            return False
        return self._routing.budget.allows(self._config.retry_budget) and await self._again(refusal.failure)

    async def _again(self, failure: Failure) -> bool:
        if len(self._queue) > 1:
            return self._turn_to(list(self._queue)[1:])
        return await self._wait(failure)

    def _turn_to(self, targets: list[Target]) -> bool:
        self._queue = deque(targets)
        self._tries = 0
        return bool(targets)

    def _has_another_key(self, refusal: Refusal) -> bool:
        return len(refusal.target.provider.api_keys) > 1 and self._find_key(self._queue[0]) is not None

    async def _wait(self, failure: Failure) -> bool:
        rules = build_retry_rules(self._config)
        delay = find_delay(failure, self._tries, rules, self._routing.random)
        if delay is None or time.monotonic() + delay >= self._deadline:
            return False
        budget = self._routing.budget
        budget.retries += 1
        try:
            await asyncio.sleep(delay)
        finally:
            budget.retries -= 1
        return True

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
            return Refusal(failure=Failure(kind=Kind.CREDENTIAL), target=target, error=keys_are_out())
        self._tries += 1
        health, now = self._routing.health, time.monotonic()
        health.probe(target.deployment, now)
        outcome = await self._exchange_once(target, key)
        if isinstance(outcome, Answered):
            health.succeed(target.deployment, time.monotonic() - now)
        else:
            self._learn(outcome, key)
        return outcome

    def _learn(self, refusal: Refusal, key: str) -> None:
        """Remember what a failure says about the deployment and about the key."""
        kind, target, now = refusal.failure.kind, refusal.target, time.monotonic()
        if kind in UNHEALTHY:
            self._routing.health.fail(target.deployment, now, build_health_rules(self._config))
        if len(target.provider.api_keys) < 2:
            return  # a single key is tried again each time: leaving it alone would only hide why
        if kind is Kind.CREDENTIAL:
            self._routing.keys.rest(target.provider.name, key, now)
        if kind is Kind.RATE_LIMITED:
            wait = refusal.failure.wait_seconds
            self._routing.keys.rest(target.provider.name, key, now, wait if wait is not None else LIMITED_SECONDS)

    async def _exchange_once(self, target: Target, key: str) -> Answered | Refusal:
        trace = self._exchange.trace
        limits = shorten(self._limits, self._deadline - time.monotonic(), self._config, more=len(self._queue) > 1)
        if target.tongue:
            endpoint = self._call.route.endpoint
            translation = translate(self._call, endpoint.name if endpoint else "", target.tongue, target.model or "")
            outgoing = build_translated(self._call, target, translation, limits, key)
        else:
            translation, outgoing = None, build_outgoing(self._call, target, limits, key)
        trace.sending()
        try:
            incoming = await self._upstream.send(outgoing)
            trace.row.upstream_request_id = find_request_id(incoming.headers)
            if incoming.status >= 300:
                return await self._refused(incoming, target)
            answer: Answering = TranslatedIncoming(incoming, translation) if translation is not None else incoming
            return await self._look_into(answer, target)
        except UpstreamFailure as failure:
            trace.received()
            return Refusal(failure=judge_break(failure), target=target, error=failure.as_error())

    async def _refused(self, incoming: Answering, target: Target) -> Refusal:
        try:
            body = await incoming.read()
        finally:
            incoming.close()
            self._exchange.trace.received()
        failure = judge_answer(incoming.status, incoming.headers, body)
        return Refusal(failure=failure, target=target, status=incoming.status, headers=incoming.headers, body=body)

    async def _look_into(self, answer: Answering, target: Target) -> Answered | Refusal:
        """Wait for the first events of a stream, while another deployment could still answer instead."""
        endpoint = self._call.route.endpoint
        if not self._call.streamed or endpoint is None or endpoint.open_tap is None or not is_stream(answer.headers):
            return Answered(target=target, answer=answer)
        try:
            pieces = answer.chunks()
            first = await anext(pieces, b"")
        except BaseException:
            answer.close()
            raise
        refusal = find_early_error(first, endpoint, target)
        if refusal is not None:
            answer.close()
            self._exchange.trace.received()
            return refusal
        return Answered(target=target, answer=Peeked(answer, first, pieces))


def shorten(limits: Limits, left: float, config: RoutingConfig, *, more: bool) -> Limits:
    """Return the limits of one try: what is left of the total, and the guards of a stream's beginning and pace."""
    total = max(left, SHORTEST_TRY_SECONDS)
    first = limits.first_byte_seconds
    if more and config.first_token is not None:
        first = min(first, config.first_token)
    idle = min(limits.idle_seconds, config.slow_stream) if config.slow_stream is not None else limits.idle_seconds
    return msgspec.structs.replace(limits, total_seconds=total, first_byte_seconds=min(first, total), idle_seconds=idle)
