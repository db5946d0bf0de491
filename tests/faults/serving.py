"""`relaycore` as its users run it: processes of their own, watched from outside."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx

from tests.db.conftest import find_processes, wait_until
from tests.gateway_process import TLS

REPOSITORY = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from app.cli import main; main()")
READY = re.compile(r"RelayCore is ready at (\S+)")
ADMIN = "rk-admin-for-tests-of-faults"
MADE_KEY = re.compile(r"^  (rk-\S+)$", re.MULTILINE)


def build_environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return what a newcomer's shell holds: no variable of ours but those of the test."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "COVERAGE_PROCESS_START") if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "RELAYCORE_DATA_DIR": str(folder / "data"),
        "PYTHONUNBUFFERED": "1",
        **variables,
    }


def run_command(folder: Path, *words: str, seconds: float = 30, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one `relaycore` command to its end, in a folder without a configuration file."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=folder,
        env={**build_environment(folder, **variables), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=seconds,
    )


class Served:
    """A running `relaycore serve` (or another command that stays), and what it has said so far."""

    def __init__(
        self, folder: Path, *words: str, command: tuple[str, ...] | list[str] = COMMAND, **variables: str
    ) -> None:
        self.folder = folder
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*command, *(words or ("serve", "--port", "0"))],
            cwd=folder,
            env={**build_environment(folder, **variables), "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._clients: list[httpx.Client] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = ""
        self.seconds_to_start = 0.0

    def _read(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                self._lines.append(line)

    @property
    def said(self) -> str:
        return "".join(self._lines)

    @property
    def keys(self) -> list[str]:
        """The keys that were shown, the admin's first."""
        return MADE_KEY.findall(self.said)

    def wait_for(self, words: str, seconds: float = 30) -> None:
        wait_until(lambda: words in self.said or self.process.poll() is not None, seconds)
        assert words in self.said, self.said

    def wait_until_ready(self) -> "Served":
        self.wait_for("RelayCore is ready")
        self.seconds_to_start = time.monotonic() - self.began
        self.url = READY.search(self.said)[1]
        wait_until(lambda: "Three lines" in self.said)
        return self

    def client(self, key: str) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"}
        self._clients.append(httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False, verify=TLS))
        return self._clients[-1]

    def stop(self, number: int = signal.SIGINT, seconds: float = 15) -> tuple[int, float]:
        """Signal the whole group as a terminal does (SIGTERM: only the process), and return status and seconds."""
        began = time.monotonic()
        (os.killpg if number == signal.SIGINT else os.kill)(self.process.pid, number)
        status = self.process.wait(seconds)
        self._reader.join(5)
        return status, time.monotonic() - began

    def kill(self) -> None:
        """End it the hard way, with what it has started in its own group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(5)
        for client in self._clients:
            client.close()


def note(sentence: str) -> None:
    """Show what was measured, with `pytest -s`."""
    sys.stdout.write(f"{sentence}\n")


def find_started(folder: Path) -> list[int]:
    """Return the processes that have to do with an installation: Postgres, keeper, workers of embedded servers."""
    return find_processes(str(folder))


def find_children(pid: int) -> list[int]:
    """Return the live children of a process that are Python workers of it."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def read_rss_mb(pid: int, line: str = "VmRSS") -> float:
    """Return the resident memory of a process; with `VmHWM` the most it was since `forget_peak`."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{line}:\s+(\d+)", text)[1]) / 1024


def forget_peak(pid: int) -> None:
    """Have the peak of the resident memory counted from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def count_fds(pid: int | str = "self") -> int:
    """Return how many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def chat(text: str, model: str = "mock/echo", **fields: object) -> dict[str, object]:
    """Return the body of a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def make_key(served: Served, **fields: object) -> str:
    """Return a key of a new user, made as an administrator does."""
    with httpx.Client(
        base_url=served.url, headers={"authorization": f"Bearer {ADMIN}"}, timeout=30, trust_env=False, verify=TLS
    ) as admin:
        user = admin.post(
            "/admin/users", json={"email": f"{os.urandom(6).hex()}@example.org", "name": "", "role": "user"}
        )
        made = admin.post("/admin/api-keys", json={"user_id": user.json()["id"], "name": "edge", **fields})
        made.raise_for_status()
        return made.json()["key"]
