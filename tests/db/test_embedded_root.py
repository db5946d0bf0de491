"""The embedded server started by root: another account runs it, and nobody's modes change."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from app.db.binaries import find_binaries, provide_binaries
from app.db.launch import Account, run_program
from tests.db.conftest import REPOSITORY, read_pid

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = Account(uid=65534, gid=65534, is_other=True)


def get_owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_the_owner_of_the_folder_runs_the_server(open_server, root):
    """Root hands the server to the owner of its folder, even one without a name, and all files belong to them."""
    root.mkdir(mode=0o700)
    os.chown(root, 4711, 4711)
    hold = open_server()
    assert get_owner(read_pid(root)) == 4711
    assert psycopg.connect(hold.url).close() is None
    assert {path.stat().st_uid for path in root.rglob("*")} == {4711}


def test_the_owner_of_the_data_stays(open_server, root):
    """A folder that belongs to root gets an account once; the data's owner runs the server from then on."""
    root.mkdir(mode=0o755)
    open_server().close()
    for path in [root / "data", *(root / "data").rglob("*"), root / "sock"]:
        os.chown(path, 4712, 4712, follow_symlinks=False)
    open_server()
    assert get_owner(read_pid(root)) == 4712


@pytest.mark.parametrize("exists", [False, True], ids=["made", "given"])
def test_a_private_parent_stays_private(open_server, folder, exists):
    """Below a folder that only root may enter the server still runs, and the folder keeps its mode and owner."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    where = home / "postgres"
    if exists:
        where.mkdir(mode=0o700)
    hold = open_server(where)
    assert get_owner(read_pid(where)) != 0
    with psycopg.connect(hold.url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    hold.close()
    hold = open_server(where)
    assert hold.ensure_running() is False
    assert (stat.S_IMODE(home.stat().st_mode), home.stat().st_uid) == (0o700, 0)
    if exists:
        assert (stat.S_IMODE(where.stat().st_mode), where.stat().st_uid) == (0o700, 0)


@pytest.fixture
def private_programs(folder: Path) -> Path:
    """Postgres programs in packages below a folder that only root may enter."""
    home = folder / "venv"
    home.mkdir(mode=0o700)
    package = find_binaries().parent.parent
    shutil.copytree(package / "pginstall", home / package.name / "pginstall", symlinks=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name)
    return home / package.name / "pginstall" / "bin"


def test_private_packages_are_copied_once(open_server, root, private_programs):
    """Programs that the server's account can't reach are copied beside the data, once, and their home stays shut."""
    said = []
    open_server(binaries=private_programs, say=said.append).close()
    assert f"Copying the Postgres programs to {root}" in said[0]
    open_server(binaries=private_programs, say=said.append)
    assert sum("Copying" in sentence for sentence in said) == 1
    assert Path(f"/proc/{read_pid(root)}/exe").readlink().is_relative_to(root)
    assert stat.S_IMODE(private_programs.parent.parent.parent.stat().st_mode) == 0o700


def test_private_packages_and_private_data(folder, private_programs):
    """When the account can reach neither packages nor data, the copy lies in the shared folder of the system."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    shared = folder / "lib" / "relaycore"
    copy = provide_binaries(private_programs, NOBODY, home, [].append, shared)
    assert copy.is_relative_to(shared)
    assert "PostgreSQL" in run_program([str(copy / "postgres"), "--version"], NOBODY, timeout_seconds=10)
    assert provide_binaries(private_programs, NOBODY, home, pytest.fail, shared) == copy
    assert [path.name for path in shared.iterdir()] == [copy.parent.parent.parent.name]


def build_ordinary_command(folder: Path, words: list[str]) -> list[str]:
    """Return a command that runs `words` as nobody, to whom Python and this checkout are made visible if need be.

    What lies below a private folder is bound into a mount namespace in which that folder is an empty public one.
    """
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words]
    needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), REPOSITORY.resolve()}
    hidden = {path: top for path in needed if (top := find_private_top(path))}
    if not hidden:
        return as_nobody
    lines = ["set -e"]
    for number, path in enumerate(hidden):
        lines += [f"mkdir {folder}/{number}", f"mount --bind {path} {folder}/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {top}" for top in set(hidden.values())]
    for number, (path, top) in enumerate(hidden.items()):
        lines.append(f"mkdir -p {path}")
        lines += (
            bind_children(f"{folder}/{number}", path) if path == top else [f"mount --bind {folder}/{number} {path}"]
        )
    return ["unshare", "-m", "sh", "-c", "\n".join([*lines, 'exec "$@"']), "sh", *as_nobody]


def bind_children(kept: str, path: Path) -> list[str]:
    """Return what makes all that a private folder holds visible in the public one that took its place."""
    lines = []
    for child in path.iterdir():
        if child.is_symlink():
            lines.append(f"cp -P {kept}/{child.name} {child}")
            continue
        lines += [f"mkdir {child}" if child.is_dir() else f"touch {child}", f"mount --bind {kept}/{child.name} {child}"]
    return lines


def find_private_top(path: Path) -> Path | None:
    ways = [*reversed(path.parents), path]
    return next((way for way in ways if not way.stat().st_mode & 0o1), None)


def test_an_ordinary_user_passes_the_same_tests(folder):
    """The tests of the healthy and the faulty server hold for an ordinary user too, who runs its own server."""
    home = folder / "nobody"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    mounts = folder / "mounts"
    mounts.mkdir()
    words = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        f"--basetemp={home}/pytest",
        "-k",
        "not slow_start and not initdb_that_fails",
    ]
    words += ["tests/db/test_embedded.py", "tests/db/test_embedded_faults.py"]
    command = build_ordinary_command(mounts, words)
    if subprocess.run([*command[: -len(words)], "true"], capture_output=True).returncode != 0:
        pytest.skip("an ordinary user can't run this Python here")
    shutil.rmtree(mounts)
    mounts.mkdir()
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
