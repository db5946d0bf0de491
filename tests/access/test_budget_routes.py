"""Budgets over HTTP."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from click.testing import CliRunner

from app.cli import main
from app.db.engine import open_blocking_engine
from app.start import get_auditor
from tests.access.budget_books import Books
from tests.conftest import SECRET_KEY

UUID4 = "01900000-0000-4000-8000-00000000dead"
GOOD = {"scope": "tag", "ref": "blue", "amount_usd": 10, "period": "month"}


@pytest.fixture(scope="module")
def admin(shared_gateway):
    with shared_gateway.client(headers={"authorization": f"Bearer {shared_gateway.admin_key}"}) as client:
        yield client


@pytest.fixture(scope="module")
def books(shared_gateway):
    books = Books(shared_gateway.database_url)
    yield books
    books.connection.close()


def make(admin, **fields):
    answer = admin.post("/admin/budgets", json={**GOOD, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_budget_is_made_and_shown_with_its_counter(admin, books):
    """What is said comes back, with what is spent, reserved and left in the period, and when that ends."""
    books.book({"tags": ["counted"]}, "0.25")
    made = make(admin, ref="counted", soft_limit_usd=8, name="Blue things")
    books.hold({"tags": ["counted"]}, "0.5")
    shown = admin.get(f"/admin/budgets/{made['id']}").json()
    assert shown["name"] == "Blue things"
    figures = ("amount_usd", "limit_usd", "spent_usd", "reserved_usd", "remaining_usd", "overrun_usd")
    assert [shown[name] for name in figures] == [10, 10, 0.25, 0.5, 9.25, 0]
    assert datetime.fromisoformat(shown["resets_at"]) > datetime.now(UTC)
    assert shown["soft_limit_reached_at"] is None
    assert shown in admin.get("/admin/budgets", params={"scope": "tag", "ref": "counted"}).json()["budgets"]


def test_money_keeps_all_its_digits(admin):
    """Fifteen decimals come back as they were sent, as a number of JSON."""
    answer = admin.post(
        "/admin/budgets",
        content='{"scope": "tag", "ref": "exact", "period": "total", "amount_usd": 0.000000000000001}',
        headers={"content-type": "application/json"},
    )
    assert Decimal("0.000000000000001") == Decimal(answer.text.partition('"amount_usd":')[2].partition(",")[0])
    assert answer.json()["resets_at"] is None


def test_a_change_is_partial_and_holds_at_once(admin, books):
    """Fields that are not sent stay; the next ask meets the new limit; sending back what was read changes nothing."""
    made = make(admin, ref="changing", soft_limit_usd=1)
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    changed = admin.put(f"/admin/budgets/{made['id']}", json={"override_usd": 0.1, "override_until": until}).json()
    assert (changed["amount_usd"], changed["limit_usd"], changed["soft_limit_usd"]) == (10, 0.1, 1)
    assert books.hold({"tags": ["changing"]}, 5)[1]["granted"] is None
    sent = {name: changed[name] for name in ("scope", "ref", "period", "rolling", "override_usd", "override_until")}
    again = admin.put(f"/admin/budgets/{made['id']}", json=sent).json()
    assert again["override_until"] == changed["override_until"]
    back = admin.put(f"/admin/budgets/{made['id']}", json={"override_usd": None, "soft_limit_usd": None}).json()
    assert (back["override_until"], back["soft_limit_usd"], back["limit_usd"]) == (None, None, 10)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"scope": "planet"}, "scope"),
        ({"scope": "key", "ref": UUID4}, "ref"),
        ({"scope": "user", "ref": "nobody"}, "ref"),
        ({"scope": "team", "ref": UUID4}, "ref"),
        ({"scope": "organization", "ref": UUID4}, "ref"),
        ({"ref": ""}, "ref"),
        ({"ref": "a\0b"}, "ref"),
        ({"ref": "x" * 513}, "ref"),
        ({"amount_usd": -1}, "amount_usd"),
        ({"amount_usd": 1e9}, "amount_usd"),
        ({"amount_usd": "NaN"}, "amount_usd"),
        ({"amount_usd": 1e-16}, "amount_usd"),
        ({"amount_usd": None}, "amount_usd"),
        ({"soft_limit_usd": -1}, "soft_limit_usd"),
        ({"period": "year"}, "period"),
        ({"period": "total", "rolling": True}, "rolling"),
        ({"override_usd": 1}, "override_until"),
        ({"override_until": "2040-01-01T00:00:00Z"}, "override_usd"),
        ({"override_usd": 1, "override_until": "2020-01-01T00:00:00Z"}, "override_until"),
        ({"override_usd": 1, "override_until": "2040-01-01T00:00:00"}, "override_until"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_what_does_not_fit_is_named(admin, fields, named):
    """A field that does not fit is a 400 that names it."""
    answer = admin.post("/admin/budgets", json={**GOOD, **fields})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert named in (error["param"] or "") or named in error["message"]


@pytest.mark.parametrize(
    "fields", [{"scope": "model"}, {"ref": "green"}, {"period": "day"}, {"rolling": True}, {"amount_usd": -1}]
)
def test_what_a_budget_counts_cannot_change(admin, fields):
    """Scope, ref and period of a budget stay: a 400 names the field."""
    made = make(admin, ref="steady")
    answer = admin.put(f"/admin/budgets/{made['id']}", json=fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(fields)))


def test_owners_are_looked_up(admin, shared_gateway):
    """A key's or a user's id is accepted in any case, and stored in one."""
    user = admin.post("/admin/users", json={"email": "owner@example.org", "name": "", "role": "user"}).json()["id"]
    key = admin.post("/admin/api-keys", json={"user_id": user, "name": "k"}).json()["id"]
    assert make(admin, scope="user", ref=user.upper())["ref"] == user
    assert make(admin, scope="key", ref=key)["ref"] == key
    assert admin.delete(f"/admin/api-keys/{key}").status_code == 204
    assert admin.post("/admin/budgets", json={**GOOD, "scope": "key", "ref": key}).status_code == 400


@pytest.mark.parametrize("budget_id", ["0", UUID4, "%00", "x" * 3000])
def test_what_is_not_there_is_a_404(admin, budget_id):
    """An id of nothing, or what is no id, is not found, whatever is done to it."""
    assert admin.get(f"/admin/budgets/{budget_id}").status_code == 404
    assert admin.put(f"/admin/budgets/{budget_id}", json={}).status_code == 404
    assert admin.delete(f"/admin/budgets/{budget_id}").status_code == 404


def test_a_deleted_budget_holds_nobody_back(admin, books):
    """After DELETE it is gone, and calls are no longer held to it."""
    made = make(admin, ref="deleted", amount_usd=0)
    assert books.hold({"tags": ["deleted"]}, 1)[1]["granted"] is None
    assert admin.delete(f"/admin/budgets/{made['id']}").status_code == 204
    assert admin.get(f"/admin/budgets/{made['id']}").status_code == 404
    assert books.hold({"tags": ["deleted"]}, 1)[1]["granted"] == 1


def test_lists_go_page_by_page(admin):
    """Newest first, every budget once, until there is no next; a bad cursor or limit is a 400 naming it."""
    made = [make(admin, ref="paged")["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        query = {"ref": "paged", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = admin.get("/admin/budgets", params=query).json()
        assert page["total"] == 5
        seen += [one["id"] for one in page["budgets"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made[::-1]
    for query in ({"cursor": "!"}, {"limit": 0}, {"scope": "planet"}):
        answer = admin.get("/admin/budgets", params=query)
        assert answer.status_code == 400
        assert next(iter(query)) in answer.text


def test_alerts_are_listed(admin, books):
    """The soft limits that were reached, newest first, page by page."""
    made = [make(admin, ref=f"soft {number}", soft_limit_usd=1)["id"] for number in range(3)]
    for number in range(3):
        books.book({"tags": [f"soft {number}"]}, 2)
    first = admin.get("/admin/budget-alerts", params={"limit": 2}).json()
    rest = admin.get("/admin/budget-alerts", params={"limit": 2, "cursor": first["next"]}).json()
    alerts = first["alerts"] + rest["alerts"]
    assert [alert["budget_id"] for alert in alerts] == made[::-1]
    assert (alerts[0]["ref"], alerts[0]["soft_limit_usd"], alerts[0]["spent_usd"]) == ("soft 2", 1, 2)
    assert (first["total"], rest["next"]) == (3, None)
    assert admin.get(f"/admin/budgets/{made[0]}").json()["soft_limit_reached_at"] is not None
    for cursor in ("!", "AAAA", "_" * 32):
        answer = admin.get("/admin/budget-alerts", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "cursor")


def test_changes_are_in_the_audit_log(admin, shared_gateway):
    """Making, changing and deleting a budget is noted with what people said of it, in a chain that holds."""
    made = make(admin, ref="noted")
    admin.put(f"/admin/budgets/{made['id']}", json={"amount_usd": 11})
    admin.put(f"/admin/budgets/{made['id']}", json={"amount_usd": 11})
    admin.delete(f"/admin/budgets/{made['id']}")
    lines = admin.get("/admin/audit", params={"object_kind": "budget", "object_id": made["id"]}).json()["audit"]
    assert [line["action"] for line in lines] == ["budget.delete", "budget.update", "budget.create"]
    assert (lines[1]["before"]["amount_usd"], lines[1]["after"]["amount_usd"]) != (None, None)
    engine = open_blocking_engine(shared_gateway.database_url)
    with engine.begin() as connection:
        assert get_auditor(connection, shared_gateway.settings).find_break(connection) is None
    engine.dispose()


def test_only_administrators(shared_gateway):
    """A user's key may not even look."""
    with shared_gateway.client() as client:
        assert client.get("/admin/budgets").status_code == 403
        assert client.post("/admin/budgets", json=GOOD).status_code == 403
        assert client.get("/admin/budget-alerts").status_code == 403


def test_the_command_checks_the_books(database_url):
    """`relaycore ledger check` says ok with the counts, or every problem with exit status 1."""
    books = Books(database_url)
    books.budget("tag", "blue", 10)
    books.book({"tags": ["blue"]}, 1)
    environment = {"DATABASE_URL": database_url, "RELAYCORE_SECRET_KEY": SECRET_KEY}
    good = CliRunner().invoke(main, ["ledger", "check"], env=environment)
    assert (good.exit_code, good.stdout) == (0, "ok: 1 ledger lines, 1 counters, 0 reservations\n")
    books.query("UPDATE budget_counters SET spent_usd = 3")
    bad = CliRunner().invoke(main, ["ledger", "check"], env=environment)
    assert bad.exit_code == 1
    assert "a counter differs from the ledger" in bad.stdout
    books.connection.close()
