"""The processes of a benchmark, their place on the cores, what they use, and what they are made of."""

import os
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
LIBRARIES = ("uvicorn", "uvloop", "httptools", "litestar", "msgspec", "aiohttp", "psycopg")
TICKS = os.sysconf("SC_CLK_TCK")
SERVE = "import sys; sys.argv = ['relaycore', 'serve', '--port', '0']; from app.cli import main; main()"
_ADDRESS = re.compile(r"ready at http://127\.0\.0\.1:(\d+)")
_KEY = re.compile(r"^\s+(rk-[0-9a-z]{12}-\w+)$", re.MULTILINE)


class Process:
    """A running server: its port, its first output, and the CPU that it and those below it have used."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, output: str) -> None:
        self.pid = process.pid
        self.port = port
        self.output = output

    def cpu_seconds(self) -> float:
        fields = _read_stat(self.pid)
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def pin(self, core: int) -> None:
        pin_process(self.pid, core)


class Postgres:
    """The server that a gateway runs below its data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.pid = int((data_dir / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0])

    def pids(self) -> list[int]:
        every = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [self.pid, *(pid for pid in every if _parent(pid) == self.pid)]

    def cpu_seconds(self) -> float:
        """Return the CPU of all its processes, those that ended included."""
        total = sum(int(field) for field in _read_stat(self.pid)[13:15])
        for pid in self.pids():
            try:
                total += sum(int(field) for field in _read_stat(pid)[11:13])
            except OSError:
                continue
        return total / TICKS

    def pin(self, core: int) -> None:
        for pid in self.pids():
            pin_process(pid, core)


def _read_stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (the name before it may hold anything)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    try:
        return int(_read_stat(pid)[1])
    except OSError:
        return 0


def pin_process(pid: int | str, core: int) -> None:
    """Keep every thread of a process on one core, where the system can do that and has more than one."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        return
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


@contextmanager
def start_mock() -> Iterator[Process]:
    """Run the mock provider."""
    with _run(["-m", "app.mock"], {}, ROOT, r"http://127\.0\.0\.1:(\d+)") as process:
        yield process


@contextmanager
def start_gateway(data_dir: Path, upstream: str, extra: Mapping[str, str]) -> Iterator[Process]:
    """Run `relaycore serve` on a port of its own, with only this one provider."""
    own = {
        "RELAYCORE_DATA_DIR": str(data_dir),
        "OPENAI_BASE_URL": f"{upstream}/v1",
        "OPENAI_API_KEY": "sk-benchmark",
        **extra,
    }
    with _run(["-c", SERVE], own, data_dir.parent, _ADDRESS.pattern) as process:
        yield process


def find_key(output: str) -> str:
    """Return the first API key out of what a first start printed."""
    return _KEY.findall(output)[0]


@contextmanager
def _run(arguments: list[str], own: Mapping[str, str], folder: Path, ready: str) -> Iterator[Process]:
    environment = {**_clean_environment(), **own}
    command = [sys.executable, *arguments]
    with (
        tempfile.NamedTemporaryFile("r") as said,
        Path(said.name).open("w") as output,
        subprocess.Popen(command, env=environment, cwd=folder, stdout=output) as process,
    ):
        try:
            text = _read_until(process, said, ready)
            yield Process(process, int(re.findall(ready, text)[0]), text)
        finally:
            process.terminate()


def _read_until(process: "subprocess.Popen[bytes]", said: IO[str], ready: str) -> str:
    """Return what a server has printed once it says that it is ready."""
    text, deadline = "", time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        text += said.read()
        if re.search(ready, text) and text.endswith("\n"):
            return text
        time.sleep(0.05)
    raise SystemExit(f"A server did not start: {process.args}\n{text}")


def _clean_environment() -> dict[str, str]:
    """Return the environment without what would lead a server elsewhere."""
    foreign = re.compile(r"RELAYCORE_.*|DATABASE_URL|PORT|.*_API_KEY|.*_BASE_URL|\w+_proxy", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not foreign.fullmatch(name)}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path}


def describe() -> str:
    """Return the interpreter, how it was built, how fast it is, and the libraries."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{platform.python_implementation()} {platform.python_version()} ({sys.executable}), {describe_build()}; "
        f"calibration loop {time_loop() * 1000:.0f} ms\n{libraries}\n"
        f"{_read_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    )


def describe_build() -> str:
    """Return what the interpreter says of its build; Debian's does not mention its profile."""
    flags = " ".join(sysconfig.get_config_var(name) or "" for name in ("CONFIG_ARGS", "PY_CFLAGS", "PY_CORE_CFLAGS"))
    profiled = "--enable-optimizations" in flags or "-fprofile-use" in flags
    lto = "--with-lto" in flags or "-flto" in flags
    debian = Path(sys.base_prefix) == Path("/usr") and Path("/etc/debian_version").exists()
    shown = "PGO" if profiled else "PGO by Debian's rules, not in its flags" if debian else "no PGO"
    return f"{shown}, {'LTO' if lto else 'no LTO in its flags'}, -O{(re.findall(r'-O(.)', flags) or ['?'])[-1]}"


def time_loop() -> float:
    """Return the seconds of a fixed piece of plain Python: what to divide by when machines are compared."""
    best = float("inf")
    for _ in range(5):
        start, found = time.perf_counter(), {}
        for number in range(200_000):
            found[str(number & 1023)] = number * 3 % 7
        best = min(best, time.perf_counter() - start)
    return best


def _read_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
