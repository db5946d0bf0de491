"""What the gateway costs: CPU per request and per chunk, requests a second on one core, and added latency.

Run: python benchmarks/gateway.py [--quick]

The real `relaycore serve` with everything switched on has one core; the mock provider, Postgres and the load have the
other. Figures are medians of interleaved rounds, beside those of the direct call to the same provider in the same run.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, cycle, islice
from pathlib import Path
from typing import NamedTuple

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.load import Tally, Target, run_closed, run_open
from benchmarks.machine import Postgres, Process, describe, find_key, pin_process, start_gateway, start_mock

GATEWAY_CORE, OTHER_CORE = 0, 1
CONNECTIONS = 32
STORED = 256
STREAMS, CHUNKS, CHUNK_MS = 50, 100, 10
RATE, STREAM_RATE = 200, 20
SETTLE_SECONDS = 0.5  # what is written behind belongs to the requests before it
FILLER = "x" * 900
MAX_STRAYS = 0.2
PERCENTS = (50, 95, 99)

HIT, MISS, ANY = b"x-aihub-cache-status: hit", b"x-aihub-cache-status: miss", b" 200 OK"

Goals = tuple[float, float, float]
GOALS = ("first", "then", "moonshot")
CPU_BUDGETS: dict[str, Goals] = {
    "miss": (300, 200, 125),
    "hit, local": (130, 90, 70),
    "hit, Postgres": (200, 150, 110),
    "stream": (110, 64, 50),
}
P50_BUDGET: Goals = (1.5, 1.0, 0.6)
P99_BUDGET: Goals = (6, 3, 2)
RSS_BUDGET: Goals = (150, 120, 90)


class Case(NamedTuple):
    """One way to be answered: by whom, to which requests, and beside which direct case it is put."""

    name: str
    server: Process
    expected: bytes
    requests: Iterator[bytes]
    beside: str
    short: Iterator[bytes] | None = None

    @property
    def streamed(self) -> bool:
        return self.short is not None


class Place(NamedTuple):
    """The servers of a run, and the key that opens the gateways."""

    mock: Process
    gateway: Process
    uncached: Process
    postgres: Postgres
    key: str


class Sample(NamedTuple):
    """What one round of one case gave; the unit is a request, or a chunk of a stream."""

    per_second: float
    cpu_us: float
    postgres_us: float
    latency_ms: tuple[float, ...]


def build_request(key: str, text: str, *, streamed: bool = False) -> bytes:
    stream = ',"stream":true' if streamed else ""
    body = f'{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"{text}"}}]{stream}}}'.encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n"
        f"content-type: application/json\r\nuser-agent: OpenAI/Python 3.54\r\nauthorization: Bearer {key}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def list_cases(place: Place) -> list[Case]:
    numbers = count(time.time_ns())
    key = place.key
    stored = [build_request(key, f"stored {next(numbers)} {FILLER}") for _ in range(STORED)]

    def fresh() -> Iterator[bytes]:
        return (build_request(key, f"{number} {FILLER}") for number in numbers)

    def streams(chunks: int) -> Iterator[bytes]:
        wish = f"[[mock tokens={chunks} chunk_ms={CHUNK_MS}]]"
        return (build_request(key, f"{wish} {number}", streamed=True) for number in numbers)

    return [
        Case("direct", place.mock, ANY, fresh(), "direct"),
        Case("miss", place.gateway, MISS, fresh(), "direct"),
        Case("hit, local", place.gateway, HIT, cycle(stored), "direct"),
        Case("hit, Postgres", place.uncached, HIT, cycle(stored), "direct"),
        Case("direct stream", place.mock, ANY, streams(CHUNKS), "direct stream", streams(4)),
        Case("stream", place.gateway, MISS, streams(CHUNKS), "direct stream", streams(4)),
    ]


def run_load(case: Case, seconds: float) -> Tally:
    target = Target(case.server.port, case.expected)
    if case.streamed:
        return uvloop.run(run_closed(target, islice(case.requests, STREAMS), STREAMS, 60))
    return uvloop.run(run_closed(target, case.requests, CONNECTIONS, seconds))


def run_latency(case: Case, seconds: float) -> tuple[float, ...]:
    target = Target(case.server.port, case.expected)
    rate, requests = (STREAM_RATE, case.short) if case.short is not None else (RATE, case.requests)
    tally = uvloop.run(run_open(target, requests, 64, rate, seconds))
    check(case, tally)
    times = tally.first if case.streamed else tally.whole
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return tuple(cuts[percent - 1] * 1000 for percent in PERCENTS)


def measure(case: Case, place: Place, seconds: float) -> Sample:
    used, used_by_postgres = case.server.cpu_seconds(), place.postgres.cpu_seconds()
    tally = run_load(case, seconds)
    check(case, tally)
    time.sleep(SETTLE_SECONDS)
    done = tally.events if case.streamed else len(tally.whole)
    return Sample(
        per_second=done / tally.seconds,
        cpu_us=(case.server.cpu_seconds() - used) / done * 1e6,
        postgres_us=(place.postgres.cpu_seconds() - used_by_postgres) / done * 1e6,
        latency_ms=run_latency(case, seconds),
    )


def check(case: Case, tally: Tally) -> None:
    """Refuse figures of something else; a few misses among hits are what a slow moment of Postgres makes."""
    if tally.failed or tally.strays > len(tally.whole) * MAX_STRAYS:
        raise SystemExit(f"{case.name}: {tally.failed} failed and {tally.strays} strayed of {len(tally.whole)} answers")
    if tally.strays:
        print(f"{case.name}: {tally.strays} of {len(tally.whole)} answers were of another sort", file=sys.stderr)


def warm_up(cases: list[Case], place: Place) -> None:
    """Store what the hits ask for, in memory and in Postgres, and have every server see its paths once."""
    hits = next(case for case in cases if case.name == "hit, local")
    uvloop.run(run_closed(Target(place.gateway.port, MISS), islice(hits.requests, STORED), 8, 30))
    time.sleep(1)
    for case in cases:
        requests = case.requests if case.short is None else case.short
        uvloop.run(run_closed(Target(case.server.port, case.expected), islice(requests, STORED), 8, 0.5))


def judge(value: float, goals: Goals) -> str:
    """Return the highest goal that is reached, or what the first would have taken."""
    reached = [name for name, goal in zip(GOALS, goals, strict=True) if value <= goal]
    return f"{reached[-1]} reached" if reached else f"missed (first is {goals[0]:g})"


def fold(samples: list[Sample], pick: Callable[[Sample], float]) -> float:
    return statistics.median(map(pick, samples))


def print_table(cases: list[Case], found: dict[str, list[Sample]]) -> None:
    print(f"\n{'':20}{'µs CPU':>8}{'x direct':>10}{'per core':>10}{'measured':>10}{'Postgres µs':>13}  budget")
    for case in cases:
        samples, direct = found[case.name], found[case.beside]
        cpu = fold(samples, lambda sample: sample.cpu_us)
        ratio = cpu / fold(direct, lambda sample: sample.cpu_us)
        measured = fold(samples, lambda sample: sample.per_second)
        postgres = "" if case.name == case.beside else f"{fold(samples, lambda sample: sample.postgres_us):.0f}"
        rest = "the provider's own" if case.name == case.beside else ""
        verdict = judge(cpu, CPU_BUDGETS[case.name]) if case.name in CPU_BUDGETS else rest
        print(f"{case.name:20}{cpu:8.0f}{ratio:10.2f}{1e6 / cpu:10,.0f}{measured:10,.0f}{postgres:>13}  {verdict}")


def print_latency(cases: list[Case], found: dict[str, list[Sample]]) -> None:
    print(f"\n{'added ms':20}{'p50':>8}{'p95':>8}{'p99':>8}{'p50 x direct':>14}  budget")
    for case in cases:
        times = [tuple(sample.latency_ms) for sample in found[case.name]]
        direct = [tuple(sample.latency_ms) for sample in found[case.beside]]
        if case.name == case.beside:
            shown = [statistics.median(column) for column in zip(*times, strict=True)]
            print(f"{case.name:20}{shown[0]:8.2f}{shown[1]:8.2f}{shown[2]:8.2f}{1:14.2f}  (whole, not added)")
            continue
        added = [
            statistics.median(mine - its for mine, its in zip(ours, theirs, strict=True))
            for ours, theirs in zip(zip(*times, strict=True), zip(*direct, strict=True), strict=True)
        ]
        ratio = statistics.median(mine[0] / its[0] for mine, its in zip(times, direct, strict=True))
        verdict = f"p50 {judge(added[0], P50_BUDGET)}, p99 {judge(added[2], P99_BUDGET)}" if case.name == "miss" else ""
        print(f"{case.name:20}{added[0]:8.2f}{added[1]:8.2f}{added[2]:8.2f}{ratio:14.2f}  {verdict}")


def open_place(stack: ExitStack) -> Place:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relaycore-benchmark-")))
    mock = stack.enter_context(start_mock())
    upstream = f"http://127.0.0.1:{mock.port}"
    gateway = stack.enter_context(start_gateway(folder / "data", upstream, {}))
    uncached = stack.enter_context(start_gateway(folder / "data", upstream, {"RELAYCORE_LOCAL_CACHE_BYTES": "0"}))
    place = Place(mock, gateway, uncached, Postgres(folder / "data"), find_key(gateway.output))
    for server in (gateway, uncached):
        server.pin(GATEWAY_CORE)
    mock.pin(OTHER_CORE)
    place.postgres.pin(OTHER_CORE)
    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds, seconds = (1, 2.0) if options.quick else (options.rounds, 3.0)
    print(describe())
    with ExitStack() as stack:
        place = open_place(stack)
        rss = place.gateway.rss_mb()
        pin_process("self", OTHER_CORE)
        cases = list_cases(place)
        warm_up(cases, place)
        found: dict[str, list[Sample]] = {case.name: [] for case in cases}
        for _ in range(rounds):
            for case in cases:
                found[case.name].append(measure(case, place, seconds))
        print(
            f"{CONNECTIONS} connections, {STREAMS} streams of {CHUNKS} chunks {CHUNK_MS} ms apart, latency at {RATE}/s "
            f"(streams: first byte at {STREAM_RATE}/s); medians of {rounds} rounds"
        )
        print_table(cases, found)
        print_latency(cases, found)
        print(f"\nidle RSS of the gateway {rss:.0f} MB: {judge(rss, RSS_BUDGET)}")


if __name__ == "__main__":
    main()
