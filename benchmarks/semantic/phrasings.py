"""Fills the gaps in our own phrasings and pairs them: what asks the same, and what is near and asks something else."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).parent / "data"
PHRASINGS = DATA / "phrasings.txt"
SLOTS = dict(
    line.split(": ", 1) for line in (DATA / "slots.txt").read_text().splitlines() if line and not line.startswith("#")
)
Pair = tuple[str, str, int]


def fill(text: str, chosen: dict[str, str]) -> str:
    """Put words into the gaps of a phrasing."""
    for name, value in chosen.items():
        text = text.replace("{" + name + "}", value)
    return text


def choose(rng: random.Random) -> dict[str, str]:
    """Draw a filling for every gap, and two different ones where there are two."""
    chosen: dict[str, str] = {}
    for name, values in SLOTS.items():
        chosen[name], chosen[f"{name}2"] = rng.sample(values.split("|"), 2)
    return chosen


def read_chapters(path: Path = PHRASINGS) -> list[list[list[str]]]:
    """Return chapters of blocks of lines."""
    lines = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    return [[block.strip().splitlines() for block in part.strip().split("\n\n")] for part in lines.split("\n---\n")]


def pair_phrasings(rng: random.Random, times: int) -> Iterator[Pair]:
    """Yield pairs from our phrasings: a block with itself, with another filling, and with its neighbours."""
    for chapter in read_chapters():
        for _ in range(times):
            for block in chapter:
                yield from _pair_block(block, chapter, rng)


def _pair_block(block: list[str], chapter: list[list[str]], rng: random.Random) -> Iterator[Pair]:
    chosen = choose(rng)
    first, second = rng.choice(block), rng.choice(block)
    if first != second:
        yield _dress(fill(first, chosen), fill(second, chosen), 1, rng)
    gaps = re.findall(r"{(\w+)}", first)
    if gaps:
        gap = rng.choice(gaps)
        other = {**chosen, gap: rng.choice([v for v in SLOTS[gap.rstrip("2")].split("|") if v not in chosen.values()])}
        yield _dress(fill(first, chosen), fill(rng.choice((first, second)), other), 0, rng)
    if (
        len(set(gaps)) > 1
        and gaps[0].rstrip("2") == gaps[1].rstrip("2")
        and "between" not in first
        and " or " not in first
    ):
        turned = {**chosen, gaps[0]: chosen[gaps[1]], gaps[1]: chosen[gaps[0]]}
        if "common" not in first and "similar" not in first and "alike" not in first and "far" not in first:
            yield _dress(fill(first, chosen), fill(first, turned), 0, rng)
    near = rng.choice(chapter)
    if near is not block:
        yield _dress(fill(first, chosen), fill(rng.choice(near), chosen), 0, rng)


def _dress(first: str, second: str, label: int, rng: random.Random) -> Pair:
    """Write the two as people do: with or without capitals, mark and courtesy."""
    return write(first, rng), write(second, rng), label


def write(text: str, rng: random.Random) -> str:
    """Give a lower-case phrasing a capital and a mark, mostly."""
    if rng.random() < 0.7:
        text = text[:1].upper() + text[1:]
    if rng.random() < 0.75 and not text.endswith("?"):
        text += "?"
    return text
