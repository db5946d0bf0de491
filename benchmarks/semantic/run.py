"""Measures how often a similar question is answered, and how often wrongly: `python -m benchmarks.semantic`."""

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.likeness.embedder import LocalEmbedder
from benchmarks.semantic.bounds import bound_share
from benchmarks.semantic.datasets import (
    SHIPPED,
    Request,
    choose_pairs,
    find_rows,
    is_held_out,
    read_pairs,
    read_requests,
)
from benchmarks.semantic.plot import Panel, draw
from benchmarks.semantic.policies import (
    Judge,
    Library,
    Outcome,
    judge_conversations,
    judge_like_the_gateway,
    judge_pairs,
    run_stream,
    serve_above,
)

PLAIN = 0.92
QUICK_PAIRS, QUICK_REQUESTS = 1500, 2500
SWEEP = [i / 200 for i in range(130, 200)]
# Name, title, whether training has seen some rows, and the design's (false hits, hits): baseline, first, moonshot.
PAIR_SETS = (
    ("fow_pairs", "minimal edits (trap)", True, ((0.201, 0.410), (0.010, 0.33), (0.0, 0.45))),
    ("paws_wiki", "PAWS word order (trap)", True, ((0.88, 0.925), (0.03, 0.45), (0.01, 0.55))),
    ("qqp", "Quora pairs (wrong/hits)", False, ((0.175, 0.346), (0.11, 0.28), (0.08, 0.38))),
    ("mqp", "medical pairs (trap)", False, ((0.0, 0.111), None, None)),
)
STREAMS = (
    ("banking77", "Banking77 stream (err/all)", ((0.0087, 0.324), (0.009, 0.32), (0.005, 0.40))),
    ("clinc150", "CLINC150 stream (err/all)", (None, None, None)),
)


def main() -> None:
    options = read_options()
    folders = [*options.data, SHIPPED]
    embedder = LocalEmbedder.load()
    library = Library(embedder.embed, embedder.fits)
    decide = judge_like_the_gateway(embedder.align)
    panels: list[Panel] = []
    for name, title, seen, targets in PAIR_SETS:
        rows = find_rows(name, folders)
        if rows is None:
            print(f"\n== {title}: no {name}.jsonl in any --data folder")
            continue
        pairs, note = read_pairs(rows), "all rows"
        if seen and not options.all and not is_foreign(name, options.data):
            pairs, note = choose_pairs(pairs, "held_out"), "held-out rows"
        if options.quick:
            pairs = random.Random(3).sample(pairs, min(QUICK_PAIRS, len(pairs)))
        began = time.perf_counter()
        outcomes = judge_pairs(pairs, library, decide)
        print_heading(title, note, len(pairs), time.perf_counter() - began)
        print_pairs(outcomes, targets)
        panels.append(draw_pairs(title, outcomes, targets[1], wrong_of_hits="wrong/hits" in title))
    measure_conversations(folders, library, decide)
    for name, title, targets in STREAMS:
        panels += measure_stream(name, title, targets, decide, library, options)
    if options.plot:
        draw(panels, options.plot)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.semantic", description=__doc__)
    parser.add_argument(
        "--data", type=Path, action="append", default=[], help="a folder with data sets of the same file names"
    )
    parser.add_argument("--quick", action="store_true", help="a sample of every set")
    parser.add_argument("--all", action="store_true", help="the rows that training has seen as well")
    parser.add_argument("--candidates", type=int, default=5, help="how many near entries of a growing cache are judged")
    parser.add_argument("--plot", type=Path, help="write an SVG")
    return parser.parse_args()


def is_foreign(name: str, folders: list[Path]) -> bool:
    """Tell whether a set is another than the shipped one, of which training has seen three quarters."""
    return find_rows(name, folders) not in (None, find_rows(name, [SHIPPED]))


def print_heading(title: str, note: str, size: int, seconds: float) -> None:
    print(f"\n== {title}: {note}, {size} ({seconds:.0f} s)")
    print(f"   {'':28} {'hits':>22} {'traps':>22} {'wrong/hits':>22} {'err/all':>22}")


def print_pairs(outcomes: list[Outcome], targets: tuple) -> None:
    print_pair_line("cosine >= .92", outcomes, lambda o: o.cosine >= PLAIN)
    print_pair_line("ours, same words alone", outcomes, lambda o: o.judgement.band == "same_words")
    print_pair_line("ours", outcomes, lambda o: o.judgement.accepted)
    print_targets(targets)


def print_targets(targets: tuple) -> None:
    for name, target in zip(("design: baseline", "design: first", "design: moonshot"), targets, strict=True):
        if target:
            print(f"   {name:28} hit {target[1]:.3f}, false {target[0]:.4f}")


def print_pair_line(name: str, outcomes: list[Outcome], accepts: Callable[[Outcome], bool]) -> None:
    same = [accepts(o) for o in outcomes if o.same]
    other = [accepts(o) for o in outcomes if not o.same]
    hits, traps = sum(same), sum(other)
    shares = ((hits, len(same)), (traps, len(other)), (traps, hits + traps), (traps, len(outcomes)))
    print(f"   {name:28} {'  '.join(show_share(*share) for share in shares)}")


def show_share(count: int, whole: int) -> str:
    low, high = bound_share(count, whole)
    return f"{count / max(whole, 1):.4f} [{low:.4f}, {high:.4f}]"


def draw_pairs(title: str, outcomes: list[Outcome], target: tuple | None, *, wrong_of_hits: bool) -> Panel:
    def point(accepts: Callable[[Outcome], bool]) -> tuple[float, float]:
        hits = sum(accepts(o) for o in outcomes if o.same)
        traps = sum(accepts(o) for o in outcomes if not o.same)
        whole = hits + traps if wrong_of_hits else sum(not o.same for o in outcomes)
        return traps / max(whole, 1), hits / max(sum(o.same for o in outcomes), 1)

    def is_sure(outcome: Outcome, least: float) -> bool:
        judgement = outcome.judgement
        return judgement.band == "same_words" or (judgement.probability or 0.0) >= least

    cosine = [point(lambda o, floor=floor: o.cosine >= floor) for floor in SWEEP]
    ours = [point(lambda o, least=least: is_sure(o, least)) for least in (i / 100 for i in range(20, 100))]
    now = {"cosine": point(lambda o: o.cosine >= PLAIN), "ours": point(lambda o: o.judgement.accepted)}
    return Panel(title, cosine, ours, now, target)


def measure_conversations(folders: list[Path], library: Library, decide: Judge) -> None:
    rows = find_rows("fow_conversations", folders)
    if rows is not None:
        print_heading("conversations", "earlier turns must be equal", len(rows), 0)
        print_pairs(judge_conversations(rows, library, decide), (None, None, None))


def measure_stream(
    name: str, title: str, targets: tuple, decide: Judge, library: Library, options: argparse.Namespace
) -> list[Panel]:
    rows = find_rows(name, [*options.data, SHIPPED])
    if rows is None:
        return []
    requests = read_requests(rows)
    if options.quick:
        requests = random.Random(3).sample(requests, min(QUICK_REQUESTS, len(requests)))
    everything = options.all or is_foreign(name, options.data)
    counts: Callable[[Request], bool] = (lambda _: True) if everything else (lambda r: is_held_out(r.text))
    note = "every request counts" if everything else "whole stream, held-out requests count"
    began = time.perf_counter()
    plain = [
        (floor, run_stream(requests, library, serve_above(floor), 1, counts))
        for floor in (0.86, 0.89, PLAIN, 0.95, 0.98)
    ]
    ours = run_stream(requests, library, decide, options.candidates, counts)
    print_heading(title, note, len(requests), time.perf_counter() - began)
    points = [print_stream_line(f"cosine >= {floor}", stream, None) for floor, stream in plain]
    print_stream_line("ours, same words alone", ours, "same_words")
    now = print_stream_line("ours", ours, None)
    print_targets(targets)
    return [Panel(title, points, [now], {"cosine": points[2], "ours": now}, targets[1])]


def print_stream_line(name: str, stream, band: str | None) -> tuple[float, float]:
    bands = [band] if band else list(stream.hits)
    hits, wrong = sum(stream.hits.get(b, 0) for b in bands), sum(stream.wrong.get(b, 0) for b in bands)
    shown = (show_share(hits, stream.counted), f"{'':22}", show_share(wrong, hits), show_share(wrong, stream.counted))
    print(f"   {name:28} {'  '.join(shown)}")
    return wrong / stream.counted, hits / stream.counted


if __name__ == "__main__":
    sys.exit(main())
