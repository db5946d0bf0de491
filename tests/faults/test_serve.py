"""`relaycore serve` as a newcomer and an operator meet it."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.conftest import ADMIN_KEY, SECRET_KEY
from tests.db.conftest import find_processes, is_alive, kill, read_pid, wait_until
from tests.db.test_embedded_root import build_ordinary_command
from tests.faults.serving import COMMAND, chat, find_children, find_started, note, run_command

CACHED = {"x-aihub-cache": "use"}


def read_everything(url: str) -> bytes:
    """Return all that is stored in a database, as text."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        lines = [str(connection.execute(f"TABLE {name}").fetchall()) for (name,) in names]
    return "\n".join(lines).encode()


def find_url(folder: Path) -> str:
    """Return the URL of the embedded database of an installation, which runs."""
    socket = (folder / "data" / "postgres" / "sock").resolve()
    return f"postgresql://postgres@/relaycore?host={socket}"


@pytest.fixture
def outside(database_url):
    """The environment of a gateway on a Postgres of its operator."""
    return {"DATABASE_URL": database_url, "RELAYCORE_SECRET_KEY": SECRET_KEY, "RELAYCORE_ADMIN_KEY": ADMIN_KEY}


def find_secrets(folder: Path, *keys: str) -> list[str]:
    """Return where keys, or what is secret of them, are found: in the tables or in a file of the installation."""
    words = [part.encode() for key in keys for part in (key, key.rsplit("-", 1)[1])]
    places = {"tables": read_everything(find_url(folder))}
    places |= {str(path): path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file()}
    return [name for name, content in places.items() if any(word in content for word in words)]


def test_the_life_of_an_installation(serve, folder):
    """A start shows the keys once; stopping leaves nothing running; neither a stop nor `kill -9` loses anything."""
    first = serve().wait_until_ready()
    admin_key, key = first.keys
    with first.client(key) as client:
        answers = [client.post("/v1/chat/completions", json=chat("keep this"), headers=CACHED) for _ in range(2)]
    assert [one.headers["x-aihub-cache-status"] for one in answers] == ["miss", "hit"]
    assert first.stop(signal.SIGINT)[0] == 0
    wait_until(lambda: not find_started(folder))
    second = serve().wait_until_ready()
    assert second.keys == []
    with second.client(key) as client:
        assert client.post("/v1/chat/completions", json=chat("keep this"), headers=CACHED).headers["age"]
        assert client.post("/v1/chat/completions", json=chat("more"), headers=CACHED).status_code == 200
    with psycopg.connect(find_url(folder)) as connection:
        wait_until(lambda: connection.execute("SELECT count(*) FROM requests").fetchone()[0] == 4)
        wait_until(lambda: connection.execute("SELECT count(*) FROM cache_entries").fetchone()[0] == 2)
    second.kill()
    wait_until(lambda: not find_started(folder))
    third = serve().wait_until_ready()
    with third.client(key) as client, psycopg.connect(find_url(folder)) as connection:
        assert client.post("/v1/chat/completions", json=chat("more"), headers=CACHED).headers["age"]
        assert connection.execute("SELECT count(*) FROM requests").fetchone()[0] >= 4
        assert client.get("/v1/models", headers={"authorization": f"Bearer {admin_key}"}).status_code == 200
    assert not find_secrets(folder, admin_key, key)
    status, seconds = third.stop(signal.SIGTERM)
    assert status == 0
    wait_until(lambda: not find_started(folder))
    assert "Traceback" not in first.said + second.said + third.said
    starts = ", ".join(f"{one.seconds_to_start:.2f}" for one in (first, second, third))
    note(f"first start, a later one and one after kill -9 took {starts} s, the stop {seconds:.2f} s")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; others have run the test above")
def test_an_ordinary_user_starts_and_stops_it(serve, folder):
    """Started by an ordinary user everything belongs to them, and Ctrl-C leaves nothing running."""
    home = folder / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    command = build_ordinary_command(folder, list(COMMAND))
    if command[0] == "unshare" and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("the interpreter is in a private folder, and no mount namespace can be made here")
    one = serve(command=command, where=home).wait_until_ready()
    assert one.client(one.keys[1]).post("/v1/chat/completions", json=chat("hello")).status_code == 200
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in [*find_processes(str(home)), one.process.pid]}
    assert owners == {65534}
    assert {path.lstat().st_uid for path in home.rglob("*")} == {65534}
    assert one.stop(signal.SIGINT)[0] == 0, one.said
    wait_until(lambda: not find_started(home))


def test_the_lines_to_paste_work(serve, outside):
    """Each of the three lines of the greeting, pasted into a shell, prints the model's answer."""
    one = serve(**outside).wait_until_ready()
    lines = one.said.split("Three lines to paste:\n")[1].splitlines()
    python = Path(COMMAND[0]).parent
    for line in lines[:3]:
        if line.startswith("curl") and shutil.which("curl") is None:
            continue
        path = f"{python}:{os.environ['PATH']}"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=30, env={"PATH": path})
        assert "Hello" in done.stdout, (line, done.stderr)


def test_commands_work_beside_a_server_and_without(serve, folder):
    """The other commands share the embedded database with a running server, and bring it up themselves without."""
    made = run_command(folder, "keys", "create", "--name", "before the first start")
    assert made.stdout.startswith("rk-"), made.stderr
    wait_until(lambda: not find_started(folder))
    one = serve().wait_until_ready()
    assert len(one.keys) == 1, "the admin's: there is an API key already"
    another = run_command(folder, "keys", "create", "--user", "a@example.org").stdout.strip()
    for key in (made.stdout.strip(), another):
        assert one.client(key).post("/v1/chat/completions", json=chat("hello")).status_code == 200
    listed = run_command(folder, "keys", "list").stdout
    assert "before the first start" in listed
    assert "a@example.org" in listed
    assert "up to date" in run_command(folder, "migrate").stdout
    assert run_command(folder, "doctor").returncode == 0
    worker = serve("worker")
    worker.wait_for("Working on jobs")
    time.sleep(0.5)
    assert worker.stop(signal.SIGTERM)[0] == 0, worker.said
    assert one.client(another).post("/v1/chat/completions", json=chat("still")).status_code == 200
    assert one.stop()[0] == 0
    wait_until(lambda: not find_started(folder))
    assert "Traceback" not in one.said + worker.said


def test_a_killed_postgres_comes_back(serve, folder):
    """`kill -9` of the embedded postmaster: it is started again, and no request of a known key fails meanwhile."""
    one = serve().wait_until_ready()
    client = one.client(one.keys[1])
    assert client.post("/v1/chat/completions", json=chat("warm")).status_code == 200
    killed_at = time.monotonic()
    kill(read_pid(folder / "data" / "postgres"))
    statuses, slowest, sent = set(), 0.0, 1
    while "was started again" not in one.said or client.get("/readyz").status_code != 200:
        began = time.monotonic()
        statuses.add(client.post("/v1/chat/completions", json=chat(f"number {sent}"), headers=CACHED).status_code)
        slowest, sent = max(slowest, time.monotonic() - began), sent + 1
        assert began - killed_at < 15, one.said
    back = time.monotonic() - killed_at
    assert statuses == {200}
    assert slowest < 1.0
    with psycopg.connect(find_url(folder)) as connection:
        # The commit of the first row, made a moment before, did not wait for the disk.
        wait_until(lambda: connection.execute("SELECT count(*) FROM requests").fetchone()[0] >= sent - 1)
    made = run_command(folder, "keys", "create").stdout.strip()
    assert one.client(made).post("/v1/chat/completions", json=chat("new key")).status_code == 200
    assert one.stop()[0] == 0
    note(f"postmaster killed: back after {back:.2f} s, slowest of {sent} requests {slowest * 1000:.0f} ms")


def test_several_processes(serve, folder, outside):
    """With workers: a killed one is replaced while others serve, and Ctrl-C stops them all. Nothing embedded runs."""
    one = serve("serve", "--port", "0", "--workers", "2", **outside).wait_until_ready()
    client = one.client(ADMIN_KEY)
    assert client.get("/v1/models").status_code == 200
    wait_until(lambda: len(find_children(one.process.pid)) == 2)
    assert not find_processes(str(folder), "postgres")
    assert not (folder / "data").exists()
    wait_until(lambda: client.get("/readyz").status_code == 200)
    victim = find_children(one.process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()
    for number in range(20):
        with one.client(ADMIN_KEY) as fresh:
            assert fresh.post("/v1/chat/completions", json=chat(f"n {number}")).status_code == 200
    wait_until(lambda: len(set(find_children(one.process.pid)) - {victim}) == 2)
    note(f"worker replaced after {time.monotonic() - killed_at:.2f} s")
    status, seconds = one.stop(signal.SIGINT)
    assert (status, seconds < 5) == (0, True), one.said
    assert "Traceback" not in one.said


def test_workers_do_not_outlive_their_parent(serve, outside):
    """`kill -9` of the parent ends its workers too, so that the port is free for the next start."""
    one = serve("serve", "--port", "0", "--workers", "2", **outside).wait_until_ready()
    wait_until(lambda: len(find_children(one.process.pid)) == 2)
    assert one.client(ADMIN_KEY).get("/v1/models").status_code == 200
    workers = find_children(one.process.pid)
    one.process.kill()
    one.process.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in workers), seconds=5)
    with pytest.raises(httpx.ConnectError):
        httpx.get(one.url, trust_env=False)


def test_open_streams_end_properly(serve, outside):
    """At SIGTERM streams go on to the drain's end; longer ones get an error event, and every row is written."""
    one = serve(**outside, RELAYCORE_DRAIN_SECONDS="2").wait_until_ready()
    short = chat("[[mock tokens=10 chunk_ms=100]]", stream=True)
    long = chat("[[mock tokens=500 chunk_ms=100]]", stream=True)
    with (
        one.client(ADMIN_KEY) as client,
        client.stream("POST", "/v1/chat/completions", json=short) as brief,
        client.stream("POST", "/v1/chat/completions", json=long) as endless,
    ):
        parts = (brief.iter_text(), endless.iter_text())
        assert all(next(part) for part in parts)
        one.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with pytest.raises(httpx.ConnectError):
            httpx.get(one.url, trust_env=False)
        texts = ["".join(part) for part in parts]
    assert texts[0].endswith("data: [DONE]\n\n")
    assert '"error"' in texts[1].split("data: ")[-1]
    assert one.process.wait(5) == 0, one.said
    with psycopg.connect(outside["DATABASE_URL"]) as connection:
        rows = connection.execute("SELECT status_code, error_type FROM requests ORDER BY latency").fetchall()
    assert rows[0] == (200, None)
    assert rows[1][0] == 503


def test_a_second_signal_does_not_wait(serve, outside):
    """A second Ctrl-C cuts what still streams, and its row is written all the same."""
    one = serve(**outside).wait_until_ready()
    body = chat("[[mock tokens=500 chunk_ms=100]]", stream=True)
    with one.client(ADMIN_KEY) as client, client.stream("POST", "/v1/chat/completions", json=body) as endless:
        parts = endless.iter_text()
        assert next(parts)
        one.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert one.process.poll() is None
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(3) == 0, one.said
    with psycopg.connect(outside["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone()[0] == 1
