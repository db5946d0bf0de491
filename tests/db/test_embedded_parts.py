"""The decisions of the supervisor, without a server: accounts, modes, settings, programs, keeper, log."""

import fcntl
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.db import binaries, keeper
from app.db.binaries import find_binaries, provide_binaries
from app.db.cluster import Cluster, _name_of
from app.db.embedded import EmbeddedPostgresError
from app.db.launch import Account, choose_account, choose_initdb_account, is_reachable
from app.db.server_log import read_log_tail, rotate_log
from app.db.server_settings import build_settings, measure_shm, write_settings_text
from tests.db.conftest import find_keeper, is_alive, kill, read_pid, wait_until

ME = Account(uid=os.geteuid(), gid=os.getegid(), is_other=False)


def test_an_ordinary_user_runs_its_own_server(root, monkeypatch):
    """Who is not root is the server's account, whoever owns the folder."""
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "getegid", lambda: 1235)
    assert choose_account(root) == Account(uid=1234, gid=1235, is_other=False)


@pytest.mark.parametrize(("known", "uid"), [({"postgres": 70, "nobody": 99}, 70), ({"nobody": 99}, 99), ({}, 65534)])
def test_root_takes_an_account_that_exists(root, monkeypatch, known, uid):
    """Root's server runs as postgres, else nobody, else the number that is nobody everywhere."""

    def find_entry(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "", known[name], known[name], "", "", ""))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", find_entry)
    assert choose_account(root) == Account(uid=uid, gid=uid, is_other=True)


def test_a_user_without_a_name_gets_advice():
    """Only root can have the data made by somebody else; a nameless ordinary user is told what to do."""
    with pytest.raises(EmbeddedPostgresError, match="add user id 4711 to /etc/passwd"):
        choose_initdb_account(Account(uid=4711, gid=4711, is_other=False))


@pytest.mark.parametrize(
    ("account", "mode", "reachable"),
    [
        ((0, 0), 0o700, True),
        ((0, 0), 0o077, False),
        ((0, 1), 0o050, False),
        ((1, 0), 0o050, True),
        ((1, 0), 0o707, False),
        ((1, 1), 0o705, True),
        ((1, 1), 0o704, False),
        ((1, 1), 0o701, False),
    ],
)
def test_reachable_means_the_bits_of_ones_own_class(folder, account, mode, reachable):
    """Owner, group and others are judged by their own bits only, as the kernel does."""
    inner = folder / "inner"
    inner.mkdir()
    status = inner.stat()
    inner.chmod(mode)
    asked = Account(uid=status.st_uid + account[0], gid=status.st_gid + account[1], is_other=True)
    try:
        assert is_reachable(inner, asked) is reachable
    finally:
        inner.chmod(0o700)


def test_a_private_parent_makes_unreachable(folder):
    """A single private folder above is enough."""
    inner = folder / "private" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    status = inner.stat()
    assert not is_reachable(inner, Account(uid=status.st_uid + 1, gid=status.st_gid + 1, is_other=True))


def test_settings_by_circumstance():
    """Tests trade safety for speed, TCP is opened on loopback only, little shared memory moves to files."""
    plain = build_settings({}, unsafe=False, tcp_port=None, shm_bytes=None)
    assert plain["listen_addresses"] == ""
    assert "fsync" not in plain
    assert "dynamic_shared_memory_type" not in plain
    small = build_settings({"port": "1"}, unsafe=True, tcp_port=7000, shm_bytes=64 << 20)
    assert small["dynamic_shared_memory_type"] == "mmap"
    assert small["fsync"] == "off"
    assert small["listen_addresses"] == "127.0.0.1"
    assert small["port"] == "1"


def test_settings_are_escaped():
    """A value can't end its quotes, and a name or value that would make a line of its own is refused."""
    assert write_settings_text({"a.b": r"x'\y"}) == "a.b = 'x''\\\\y'\n"
    for name, value in (("a b", "1"), ("", "1"), ("a", "1\nb = 2")):
        with pytest.raises(EmbeddedPostgresError):
            write_settings_text({name: value})


def test_shared_memory_is_measured(folder):
    """The size is that of the file system; a system without one has none."""
    assert measure_shm(folder) > 0
    assert measure_shm(folder / "none") is None


def test_programs_are_found_in_order(folder, monkeypatch):
    """The given folder is the only place when there is one; else the first installed package; else advice."""
    with pytest.raises(EmbeddedPostgresError, match=f"found in {folder}"):
        find_binaries(folder)
    found = find_binaries()
    assert find_binaries(found) == found
    monkeypatch.setattr(binaries, "_PACKAGES", (("no_such_package", "bin"), ("json", "no/bin")))
    with pytest.raises(EmbeddedPostgresError, match="DATABASE_URL"):
        find_binaries()


def test_ones_own_programs_are_not_copied(folder):
    """Without a change of account the programs are used where they are."""
    assert provide_binaries(folder, ME, folder, pytest.fail) == folder


def test_without_proc_private_folders_are_refused(folder):
    """Where descriptors have no path, root is told to choose another folder."""
    assert _name_of(7, folder) == "/proc/self/fd/7"
    with pytest.raises(EmbeddedPostgresError, match="Choose a data directory"):
        _name_of(7, folder, links=folder / "none")


def test_the_log_is_rotated_and_quoted(folder):
    """Past its limit the log moves aside and goes on empty; a missing log is no error of its own."""
    cluster = Cluster(root=folder, account=ME)
    assert read_log_tail(cluster) == ""
    cluster.log.write_text("x" * 5000 + "end")
    rotate_log(cluster, limit=10_000)
    assert read_log_tail(cluster).endswith("end")
    rotate_log(cluster, limit=1000)
    assert cluster.log.read_text() == ""
    assert (folder / "postgres.log.1").read_text().endswith("end")


def test_a_server_is_known_by_its_command_line(folder):
    """A dead, a zombie and a foreign process are not the server; without /proc a live pid is believed."""
    word = "cluster_name=relaycore-test"
    child = subprocess.Popen([sys.executable, "-c", "input()", word], stdin=subprocess.PIPE)
    wait_until(lambda: keeper.is_server(child.pid, word))
    assert not keeper.is_server(child.pid, "cluster_name=relaycore-tes")
    assert keeper.is_server(child.pid, "any", proc=folder)
    child.kill()
    wait_until(lambda: not is_alive(child.pid))
    assert not keeper.is_server(child.pid, word)
    child.communicate()
    assert not keeper.is_server(child.pid, word)
    assert not keeper.is_server(child.pid, word, proc=folder)
    if os.geteuid() != 0:
        assert keeper.is_server(1, word, proc=folder)


@pytest.mark.parametrize("text", ["", "\n", "-12\n", "x\n"])
def test_an_unfinished_pid_file_names_nobody(folder, text):
    """A pid file that is being written, or a standalone backend's, leads to no process."""
    (folder / "postmaster.pid").write_text(text)
    assert keeper.find_server(folder, "any") is None


def test_stopping_becomes_firmer(folder):
    """A server that ignores the fast shutdown gets the immediate one; one that can't be found is given up."""
    script = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with (folder / "server.lock").open("w") as lock, (folder / "server.lock").open() as probe:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = subprocess.Popen(
            [sys.executable, "-c", script, "marker"], pass_fds=(lock.fileno(),), stdout=subprocess.PIPE
        )
        child.stdout.readline()
        lock.close()
        assert keeper.stop_server(folder, "marker", probe.fileno(), 0.05) is False
        (folder / "postmaster.pid").write_text(f"{child.pid}\n")
        assert keeper.stop_server(folder, "marker", probe.fileno(), 1.2) is True
    assert child.wait() == -signal.SIGQUIT
    child.stdout.close()


def test_a_starting_server_is_stopped_at_once(folder):
    """A server that isn't up yet has nothing to checkpoint and gets the immediate shutdown straight away."""
    (folder / "postmaster.pid").write_text("1\n\n\n\n\n\n\nstarting\n")
    assert keeper._is_starting(folder)
    assert keeper._send(None, signal.SIGINT) is False
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert keeper._send(gone.pid, signal.SIGINT) is False


def test_the_keeper_stops_what_nobody_holds(start_app, root):
    """Run in this process, the keeper waits for the last app, stops the server and lets its locks go."""
    app = start_app()
    app.wait_for_url()
    pid = read_pid(root)
    kill(find_keeper(root))
    fds = [os.open(root / f"{name}.lock", os.O_RDWR) for name in ("keeper", "clients", "server")]
    app.kill()
    keeper.main([*map(str, fds), str(root / "data"), f"cluster_name=relaycore-{root.stat().st_ino}"])
    assert not is_alive(pid)
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    assert Path(root / "data" / "PG_VERSION").exists()
