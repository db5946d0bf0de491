"""What a batch looks like on a terminal, as a table."""

import pytest

from app.commands.batch_watch import write_amount, write_table


@pytest.mark.parametrize(
    ("usd", "written"),
    [
        (None, None),
        (0, "0 USD"),
        (6e-06, "0.000006 USD"),
        (0.1, "0.1 USD"),
        (1200.0, "1200 USD"),
        (1e-15, "0.000000000000001 USD"),
    ],
)
def test_amounts(usd: float | None, written: str | None) -> None:
    """An amount has all its digits and is no power of ten; what is unknown is not 0."""
    assert write_amount(usd) == written


def test_what_is_unknown_has_no_line() -> None:
    """A batch whose cost nobody knows shows none."""
    lines = write_table({"batch_id": "b", "status": "completed", "cost_usd": None, "saved_usd": 0.5}).splitlines()
    assert not [line for line in lines if line.startswith("cost")]
    assert "saved     0.5 USD" in lines
