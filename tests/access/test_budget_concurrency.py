"""Budgets under whatever comes: any order of what is done to them, and processes that are killed while they do it."""

import random
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.access.budget_books import Books, build_ask, build_entry
from tests.access.budget_worker import KEYS, LEASE_SECONDS, SHARED

REPOSITORY = Path(__file__).parents[2]
BUSY_SECONDS = 9.0
KILL_EVERY_SECONDS = 1.1
FRESH = (
    "SET session_replication_role = replica; TRUNCATE budget_alerts, budget_slices, budget_counters, budgets, "
    "reservations, ledger, requests, usage_hourly, processes; SET session_replication_role = DEFAULT"
)
USER, TAGS = SHARED
NAMES = [{"api_key_id": KEYS[0], "user_id": USER}, {"api_key_id": KEYS[1], "user_id": USER, "tags": TAGS}]
CENTS = st.integers(1, 80).map(lambda cents: Decimal(cents) / 100)
KINDS = st.sampled_from(["call", "call", "escrow"])
OVER = "SELECT id FROM budget_status WHERE overrun_usd > 0"
COUNTED_OVER = "SELECT budget_id AS id FROM budget_counters WHERE overrun_usd > 0"


class BudgetMachine(RuleBasedStateMachine):
    """Two keys of one user, a tag, and budgets of every kind, used in any order; calm: nothing excuses an overrun."""

    books: Books

    @initialize(calm=st.booleans(), amounts=st.lists(st.integers(100, 900), min_size=5, max_size=5))
    def begin(self, calm, amounts) -> None:
        self.calm = calm
        books = self.books
        books.query(FRESH)
        books.live(3600)
        kinds = [("key", KEYS[0], "total", False), ("user", USER, "day", False), ("user", USER, "day", True)]
        kinds += [("tag", TAGS[0], "week", True), ("model", "mock/echo", "total", False)]
        self.budgets = [
            books.budget(scope, ref, cents / Decimal(100), period, rolling=rolling, soft_limit_usd=1)
            for (scope, ref, period, rolling), cents in zip(kinds, amounts, strict=True)
        ]
        self.held = []
        self.requests = []
        self.excused = False

    @rule(wishes=st.lists(st.tuples(st.sampled_from(NAMES), CENTS, st.integers(0, 100), KINDS), min_size=1, max_size=4))
    def hold(self, wishes) -> None:
        asks = [build_ask(who, wanted, wanted * least / 100, kind=kind) for who, wanted, least, kind in wishes]
        for ask, answer, (who, wanted, _, _) in zip(asks, self.books.reserve(*asks), wishes, strict=True):
            if answer["granted"] is None:
                assert answer["remaining_usd"] < ask.minimum_usd
            else:
                assert ask.minimum_usd <= answer["granted"] <= wanted
                self.held.append((ask, answer, who))

    @precondition(lambda self: self.held)
    @rule(picks=st.lists(st.integers(0), min_size=1, max_size=3), share=st.integers(0, 130))
    def settle(self, picks, share) -> None:
        share = min(share, 100) if self.calm else share
        self.excused |= share > 100
        chosen = [self.held.pop(pick % len(self.held)) for pick in picks[: len(self.held)]]
        entries = []
        for ask, answer, who in chosen:
            cost = answer["granted"] * share / 100
            request = ask.facts["request_id"] if ask.kind == "call" else None
            entries.append(build_entry(who, cost, ask=ask, booked_at=answer["at"], request_id=request))
            if ask.kind == "escrow" and share < 50:
                self.held.append((ask, answer | {"granted": answer["granted"] - cost}, who))
        self.books.book_all(*entries)
        self.requests += [entry["request_id"] for entry in entries]

    @precondition(lambda self: not self.calm)
    @rule(who=st.sampled_from(NAMES), cost=CENTS)
    def spend_without_a_hold(self, who, cost) -> None:
        self.excused = True
        self.requests.append(self.books.book(who, cost))

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0), cents=st.none() | CENTS)
    def give_back(self, pick, cents) -> None:
        ask, answer, who = self.held.pop(pick % len(self.held))
        left = None if cents is None else max(answer["granted"] - cents, Decimal(0))
        kept = None if left is None else [left]
        self.books.query("SELECT relaycore_release(%s, %s, %s::numeric[])", self.books.process, [ask.id], kept)
        if left is not None:
            self.held.append((ask, answer | {"granted": left}, who))

    @precondition(lambda self: self.requests)
    @rule(pick=st.integers(0), cents=st.integers(-50, 50).filter(bool))
    def adjust(self, pick, cents) -> None:
        cents = -abs(cents) if self.calm else cents
        self.excused |= cents > 0
        self.books.adjust(self.requests[pick % len(self.requests)], Decimal(cents) / 100)

    @precondition(lambda self: self.held)
    @rule()
    def die(self) -> None:
        self.books.live(-1)
        count = self.books.value("SELECT count(*) FROM reservations")
        assert self.books.reap() == count
        assert self.books.reap() == 0
        self.books.live(3600)
        self.held = []

    @precondition(lambda self: not self.calm)
    @rule(pick=st.integers(0, 4), amount=CENTS)
    def change_limit(self, pick, amount) -> None:
        self.excused = True
        self.books.query("UPDATE budgets SET amount_usd = %s WHERE id = %s", amount, self.budgets[pick])

    @rule(days=st.integers(1, 3))
    def pass_days(self, days) -> None:
        self.books.pass_days(days)
        self.held = [(ask, answer | {"at": answer["at"] - days * 86400}, who) for ask, answer, who in self.held]

    @rule()
    def roll(self) -> None:
        self.books.query("SELECT relaycore_roll_budgets()")

    @precondition(lambda self: not self.calm)
    @rule(pick=st.integers(0, 4))
    def make_anew(self, pick) -> None:
        books, old = self.books, self.budgets[pick]
        (was,) = books.query("UPDATE budgets SET deleted_at = now() WHERE id = %s RETURNING *", old)
        self.excused = True  # what is held and what was spent may be more than the new one has room for
        self.budgets[pick] = books.budget(
            was["scope"], was["ref"], was["amount_usd"], was["period"], rolling=was["rolling"]
        )

    @invariant()
    def the_books_balance(self) -> None:
        assert self.books.problems() == []

    @invariant()
    def nobody_overspends(self) -> None:
        if not self.excused:
            assert self.books.query(OVER) == self.books.query(COUNTED_OVER) == []


def test_any_order_of_events_keeps_the_books(module_database_url) -> None:
    """Ledger, counters and reservations agree after every step, and without an excuse no budget is overrun.

    An excuse is a cost above its hold or without one, a correction upwards, a lowered limit or a new budget.
    """
    BudgetMachine.books = Books(module_database_url)
    run_state_machine_as_test(
        BudgetMachine,
        settings=settings(
            max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    BudgetMachine.books.connection.close()


class Crowd:
    """Processes that spend, some of which are killed and replaced."""

    def __init__(self, url: str, size: int) -> None:
        self.url = url
        self.processes = [self.start() for _ in range(size)]

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.access.budget_worker", self.url]
        return subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def kill_one(self) -> None:
        victim = self.processes.pop(random.randrange(len(self.processes)))
        assert victim.poll() is None, self.end(victim)
        victim.kill()
        self.end(victim)
        self.processes.append(self.start())

    def end(self, process: subprocess.Popen[bytes]) -> str:
        """Have a process end (if it was not killed) and return what it complained about."""
        _, complaint = process.communicate(timeout=20)
        return complaint.decode()

    def stop(self) -> list[str]:
        return [self.end(process) for process in self.processes]


def keep_killing(crowd: Crowd, books: Books) -> None:
    """Kill one after the other while they work, and have the last ones end."""
    until = time.monotonic() + BUSY_SECONDS
    while time.monotonic() < until:
        time.sleep(KILL_EVERY_SECONDS * random.uniform(0.5, 1.5))
        crowd.kill_one()
        assert books.query(COUNTED_OVER) == []
    assert crowd.stop() == ["", "", ""]


def test_killed_processes_leave_nothing_and_nobody_overspends(database_url) -> None:
    """Three processes at the edge of shared budgets, one killed every moment: no overspend, no hold left, no deadlock.

    The amounts are such that the budgets run out long before the end.
    """
    books = Books(database_url)
    limits = {
        books.budget("key", KEYS[0], "0.5"): Decimal("0.5"),
        books.budget("tag", TAGS[0], 1, "month", soft_limit_usd="0.5"): Decimal(1),
        books.budget("user", USER, 3, "quarter", rolling=True): Decimal(3),
        books.budget("model", "mock/echo", 1000, "day"): Decimal(1000),
    }
    crowd = Crowd(database_url, 3)
    try:
        keep_killing(crowd, books)
    finally:
        for process in crowd.processes:
            process.kill()
    time.sleep(LEASE_SECONDS + 0.2)
    while books.reap():
        pass
    assert books.query("SELECT FROM reservations") == []
    assert books.query("SELECT FROM processes WHERE id <> %s", books.process) == []
    assert books.problems() == []
    for budget, limit in limits.items():
        counter = books.counter(budget)
        assert (counter["reserved_usd"], counter["overrun_usd"]) == (0, 0)
        assert counter["spent_usd"] <= limit
        assert counter["spent_usd"] > limit - Decimal("0.02") or limit == 1000
    assert len(books.query("SELECT FROM budget_alerts")) == 1
    books.query("SELECT pg_stat_force_next_flush()")
    assert books.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    books.connection.close()
