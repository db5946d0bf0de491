"""What a call costs more when money is held for it, when it is limited, or when it can be repeated.

Run: python benchmarks/money.py [--quick]

As benchmarks/gateway.py measures: one core for the gateway, the other for everything else, interleaved rounds.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path

import httpx
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.gateway import (
    ANY,
    CONNECTIONS,
    FILLER,
    GATEWAY_CORE,
    MISS,
    OTHER_CORE,
    STORED,
    Case,
    Place,
    Sample,
    build_request,
    measure,
    print_latency,
    print_table,
)
from benchmarks.load import Target, run_closed
from benchmarks.machine import Postgres, Process, describe, find_key, pin_process, start_gateway, start_mock

ADMIN = "rk-admin-for-benchmarks"
PLENTY = 1_000_000_000
# A hold is some 0.01 USD here: the small budget is too near its limit for leases, the large one is far from it.
NEAR_USD, FAR_USD = 1_000, 100_000_000
KEYS: dict[str, dict[str, object]] = {
    "limits": {"rpm": 10_000_000, "tpm": PLENTY, "max_parallel": 1_000_000},
    "budget, a hold each": {"budget_usd": NEAR_USD},
    "budget, escrow": {"budget_usd": FAR_USD},
}


def make_keys(gateway: Process) -> dict[str, str]:
    """Return a key of its own for each case that needs one."""
    headers = {"authorization": f"Bearer {ADMIN}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", headers=headers, trust_env=False) as admin:
        user = admin.post("/admin/users", json={"email": "bench@example.org", "name": "", "role": "user"}).json()["id"]
        made = {name: {"user_id": user, "name": name, **fields} for name, fields in KEYS.items()}
        return {name: admin.post("/admin/api-keys", json=body).json()["key"] for name, body in made.items()}


def list_cases(place: Place, keys: dict[str, str]) -> list[Case]:
    numbers = count(time.time_ns())

    def fresh(key: str) -> Iterator[bytes]:
        return (build_request(key, f"{number} {FILLER}") for number in numbers)

    def once(key: str) -> Iterator[bytes]:
        for number in numbers:
            head, _, body = build_request(key, f"{number} {FILLER}").partition(b"\r\n\r\n")
            yield head + b"\r\nidempotency-key: %d\r\n\r\n" % number + body

    return [
        Case("direct", place.mock, ANY, fresh(place.key), "direct"),
        Case("miss", place.gateway, MISS, fresh(place.key), "direct"),
        *(Case(name, place.gateway, MISS, fresh(key), "direct") for name, key in keys.items()),
        Case("idempotency key", place.gateway, MISS, once(place.key), "direct"),
    ]


def open_place(stack: ExitStack) -> Place:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relaycore-benchmark-")))
    mock = stack.enter_context(start_mock())
    extra = {"RELAYCORE_ADMIN_KEY": ADMIN}
    gateway = stack.enter_context(start_gateway(folder / "data", f"http://127.0.0.1:{mock.port}", extra))
    place = Place(mock, gateway, gateway, Postgres(folder / "data"), find_key(gateway.output))
    gateway.pin(GATEWAY_CORE)
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
        pin_process("self", OTHER_CORE)
        cases = list_cases(place, make_keys(place.gateway))
        time.sleep(1.0)  # until the gateway knows of the budgets
        for case in cases:
            uvloop.run(run_closed(Target(case.server.port, case.expected), islice(case.requests, STORED), 8, 2))
        found: dict[str, list[Sample]] = {case.name: [] for case in cases}
        for _ in range(rounds):
            for case in cases:
                found[case.name].append(measure(case, place, seconds))
        print(f"{CONNECTIONS} connections; medians of {rounds} rounds")
        print_table(cases, found)
        print_latency(cases, found)


if __name__ == "__main__":
    main()
