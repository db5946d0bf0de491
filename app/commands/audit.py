"""`relaycore audit`: the log of what administrators changed."""

import click

from app.commands.terms import explained, say
from app.settings import read_settings


@click.group()
def audit() -> None:
    """Read and verify the log of what administrators changed."""


@audit.command("verify")
@explained
def verify_audit() -> None:
    """Check the whole chain; print the number of lines and the last hash, or the first broken line (exit status 1).

    The last hash, kept somewhere else, shows later whether lines were taken off the end.
    """
    from app.access.audit_store import AuditFilter, count_audit_lines, find_head
    from app.start import get_auditor, open_prepared

    with open_prepared(read_settings(), say) as (settings, connection):
        broken = get_auditor(connection, settings).find_break(connection)
        count, head = count_audit_lines(connection, AuditFilter()), find_head(connection)
    if broken is not None:
        raise click.ClickException(f"line {broken} of the audit log is not as it was written")
    click.echo(f"{count} lines, unbroken; the last hash is {head or 'none yet'}")


@audit.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many lines.")
@click.option("--actor", help="Only what this user, key or label did.")
@click.option("--action", help="Only this action, such as user.create.")
@explained
def list_audit(limit: int, actor: str | None, action: str | None) -> None:
    """List who changed what, the newest first."""
    from app.access.audit_store import AuditFilter, list_audit_lines
    from app.start import open_prepared

    with open_prepared(read_settings(), say) as (_, connection):
        lines = list_audit_lines(connection, AuditFilter(actor=actor, action=action), limit=limit)
    for line in lines:
        words = (line.actor, line.action, f"{line.object_kind} {line.object_id}")
        click.echo(f"{line.sequence}  {line.at:%Y-%m-%d %H:%M:%S}Z  " + "  ".join(make_printable(one) for one in words))


def make_printable(text: str) -> str:
    """Return `text` with all that could steer or deceive a terminal written as escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
