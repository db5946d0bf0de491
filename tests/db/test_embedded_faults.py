"""The embedded server under faults: every row of the table in docs/adr/0002-embedded-postgres.md."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app.db import keeper
from app.db.binaries import find_binaries, provide_binaries
from app.db.embedded import EmbeddedPostgresError, probe_vector
from app.db.launch import choose_account
from tests.db.conftest import APP, REPOSITORY, find_keeper, is_alive, kill, read_pid, wait_until

SUBREAPER = """
import ctypes, os, signal, sys, time
from pathlib import Path
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
from app.db.embedded import EmbeddedPostgres
root = Path(sys.argv[1])
hold = EmbeddedPostgres.open(root, fast_and_unsafe=True)
pid = int((root / "data" / "postmaster.pid").read_text().split()[0])
os.kill(pid, signal.SIGKILL)
while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
    time.sleep(0.01)
assert hold.ensure_running() is True
assert Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
hold.close()
"""


def write_wrapper(folder: Path, name: str, script: str) -> Path:
    """Return a folder of programs in which `name` runs `script` first."""
    shared = folder / "shared"
    shared.mkdir(mode=0o755, exist_ok=True)
    found = provide_binaries(find_binaries(), choose_account(folder), shared, [].append)
    programs = folder / "programs"
    programs.mkdir(mode=0o755, exist_ok=True)
    for program in ("postgres", "initdb"):
        own = f'case "$*" in *--version*) ;; *) {script} ;; esac\n' if program == name else ""
        (programs / program).write_text(f'#!/bin/sh\n{own}exec {found / program} "$@"\n')
        (programs / program).chmod(0o755)
    return programs


def count_rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT count(*) FROM kept").fetchone()[0]


def write_row(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (id int)")
        connection.execute("INSERT INTO kept VALUES (1)")


def test_kill_of_the_app_stops_the_server_and_loses_nothing(start_app, open_server, root):
    """When the only app is killed the keeper stops the server at once; the next start is quick and has the data."""
    app = start_app("durable")
    write_row(app.wait_for_url())
    pid, guard = read_pid(root), find_keeper(root)
    app.kill()
    wait_until(lambda: not is_alive(pid) and not is_alive(guard), seconds=5)
    began = time.monotonic()
    hold = open_server(fast_and_unsafe=False)
    assert time.monotonic() - began < 2
    assert count_rows(hold.url) == 1


def test_kill_of_app_and_keeper_leaves_a_server_that_is_joined(start_app, open_server, root):
    """A server whose app and keeper were both killed lives on; the next app joins it and stops it in the end."""
    app = start_app()
    app.wait_for_url()
    pid = read_pid(root)
    kill(find_keeper(root))
    app.kill()
    hold = open_server()
    assert read_pid(root) == pid
    hold.close()
    assert not is_alive(pid)


def test_kill_of_the_server_is_repaired_by_ensure_running(open_server, root):
    """A killed server is started again for its living apps, and what was committed is there."""
    said = []
    hold = open_server(fast_and_unsafe=False, say=said.append)
    write_row(hold.url)
    kill(read_pid(root))
    assert hold.ensure_running() is True
    assert said[-1] == "Recovering the database after a crash ..."
    assert count_rows(hold.url) == 1
    assert hold.ensure_running() is False


def test_kill_of_the_server_is_repaired_by_the_next_open(open_server, root):
    """An app that comes after the server was killed starts it again, the first app then has it too."""
    hold = open_server()
    kill(read_pid(root))
    open_server()
    assert hold.ensure_running() is False


def test_an_unreaped_zombie_does_not_matter(root):
    """A killed server that nobody reaps (a container without an init) doesn't stop the next start."""
    done = subprocess.run([sys.executable, "-c", SUBREAPER, str(root)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_reused_pid_does_not_matter(open_server, root):
    """Pid files of a server from before a reboot, whose pid another process has now, are known to be stale."""
    hold = open_server()
    stale = (root / "data" / "postmaster.pid").read_text().splitlines()
    hold.close()
    stale[0] = str(os.getpid())
    for file in (root / "data" / "postmaster.pid", root / "sock" / ".s.PGSQL.5432.lock"):
        file.write_text("\n".join(stale) + "\n")
    (root / "sock" / ".s.PGSQL.5432").touch()
    assert open_server().ensure_running() is False


def test_kill_during_the_first_initdb(start_app, open_server, root):
    """A first start that was killed half-way leaves nothing that the next one trips over."""
    app = start_app("durable")
    wait_until(lambda: list(root.glob("init-*/PG_VERSION")))
    app.kill()
    hold = open_server()
    assert psycopg.connect(hold.url).close() is None
    assert list(root.glob("init-*")) == []


def test_a_second_pid_namespace_is_refused(open_server, start_app, root):
    """Two containers on one volume: the second starts no server of its own and says what to do instead."""
    before = ("unshare", "--pid", "--ipc", "--mount-proc", "--fork", "--kill-child")
    if os.geteuid() != 0:
        before = ("unshare", "--user", "--map-current-user", *before[1:])
    if subprocess.run([*before, "true"], capture_output=True).returncode != 0:
        pytest.skip("namespaces can't be made here")
    hold = open_server()
    pid = read_pid(root)
    app = start_app(before=before)
    app.process.wait(timeout=20)
    assert app.process.returncode == 1
    hold.ensure_running()
    assert read_pid(root) == pid


def test_a_held_server_lock_is_refused(open_server, root):
    """While any process of an earlier server lives, no second server starts on its data."""
    open_server().close()
    with (root / "server.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        holder = subprocess.Popen(["sleep", "60"], pass_fds=(lock.fileno(),))
    try:
        (root / "data" / "postmaster.pid").write_text("1\n\n\n5432\n\n\n\nready\n")
        with pytest.raises(EmbeddedPostgresError, match=r"Gave up after 0\.3 s"):
            open_server(start_timeout_seconds=0.3)
    finally:
        holder.kill()
        holder.wait()
    open_server()


def test_a_slow_start_has_the_time_it_is_given(open_server, folder):
    """Only start_timeout_seconds bounds a start: a recovery of more than 10 s is waited for, and not for ever."""
    programs = write_wrapper(folder, "postgres", "sleep 10.5")
    with pytest.raises(EmbeddedPostgresError, match="longer start timeout"):
        open_server(binaries=programs, start_timeout_seconds=1)
    # This start finds the first one's process still at work, and waits for what becomes of it.
    began = time.monotonic()
    open_server(binaries=programs)
    assert time.monotonic() - began > 9


def test_a_start_that_fails_shows_the_log(open_server):
    """A server that refuses its settings is an error at once, with what the server said."""
    with pytest.raises(EmbeddedPostgresError, match=r'(?s)stopped while it was starting.*"shared_bufers"'):
        open_server(settings={"shared_bufers": "1GB"})
    with pytest.raises(EmbeddedPostgresError, match="can't be a Postgres setting"):
        open_server(settings={"a b": "1"})


def test_an_initdb_that_fails_shows_why(open_server, folder):
    """What initdb complains about reaches the user, and one that hangs is given up."""
    with pytest.raises(EmbeddedPostgresError, match="initdb failed: no room"):
        open_server(binaries=write_wrapper(folder, "initdb", "echo no room; exit 1"))
    with pytest.raises(EmbeddedPostgresError, match="did not end within"):
        open_server(binaries=write_wrapper(folder, "initdb", "exec sleep 30"), start_timeout_seconds=1)


def test_a_database_that_cannot_be_made_is_an_error(open_server):
    """A server that starts and then refuses our database is reported, not left half-usable."""
    with pytest.raises(EmbeddedPostgresError, match="can't be used"):
        open_server(settings={"default_transaction_read_only": "on"})


def test_a_full_disk_is_a_clear_error(folder, root):
    """With no room for the first start the error names the folder or initdb's complaint, and nothing hangs."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("needs a file system of its own")
    root.mkdir()
    mount = f"mount -t tmpfs -o size=6m,mode=755 tmpfs {root} && "
    app = f'{mount} exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", app, "sh", sys.executable, "-c", APP, str(root), "durable"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "refused:" in done.stderr
    assert "No space left on device" in done.stderr


def test_an_unusable_folder_is_a_clear_error(open_server, folder):
    """A file in the place of the folder, a link in the place of a lock, or a read-only parent are told apart."""
    (folder / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="can't be used"):
        open_server(folder / "file")
    (folder / "linked").mkdir()
    (folder / "linked" / "clients.lock").symlink_to(folder / "file")
    with pytest.raises(EmbeddedPostgresError, match="can't be used"):
        open_server(folder / "linked")
    if os.geteuid() != 0:
        (folder / "closed").mkdir(mode=0o500)
        with pytest.raises(EmbeddedPostgresError, match="Permission denied"):
            open_server(folder / "closed" / "postgres")


def test_data_of_another_version_is_refused(open_server, root):
    """A data directory of another major version is left alone, with advice; so is a folder that is none."""
    open_server().close()
    version = root / "data" / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 17.*PostgreSQL 18"):
        open_server()
    version.unlink()
    with pytest.raises(EmbeddedPostgresError, match="not empty"):
        open_server()


def test_ctrl_c_reaches_the_app_only(start_app, root):
    """A signal to the terminal's process group ends the app; server and keeper are in sessions of their own."""
    app = start_app()
    app.wait_for_url()
    pid, guard = read_pid(root), find_keeper(root)
    os.kill(app.process.pid, signal.SIGSTOP)
    os.killpg(app.process.pid, signal.SIGINT)
    time.sleep(0.2)
    assert is_alive(pid)
    assert is_alive(guard)


@contextmanager
def crash_noticed(url: str) -> Iterator[None]:
    """Let a backend crash, and leave when Postgres has noticed: it ends all others then, and takes some moments to."""
    with psycopg.connect(url, autocommit=True) as other:
        yield
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT pg_sleep(30)")


def test_a_server_that_does_not_stop_is_reported(open_server, root, monkeypatch):
    """An app that leaves gives up after its patience and says so, whether it or the keeper tries to stop it."""
    monkeypatch.setattr(keeper, "PATIENCE_SECONDS", 0.05)
    hold = open_server()
    pid = read_pid(root)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedPostgresError, match=r"doesn't stop|Gave up after"):
            hold.close()
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not is_alive(pid))


def test_the_vector_probe_survives_a_crash_of_the_server(open_server, root):
    """A backend that dies while pgvector is tried is reported as such, and so are a missing pgvector and server."""
    hold = open_server(settings={"extension_control_path": "/nowhere"})
    with pytest.raises(EmbeddedPostgresError, match="no usable vector extension"):
        probe_vector(hold.url)
    hold.close()
    with pytest.raises(EmbeddedPostgresError, match="can't be reached"):
        probe_vector(hold.url)
    hold = open_server()
    with psycopg.connect(hold.url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION crash() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$ BEGIN COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'; END $$"
        )
        connection.execute(
            "CREATE EVENT TRIGGER crash ON ddl_command_start WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION crash()"
        )
    lacks = "instructions that this machine's CPU lacks"
    with crash_noticed(hold.url), pytest.raises(EmbeddedPostgresError, match=lacks):
        probe_vector(hold.url)
    open_server()  # waits for the end of the restart, in which Postgres takes no fast shutdown


def test_joining_waits_for_a_restart_after_a_crash(open_server):
    """While Postgres restarts itself after a crashed backend, open and ensure_running wait until it is usable."""
    hold = open_server()
    with (
        crash_noticed(hold.url),
        pytest.raises(psycopg.OperationalError),
        psycopg.connect(hold.url, autocommit=True) as connection,
    ):
        connection.execute("COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'")
    again = open_server()
    assert psycopg.connect(again.url).close() is None
