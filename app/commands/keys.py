"""`relaycore keys`: API keys."""

import click

from app.commands.terms import explained, say
from app.settings import read_settings


@click.group()
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
