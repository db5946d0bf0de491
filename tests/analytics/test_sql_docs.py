"""docs/sql.md: what it says to people who write SQL holds for the real table."""

import re
from pathlib import Path

import psycopg
import pytest

from app.db.tables import requests

DOCUMENT = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
EXAMPLES = re.findall(r"^```sql\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_every_column_is_described():
    """The table of columns names each column of `requests`, and no other."""
    lines = [line.split("|")[1] for line in DOCUMENT.splitlines() if line.startswith("| `")]
    assert [name for line in lines for name in re.findall(r"`(\w+)`", line)] == [c.name for c in requests.columns]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(database_url, number):
    """Every example can be pasted and runs."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute(EXAMPLES[number]).description
