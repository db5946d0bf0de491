"""Health, order, retries and key pools, as tables over a clock and a chance of the test's own."""

from random import Random

import pytest

from app.routing.failure import Failure, Kind
from app.routing.health import Deployment, Health, Rules
from app.routing.keys import KeyPool
from app.routing.order import Option, order
from app.routing.retry import RetryBudget, RetryRules, find_delay

RULES = Rules()
A, B, C, D = (("p", name) for name in "abcd")


def fail(health: Health, deployment: Deployment, times: int, now: float = 0) -> list[bool]:
    return [health.fail(deployment, now, RULES) for _ in range(times)]


def test_five_failures_in_a_row_put_a_deployment_out() -> None:
    """Four failures and a success are nothing; the fifth in a row ejects, for 30 seconds."""
    health = Health()
    assert fail(health, A, 4) == [False] * 4
    assert not health.succeed(A, 0, 0.1)
    assert fail(health, A, 5) == [False] * 4 + [True]
    assert health.is_out(A, 29.9)
    assert not health.is_out(A, 30)


def test_one_probe_decides_and_the_time_out_grows() -> None:
    """After its time one request probes: while it is under way the others stay away; a failure doubles the time."""
    health = Health()
    fail(health, A, 5)
    health.probe(A, 31)
    assert health.is_out(A, 31)
    assert health.fail(A, 31, RULES)
    assert health.is_out(A, 90)
    health.probe(A, 92)
    assert health.succeed(A, 92, 0.1)
    assert not health.is_out(A, 92)


@pytest.mark.parametrize(("pool", "expected"), [([A], 0), ([A, B], 1), ([A, B, C], 1), ([A, B, C, D], 2)])
def test_at_most_half_is_out_and_never_the_last(pool: list[Deployment], expected: int) -> None:
    """However many fail, at most half of a pool is kept from being tried first, and one always stays."""
    health = Health()
    for deployment in pool:
        fail(health, deployment, 5)
    assert len(health.list_out(pool, 1, RULES)) == expected


def test_what_another_process_found_out_counts() -> None:
    """An ejection that is heard of holds as one's own."""
    health = Health()
    health.hear(A, 50, 2)
    assert health.is_out(A, 49)
    health.hear(A, 0, 0)
    assert not health.is_out(A, 49)


def test_a_much_slower_deployment_is_an_outlier() -> None:
    """Far above the others' usual latency is an outlier; a few milliseconds among fast ones are not."""
    health = Health()
    for _ in range(10):
        for deployment, seconds in ((A, 0.2), (B, 0.3), (C, 9.0)):
            health.succeed(deployment, 0, seconds)
    assert health.find_outliers([A, B, C]) == [C]
    assert health.find_outliers([A, B]) == []
    assert health.find_outliers([C]) == []


def put_in_order(
    options: list[Option], strategy: str, health: Health | None = None, session: str = "", seed: int = 1
) -> list[str]:
    found = order(options, strategy, health or Health(), now=1, rules=RULES, random=Random(seed), session=session)
    return [option.deployment[1] for option in found]


def test_weights_share_the_calls() -> None:
    """A weight of three gets three quarters of the calls."""
    options = [Option(deployment=A, weight=3), Option(deployment=B)]
    first = [put_in_order(options, "weighted", seed=seed)[0] for seed in range(2000)]
    assert first.count("a") == pytest.approx(1500, abs=80)


def test_a_session_stays_where_it_is() -> None:
    """The calls of one session have one order, sessions spread by weight, and a removed option moves only its own."""
    options = [Option(deployment=deployment) for deployment in (A, B, C)]
    orders = {
        f"s{number}": put_in_order(options, "weighted", session=f"s{number}", seed=number) for number in range(600)
    }
    assert all(put_in_order(options, "weighted", session=name, seed=9) == found for name, found in orders.items())
    assert [found[0] for found in orders.values()].count("a") == pytest.approx(200, abs=60)
    for name, found in orders.items():
        without = [letter for letter in found if letter != "c"]
        assert put_in_order(options[:2], "weighted", session=name) == without


def test_other_strategies() -> None:
    """Least latency tries the unknown first, then the fastest; cheapest goes by price, unknown last."""
    health = Health()
    health.succeed(A, 0, 0.5)
    health.succeed(B, 0, 0.2)
    options = [Option(deployment=A, price=1.0), Option(deployment=B, price=3.0), Option(deployment=C)]
    assert put_in_order(options, "least-latency", health) == ["c", "b", "a"]
    assert put_in_order(options, "cheapest", health) == ["a", "b", "c"]


def test_what_is_out_comes_last() -> None:
    """An ejected deployment is tried only after the others."""
    health = Health()
    fail(health, A, 5)
    options = [Option(deployment=A, price=1.0), Option(deployment=B, price=2.0)]
    assert put_in_order(options, "cheapest", health) == ["b", "a"]


@pytest.mark.parametrize(
    ("kind", "wait", "tries", "bounds"),
    [
        (Kind.SERVER, None, 1, (0, 0.5)),
        (Kind.SERVER, None, 2, (0, 1.0)),
        (Kind.SERVER, None, 3, None),
        (Kind.RATE_LIMITED, 2.0, 1, (2, 2)),
        (Kind.RATE_LIMITED, 30.0, 1, None),
        (Kind.CALLER, None, 1, None),
        (Kind.CREDENTIAL, None, 1, None),
        (Kind.CONTEXT_WINDOW, None, 1, None),
        (Kind.TIMEOUT, None, 1, (0, 0.5)),
    ],
)
def test_delays(kind: Kind, wait: float | None, tries: int, bounds: tuple[float, float] | None) -> None:
    """Full jitter below a doubling ceiling; a wait that is asked for is kept exactly or not at all."""
    for seed in range(50):
        delay = find_delay(Failure(kind=kind, wait_seconds=wait), tries, RetryRules(), Random(seed))
        assert (delay is None) == (bounds is None)
        assert delay is None or bounds is None or bounds[0] <= delay <= bounds[1]


def test_retries_stay_within_a_fifth_of_the_requests() -> None:
    """With few requests three retries may run; with many, one in five."""
    budget = RetryBudget()
    budget.requests, budget.retries = 5, 2
    assert budget.allows(0.2, 0)
    budget.retries = 3
    assert not budget.allows(0.2, 0)
    budget.requests = 100
    assert budget.allows(0.2, 0)
    budget.retries = 20
    assert not budget.allows(0.2, 0)


@pytest.mark.parametrize("helped", [False, True])
def test_retries_in_vain_count_for_a_second(helped: bool) -> None:
    """Quick failures are held to the share as well; a retry that helped does not count against the next one."""
    budget = RetryBudget()
    budget.requests, budget.retries = 3, 3
    budget.end(3, 10.0, helped=helped)
    assert budget.allows(0.2, 10.5) is helped
    assert budget.allows(0.2, 11.5)


def test_a_request_alone_is_no_storm() -> None:
    """While hardly anybody calls, only a request's own retries count; after a few in one second it is one."""
    budget = RetryBudget()
    budget.requests, budget.retries = 1, 3
    budget.end(3, 10.0, helped=False)
    budget.requests = 1
    assert budget.allows(0.2, 10.1)
    for _ in range(3):
        budget.requests = 2
        budget.end(0, 10.2, helped=True)
    assert not budget.allows(0.2, 10.3)


def test_keys_take_turns_and_rest() -> None:
    """Keys are used in turn; one that was refused rests; when all are out there is none."""
    pool = KeyPool()
    assert [pool.find("p", ["x", "y"], 0) for _ in range(3)] == ["x", "y", "x"]
    pool.rest("p", "y", 0, 10)
    assert [pool.find("p", ["x", "y"], 1) for _ in range(2)] == ["x", "x"]
    pool.rest("p", "x", 0, 5)
    assert pool.find("p", ["x", "y"], 1) is None
    assert pool.find("p", ["x", "y"], 6) == "x"
    assert pool.find("p", [], 0) is None
