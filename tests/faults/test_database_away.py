"""Postgres stops, freezes or loses connections while a gateway serves."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from app.access.keys import make_key
from app.db.embedded import EmbeddedPostgres
from tests.conftest import ADMIN_KEY, SECRET_KEY
from tests.db.conftest import kill, read_pid, wait_until
from tests.faults.serving import Served, chat, find_children, note, run_command

LIMIT_SECONDS = 1.0


@pytest.fixture
def gateway(serve: Callable[..., Served], postgres: EmbeddedPostgres) -> Served:
    """A gateway process on that server."""
    environment = build_outside(postgres)
    return serve(**environment).wait_until_ready()


def build_outside(postgres: EmbeddedPostgres) -> dict[str, str]:
    return {"DATABASE_URL": postgres.url, "RELAYCORE_SECRET_KEY": SECRET_KEY, "RELAYCORE_ADMIN_KEY": ADMIN_KEY}


class Load:
    """A client that calls without a pause, with a known key; what came back and how long it took."""

    def __init__(self, gateway: Served, key: str) -> None:
        self.statuses: list[int] = []
        self.seconds: list[float] = []
        self._client = gateway.client(key)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def __str__(self) -> str:
        slow = [1000 * seconds for seconds in sorted(self.seconds)]
        middle, late, worst = slow[len(slow) // 2], slow[len(slow) * 99 // 100], slow[-1]
        return f"{len(slow)} calls, p50 {middle:.1f} ms, p99 {late:.1f} ms, worst {worst:.0f} ms"

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            headers = {"x-aihub-cache": "use" if len(self.statuses) % 2 else "bypass"}
            began = time.monotonic()
            body = chat(f"call {len(self.statuses)}")
            self.statuses.append(self._client.post("/v1/chat/completions", json=body, headers=headers).status_code)
            self.seconds.append(time.monotonic() - began)


@contextmanager
def stopped(postgres: EmbeddedPostgres, root: Path) -> Iterator[None]:
    """Have no server: it is shut down, and started again at the end."""
    pid = read_pid(root)
    os.kill(pid, signal.SIGINT)
    wait_until(lambda: read_pid(root) is None)
    yield
    postgres.ensure_running()


@contextmanager
def killed(postgres: EmbeddedPostgres, root: Path) -> Iterator[None]:
    """Have a server that died the hard way."""
    kill(read_pid(root))
    time.sleep(0.3)  # its children notice and end
    yield
    postgres.ensure_running()


@contextmanager
def frozen(postgres: EmbeddedPostgres, root: Path) -> Iterator[None]:
    """Have a server that takes connections and bytes but never answers."""
    pid = read_pid(root)
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    for one in pids:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in pids:
            os.kill(one, signal.SIGCONT)


@pytest.mark.parametrize(("away", "seconds"), [(stopped, 2), (killed, 2), (frozen, 5.5)])
def test_requests_go_on_without_postgres(gateway, postgres, folder, away, seconds):
    """While Postgres is away every answer comes within a second: known keys are served, unknown ones get a 503.

    Readiness says so, liveness does not care; after Postgres is back all is well within two seconds, and every row is
    there (but those that a killed server had taken a moment before: their commits do not wait for the disk).
    """
    probe = gateway.client("none")
    wait_until(lambda: probe.get("/readyz").status_code == 200)
    with Load(gateway, gateway.keys[0]) as load:
        time.sleep(0.3)
        at_risk = len(load.statuses) if away is killed else 0
        with away(postgres, folder / "pg"):
            check_while_away(probe, seconds)
        back = measure_until_back(probe)
        made = run_command(folder, "keys", "create", **build_outside(postgres)).stdout.strip()
        assert gateway.client(made).post("/v1/chat/completions", json=chat("new")).status_code == 200
    assert set(load.statuses) == {200}
    assert max(load.seconds) < LIMIT_SECONDS
    with psycopg.connect(postgres.url) as connection:
        wait_until(lambda: count(connection) >= len(load.statuses) + 1 - at_risk)
        assert count(connection) <= len(load.statuses) + 1
    note(f"{away.__name__}: {load}; the gateway is back {back:.2f} s after Postgres")
    assert back < 2.0
    assert gateway.stop()[0] == 0


def check_while_away(probe: httpx.Client, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        refused = ask_unknown(probe)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert probe.get("/livez").status_code == 200
        time.sleep(0.1)
    if seconds > 5:
        assert probe.get("/readyz").status_code == 503
    assert count_rows(probe)["spooled"] > 0


def measure_until_back(probe: httpx.Client) -> float:
    """Return the seconds until an unknown key is told that it is unknown, which takes a look at the database."""
    began = time.monotonic()
    wait_until(lambda: ask_unknown(probe).status_code == 401)
    wait_until(lambda: probe.get("/readyz").status_code == 200)
    return time.monotonic() - began


def ask_unknown(probe: httpx.Client) -> httpx.Response:
    began = time.monotonic()
    headers = {"authorization": f"Bearer {make_key()}"}
    answer = probe.post("/v1/chat/completions", json=chat("x"), headers=headers)
    assert time.monotonic() - began < LIMIT_SECONDS
    return answer


def count(connection: psycopg.Connection) -> int:
    connection.rollback()
    return connection.execute("SELECT count(*) FROM requests WHERE status_code = 200").fetchone()[0]


def count_rows(probe: httpx.Client) -> dict[str, float]:
    """Return what became of the rows of the record."""
    lines = [line for line in probe.get("/metrics").text.splitlines() if line.startswith("relaycore_recorded_rows")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


def test_a_process_that_starts_without_postgres_serves_later(serve, postgres, folder):
    """A worker that is replaced while Postgres is away waits for it; the others and the parent go on."""
    one = serve("serve", "--port", "0", "--workers", "2", **build_outside(postgres)).wait_until_ready()
    client = one.client(one.keys[0])
    assert client.post("/v1/chat/completions", json=chat("warm")).status_code == 200
    with stopped(postgres, folder / "pg"):
        for pid in find_workers(one):
            os.kill(pid, signal.SIGKILL)
        time.sleep(2.5)
        assert one.process.poll() is None, one.said
        for key in (one.keys[0], ADMIN_KEY):
            refused = one.client(key).post("/v1/chat/completions", json=chat("early"))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    wait_until(lambda: one.client(one.keys[0]).post("/v1/chat/completions", json=chat("a")).status_code == 200, 5)
    assert one.stop()[0] == 0, one.said


def find_workers(one: Served) -> list[int]:
    wait_until(lambda: len(find_children(one.process.pid)) == 2)
    return find_children(one.process.pid)


def test_a_start_without_postgres_fails_at_once(folder):
    """Started while its Postgres is away, `serve` says so in one line and ends with status 1."""
    url = f"postgresql://postgres:a-password@/x?host={folder}"
    done = run_command(folder, "serve", "--port", "0", DATABASE_URL=url, RELAYCORE_SECRET_KEY=SECRET_KEY, seconds=10)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The database cannot be used: ")
    assert done.stderr.count("\n") == 1
    assert "a-password" not in done.stderr
