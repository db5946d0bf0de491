"""`relaycore secret`: replacing the secret key of an installation while it serves."""

import click

from app.commands.terms import explained, say
from app.settings import read_settings

HOW_TO_GO_ON = (
    "Both secret keys work now. Next: {how}; then run `relaycore secret finish` with the new key, and keep the old one "
    "only with backups made before."
)
IN_FILE = "restart every process (the new key is in {path})"
BY_HAND = "set RELAYCORE_SECRET_KEY to the new key wherever a process starts, and restart every process"


@click.group()
def secret() -> None:
    """Replace the secret key of this installation."""


@secret.command("rotate")
@explained
def rotate_secret() -> None:
    """Make a new secret key work beside the one in use, and encrypt all stored provider keys anew.

    The new key is RELAYCORE_NEW_SECRET_KEY, or one that is made and printed (with the embedded database it is kept in
    the data folder instead). Running processes go on with the old key until they are restarted.
    """
    from app.db.audit import COMMAND_LINE
    from app.db.control import Change
    from app.rotation import rotate
    from app.secret_file import choose_new_key
    from app.settings import get_secret_key
    from app.start import get_auditor, open_prepared, provide_secret_key

    settings = read_settings()
    provide_secret_key(settings)
    chosen = choose_new_key(settings)
    with open_prepared(settings, say) as (complete, connection):
        change = Change(connection, COMMAND_LINE, get_auditor(connection, complete))
        count = rotate(change, get_secret_key(complete), chosen.key)
    if chosen.made and chosen.path is None:
        click.echo(chosen.key)
    chosen.keep()
    how = BY_HAND if chosen.path is None else IN_FILE.format(path=chosen.path)
    say(f"{count} stored secrets were encrypted anew. {HOW_TO_GO_ON.format(how=how)}")


@secret.command("finish")
@explained
def finish_secret() -> None:
    """Forget what older secret keys open, once no process runs with one of them."""
    from app.db.audit import COMMAND_LINE
    from app.db.control import Change
    from app.rotation import finish
    from app.settings import get_secret_key
    from app.start import get_auditor, open_prepared

    with open_prepared(read_settings(), say) as (complete, connection):
        change = Change(connection, COMMAND_LINE, get_auditor(connection, complete))
        done = finish(change, get_secret_key(complete))
    click.echo("Only this secret key works now." if done.forgotten else "No rotation is under way.")
