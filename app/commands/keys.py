"""`relaycore keys`: API keys."""

from typing import Any

import click

from app.commands.terms import explained, say
from app.settings import read_settings

SCOPES = ("inference", "analytics", "cache", "batch", "admin")
PERIODS = ("day", "week", "month", "quarter", "total")
POSITIVE = click.IntRange(min=1)
NO_SUCH_KEY = "There is no live key with that public id."
NO_ADDRESS = "--user takes an e-mail address, such as ada@example.org."


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys."""


@keys.command("create")
@click.option("--user", "email", help="E-mail address of the key's owner; made when unknown (default: the first user).")
@click.option("--name", default="", help="What the key is for.")
@click.option("--team", help="Act for this team (id or name), which the owner belongs to.")
@click.option("--model", "models", multiple=True, help="Allow only this model; repeat for more.")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, help="Allow only this; repeat for more.")
@click.option("--rpm", type=POSITIVE, help="Requests in any minute, at most.")
@click.option("--tpm", type=POSITIVE, help="Tokens in any minute, at most.")
@click.option("--max-parallel", type=POSITIVE, help="Calls at the same time, at most.")
@click.option("--budget-usd", help="US dollars that the key may spend in each period.")
@click.option("--budget-period", type=click.Choice(PERIODS), help="The budget's period (default: total).")
@click.option("--expires-days", type=click.IntRange(1, 3650), help="Days until the key expires (default: never).")
@explained
def create_key(
    *,
    email: str | None,
    name: str,
    models: tuple[str, ...],
    scopes: tuple[str, ...],
    expires_days: int | None,
    **fields: Any,
) -> None:
    """Make a key and print it; it is shown this once and kept only as a hash."""
    from app.start import create_key as make

    if email is not None and "@" not in email:
        raise click.ClickException(NO_ADDRESS)
    more: dict[str, Any] = {"scopes": scopes or None, **fields}
    settings = read_settings()
    click.echo(make(settings, say, email=email, name=name, models=models or None, expires_days=expires_days, **more))


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
        raise click.ClickException(NO_SUCH_KEY)
    click.echo("Revoked; every process refuses it within seconds.")


@keys.command("rotate")
@click.argument("public_id")
@click.option(
    "--grace-seconds",
    type=click.IntRange(0, 30 * 86400),
    default=86400,
    show_default=True,
    help="How long the present key goes on working.",
)
@explained
def rotate_key(public_id: str, grace_seconds: int) -> None:
    """Replace the key with that public id and print the new one, which has all its rights and budgets."""
    from app.start import rotate_key as rotate

    key = rotate(read_settings(), say, public_id, grace_seconds)
    if key is None:
        raise click.ClickException(NO_SUCH_KEY)
    click.echo(key)
