"""The `relaycore` command."""

import logging
import sys
from pathlib import Path

import click

from app.commands.audit import audit
from app.commands.batch import batch
from app.commands.keys import keys
from app.commands.ledger import ledger
from app.commands.prices import prices
from app.commands.secret import secret
from app.commands.terms import explained, say
from app.settings import LOG_FORMAT, read_settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="relaycore", prog_name="relaycore")
def main() -> None:
    """RelayCore: a self-hosted LLM gateway that keeps everything in one Postgres."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=LOG_FORMAT)


@main.command()
@click.option("--host", help="Address to listen on (RELAYCORE_HOST, default 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (RELAYCORE_PORT or PORT, default 4000).")
@click.option("--workers", type=click.IntRange(1, 256), help="Web processes (RELAYCORE_WORKERS, default 1).")
@click.option(
    "--config",
    "config_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML configuration to import (default: relaycore.config.yaml in this folder, when there is one).",
)
@explained
def serve(host: str | None, port: int | None, workers: int | None, config_path: Path | None) -> None:
    """Serve the gateway; starts its own Postgres when DATABASE_URL is not set."""
    from app.serve import serve as serve_until_stopped

    serve_until_stopped(read_settings(host=host, port=port, workers=workers, config_path=config_path), say)


@main.command()
@explained
def worker() -> None:
    """Run a job worker beside the web processes, to scale out."""
    from app.serve import work

    work(read_settings(), say)


@main.command()
@explained
def migrate() -> None:
    """Bring the database schema up to date."""
    from app.db.schema import migrate as bring_up_to_date
    from app.settings import get_database_url
    from app.start import open_database

    with open_database(read_settings(), say) as settings:
        count = bring_up_to_date(get_database_url(settings), say)
        click.echo(f"The schema is up to date ({count} migrations applied).")


@main.command()
@explained
def doctor() -> None:
    """Check this installation and say what is wrong or could be better."""
    from app.doctor import examine

    findings = examine(read_settings())
    for finding in findings:
        click.echo(f"{finding.mark} {finding.text}")
    if any(finding.bad for finding in findings):
        raise SystemExit(1)


main.add_command(keys)
main.add_command(ledger)
main.add_command(prices)
main.add_command(audit)
main.add_command(batch)
main.add_command(secret)
