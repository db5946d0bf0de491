"""Folders for embedded servers, and apps of their own that hold one."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.db.embedded import EmbeddedPostgres
from app.db.server_settings import measure_shm

REPOSITORY = Path(__file__).parents[2]
APP = """
import sys
from pathlib import Path
from app.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
try:
    hold = EmbeddedPostgres.open(
        Path(sys.argv[1]),
        fast_and_unsafe="durable" not in sys.argv,
        say=lambda sentence: print(sentence, flush=True),
    )
except EmbeddedPostgresError as error:
    sys.exit(f"refused: {error}")
print(hold.url, flush=True)
sys.stdin.readline()
hold.close()
"""


class App:
    """Another process that holds the embedded server in `root`."""

    def __init__(self, root: Path, *words: str, before: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, "-c", APP, str(root), *words],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []

    def wait_for_url(self) -> str:
        for line in self.process.stdout:
            if line.startswith("postgresql://"):
                return line.strip()
            self.said.append(line.strip())
        raise AssertionError("the app ended")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def leave(self) -> None:
        self.process.communicate("\n")


def make_folder() -> Path:
    """Make a folder that every user can reach, on a fast disk."""
    shm = measure_shm()
    parent = "/dev/shm" if shm and shm >= 512 << 20 else None
    made = Path(tempfile.mkdtemp(prefix="relaycore-test-", dir=parent)).resolve()
    made.chmod(0o755)
    return made


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make such a folder for a test, and leave nothing of it."""
    made = make_folder()
    yield made
    wait_until(lambda: not find_processes(str(made), "keeper.py"), seconds=25)
    for link in made.rglob("sock"):
        if link.is_symlink():
            shutil.rmtree(link.readlink(), ignore_errors=True)
    shutil.rmtree(made)


@pytest.fixture
def root(folder: Path) -> Path:
    """Name the folder of one server, which does not exist yet."""
    return folder / "postgres"


@pytest.fixture
def open_server(root: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Open the server in `root`; whatever a test opened is closed at its end."""
    holds: list[EmbeddedPostgres] = []

    def open_it(where: Path = root, **wishes) -> EmbeddedPostgres:
        hold = EmbeddedPostgres.open(where, **{"fast_and_unsafe": True, **wishes})
        holds.append(hold)
        return hold

    yield open_it
    for hold in holds:
        hold.close()


@pytest.fixture
def start_app(root: Path) -> Iterator[Callable[..., App]]:
    """Start another app on `root`; it is killed at the end of the test, and its server with it."""
    apps: list[App] = []

    def start(*words: str, before: tuple[str, ...] = (), where: Path = root) -> App:
        apps.append(App(where, *words, before=before))
        return apps[-1]

    yield start
    for app in apps:
        app.kill()


def wait_until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait until a condition holds, and fail when it doesn't in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def read_pid(root: Path) -> int | None:
    """Return the pid in the server's pid file."""
    with suppress(FileNotFoundError, IndexError):
        return int((root / "data" / "postmaster.pid").read_text().split()[0])
    return None


def find_processes(*words: str) -> list[int]:
    """Return the live processes with all `words` on their command line, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if all(word.encode() in line for word in words) and line:
                found.append(int(entry.name))
    return found


def find_keeper(root: Path) -> int | None:
    """Return the pid of the keeper of the server in `root`."""
    return next(iter(find_processes(str(root / "data"), "keeper.py")), None)


def kill(pid: int | None) -> None:
    """Kill a process the hard way and wait until it is gone or a zombie."""
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_bytes() != b""
    return False
