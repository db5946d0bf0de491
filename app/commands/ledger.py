"""`relaycore ledger`: the books."""

import click

from app.commands.terms import explained, say
from app.settings import read_settings


@click.group()
def ledger() -> None:
    """Check the books of what was spent."""


@ledger.command("check")
@explained
def check() -> None:
    """Compare budgets, reservations and requests with the ledger; exit status 1 when they do not fit together."""
    from app.access.budget_edit_store import check_ledger
    from app.start import open_prepared

    with open_prepared(read_settings(), say) as (_, connection):
        found = check_ledger(connection)
    for problem, detail in found.problems:
        click.echo(f"{problem}: {detail}")
    if found.problems:
        raise SystemExit(1)
    click.echo(f"ok: {found.lines} ledger lines, {found.counters} counters, {found.reservations} reservations")
