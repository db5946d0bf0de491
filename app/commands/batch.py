"""`relaycore batch`: handing batches in at a running gateway, following them, and fetching what came of them."""

import json
import secrets
import sys
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from app.commands.terms import explained, say
from app.settings import Access, read_access

if TYPE_CHECKING:
    from app.commands.batch_gateway import BatchGateway
    from app.commands.batch_lines import Lines

P = ParamSpec("P")

NOTE = ".batch"
ONLY_OWN = "{option} is for our own lines ('id', 'messages'); OpenAI's have no place for it."
ONLY_OPENAI = "--endpoint is for OpenAI's lines ('custom_id', 'url', 'body'); ours go where their provider is."
WHOSE = "Lines of our own need --provider and --model."
NOT_OVER = "The batch is not over ({status}); --wait waits for it."
URL_HELP = "Where the gateway is (RELAYCORE_URL, default http://127.0.0.1:4000, or the port in RELAYCORE_PORT or PORT)."
WAIT_HELP = "Wait until the batch is over. Ctrl-C ends the waiting (exit status 130), not the batch."


@click.group()
def batch() -> None:
    """Hand in batches at a running gateway, follow them, and fetch their results.

    The API key comes from RELAYCORE_API_KEY or a file (--key-file), never from the command line. Wherever an ID is
    asked for, the FILE that was submitted does as well: its batch's id is kept beside it, in FILE.batch. Exit status:
    0 all is well, 1 something failed (the batch, some of its requests, or the command), 2 wrong usage.
    """


def with_gateway(function: "Callable[Concatenate[BatchGateway, P], None]") -> Callable[P, None]:
    """Give a command the gateway that its options name."""

    @click.option("--url", help=URL_HELP)
    @click.option(
        "--key-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File with the API key (default: the key in RELAYCORE_API_KEY).",
    )
    @wraps(function)
    def run(*args: Any, url: str | None, key_file: Path | None, **options: Any) -> None:
        from app.commands.batch_gateway import BatchGateway

        with closing(BatchGateway(find_access(url, key_file))) as gateway:
            function(gateway, *args, **options)

    return run


def find_access(url: str | None, key_file: Path | None) -> Access:
    """Return where the gateway is and the key for it, options before the environment."""
    access = read_access()
    try:
        key = access.api_key if key_file is None else key_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{key_file} cannot be read as a key.") from error
    return Access(url=url or access.url, api_key=key or None)


@batch.command("submit")
@click.argument("file")
@click.option("--provider", help="Provider of the requests; for our own lines.")
@click.option("--model", help="Model of the requests; for our own lines.")
@click.option("--endpoint", help="Endpoint of the requests; for OpenAI's lines (default: the first line's url).")
@click.option("--deadline", help="By when it has to be done: 90s, 30m, 6h, 2d, or 2026-01-31T08:00:00Z.")
@click.option(
    "--priority", type=click.IntRange(-1000, 1000), help="Of two batches the one with the higher comes first."
)
@click.option("--webhook", help="URL that is told when the batch is over; the secret to check it with is printed once.")
@click.option("--native", type=click.Choice(["auto", "never"]), help="never: not by a vendor's own batch.")
@click.option("--wait", is_flag=True, help=WAIT_HELP)
@with_gateway
@explained
def submit(gateway: "BatchGateway", file: str, *, wait: bool, **said: Any) -> None:
    """Hand in FILE and print the id of its batch.

    FILE has one request a line (JSON): OpenAI's batch lines {custom_id, method, url, body}, or our own {id, messages,
    parameters}, which go to --provider and --model. "-" is standard input. The id is kept in FILE.batch as well.
    """
    from app.commands.batch_lines import STDIN, open_lines

    with open_lines(file) as lines:
        batch_id, secret = send(gateway, lines, said)
    if file != STDIN:
        keep_id(file, batch_id)
    click.echo(batch_id)
    if secret is not None:
        say(f"The webhook's secret, shown this once: {secret}")
    if wait:
        finish(gateway, batch_id)


def send(gateway: "BatchGateway", lines: "Lines", said: dict[str, Any]) -> tuple[str, str | None]:
    """Hand in requests, in the words that they are in; return the batch's id, and a webhook's secret that was made."""
    from app.commands.batch_lines import write_own, write_upload

    if lines.kind == "openai":
        for option in ("provider", "model", "priority", "webhook", "native"):
            if said[option] is not None:
                raise click.UsageError(ONLY_OWN.format(option=f"--{option}"))
        boundary = secrets.token_hex(16)
        file_id = gateway.upload(write_upload(lines.rest, boundary), boundary)
        created = gateway.create(file_id, said["endpoint"] or str(lines.first["url"]), said["deadline"])
        return str(created["id"]), None
    if said["endpoint"] is not None:
        raise click.UsageError(ONLY_OPENAI)
    if said["provider"] is None or said["model"] is None:
        raise click.UsageError(WHOSE)
    options = {name: said[name] for name in ("deadline", "priority", "webhook", "native") if said[name] is not None}
    head = {"provider": said["provider"], "model": said["model"], "options": options}
    accepted = gateway.submit(write_own(lines.rest, head))
    return str(accepted["batch_id"]), accepted.get("webhook_secret")


@batch.command("status")
@click.argument("batch_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print what the gateway says, as JSON.")
@with_gateway
@explained
def status(gateway: "BatchGateway", batch_id: str, *, as_json: bool) -> None:
    """Show how the batch ID stands (or that of the FILE that was submitted)."""
    from app.commands.batch_watch import write_table

    found = gateway.read(find_id(batch_id))
    click.echo(json.dumps(found, indent=2) if as_json else write_table(found))
    if found.get("status") == "failed":
        raise SystemExit(1)


@batch.command("results")
@click.argument("batch_id", metavar="ID")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write (default: the terminal)."
)
@click.option("--wait", is_flag=True, help=WAIT_HELP)
@with_gateway
@explained
def results(gateway: "BatchGateway", batch_id: str, *, output: Path | None, wait: bool) -> None:
    """Print the results of the batch ID (or that of the FILE that was submitted), a line of JSON each.

    They have the shape of the requests: OpenAI's for OpenAI's lines (answers first, then errors), else our own. Of a
    batch that is not over those are printed that there are; a file (--output) is only written when it is complete.
    Exit status 1: a request failed, or the batch is not over.
    """
    from app.commands.batch_gateway import OVER
    from app.commands.batch_watch import is_fine, wait_for

    name = find_id(batch_id)
    found = wait_for(gateway, name) if wait else gateway.read(name)
    going_on = found.get("status") not in OVER
    if going_on and output is not None:
        raise click.ClickException(NOT_OVER.format(status=found.get("status")))
    with open_output(output) as write:
        for piece in gateway.stream_results(name):
            write(piece)
    if going_on:
        raise click.ClickException(NOT_OVER.format(status=found.get("status")))
    if found.get("error"):
        raise click.ClickException(str(found["error"].get("message")))
    if not is_fine(found):
        raise SystemExit(1)


@batch.command("cancel")
@click.argument("batch_id", metavar="ID")
@with_gateway
@explained
def cancel(gateway: "BatchGateway", batch_id: str) -> None:
    """Cancel the batch ID (or that of the FILE that was submitted); what is done stays."""
    from app.commands.batch_watch import write_table

    click.echo(write_table(gateway.cancel(find_id(batch_id))))


@batch.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each.")
@with_gateway
@explained
def list_all(gateway: "BatchGateway", *, limit: int, as_json: bool) -> None:
    """List your batches, newest first."""
    from app.commands.batch_watch import write_row

    for found in gateway.list_batches(limit):
        click.echo(json.dumps(found) if as_json else write_row(found))


def finish(gateway: "BatchGateway", batch_id: str) -> None:
    """Wait for a batch, and leave with status 1 unless all of its requests were answered."""
    from app.commands.batch_watch import is_fine, wait_for, write_table

    found = wait_for(gateway, batch_id)
    say(write_table(found))
    if not is_fine(found):
        raise SystemExit(1)


def keep_id(file: str, batch_id: str) -> None:
    """Note the id of a file's batch beside the file, where that can be written."""
    note = Path(file + NOTE)
    try:
        note.write_text(f"{batch_id}\n", "utf-8")
    except OSError as error:
        say(f"{note} cannot be written ({error.strerror}): keep the id.")


def find_id(name: str) -> str:
    """Return the id of a batch that is given by itself, or by the file that was submitted."""
    note = Path(name if name.endswith(NOTE) else name + NOTE)
    try:
        return note.read_text("utf-8").strip()
    except (OSError, ValueError):
        if Path(name).is_file():
            raise click.UsageError(f"{name} was not submitted from here: there is no {note}.") from None
        return name


@contextmanager
def open_output(path: Path | None) -> "Generator[Callable[[bytes], Any]]":
    """Return what writes results: to the terminal, or to a file that appears when it is complete."""
    if path is None:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file.write
        part.replace(path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
