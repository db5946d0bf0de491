"""What batches cost: taking one in, working it off and reading its results, in seconds and memory of one process.

Run: python benchmarks/batches.py [--requests N] [--bytes N] [--native]

The real `relaycore serve` with its embedded Postgres; the provider is the mock in a process of its own. With --native
its requests go into the mock's own batches, as OpenAI's would.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.machine import start_mock
from tests.faults.batches import write_provider
from tests.faults.serving import ADMIN, Served, forget_peak, make_key, read_rss_mb

OVER = frozenset({"completed", "failed", "cancelled"})
WAIT_SECONDS = 1800.0


def write_body(count: int, size: int, model: str) -> Iterator[bytes]:
    """Yield a batch of `count` different requests of about `size` bytes, one by one."""
    text = "word " * (size // 5)
    yield b'{"provider": "upstream", "model": "%b", "requests": [' % model.encode()
    for number in range(count):
        request = {"id": f"r{number}", "messages": [{"role": "user", "content": f"{number} {text}"}]}
        yield (b"," if number else b"") + json.dumps(request).encode()
    yield b"]}"


def wait_for_end(client: httpx.Client) -> dict[str, int]:
    """Return the counts of the newest batch once it is over."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        [batch] = client.get("/v1/batch", params={"limit": 1}).json()["batches"]
        if batch["status"] in OVER:
            return batch["request_counts"]
        time.sleep(0.2)
    raise SystemExit("the batch did not end")


def measure(served: Served, count: int, size: int, model: str) -> None:
    """Print what one batch takes."""
    pid, say = served.process.pid, sys.stdout.write
    with served.client(make_key(served)) as client:
        client.timeout = httpx.Timeout(600)
        say(f"{count} requests of {size} bytes; at rest {read_rss_mb(pid):.0f} MB\n")
        forget_peak(pid)
        began = time.monotonic()
        headers = {"content-type": "application/json"}
        answer = client.post("/v1/batch", content=write_body(count, size, model), headers=headers)
        answer.raise_for_status()
        say(f"taken in    {time.monotonic() - began:6.1f} s, peak {read_rss_mb(pid, 'VmHWM'):.0f} MB\n")
        counts = wait_for_end(client)
        say(f"worked off  {time.monotonic() - began:6.1f} s, peak {read_rss_mb(pid, 'VmHWM'):.0f} MB, {counts}\n")
        forget_peak(pid)
        began, total = time.monotonic(), 0
        with client.stream("GET", f"/v1/batch/{answer.json()['batch_id']}") as results:
            for piece in results.iter_bytes():
                total += len(piece)
        say(
            f"read        {time.monotonic() - began:6.1f} s, peak {read_rss_mb(pid, 'VmHWM'):.0f} MB, {total:,} bytes\n"
        )


def main() -> None:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=200)
    parser.add_argument("--native", action="store_true")
    asked = parser.parse_args()
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="relaycore-benchmark-", dir=memory if memory.is_dir() else None))
    kind, model = ("openai", "gpt-4o-mini") if asked.native else ("mock", "echo")
    try:
        with start_mock() as mock:
            write_provider(folder, f"http://127.0.0.1:{mock.port}", kind)
            served = Served(folder, RELAYCORE_ADMIN_KEY=ADMIN).wait_until_ready()
            try:
                measure(served, asked.requests, asked.bytes, model)
            finally:
                served.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
