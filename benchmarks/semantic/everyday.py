"""Pairs everyday questions of our own: what asks the same in other words, and what is near and asks something else."""

import random
from collections.abc import Iterator
from itertools import combinations, product

from benchmarks.semantic.datasets import Side, find_side
from benchmarks.semantic.edits import keep_meaning
from benchmarks.semantic.phrasings import DATA, Pair, choose, fill, read_chapters, write

QUESTIONS, TOPICS = DATA / "questions.txt", DATA / "topics.txt"
# Of two questions of a chapter, so many wordings of both are laid beside each other.
CROSSED = 12
# How often one of two texts is changed further in a way that says the same.
CHANGED = 0.15


def list_questions(side: Side, rng: random.Random) -> list[str]:
    """Return every wording in the chapters of one side."""
    return [_fill(line, rng) for chapter in _choose_chapters(side) for block in chapter for line in block]


def pair_questions(side: Side, rng: random.Random) -> Iterator[Pair]:
    """Yield all wordings of a question with each other, and some with those of its neighbours."""
    for chapter in _choose_chapters(side):
        for block in chapter:
            for first, second in combinations(block, 2):
                yield _pair(first, second, 1, rng)
        for block, other in combinations(chapter, 2):
            crossed = list(product(block, other))
            for first, second in rng.sample(crossed, min(CROSSED, len(crossed))):
                yield _pair(first, second, 0, rng)


def pair_topics(side: Side, rng: random.Random, times: int) -> Iterator[Pair]:
    """Yield one question of a topic in two wordings, and beside another topic or another question of it."""
    for frames, groups in _read_topics():
        for group in groups:
            if find_side(group[0]) == side:
                for frame in frames * times:
                    for first, second, label in _ask(frame, frames, group, rng):
                        changed = keep_meaning(second, rng) if rng.random() < CHANGED else None
                        yield first, changed or second, label


def _ask(frame: list[str], frames: list[list[str]], group: list[str], rng: random.Random) -> Iterator[Pair]:
    topic, other = rng.sample(group, 2)
    for _ in range(2):
        first, second = rng.sample(frame, 2)
        yield _put(first, topic, rng), _put(second, topic, rng), 1
    first = rng.choice(frame)
    yield _put(first, topic, rng), _put(rng.choice((first, rng.choice(frame))), other, rng), 0
    elsewhere = rng.choice([one for one in frames if one is not frame])
    yield _put(rng.choice(frame), topic, rng), _put(rng.choice(elsewhere), topic, rng), 0


def _put(wording: str, topic: str, rng: random.Random) -> str:
    return write(wording.replace("{x}", topic), rng)


def _pair(first: str, second: str, label: int, rng: random.Random) -> Pair:
    chosen = choose(rng)
    return write(fill(first, chosen), rng), write(fill(second, chosen), rng), label


def _fill(line: str, rng: random.Random) -> str:
    return write(fill(line, choose(rng)), rng)


def _choose_chapters(side: Side) -> list[list[list[str]]]:
    return [chapter for chapter in read_chapters(QUESTIONS) if find_side(chapter[0][0]) == side]


def _read_topics() -> list[tuple[list[list[str]], list[list[str]]]]:
    """Return for each kind of topic the wordings of each question, and the groups of topics."""
    sections: dict[str, list[list[str]]] = {}
    for line in TOPICS.read_text().splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = []
        elif not line.startswith("#"):
            sections[next(reversed(sections))].append(line.split("|"))
    return [(rows, sections[f"{kind} topics"]) for kind, rows in sections.items() if f"{kind} topics" in sections]
