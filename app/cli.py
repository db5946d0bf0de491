"""The `relaycore` command."""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

from app.settings import LOG_FORMAT, SettingsError, read_settings

P = ParamSpec("P")


def explained(function: Callable[P, None]) -> Callable[P, None]:
    """Turn the failures that an operator can mend into one line on the terminal and exit status 1."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        import psycopg
        from sqlalchemy.exc import DBAPIError

        from app.catalog.secrets import SecretUnreadableError
        from app.catalog.seed import ConfigError
        from app.db.embedded import EmbeddedPostgresError

        try:
            function(*args, **kwargs)
        except ConfigError as error:
            raise click.ClickException(" ".join(str(error).split())) from error
        except (SettingsError, EmbeddedPostgresError, SecretUnreadableError) as error:
            raise click.ClickException(str(error)) from error
        except (DBAPIError, psycopg.Error) as error:
            raise click.ClickException(f"The database cannot be used: {_first_line(error)}") from error

    return run


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().partition("\n")[0]


def say(sentence: str) -> None:
    """Tell the operator what is going on."""
    click.echo(sentence, err=True)


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


@main.group()
def keys() -> None:
    """Make and list API keys."""


@keys.command("create")
@click.option("--user", "email", help="E-mail address of the key's owner; made when unknown (default: the first user).")
@click.option("--name", default="", help="What the key is for.")
@click.option("--model", "models", multiple=True, help="Allow only this model; repeat for more.")
@click.option("--expires-days", type=click.IntRange(1, 3650), help="Days until the key expires (default: never).")
@explained
def create_key(email: str | None, name: str, models: tuple[str, ...], expires_days: int | None) -> None:
    """Make a key and print it; it is shown this once and kept only as a hash."""
    from app.start import create_key as make

    click.echo(make(read_settings(), say, email=email, name=name, models=models or None, expires_days=expires_days))


@keys.command("list")
@explained
def list_keys() -> None:
    """List the live keys: public id, owner and name."""
    from app.start import list_keys as lines

    for public_id, name, email in lines(read_settings(), say):
        click.echo(f"rk-{public_id}-…  {email}  {name}")


@keys.command("revoke")
@click.argument("public_id")
@explained
def revoke_key(public_id: str) -> None:
    """Revoke the key with that public id (the part between the dashes, or the whole key)."""
    from app.start import revoke_key as revoke

    if not revoke(read_settings(), say, public_id):
        raise click.ClickException("there is no live key with that public id")
    click.echo("Revoked; every process refuses it within seconds.")


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
