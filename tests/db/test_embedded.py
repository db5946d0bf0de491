"""What a healthy embedded server does: start, join, settings, TCP, stop."""

import os
import stat
import time
from pathlib import Path

import psycopg
import pytest

from app.db.embedded import EmbeddedPostgresError, probe_vector
from tests.db.conftest import find_keeper, find_processes, is_alive, kill, read_pid, wait_until


def ask(url: str, query: str):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


def test_first_start_makes_everything_and_says_so(open_server, root):
    """The first open creates the data and the database, on which pgvector runs, and announces the long step."""
    said = []
    hold = open_server(say=said.append)
    assert hold.url == f"postgresql://postgres@/relaycore?host={root}/sock&port=5432"
    assert ask(hold.url, "SELECT current_database()") == "relaycore"
    assert said[-1] == "Creating the database (first start only) ..."
    assert hold.ensure_running() is False
    probe_vector(hold.url)
    assert ask(hold.url, "SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 0
    assert hold.tcp_url is None


def test_files_are_private(open_server, root):
    """Folders are 0700 and files 0600, and the server never runs as root."""
    open_server()
    # Where the packages are in a private folder, a public copy of the programs lies beside the data.
    private = [path for path in root.iterdir() if not path.name.startswith("postgres-")]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [root, *private]}
    folders = {name: modes.pop(name) for name in (root.name, "data", "sock")}
    assert set(folders.values()) == {0o700}
    assert set(modes.values()) == {0o600}
    assert Path(f"/proc/{read_pid(root)}").stat().st_uid != 0


def test_the_start_is_quick(open_server, root):
    """First start, later start and joining stay within generous multiples of what was measured."""
    times = []
    for _ in range(2):
        began = time.monotonic()
        hold = open_server()
        times.append(time.monotonic() - began)
        began = time.monotonic()
        open_server().close()
        times.append(time.monotonic() - began)
        hold.close()
    assert times[0] < 8
    assert times[2] < 2
    assert max(times[1], times[3]) < 1


def test_two_apps_share_one_server(open_server, start_app, root):
    """A second app joins the running server; the server outlives all but the last of its apps."""
    hold = open_server()
    pid = read_pid(root)
    other = start_app()
    assert other.wait_for_url() == hold.url
    assert read_pid(root) == pid
    hold.close()
    assert is_alive(pid)
    other.leave()
    assert not is_alive(pid)


def test_the_last_one_out_stops_the_server(open_server, root):
    """After close nothing runs any more; close again is harmless, and a closed hold restarts nothing."""
    with open_server() as hold:
        keeper = find_keeper(root)
        assert keeper
    wait_until(lambda: not is_alive(keeper))
    assert find_processes(str(root)) == []
    assert read_pid(root) is None
    hold.close()
    with pytest.raises(EmbeddedPostgresError, match="closed"):
        hold.ensure_running()


def test_close_waits_for_a_keeper_that_is_quicker(open_server, root):
    """However apps and keeper race to stop the server, close returns when it is stopped."""
    for _ in range(5):
        hold = open_server()
        pid = read_pid(root)
        hold.close()
        assert not is_alive(pid)


def test_database_urls_are_quoted(open_server):
    """A database name with special characters is escaped in its URL."""
    hold = open_server()
    ask(hold.url, 'CREATE DATABASE "a/b c"')
    assert ask(hold.database_url("a/b c"), "SELECT current_database()") == "a/b c"


def test_no_tcp_unless_asked_for(open_server):
    """By default the server listens on its socket only."""
    assert ask(open_server().url, "SHOW listen_addresses") == ""


def test_tcp_needs_the_random_password(open_server, root, free_port):
    """With `tcp_port` the server listens on 127.0.0.1 too, for the random password only; it lasts over restarts."""
    hold = open_server(tcp_port=free_port)
    assert f"@127.0.0.1:{free_port}/relaycore" in hold.tcp_url
    assert ask(hold.tcp_url, "SHOW listen_addresses") == "127.0.0.1"
    wrong = hold.tcp_url.replace((root / "password").read_text(), "postgres")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    url = hold.tcp_url
    hold.close()
    assert open_server(tcp_port=free_port).tcp_url == url


def test_tcp_is_not_silently_missing(open_server, free_port):
    """Joining a server without TCP while asking for TCP is refused."""
    open_server()
    with pytest.raises(EmbeddedPostgresError, match="without TCP"):
        open_server(tcp_port=free_port)


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_settings_go_under_alter_system(open_server):
    """The caller's settings are used, whatever their characters; what ALTER SYSTEM set wins over them."""
    wishes = {"max_connections": "37", "work_mem": "5MB", "application_name": r"it's a \ test"}
    hold = open_server(settings=wishes)
    assert ask(hold.url, "SHOW max_connections") == "37"
    assert ask(hold.url, "SHOW fsync") == "off"
    assert ask(hold.database_url("postgres"), "SELECT reset_val FROM pg_settings WHERE name='work_mem'") == "5120"
    ask(hold.url, "ALTER SYSTEM SET work_mem = '7MB'")
    hold.close()
    hold = open_server(settings=wishes)
    assert ask(hold.url, "SHOW work_mem") == "7MB"
    assert ask(hold.url, "SHOW application_name") == r"it's a \ test"


def test_a_port_set_by_alter_system_is_followed(open_server):
    """The URL names the port the server really uses."""
    hold = open_server()
    ask(hold.url, "ALTER SYSTEM SET port = 5999")
    hold.close()
    hold = open_server()
    assert hold.url.endswith("port=5999")
    assert ask(hold.url, "SELECT 1") == 1


def test_a_long_path_gets_a_short_socket(open_server, folder):
    """Where the socket's path would be too long, or has a comma, the socket lies in a private temporary folder."""
    where = folder / ("long," * 20) / "postgres"
    hold = open_server(where)
    assert (where / "sock").is_symlink()
    assert stat.S_IMODE((where / "sock").stat().st_mode) == 0o700
    assert ask(hold.url, "SELECT 1") == 1
    hold.close()
    short = (where / "sock").readlink()
    assert open_server(where).url == hold.url
    assert (where / "sock").readlink() == short


def test_server_and_keeper_hold_nothing_of_the_app(open_server, root, folder):
    """The server has the log, its lock and its own files open, the keeper its three locks; stdin is /dev/null."""
    secret = os.open(folder / "secret", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(secret, True)
    open_server()
    for pid, locks in ((read_pid(root), {"server"}), (find_keeper(root), {"server", "clients", "keeper"})):
        targets = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
        assert {Path(target).stem for target in targets if target.endswith(".lock")} == locks
        assert str(folder / "secret") not in targets
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"PG" not in environment
        assert b"HOME" not in environment
        assert os.getsid(pid) != os.getsid(0)
    os.close(secret)


def test_a_killed_keeper_is_replaced(open_server, root):
    """ensure_running gives the server a new keeper when the old one was killed; the server itself goes on."""
    hold = open_server()
    kill(find_keeper(root))
    wait_until(lambda: hold.ensure_running() is False and find_keeper(root))


def test_an_app_without_standard_input_is_fine(root):
    """A lock never lands on the number of a closed standard stream, where the server would not inherit it."""
    import subprocess
    import sys

    from tests.db.conftest import REPOSITORY

    script = """
import os, sys
from pathlib import Path
os.close(0)
from app.db.embedded import EmbeddedPostgres
hold = EmbeddedPostgres.open(Path(sys.argv[1]), fast_and_unsafe=True)
import fcntl
with open(Path(sys.argv[1]) / "server.lock") as lock:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        print("held")
hold.close()
"""
    done = subprocess.run([sys.executable, "-c", script, str(root)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "held\n", done.stderr
