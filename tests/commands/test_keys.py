"""`relaycore keys`: what it makes, what it refuses, and what the audit log says of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.rows import dict_row

from app.access.keys import find_public_id
from app.cli import main
from tests.conftest import SECRET_KEY

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `relaycore keys …` on a database of the test's own."""
    environ = {
        "RELAYCORE_DATA_DIR": str(tmp_path),
        "DATABASE_URL": database_url,
        "RELAYCORE_SECRET_KEY": SECRET_KEY,
    }
    monkeypatch.setattr("os.environ", environ)
    return lambda *words: CliRunner().invoke(main, ["keys", *words])


def query(url: str, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(statement).fetchall()


def test_a_key_is_made_as_told(run: Run, database_url: str) -> None:
    """Every option ends in the stored key; the owner is made when unknown."""
    options = ["--user", "a@example.org", "--name", "mine", "--model", "m", "--scope", "inference", "--scope", "cache"]
    options += ["--rpm", "5", "--tpm", "600", "--max-parallel", "2", "--budget-usd", "1.50", "--budget-period", "day"]
    done = run("create", *options, "--expires-days", "3")
    assert done.exit_code == 0, done.output
    (key,) = query(database_url, "SELECT *, expires_at - created_at AS lives FROM api_keys")
    assert key["public_id"] == find_public_id(done.stdout.strip())
    assert (key["name"], key["models"], key["scopes"]) == ("mine", ["m"], ["cache", "inference"])
    assert (key["rpm"], key["tpm"], key["max_parallel"]) == (5, 600, 2)
    assert 2.9 < key["lives"].total_seconds() / 86400 < 3.1
    (budget,) = query(database_url, "SELECT * FROM budgets")
    assert (budget["ref"], budget["amount_usd"], budget["period"]) == (str(key["id"]), 1.5, "day")
    assert "a@example.org  mine" in run("list").output


def test_what_does_not_fit_is_one_line(run: Run, database_url: str) -> None:
    """A refusal says why in one line and leaves nothing behind."""
    run("create", "--user", "a@example.org")
    for words, said in (
        (["create", "--team", "nobody"], "There is not exactly one team 'nobody'"),
        (["create", "--budget-usd", "much"], "budget_usd"),
        (["create", "--budget-usd", "-1"], "budget_usd"),
        (["create", "--budget-period", "day"], "budget_usd"),
        (["create", "--user", "nobody"], "--user takes an e-mail address"),
        (["create", "--user", "a@ b"], "email"),
        (["create", "--user", "b@example.org", "--scope", "admin"], "scopes"),
        (["create", "--name", "x" * 201], "name"),
        (["revoke", "none"], "no live key"),
        (["rotate", "none"], "no live key"),
    ):
        done = run(*words)
        assert done.exit_code == 1
        assert done.output.startswith("Error: ")
        assert done.output.count("\n") == 1
        assert said in done.output
    assert (
        len(query(database_url, "SELECT FROM api_keys")) == len(query(database_url, "SELECT FROM audit_log")) - 1 == 1
    )


def test_a_key_acts_for_a_team(run: Run, database_url: str) -> None:
    """A team goes by its name or its id, and its owner must belong to it."""
    run("create", "--user", "a@example.org")
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO teams (id, name) VALUES (gen_random_uuid(), 'research')")
    (team,) = query(database_url, "SELECT id::text FROM teams")
    assert "no member" in run("create", "--user", "a@example.org", "--team", "research").output
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO team_members (team_id, user_id) SELECT t.id, u.id FROM teams t, users u")
    for name in ("research", team["id"], team["id"].upper()):
        assert run("create", "--user", "a@example.org", "--team", name).exit_code == 0
    assert len(query(database_url, "SELECT FROM api_keys WHERE team_id IS NOT NULL")) == 3


def test_rotated_and_revoked(run: Run, database_url: str) -> None:
    """A key is named by its public id or by itself, old or new; all that is done is on record as the command line's."""
    key = run("create", "--user", "a@example.org").stdout.strip()
    new = run("rotate", key, "--grace-seconds", "60").stdout.strip()
    (stored,) = query(database_url, "SELECT public_id, previous_public_id FROM api_keys")
    assert (stored["public_id"], stored["previous_public_id"]) == (find_public_id(new), find_public_id(key))
    newest = run("rotate", str(find_public_id(new)), "--grace-seconds", "0").stdout.strip()
    assert run("revoke", key).exit_code == 1
    assert run("revoke", newest).exit_code == 0
    assert run("revoke", newest).exit_code == 1
    assert run("list").output == ""
    lines = query(database_url, "SELECT actor, action FROM audit_log ORDER BY sequence")
    assert {line["actor"] for line in lines} == {"command line"}
    assert [line["action"] for line in lines] == [
        "user.create",
        "api_key.create",
        "api_key.rotate",
        "api_key.rotate",
        "api_key.revoke",
    ]
    assert not query(database_url, f"SELECT FROM audit_log WHERE (before || after)::text LIKE '%{newest[-20:]}%'")
