"""Waiting for a batch on a terminal or in a log, and what it looks like as it stands."""

import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import click

from app.commands.batch_gateway import OVER, BatchGateway
from app.commands.terms import say

POLL_SECONDS = 0.5
SLOWEST_SECONDS = 5.0
LINE_SECONDS = 10.0
GOES_ON = "The batch goes on by itself. `relaycore batch results {id} --wait` goes on waiting, `… cancel {id}` ends it."
INTERRUPTED = 130

Show = Callable[[dict[str, Any]], None]


def wait_for(gateway: BatchGateway, batch_id: str) -> dict[str, Any]:
    """Return a batch once it is over; Ctrl-C ends the waiting, not the batch."""
    try:
        if sys.stderr.isatty():
            return _wait_with_bar(gateway, batch_id)
        return _wait(gateway, batch_id, _build_liner())
    except KeyboardInterrupt:
        say("")
        say(GOES_ON.format(id=batch_id))
        raise SystemExit(INTERRUPTED) from None


def _wait(gateway: BatchGateway, batch_id: str, show: Show) -> dict[str, Any]:
    pause = POLL_SECONDS
    while True:
        found = gateway.read_patiently(batch_id)
        show(found)
        if found.get("status") in OVER:
            return found
        time.sleep(pause)
        pause = min(pause * 1.2, SLOWEST_SECONDS)


def _wait_with_bar(gateway: BatchGateway, batch_id: str) -> dict[str, Any]:
    first = gateway.read_patiently(batch_id)
    with click.progressbar(
        length=max(count(first, "total"), 1), label="Requests", show_pos=True, file=sys.stderr
    ) as bar:

        def show(found: dict[str, Any]) -> None:
            bar.length = max(count(found, "total"), 1)
            bar.update(count_done(found) - bar.pos)
            bar.render_progress()

        return _wait(gateway, batch_id, show)


def _build_liner() -> Show:
    """Return what writes a line now and then: when something has changed, and in the end."""
    said: list[tuple[float, str]] = []

    def show(found: dict[str, Any]) -> None:
        line = f"{found.get('status')}: {count_done(found)} of {count(found, 'total')} requests are done"
        now = time.monotonic()
        late = not said or now - said[-1][0] >= LINE_SECONDS or found.get("status") in OVER
        if late and (not said or said[-1][1] != line):
            said.append((now, line))
            say(line)

    return show


def count(found: dict[str, Any], name: str) -> int:
    """Return one of the counts of a batch."""
    return int(found.get("request_counts", {}).get(name, 0))


def count_done(found: dict[str, Any]) -> int:
    """Return how many requests have their result."""
    return max(count(found, "total") - count(found, "pending"), 0)


def is_fine(found: dict[str, Any]) -> bool:
    """Return whether every request of a batch that is over was answered."""
    return found.get("status") == "completed" and count(found, "completed") == count(found, "total")


def write_table(found: dict[str, Any]) -> str:
    """Return a batch as a short table."""
    error = cast(dict[str, Any], found.get("error") or {})
    lines: dict[str, Any] = {
        "batch": found.get("batch_id"),
        "status": found.get("status"),
        "requests": (
            f"{count_done(found)} of {count(found, 'total')} done, {count(found, 'completed')} answered, "
            f"{count(found, 'failed')} failed, {count(found, 'cancelled')} cancelled"
        ),
        "for": " / ".join(str(found[name]) for name in ("provider", "model") if found.get(name)) or None,
        "created": found.get("created_at"),
        "deadline": found.get("deadline"),
        "finished": found.get("completed_at"),
        "cost": write_amount(found.get("cost_usd")),
        "saved": write_amount(found.get("saved_usd")),
        "error": error.get("message"),
    }
    return "\n".join(f"{name:<10}{value}" for name, value in lines.items() if value is not None)


def write_amount(usd: float | None) -> str | None:
    """Return an amount with all its digits, never as a power of ten; None when it is unknown."""
    return None if usd is None else f"{Decimal(str(usd)).normalize():f} USD"


def write_row(found: dict[str, Any]) -> str:
    """Return a batch as a line of a list."""
    done = f"{count_done(found)}/{count(found, 'total')}"
    created = str(found.get("created_at") or "")[:19]
    model = found.get("model") or "-"
    return f"{found.get('batch_id')}  {found.get('status', ''):<10}  {done:>13}  {created:<19}  {model}"
