"""`relaycore prices`: what calls are charged by, loading it, and pricing past calls again."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from app.commands.terms import explained, say
from app.settings import Settings, get_database_url, read_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.catalog.prices import PriceRow
    from app.catalog.rerate import Tally

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"])
FORMS = " (UTC), such as 2026-03-15 or 2026-03-15T12:30:00Z"


@click.group()
def prices() -> None:
    """Load and show prices, and price past calls again."""


@prices.command("update")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--lines", type=click.IntRange(1, 100_000), default=40, show_default=True, help="Lines for each group.")
@explained
def update(*, dry_run: bool, lines: int) -> None:
    """Load the prices of the catalogue that this version comes with, and show what differs."""
    from app.catalog.price_diff import write_table
    from app.catalog.price_update import compare_catalogue, update_prices
    from app.db.audit import COMMAND_LINE
    from app.start import get_auditor, open_prepared

    with open_prepared(read_settings(), say) as (settings, connection):
        if dry_run:
            diff = compare_catalogue(connection)
        else:
            diff = update_prices(connection, get_auditor(connection, settings), COMMAND_LINE)
    for line in write_table(diff, lines=lines):
        click.echo(line)
    if dry_run and diff.count:
        click.echo("Nothing was stored.")


@prices.command("show")
@click.argument("provider")
@click.argument("model")
@click.option("--at", type=MOMENT, metavar="TIME", help=f"A time other than now{FORMS}.")
@explained
def show(provider: str, model: str, at: datetime | None) -> None:
    """Show by what calls of a model are charged."""
    from app.catalog.price_terms import list_charges
    from app.start import open_prepared

    now = datetime.now(UTC)
    moment = at.replace(tzinfo=UTC) if at is not None else now
    with open_prepared(read_settings(), say) as (_, connection):
        factor, rows = list_charges(connection, provider, model, moment, now)
    if not rows:
        raise click.ClickException(f"{provider}/{model} has no price")
    click.echo(f"{provider}/{model} at {moment:%Y-%m-%d %H:%M:%S} UTC:")
    for line in _write_rows(rows):
        click.echo(line)
    if factor != 1:
        click.echo(f"All of it times {factor.normalize():f}: discount and margin of the provider.")


@prices.command("rerate")
@click.option("--from", "start", type=MOMENT, metavar="TIME", required=True, help=f"First time of a request{FORMS}.")
@click.option("--to", "end", type=MOMENT, metavar="TIME", help="Requests before this time (default: now).")
@click.option("--provider", help="Only requests to this provider.")
@click.option("--model", help="Only requests to this model.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@explained
def rerate(start: datetime, end: datetime | None, provider: str | None, model: str | None, *, dry_run: bool) -> None:
    """Price past requests again by what is known now, and post the differences to the ledger."""
    from app.catalog.rerate_run import rerate_all
    from app.catalog.rerate_store import RateRange
    from app.db.audit import COMMAND_LINE
    from app.start import get_auditor

    last = end.replace(tzinfo=UTC) if end is not None else datetime.now(UTC)
    wanted = RateRange(start=start.replace(tzinfo=UTC), end=last, provider=provider, model=model)
    if wanted.end <= wanted.start:
        raise click.ClickException("--to (now, when it is not given) must be later than --from.")
    with _open_migrated() as (settings, engine):
        with engine.begin() as connection:
            auditor = get_auditor(connection, settings)
        tally = rerate_all(engine, wanted, None if dry_run else auditor, COMMAND_LINE)
    for line in _write_tally(tally, "would change" if dry_run else "changed"):
        click.echo(line)


@contextmanager
def _open_migrated() -> "Generator[tuple[Settings, Engine], None, None]":
    """Yield complete settings and an engine for transactions of one's own, the schema being up to date."""
    from app.db.engine import open_blocking_engine
    from app.db.schema import migrate
    from app.start import open_database, provide_secret_key

    with open_database(provide_secret_key(read_settings()), say) as settings:
        migrate(get_database_url(settings), say)
        engine = open_blocking_engine(get_database_url(settings))
        try:
            yield settings, engine
        finally:
            engine.dispose()


def _write_rows(rows: "list[PriceRow]") -> Iterator[str]:
    from app.catalog.price_diff import write_usd

    lines = [
        (row.token_class, _write_start(row), write_usd(row), f"{row.provider}/{row.model}", row.source) for row in rows
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(4)]
    for line in lines:
        words = (f"{word:<{width}}" for word, width in zip(line, [*widths, 0], strict=True))
        yield ("  " + "  ".join(words)).rstrip()


def _write_start(row: "PriceRow") -> str:
    return f"from {row.from_input_tokens}" if row.from_input_tokens else ""


def _write_tally(tally: "Tally", verb: str) -> Iterator[str]:
    for one in tally.models:
        if one.corrected or one.unpriced:
            words = [f"{one.corrected} of {one.requests}", f"{one.difference_usd:+f} $"]
            if one.unpriced:
                words.append(f"{one.unpriced} without a price")
            yield f"  {one.provider}/{one.model}: {', '.join(words)}"
    total = tally.total
    yield f"{total.corrected} of {total.requests} requests {verb}, by {total.difference_usd:+f} $ together."
