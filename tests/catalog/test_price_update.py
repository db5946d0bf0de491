"""Loading the catalogue: what differs is stored, said and noted, ahead of the hours at which prices change."""

import logging
from datetime import datetime
from decimal import Decimal

import psycopg
import pytest
from click.testing import CliRunner

from app.catalog.price_diff import PriceDiff, summarize, write_table
from app.catalog.price_terms import find_terms
from app.catalog.price_update import find_next_half_hour, run_price_update
from app.catalog.prices import PriceRow
from app.catalog.types import ProviderConfig
from app.cli import main
from app.worker import build_jobs
from tests.conftest import SECRET_KEY, prepare


def row(model, usd="0.000001", **changes):
    values = {"provider": "acme", "model": model, "token_class": "input_tokens", "source": "genai-prices 1"}
    return PriceRow(usd_per_unit=Decimal(usd), **values | changes)


def query(url, statement):
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchall()


@pytest.fixture
def database_url(bare_database_url):
    """Have no prices but those of the test."""
    return bare_database_url


@pytest.fixture
def run(database_url, tmp_path, monkeypatch):
    """Run a command on the test's database and return what it printed."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("RELAYCORE_SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("RELAYCORE_DATA_DIR", str(tmp_path))

    def command(*words, status=0):
        result = CliRunner().invoke(main, ["prices", *words])
        assert result.exit_code == status, result.output
        return result.output

    return command


def test_the_job_loads_notes_and_says_what_differs(database_url, caplog):
    """A run that changes something leaves a line in the log and one in the audit log; the next has nothing to say."""
    caplog.set_level(logging.INFO, "relaycore.prices")
    assert run_price_update(database_url, SECRET_KEY).count > 20_000
    first = [record.getMessage() for record in caplog.records if record.name == "relaycore.prices"]
    lines = query(database_url, "SELECT actor, action, object_kind, after FROM audit_log ORDER BY sequence")
    assert len(lines) == len(first) >= 1
    assert lines[0][:3] == ("price update", "prices.update", "prices")
    assert lines[0][3]["providers"]["openai"] > 100
    caplog.clear()
    run_price_update(database_url, SECRET_KEY)
    assert not [record for record in caplog.records if record.name == "relaycore.prices"]
    assert len(query(database_url, "SELECT FROM audit_log")) == len(lines)


def test_the_job_is_registered(database_url, tmp_path):
    """The worker loads prices twice an hour, a few minutes before vendors change theirs."""
    jobs = build_jobs(prepare(database_url, tmp_path).settings, lambda: None)
    periodic = {task.task.name: task.cron for task in jobs.periodic_registry.periodic_tasks.values()}
    assert periodic["relaycore.prices"] == "25,55 * * * *"


@pytest.mark.parametrize(
    ("now", "then"),
    [("10:00:00", "10:30"), ("10:29:59", "10:30"), ("10:30:00", "11:00"), ("23:55:10", "00:00")],
)
def test_the_next_half_hour(now, then):
    """Prices are loaded ahead for the next full or half hour."""
    moment = datetime.fromisoformat(f"2026-11-20T{now}+00:00")
    found = find_next_half_hour(moment)
    assert f"{found:%H:%M}" == then
    assert found > moment


def test_a_difference_is_told_in_a_table():
    """Changed, removed and added prices are grouped, with amounts and counts, and not more lines than asked."""
    diff = PriceDiff(
        added=tuple(row(f"n{number}") for number in range(5)),
        removed=(row("gone", token_class="web_searches", usd="0.01"),),
        changed=((row("c"), row("c", "0.0000025", from_input_tokens=200_001)),),
    )
    assert list(write_table(diff, lines=2)) == [
        "changed:",
        "  acme/c  input_tokens from 200001 input tokens  1 $/M -> 2.5 $/M",
        "removed:",
        "  acme/gone  web_searches  0.01 $ each",
        "added:",
        "  acme/n0  input_tokens  1 $/M",
        "  acme/n1  input_tokens  1 $/M",
        "  … and 3 more",
        "5 added, 1 removed, 1 changed.",
    ]
    assert summarize(diff) == {"added": 5, "removed": 1, "changed": 1, "providers": {"acme": 7}}


def test_terms_follow_the_configuration():
    """A provider is charged by its vendor's list times its own factor; one that is not configured by its own name."""
    providers = {"az": ProviderConfig(type="azure-openai", discount=0.1, margin=0.25)}
    assert (find_terms(providers, "az").prices, find_terms(providers, "az").factor) == ("azure", Decimal("1.125"))
    assert (find_terms(providers, "gone").prices, find_terms(providers, "gone").factor) == ("gone", 1)


def test_update(run, database_url):
    """`prices update` shows what differs and stores it, with --dry-run it only shows; then nothing differs."""
    trial = run("update", "--dry-run", "--lines", "3")
    assert "… and" in trial
    assert "Nothing was stored." in trial
    assert query(database_url, "SELECT count(*) FROM prices") == [(0,)]
    assert "0 removed, 0 changed." in run("update", "--lines", "3")
    assert run("update") == "0 added, 0 removed, 0 changed.\n"
    assert query(database_url, "SELECT actor, action FROM audit_log") == [("command line", "prices.update")]


def test_show(run):
    """`prices show` says by what a model is charged, under whichever name, and what has no price."""
    run("update", "--lines", "1")
    shown = run("show", "openai", "gpt-4o-2024-08-06")
    assert "input_tokens@batch" in shown
    assert "2.5 $/M" in shown
    assert "openai/gpt-4o" in shown
    assert "2.5 $/M" in run("show", "azure", "gpt-4o", "--at", "2025-06-01")
    assert "has no price" in run("show", "openai", "never-heard-of-it", status=1)
    assert "0.01 $ each" in run("show", "mock", "anything")


def test_rerate(run):
    """`prices rerate` says how many requests and how much money changed."""
    assert run("rerate", "--from", "2026-01-01") == "0 of 0 requests changed, by +0 $ together.\n"
    assert "would change" in run("rerate", "--from", "2026-01-01", "--to", "2026-02-01T00:00:00Z", "--dry-run")
    assert run("rerate", status=2)
