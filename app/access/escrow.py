"""Money leased to this process in one piece, so that a busy key's calls need no round trip each."""

from decimal import ROUND_CEILING, Decimal
from uuid import UUID

import msgspec

from app.wire.money import SMALLEST_USD

Scopes = tuple[tuple[str, str], ...]

BUSY_RATE = 20.0
"""Calls a second from which on a lease is worth having."""

LEASE_SECONDS = 2.0
"""A lease holds what the calls of this time need, and is taken from for as long."""

NEAR_THE_LIMIT = 32
"""A lease is at most this fraction of what is left of the tightest budget: near the limit each call asks for itself."""

_WINDOW_SECONDS = 1.0
_MAX_KNOWN = 4096


class Lease(msgspec.Struct):
    """One piece of leased money; `open_until` is monotonic seconds.

    `free_usd` is what no call under way holds, `held_usd` what the `calls` under way hold, and `kept_usd` what the
    database was told to keep of it. `lost`: the others may have taken this process for dead, and settled the lease.
    """

    id: UUID
    scopes: Scopes
    free_usd: Decimal
    booked_at: float
    open_until: float
    calls: int = 0
    held_usd: Decimal = Decimal(0)
    kept_usd: Decimal | None = None
    lost: bool = False


class _Pace(msgspec.Struct):
    """How much is asked for: the calls and the money of the window under way, and the rates of the last one."""

    began: float
    calls: int = 0
    amount_usd: Decimal = Decimal(0)
    rate: float = 0.0
    usd_per_second: Decimal = Decimal(0)


class Escrow:
    """The leases of this process by the budgets they count against; a call takes from at most one."""

    def __init__(self) -> None:
        self._open: dict[Scopes, Lease] = {}
        self._leases: dict[UUID, Lease] = {}
        self._paces: dict[Scopes, _Pace] = {}
        self._wished: set[Scopes] = set()

    def take(self, scopes: Scopes, amount_usd: Decimal, now: float) -> Lease | None:
        """Return the lease that holds `amount_usd` for a call from now on; None when none has as much."""
        self._count(scopes, amount_usd, now)
        lease = self._open.get(scopes)
        if lease is None:
            return None
        if now >= lease.open_until or lease.free_usd < amount_usd:
            del self._open[scopes]
            return None
        lease.free_usd -= amount_usd
        lease.held_usd += amount_usd
        lease.calls += 1
        return lease

    def find_wish(self, scopes: Scopes, remaining_usd: Decimal) -> Decimal | None:
        """Return how much to lease; None when calls come too slowly, the limit is near or a wish is under way.

        Who gets a wish says what became of it, by `add` or `forgo`.
        """
        pace = self._paces.get(scopes)
        if pace is None or pace.rate < BUSY_RATE or scopes in self._open or scopes in self._wished:
            return None
        wish = (pace.usd_per_second * Decimal(LEASE_SECONDS)).quantize(SMALLEST_USD, ROUND_CEILING)
        if not 0 < wish * NEAR_THE_LIMIT <= remaining_usd:
            return None
        self._wished.add(scopes)
        return wish

    def add(self, lease: Lease) -> None:
        """Take a new lease into use."""
        self._wished.discard(lease.scopes)
        self._open[lease.scopes] = lease
        self._leases[lease.id] = lease

    def forgo(self, scopes: Scopes) -> None:
        """Note that a wish was not granted."""
        self._wished.discard(scopes)

    def give_back(self, lease_id: UUID, held_usd: Decimal, cost_usd: Decimal) -> None:
        """Note that a call is settled: what it did not use is free again."""
        lease = self._leases.get(lease_id)
        if lease is not None:
            lease.free_usd += held_usd - cost_usd
            lease.held_usd -= held_usd
            lease.calls -= 1

    def pop_idle(self, now: float) -> list[Lease]:
        """Return, and forget, the leases that are over and have no call under way."""
        over = [lease for lease in self._leases.values() if lease.calls <= 0 and now >= lease.open_until]
        for lease in over:
            self._forget(lease)
        return over

    def pop_kept(self, now: float) -> list[tuple[UUID, Decimal]]:
        """Return what the calls under way hold of leases that are over, where that has changed: all else goes back."""
        over = [lease for lease in self._leases.values() if now >= lease.open_until and lease.calls > 0]
        changed = [lease for lease in over if lease.kept_usd != lease.held_usd]
        for lease in changed:
            lease.kept_usd = lease.held_usd
        return [(lease.id, lease.held_usd) for lease in changed]

    def lose_all(self) -> None:
        """End every lease: the others may have taken this process for dead, and settled what it held."""
        self.end_all()
        for lease in self._leases.values():
            lease.lost = True

    def end_all(self) -> None:
        """Take from no lease any more."""
        self._open.clear()
        for lease in self._leases.values():
            lease.open_until = 0.0

    def _forget(self, lease: Lease) -> None:
        del self._leases[lease.id]
        if self._open.get(lease.scopes) is lease:
            del self._open[lease.scopes]

    def _count(self, scopes: Scopes, amount_usd: Decimal, now: float) -> None:
        pace = self._paces.get(scopes)
        if pace is None or now - pace.began > 2 * _WINDOW_SECONDS:
            if len(self._paces) >= _MAX_KNOWN:
                self._paces.clear()
            pace = self._paces[scopes] = _Pace(began=now)
        elif now - pace.began >= _WINDOW_SECONDS:
            seconds = now - pace.began
            pace.rate, pace.usd_per_second = pace.calls / seconds, pace.amount_usd / Decimal(seconds)
            pace.began, pace.calls, pace.amount_usd = now, 0, Decimal(0)
        pace.calls += 1
        pace.amount_usd += amount_usd
