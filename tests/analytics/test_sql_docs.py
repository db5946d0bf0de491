"""docs/sql.md: what it says to people who write SQL holds for the real tables."""

import re
from pathlib import Path

import psycopg
import pytest

from app.db.tables import ledger, requests, semantic_decisions, usage_hourly

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "sql.md").read_text()
EXAMPLES = re.findall(r"^```sql\n(.*?)^```", DOCUMENT + (DOCS / "caching.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("table", [requests, ledger, usage_hourly, semantic_decisions], ids=str)
def test_every_column_is_described(table):
    """The section of a stable table names each of its columns, and no other."""
    section = re.findall(rf"^## `{table.name}`.*?\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)[0]
    lines = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert [name for line in lines for name in re.findall(r"`(\w+)`", line)] == [c.name for c in table.columns]


def test_readers_may_read_what_is_described():
    """The rights that the page gives cover every table that has a section."""
    grant = re.findall(r"GRANT SELECT ON ([\w, ]+) TO analyst", DOCUMENT)[0].split(", ")
    described = re.findall(r"`(\w+)`", " ".join(re.findall(r"^## (`.*)$", DOCUMENT, re.MULTILINE)))
    assert set(described) <= set(grant)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(database_url, number):
    """Every example can be pasted and runs."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute(EXAMPLES[number]).description
