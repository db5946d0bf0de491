"""Money leased to a process: never handed out twice, given back when it is over, and only far from the limit."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from app.access.escrow import BUSY_RATE, LEASE_SECONDS, NEAR_THE_LIMIT, Escrow, Lease, Scopes
from app.wire.ids import make_uuid7
from app.wire.money import SMALLEST_USD

KEY: Scopes = (("key", "a"),)
OTHER: Scopes = (("key", "b"),)
ONE = Decimal(1)


def lease(amount: Decimal = Decimal(10), scopes: Scopes = KEY, now: float = 0.0) -> Lease:
    return Lease(id=make_uuid7(), scopes=scopes, free_usd=amount, booked_at=1.0, open_until=now + LEASE_SECONDS)


def call_often(escrow: Escrow, times: int, seconds: float, amount: Decimal = ONE, began: float = 0.0) -> float:
    """Ask `times` times in `seconds`, and return when the next would ask."""
    for count in range(times):
        escrow.take(KEY, amount, began + count * seconds / times)
    return began + seconds


def test_a_call_takes_from_the_lease_of_its_own_budgets():
    """A lease serves the calls that count against the same budgets, and no others."""
    escrow, one = Escrow(), lease()
    escrow.add(one)
    assert escrow.take(OTHER, ONE, 0.1) is None
    assert escrow.take(KEY, ONE, 0.1) is one
    assert (one.free_usd, one.calls) == (Decimal(9), 1)


def test_a_lease_is_taken_from_only_while_it_is_open():
    """After its time a lease hands out nothing more: what it holds may be needed elsewhere."""
    escrow = Escrow()
    escrow.add(lease())
    assert escrow.take(KEY, ONE, LEASE_SECONDS) is None


def test_a_lease_never_hands_out_more_than_it_has():
    """A call that needs more than is free asks for itself."""
    escrow = Escrow()
    escrow.add(lease(Decimal(2)))
    assert escrow.take(KEY, Decimal(3), 0.1) is None


def test_what_a_call_did_not_use_is_free_again():
    """A settled call leaves the difference between what it held and what it cost to the next calls."""
    escrow, one = Escrow(), lease(Decimal(1))
    escrow.add(one)
    assert escrow.take(KEY, ONE, 0.1) is one
    escrow.give_back(one.id, ONE, Decimal("0.25"))
    assert one.free_usd == Decimal("0.75")
    assert escrow.take(KEY, Decimal("0.75"), 0.2) is one


def test_a_lease_goes_back_when_it_is_over_and_no_call_holds_any_of_it():
    """Over and without calls under way: given back, once."""
    escrow, one = Escrow(), lease()
    escrow.add(one)
    escrow.take(KEY, ONE, 0.1)
    assert escrow.pop_idle(LEASE_SECONDS + 1) == []
    escrow.give_back(one.id, ONE, ONE)
    assert escrow.pop_idle(0.5) == []
    assert escrow.pop_idle(LEASE_SECONDS + 1) == [one]
    assert escrow.pop_idle(LEASE_SECONDS + 1) == []


def test_the_spare_part_of_a_lease_that_is_over_goes_back_while_slow_calls_go_on():
    """Calls may take minutes: what none of them holds does not wait for their end."""
    escrow, one = Escrow(), lease()
    escrow.add(one)
    escrow.take(KEY, ONE, 0.1)
    escrow.take(KEY, ONE, 0.2)
    assert escrow.pop_kept(0.5) == []
    assert escrow.pop_kept(LEASE_SECONDS + 1) == [(one.id, Decimal(2))]
    assert escrow.pop_kept(LEASE_SECONDS + 1) == []
    escrow.give_back(one.id, ONE, Decimal("0.5"))
    assert escrow.pop_kept(LEASE_SECONDS + 1) == [(one.id, Decimal(1))]


def test_slow_callers_get_no_lease():
    """A few calls a second ask for themselves: their limit is then exact to the cent at every moment."""
    escrow = Escrow()
    now = call_often(escrow, times=int(BUSY_RATE) - 2, seconds=1.0)
    escrow.take(KEY, ONE, now + 0.01)
    assert escrow.find_wish(KEY, Decimal(1_000_000)) is None


def test_busy_callers_get_what_they_need_for_a_moment():
    """At a hundred calls a second the wish is what two seconds of such calls hold."""
    escrow = Escrow()
    now = call_often(escrow, times=100, seconds=1.0)
    escrow.take(KEY, ONE, now + 0.001)
    wish = escrow.find_wish(KEY, Decimal(1_000_000))
    assert wish is not None
    assert abs(wish - Decimal(100) * Decimal(LEASE_SECONDS)) < 5
    assert wish == wish.quantize(SMALLEST_USD)  # what the database would round it would not grant


def test_near_the_limit_each_call_asks_for_itself():
    """No lease when what is left is less than so many leases."""
    escrow = Escrow()
    now = call_often(escrow, times=100, seconds=1.0)
    escrow.take(KEY, ONE, now)
    assert escrow.find_wish(KEY, Decimal(200 * NEAR_THE_LIMIT) * Decimal("0.9")) is None


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 100)), max_size=60))
def test_what_is_out_is_never_more_than_what_was_leased(calls):
    """Whatever is taken and given back in whatever order: costs plus holds plus what is free are the lease."""
    escrow, one = Escrow(), lease(Decimal(1000))
    escrow.add(one)
    held: list[Decimal] = []
    spent = Decimal(0)
    for amount, share in calls:
        wanted = Decimal(amount)
        if escrow.take(KEY, wanted, 0.1) is not None:
            held.append(wanted)
        if held and share > 50:
            back = held.pop(0)
            cost = back * share / 100
            spent += cost
            escrow.give_back(one.id, back, cost)
        assert one.free_usd + sum(held) + spent == 1000
        assert one.held_usd == sum(held)
        assert one.free_usd >= 0
