"""Which deployments are out of rotation: after failures in a row or by being far slower than the others."""

from collections.abc import Sequence
from math import inf
from statistics import median

import msgspec

Deployment = tuple[str, str]
"""(provider, model)"""

EWMA_WEIGHT = 0.2
OUTLIER_SAMPLES = 10
OUTLIER_FACTOR = 5.0
OUTLIER_FLOOR_SECONDS = 1.0


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """When a deployment goes out and for how long; the n-th time in a row it stays out n times as long."""

    eject_after: int = 5
    eject_seconds: float = 30.0
    max_ejected: float = 0.5


class State(msgspec.Struct, kw_only=True):
    """What is known of one deployment. Times are seconds of the clock that callers pass in."""

    failures: int = 0
    ejections: int = 0
    ejected_at: float = -inf
    out_until: float = 0.0
    probing: bool = False
    latency_seconds: float | None = None
    samples: int = 0


class Health:
    """The health of every deployment that was called, as this process sees it and as others report it."""

    def __init__(self) -> None:
        self._states: dict[Deployment, State] = {}

    def list_known(self) -> list[Deployment]:
        """Return every deployment that something is known of."""
        return list(self._states)

    def get(self, deployment: Deployment) -> State:
        """Return the state of a deployment, made when first asked for."""
        return self._states.setdefault(deployment, State())

    def succeed(self, deployment: Deployment, started: float, latency_seconds: float | None = None) -> bool:
        """Note a success and its time to the first byte; True when it ends an ejection.

        What started before the ejection says nothing about it. No latency: it answered, but not with an answer.
        """
        state = self.get(deployment)
        if started < state.ejected_at:
            return False
        back = state.out_until > 0
        state.failures = state.ejections = 0
        state.out_until, state.probing = 0.0, False
        if latency_seconds is not None:
            known = state.latency_seconds if state.latency_seconds is not None else latency_seconds
            state.latency_seconds = known + EWMA_WEIGHT * (latency_seconds - known)
            state.samples += 1
        return back

    def fail(self, deployment: Deployment, now: float, rules: Rules) -> bool:
        """Note a failure; True when it puts the deployment out. Failures while it is out do not prolong that."""
        state = self.get(deployment)
        if state.out_until > now:
            return False
        state.failures += 1
        if not state.probing and state.failures < rules.eject_after:
            return False
        self.eject(deployment, now, rules)
        return True

    def eject(self, deployment: Deployment, now: float, rules: Rules) -> None:
        """Put a deployment out, longer each time; its latency is measured anew when it is back."""
        state = self.get(deployment)
        state.ejections += 1
        state.ejected_at, state.out_until = now, now + rules.eject_seconds * state.ejections
        state.failures, state.probing = 0, False
        state.latency_seconds, state.samples = None, 0

    def hear(self, deployment: Deployment, out_until: float, ejections: int) -> None:
        """Take over what another process found out."""
        state = self.get(deployment)
        state.out_until, state.ejections, state.probing = out_until, ejections, False

    def is_out(self, deployment: Deployment, now: float) -> bool:
        """Return whether a deployment is out; when its time is over one probe goes to it before it counts as back."""
        state = self._states.get(deployment)
        return state is not None and (state.out_until > now or state.probing)

    def probe(self, deployment: Deployment, now: float) -> None:
        """Note that a request goes to a deployment; the first one after its time out is the probe."""
        state = self._states.get(deployment)
        if state is not None and 0 < state.out_until <= now:
            state.probing = True

    def release(self, deployment: Deployment) -> None:
        """Note that a request ended without telling anything: if it was the probe, the next one is."""
        state = self._states.get(deployment)
        if state is not None:
            state.probing = False

    def list_out(self, pool: Sequence[Deployment], now: float, rules: Rules) -> frozenset[Deployment]:
        """Return those of `pool` that are not to be tried first: at most the given share of it, and never all.

        Where more are out, those that come back first count as in.
        """
        out = [deployment for deployment in pool if self.is_out(deployment, now)]
        allowed = min(int(len(pool) * rules.max_ejected), len(pool) - 1)
        out.sort(key=lambda deployment: self.get(deployment).out_until, reverse=True)
        return frozenset(out[: max(allowed, 0)])

    def find_outliers(self, pool: Sequence[Deployment]) -> list[Deployment]:
        """Return those of `pool` whose usual latency is far above that of the others."""
        known = {
            deployment: state.latency_seconds
            for deployment in pool
            if (state := self.get(deployment)).latency_seconds is not None and state.samples >= OUTLIER_SAMPLES
        }
        found: list[Deployment] = []
        for deployment, seconds in known.items():
            others = [other for name, other in known.items() if name != deployment]
            if others and seconds > max(OUTLIER_FACTOR * median(others), OUTLIER_FLOOR_SECONDS):
                found.append(deployment)
        return found
