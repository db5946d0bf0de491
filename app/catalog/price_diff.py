"""What differs between the prices that are stored and those that ought to be, and how that is said. No I/O."""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from app.catalog.prices import MILLION, PriceRow, source_family

Key = tuple[str, str, str, int]


class PriceDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Prices that come, those that go, and (old, new) of those that change."""

    added: tuple[PriceRow, ...] = ()
    removed: tuple[PriceRow, ...] = ()
    changed: tuple[tuple[PriceRow, PriceRow], ...] = ()

    @property
    def count(self) -> int:
        """How many prices differ."""
        return len(self.added) + len(self.removed) + len(self.changed)

    def __str__(self) -> str:
        """Say in a few words what differs."""
        return f"{len(self.added)} added, {len(self.removed)} removed, {len(self.changed)} changed"

    def merge(self, other: "PriceDiff") -> "PriceDiff":
        """Return both together."""
        return PriceDiff(
            added=self.added + other.added,
            removed=self.removed + other.removed,
            changed=self.changed + other.changed,
        )


def key_of(row: PriceRow) -> Key:
    """Return what a price is the price of."""
    return row.provider, row.model, row.token_class, row.from_input_tokens


def compare_prices(stored: Sequence[PriceRow], wanted: Sequence[PriceRow], source: str) -> PriceDiff:
    """Return what to do so that `wanted` are the prices of `source`.

    Prices of other sources stay, also where `wanted` has one as well. Another version of the source that asks the same
    price is no difference: a price keeps the version that brought it.
    """
    family = source_family(source)
    old = {key_of(row): row for row in stored}
    new = {key_of(row): row for row in wanted}
    foreign = {key for key, row in old.items() if source_family(row.source) != family}
    return PriceDiff(
        added=tuple(row for key, row in new.items() if key not in old),
        removed=tuple(row for key, row in old.items() if key not in new and key not in foreign),
        changed=tuple(
            (old[key], row)
            for key, row in new.items()
            if key in old and key not in foreign and old[key].usd_per_unit != row.usd_per_unit
        ),
    )


def summarize(diff: PriceDiff) -> dict[str, object]:
    """Return what the audit log keeps of a difference: the counts, and by provider how many prices."""
    by_provider = Counter(row.provider for row in (*diff.added, *diff.removed, *(new for _, new in diff.changed)))
    counts = {"added": len(diff.added), "removed": len(diff.removed), "changed": len(diff.changed)}
    return {**counts, "providers": dict(sorted(by_provider.items()))}


def write_table(diff: PriceDiff, *, lines: int) -> Iterator[str]:
    """Yield a table for a terminal: what changed, then what went and what came, at most `lines` of each."""
    changed = [(_name(new), f"{write_usd(old)} -> {write_usd(new)}") for old, new in diff.changed]
    yield from _write_group("changed", changed, lines)
    yield from _write_group("removed", [(_name(row), write_usd(row)) for row in diff.removed], lines)
    yield from _write_group("added", [(_name(row), write_usd(row)) for row in diff.added], lines)
    yield f"{diff}."


def write_usd(row: PriceRow) -> str:
    """Return a price as people read it: tokens by the million, other units each."""
    if "_tokens" in row.token_class:
        return f"{_plain(row.usd_per_unit * MILLION)} $/M"
    return f"{_plain(row.usd_per_unit)} $ each"


def _write_group(title: str, found: Sequence[tuple[str, str]], lines: int) -> Iterator[str]:
    if not found:
        return
    shown = sorted(found)[:lines]
    width = max(len(name) for name, _ in shown)
    yield f"{title}:"
    for name, price in shown:
        yield f"  {name:<{width}}  {price}"
    if len(found) > len(shown):
        yield f"  … and {len(found) - len(shown)} more"


def _name(row: PriceRow) -> str:
    start = f" from {row.from_input_tokens} input tokens" if row.from_input_tokens else ""
    return f"{row.provider}/{row.model}  {row.token_class}{start}"


def _plain(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
