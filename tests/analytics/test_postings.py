"""What rows mean in money, before any of it reaches Postgres."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from app.analytics.postings import (
    LEDGER_COLUMNS,
    Adjustment,
    find_key,
    list_adjustments,
    list_ledger_values,
    list_settlements,
)
from app.db.tables import ledger
from app.wire.money import Hold
from app.wire.usage import Usage
from tests.analytics.samples import build_row
from tests.analytics.test_store import price

WHEN = datetime(2026, 11, 23, 18, 0, 0, 123457, UTC)


def build_posted(token_class, amount):
    return Adjustment(
        request_id=uuid4(),
        request_time=WHEN,
        booked_at=WHEN,
        user_id=None,
        api_key_id=None,
        team_id=None,
        organization_id=None,
        provider=None,
        model="asked-first",
        requested_model=None,
        tags=None,
        token_class=token_class,
        quantity=Decimal(1),
        usd_per_unit=Decimal(amount),
        factor=Decimal(1),
        amount_usd=Decimal(amount),
    )


def adjust(priced, *posted):
    return {line.token_class: (line.model, line.quantity, line.amount_usd) for line in list_adjustments(priced, posted)}


def test_every_column_of_the_ledger_gets_a_value():
    """The values of a line are those of all columns but the time of posting, which is Postgres's own."""
    (priced,) = price(build_row(usage=Usage(input_tokens=1)))
    (values,) = list_ledger_values(priced)
    assert len(values) == len(LEDGER_COLUMNS)
    assert [name for name, _ in LEDGER_COLUMNS] == [c.name for c in ledger.columns if c.name != "posted_at"]


def test_budgets_hear_of_what_costs_or_holds():
    """A row is settled when it cost something or money is held for it, and not otherwise."""
    hold = Hold(reservation_id=uuid4(), kind="escrow", amount_usd=Decimal(1), booked_at=5.5)
    rows = price(
        build_row(request_id="costs"),
        build_row(billed=False),
        build_row(model="unheard-of"),
        build_row(billed=False, hold=hold),
        build_row(model="unheard-of", hold=hold),
    )
    settled = list_settlements(rows)
    assert [entry.request_id for entry in settled] == [rows[number].row.id for number in (0, 3, 4)]
    assert [entry.amount for entry in settled] == [Decimal("0.15"), 0, 0]
    assert [(entry.reservation_id, entry.kind) for entry in settled[1:]] == [(hold.reservation_id, "escrow")] * 2
    assert settled[0].booked_at == settled[0].request_time
    assert settled[1].booked_at == datetime(1970, 1, 1, 0, 0, 5, 500_000, UTC)


def test_an_adjustment_takes_back_and_charges():
    """What is posted is taken back from whom it was booked to, the true lines are charged; a class is there once."""
    (priced,) = price(build_row(usage=Usage(input_tokens=10)))
    assert adjust(priced, build_posted("reserved", "1.5")) == {
        "reserved": ("asked-first", -1, Decimal("-1.5")),
        "input_tokens": ("gpt-4o", 10, Decimal("0.1")),
    }
    assert adjust(priced, build_posted("input_tokens", "0.5")) == {
        "input_tokens": ("gpt-4o", 9, Decimal("-0.4")),
    }


def test_what_cost_nothing_gets_all_of_it_back():
    """A row that nobody was paid for has its estimate taken back whole."""
    (priced,) = price(build_row(billed=False))
    assert adjust(priced, build_posted("reserved", "1.5")) == {"reserved": ("asked-first", -1, Decimal("-1.5"))}


def test_times_are_rounded_as_postgres_rounds():
    """The key of a row is the one that Postgres gives it."""
    (priced,) = price(build_row(request_time=WHEN.timestamp()))
    assert find_key(priced) == (priced.row.id, WHEN)
